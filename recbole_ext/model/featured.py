"""RecBole encoders whose item table is an ItemEncoder, on the input and on the scored side: SASRecFeat, GRU4RecFeat.

Their own `forward` runs as it is; only the table that it looks items up in is another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_ext.data.positions import PositionBatch
from recbole_ext.errors import UsageError
from recbole_ext.model.factored import Vectors, look_up, states_everywhere
from recbole_ext.model.item_encoder import (
    ColdScoring,
    ItemEncoder,
    ItemEncoderSettings,
    ItemsRanked,
    item_feature_fields,
)
from recbole_ext.model.objective import Objective, position_loss, row_loss
from recbole_ext.model.pointer import Earlier, Read
from recbole_ext.settings.base import key
from recbole_ext.settings.run_settings import settings_of
from recbole_ext.settings.training import Training


class FeaturedSettings(ItemEncoderSettings):
    """Keys that RecBole's encoders over id and features share."""

    feature_fusion: Literal["sum", "gate"] = key("sum", "sum: e + f; gate: g * e + (1 - g) * f")
    loss_type: Literal["CE"] = key("CE", "softmax over the training items; train_loss names others")
    other_defaults: ClassVar[dict[str, Any]] = {
        "score": "cosine",
        "temperature": 0.07,
        "train_neg_sample_args": None,
        "train_targets": "all_positions",
        "train_batch_size": "auto",
        "learner": "adamw",
        "learning_rate": 0.001,
        "weight_decay": 0.01,
        "epochs": 20,
        "stopping_step": 3,
    }


class LentTable(nn.Module):
    """An embedding layer whose weight is lent to it, within `of`."""

    def __init__(self) -> None:
        super().__init__()
        self._table: Vectors | None = None

    def forward(self, items: Tensor) -> Tensor:
        """(…, d) vectors of items (…)."""
        assert self._table is not None, "items are looked up within `of` only"
        return look_up(items, self._table)

    @contextmanager
    def of(self, table: Vectors) -> Iterator[None]:
        """Within the block items have these vectors."""
        self._table = table
        try:
            yield
        finally:
            self._table = None


class Featured(ItemsRanked):
    """To be put before a sequential model of RecBole that scores `forward(item_seq, item_seq_len) @ item vectors`.

        v_i = fuse(e_i, f_i);  h = encoder(v_{i_1} … v_{i_n});  score_i = h · v_i, or their cosine over a temperature

    e: id embedding, absent for items that training never saw. f: features. The loss is the softmax over the training
    items, or the `train_loss` that is set, over all targets of a batch.
    """

    input_type = InputType.POINTWISE  # negatives come from the catalogue, not the loader
    scoring: ColdScoring
    forward: Any
    _init_weights: Any
    item_embedding: Any
    ITEM_SEQ: str
    ITEM_SEQ_LEN: str
    POS_ITEM_ID: str
    ITEM_ID: str

    def __init__(self, config: Any, dataset: Any):
        if not hasattr(dataset, "train_items"):
            raise UsageError(f"{config['model']} needs our data path: set data_layout: pointers")
        super().__init__(config, dataset)  # type: ignore[call-arg]
        settings, training = settings_of(config, FeaturedSettings), settings_of(config, Training)
        self.notes: list[str] = []
        ids = self.item_embedding
        fields = item_feature_fields(dataset, settings.item_features, self.notes)
        self.items = ItemEncoder(settings, dataset, fields, ids.embedding_dim)
        self.items.apply(self._init_weights)
        self.items.ids = ids
        self.items.clear_padding()
        self.item_embedding = LentTable()
        self.scoring = ColdScoring(settings, training, self.items)
        self.objective = Objective(
            training, dataset.training_counts(), torch.nonzero(self.items.seen).squeeze(1)
        )
        self.look_back = self.look_back_of(settings, dataset, self.notes)
        self.select = True  # False where a CUDA graph wants shapes that do not depend on the data

    def item_vectors(self) -> Tensor:
        """(n_items, d) vectors of all items; in training `id_dropout` draws anew."""
        return self.items.table()

    def row_states(self, interaction: Any, vectors: Vectors) -> Tensor:
        """(B, d) state at the end of every row's prefix."""
        return self.read_rows(interaction, vectors).states

    def position_states(self, items: Tensor, vectors: Vectors) -> Tensor:
        """(n, L, d) state after every position of sessions (n, L)."""
        return self._look(items, vectors).states.view(*items.shape, -1)

    def read_positions(self, batch: PositionBatch, vectors: Vectors) -> Read:
        """States and pointers after every position."""
        return self._look(batch.items, vectors, self.earlier_with_vectors(batch.past_items, vectors))

    def read_rows(self, interaction: Any, vectors: Vectors) -> Read:
        """State and pointers at the end of every row's prefix."""
        items, length = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        if self.look_back is None:
            with self.item_embedding.of(vectors):
                return Read(self.forward(items, length))
        longest = items.shape[1]
        width = min(self.look_back.window, longest)
        place = (length - 1).unsqueeze(1) - torch.arange(width - 1, -1, -1, device=length.device)
        row = torch.arange(len(items), device=length.device).unsqueeze(1)
        at = torch.where(place >= 0, row * longest + place, -1)
        states = self._encoded(items, vectors).flatten(0, 1)
        items = items.flatten()
        found = look_up(items, vectors)
        return self.look_back.rows(states, items, at, found, self.past_of(interaction, vectors))

    def _encoded(self, items: Tensor, vectors: Vectors) -> Tensor:
        with self.item_embedding.of(vectors):
            return states_everywhere(self, items)

    def _look(self, items: Tensor, vectors: Vectors, past: Earlier | None = None) -> Read:
        states = self._encoded(items, vectors)
        if self.look_back is None:
            return Read(states.flatten(0, 1))
        return self.look_back.positions(states, items, look_up(items, vectors), past)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Mean loss over all targets of a PositionBatch, or over the rows of a RecBole Interaction."""
        if isinstance(interaction, PositionBatch):
            return position_loss(self, self.objective, interaction, self.select)
        return row_loss(self, self.objective, interaction, interaction[self.POS_ITEM_ID])
