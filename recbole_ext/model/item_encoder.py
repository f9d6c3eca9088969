"""Item vectors made of an id embedding and item features, used for the input and for the scored items alike.

RecBole's feature models (GRU4RecF, SASRecF, FDSA) put features into the input only, so an item without training
interactions keeps a random vector on the output side. Here an item that training never saw has no id part at all:
it is known by its features alone, on both sides.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from recbole.utils import FeatureType
from torch import Tensor, nn

from recbole_ext.data.live import PAST_ITEMS
from recbole_ext.data.past import Past
from recbole_ext.errors import UsageError, did_you_mean
from recbole_ext.model import pointer
from recbole_ext.model.factored import Factored, Scoring, Vectors, look_up
from recbole_ext.model.item_features import FeatureEncoder
from recbole_ext.model.passes import joined
from recbole_ext.model.pointer import LookBack, LookBackSettings, Read
from recbole_ext.naming import names_items
from recbole_ext.scores.terms import Raised, RowTerms, hide_and_add
from recbole_ext.settings.base import Names, Number, key
from recbole_ext.settings.training import Training


class ItemEncoderSettings(LookBackSettings):
    """Keys of models whose items are known by id and features, and that look back."""

    item_features: Names | None = key(
        None,
        "feature columns of the .item file that it uses; empty list: none; ~: all but those that name each item",
    )
    feature_fusion: Literal["sum", "gate", "parallel"] = key(
        "sum", "sum: e + f; gate: g * e + (1 - g) * f; parallel: two networks side by side, of HRNNFeat only"
    )
    id_dropout: Number = key(
        0.1,
        "share of items whose id part is dropped in a training step, for cold items; 1: features alone",
        ge=0,
        le=1,
    )
    cold_bias: Number = key(
        0.0,
        "added to the scores of items that training never saw; choose it on cold validation targets",
        ge=-100,
        le=100,
    )
    repeat_bias: Number = key(
        1.0,
        "pointer none: added to the scores of such items where the prefix holds them, as an id part would have learnt; "
        "0: without features they are not ranked",
        ge=0,
        le=100,
    )

    def check(self) -> None:
        """Raise UsageError where two of its keys cannot go together."""
        super().check()
        if self.pointer != "none" and self.repeat_bias != type(self).model_fields["repeat_bias"].default:
            raise UsageError(
                f"repeat_bias is {self.repeat_bias}: pointer: {self.pointer} says itself how likely an item of the "
                "prefix comes again, so leave it out or set pointer: none"
            )


class ItemEncoder(nn.Module):
    """The table of item vectors: id part and feature part, fused.

    feature_fusion:
        sum: `e + f`. gate: `g * e + (1 - g) * f` with `g = sigmoid(W [e; f])`, and `f` alone without an id part.
        parallel: `[e; f]`, for p-RNN's two networks side by side (Hidasi et al., RecSys 2016).
    id_dropout: share of items whose whole id part is dropped in a training step, so that the feature part learns to
    stand alone; the same items are dropped on both sides.
    """

    seen: Tensor

    def __init__(self, settings: ItemEncoderSettings, dataset: Any, fields: list[str], dim: int):
        super().__init__()
        self.fusion, self.id_dropout = "sum", 0.0
        if fields:
            self.fusion, self.id_dropout = settings.feature_fusion, settings.id_dropout
        self.n_items = dataset.item_num
        seen = torch.as_tensor(dataset.train_items, dtype=torch.bool)
        self.register_buffer("seen", seen)
        self.ids = nn.Embedding(self.n_items, dim, padding_idx=0)
        self.features = FeatureEncoder(dataset, fields, dim, seen) if fields else None
        self.gate = nn.Linear(2 * dim, dim) if self.fusion == "gate" else None
        self.parts = [dim, dim] if self.fusion == "parallel" else [dim]

    def table(self) -> Tensor:
        """(n_items, sum(parts)) vectors of all items, row 0 (padding) zero."""
        if not self.ids.num_embeddings:
            raise IndexError("the id vectors were given up: load the model again")
        features = None if self.features is None else self.features()
        return self._fused(self.ids.weight, features, self.kept())

    def kept(self) -> Tensor:
        """(n_items,) bool: items with an id part; in training `id_dropout` draws anew."""
        if not self.training or self.id_dropout == 0:
            return self.seen
        return self.seen & (torch.rand(self.n_items, device=self.seen.device) >= self.id_dropout)

    def of(self, items: Tensor, kept: Tensor) -> Tensor:
        """(n, sum(parts)) the rows of `table` of items (n,) alone; kept: as of `kept`."""
        features = None if self.features is None else self.features(items)
        return self._fused(self.ids(items), features, kept[items])

    def _fused(self, ids: Tensor, f: Tensor | None, kept: Tensor) -> Tensor:
        """(n, sum(parts)) of id vectors (n, dim), feature vectors (n, dim), and kept (n,)."""
        if f is not None and self.fusion == "parallel" and self.training and ids.device.type == "cpu":
            return joined(ids, f, kept)
        mask = kept.unsqueeze(1).to(ids.dtype)
        e = ids * mask
        if f is None:
            return e
        if self.fusion == "parallel":
            return torch.cat((e, f), dim=1)
        if self.gate is None:
            return e + f
        g = torch.sigmoid(self.gate(torch.cat((e, f), dim=1))) * mask
        return g * e + (1 - g) * f

    def forget(self) -> None:
        """Give up the id vectors, when the table was made for good; `table` raises IndexError from then on."""
        self.ids = nn.Embedding(0, self.parts[0])

    def clear_padding(self) -> None:
        """Make the vectors of padding and of missing tokens zero, whatever has initialised them."""
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                with torch.no_grad():
                    module.weight[0].zero_()

    def rankable(self) -> Tensor:
        """(n_items,) bool: items with an id part or a known feature; nothing is known of the others."""
        known = self.seen.clone()
        if self.features is not None:
            known |= self.features.described()
        known[0] = False
        return known


class LookedUpItems:
    """ItemRows of an encoder, for one step: `id_dropout` drops the same items wherever they are looked up."""

    def __init__(self, items: ItemEncoder):
        self.items, self.kept = items, items.kept()

    def rows(self, items: Tensor) -> Tensor:
        """(…, sum(parts)) vectors of items (…)."""
        return self.items.of(items.flatten(), self.kept).view(*items.shape, -1)


class ColdScoring(Scoring):
    """Scores that have `cold_bias` added for items that training never saw, wherever items are ranked, and
    `repeat_bias` for those of them that the prefix holds.

    Training knows no such item, so it leaves the bias out; `vectors` then takes any rows, otherwise those of all items.
    A session often comes back to an item. Of a trained one a model learns that by its id part; an unseen one looks like
    every other with its features, and only `repeat_bias` tells it from them. One without features is ranked in these
    rows only, by it above the best trained item of the prefix, see `scores.terms.Raised`.
    """

    def __init__(self, settings: ItemEncoderSettings, training: Training, items: ItemEncoder):
        super().__init__(training)
        self.items = items
        self.bias = settings.cold_bias
        self.repeat_bias = settings.repeat_bias

    @property
    def plain_cosine(self) -> bool:
        return super().plain_cosine and not self._adds

    @property
    def _adds(self) -> bool:
        return self.bias != 0 and not self.items.training

    def states(self, states: Tensor) -> Tensor:
        """As Scoring's, (…, d), or (…, d + 1) with the 1 that the bias is multiplied with."""
        plain = super().states(states)
        return F.pad(plain, (0, 1), value=1.0) if self._adds else plain

    def vectors(self, vectors: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """As Scoring's, (n_items, d), or (n_items, d + 1) with the bias of each item."""
        plain = super().vectors(vectors, dtype)
        if not self._adds:
            return plain
        bias = (~self.items.seen).to(plain.dtype).unsqueeze(1) * self.bias
        return torch.cat((plain, bias), dim=1)

    def raised(self, prefix: Tensor) -> Raised | None:
        """What is added to the scores of items (B, L) of prefixes, 0 = padding; None: nothing."""
        if self.repeat_bias == 0:
            return None
        return Raised(prefix, ((prefix != 0) & ~self.items.seen[prefix]) * self.repeat_bias)


class ItemsRanked(Factored):
    """Ranking of a model whose item table is `items`, an ItemEncoder, and whose `scoring` is a ColdScoring.

    To be put before the recommender among the bases, whose own methods raise NotImplementedError.
    """

    carries_methods = True
    reads_weights = True
    items: ItemEncoder
    scoring: ColdScoring
    look_back: LookBack | None
    past: Past | None
    past_limit: int  # events of a user's past that it reads
    training: bool
    ITEM_SEQ: str
    ITEM_ID: str

    def look_back_of(self, settings: ItemEncoderSettings, dataset: Any, notes: list[str]) -> LookBack | None:
        """Its read-out and pointers as the settings have them; None: neither. Call it once `items` and `scoring` are
        there."""
        self.past, self.past_limit = None, 0
        if settings.pointer == "user":
            self.past = dataset.past
            if not self.past.anybody_returns:
                notes.append("no user has a second session here, so pointer: user looks at the session alone")
                settings = settings.model_copy(update={"pointer": "session"})
                self.past = None
        if not settings.readout and settings.pointer == "none":
            return None
        found = LookBack(settings, sum(self.items.parts), self.scoring.kind == "cosine")
        self.past_limit = found.past_limit
        return found

    def row_table(self) -> nn.Embedding:
        """The id vectors; features are looked up by row too, and their own tables are updated whole."""
        return self.items.ids

    def training_vectors(self) -> Vectors:
        """Item vectors for one training step, in which `id_dropout` draws anew."""
        return LookedUpItems(self.items) if self.by_rows else self.item_vectors()

    def past_of(self, interaction: Any, vectors: Vectors) -> pointer.Earlier | None:
        """The earlier items of the users of rows; None: nothing is read or known of them."""
        if self.past is None:
            return None
        if PAST_ITEMS in interaction:  # of sessions that are in no log
            found = interaction[PAST_ITEMS]
        elif "event_index" in interaction:
            found = self.past.of_events(interaction["event_index"], self.past_limit, self.training)
        else:
            return None
        return pointer.Earlier(found, look_up(found, vectors))

    def earlier_with_vectors(self, items: Tensor | None, vectors: Vectors) -> pointer.Earlier | None:
        """Earlier items (n, P) of the users of a training batch, with their vectors."""
        if items is None:
            return None
        if items.device.type == "cpu":  # most have few or none, and what is not there need not be looked up
            items, rows = pointer.known_alone(items)
            return pointer.Earlier(items, look_up(items.index_select(0, rows), vectors), rows)
        return pointer.Earlier(items, look_up(items, vectors))

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """(B, n_items) scores; items of which neither id nor feature is known come last, but for `repeat_bias`."""
        table = self.item_vectors()
        read = self.read_rows(interaction, table)
        scores = self.scoring.states(read.states) @ self.scoring.vectors(table).T
        hidden = torch.nonzero(~self.rankable()).squeeze(1)
        return hide_and_add(scores, hidden, self.terms(interaction, read))

    def terms(self, interaction: Any, read: Read) -> RowTerms | None:
        """What the pointers copy, or without one what `ColdScoring` raises."""
        if read.looks is not None:
            return read.looks.copied()
        return self.scoring.raised(interaction[self.ITEM_SEQ])

    def predict(self, interaction: Any) -> Tensor:
        """(B,) scores of the rows' own items."""
        scores = self.full_sort_predict(interaction)
        return scores.gather(1, interaction[self.ITEM_ID].unsqueeze(1)).squeeze(1)

    def rankable(self) -> Tensor:
        """(n_items,) bool: items with an id part or a known feature."""
        return self.items.rankable()


def item_feature_fields(dataset: Any, wanted: list[str] | None, notes: list[str]) -> list[str]:
    """Feature columns of the `.item` file: for None all but those that name each item, else the named ones.

    notes: gets what is in use, and what is left out. Raises UsageError for a column that is not there.
    """
    iid = dataset.iid_field
    present = [] if dataset.item_feat is None else [c for c in dataset.item_feat.columns if c != iid]
    for field in wanted or ():
        if field not in present:
            hint = did_you_mean(field, present) or f": it has {', '.join(present) or 'no features'}"
            raise UsageError(f"item_features names {field}, which the .item file does not have{hint}")
    naming = [field for field in present if _names_items(dataset, field)] if wanted is None else []
    fields = [field for field in present if field not in naming] if wanted is None else wanted
    notes.append(f"item features in use: {', '.join(fields) or 'none'}")
    if naming:
        notes.append(
            f"left out, as nearly every item has a value of its own: {', '.join(naming)}; item_features uses what it "
            "names"
        )
    return fields


def _names_items(dataset: Any, field: str) -> bool:
    """Whether a column of single tokens has nearly as many values as items, so that it tells nothing beside the id."""
    if dataset.field2type[field] != FeatureType.TOKEN:
        return False
    known = np.asarray(dataset.item_feat[field])
    known = known[known > 0]
    return names_items(len(np.unique(known)), len(known))
