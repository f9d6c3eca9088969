"""Patches for single models of RecBole 1.2.1 that fail on valid data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from recbole_ext.errors import UsageError


def patch_nothing_masked() -> None:
    """A batch with nothing to predict costs nothing; BERT4Rec masks at least one item, however short its prefixes."""
    from recbole.data.transform import MaskItemSequence
    from recbole.model.sequential_recommender import bert4rec, dien

    start, cost = MaskItemSequence.__init__, bert4rec.BERT4Rec.calculate_loss
    auxiliary_cost = dien.InterestExtractorNetwork.auxiliary_loss

    def __init__(self: Any, config: Any) -> None:
        start(self, config)
        self.mask_item_length = max(1, self.mask_item_length)

    def calculate_loss(self: Any, interaction: Any) -> torch.Tensor:
        if (interaction[self.MASK_INDEX] > 0).any():
            return cost(self, interaction)
        return self.output_bias.sum() * 0

    def auxiliary_loss(
        self: Any, h_states: Any, click_seq: Any, noclick_seq: Any, keys_length: Any
    ) -> torch.Tensor:
        if (keys_length > 0).any():
            return auxiliary_cost(self, h_states, click_seq, noclick_seq, keys_length)
        return h_states.sum() * 0

    MaskItemSequence.__init__ = __init__
    bert4rec.BERT4Rec.calculate_loss = calculate_loss
    dien.InterestExtractorNetwork.auxiliary_loss = auxiliary_loss


def patch_fearec() -> None:
    """Let FEARec look prefixes up row by row, where its data set makes them when asked."""
    from recbole.model.sequential_recommender.fearec import FEARec

    start = FEARec.__init__

    def __init__(self: Any, config: Any, dataset: Any) -> None:
        start(self, config, dataset)
        rows = getattr(dataset, "inter_feat", None)
        if rows is not None and self.ITEM_SEQ not in rows:
            self.dataset = _Rows(dataset)

    FEARec.__init__ = __init__
    FEARec.get_same_item_index = _rows_of_each_target


def _rows_of_each_target(self: Any, dataset: Any) -> dict[int, np.ndarray]:
    """Target to its rows, in order; none of a catalogue, which has no rows."""
    rows = getattr(dataset, "inter_feat", None)
    if rows is None:
        return {}
    target = rows[self.ITEM_ID].numpy()
    order = np.argsort(target, kind="stable")
    items, first = np.unique(target[order], return_index=True)
    return dict(zip(items.tolist(), np.split(order, first[1:])))


class _Rows:
    """A data set whose `inter_feat[column][row]` is made of the row when it is asked for."""

    def __init__(self, dataset: Any):
        self.dataset, self.field = dataset, ""
        self.inter_feat = self

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            column = _Rows(self.dataset)
            column.field = key
            return column
        return self.dataset[torch.as_tensor([int(key)])][self.field][0]


def patch_line() -> None:
    """Let LINE draw users that training knows, and say where none of them is left for an item."""
    from recbole.model.general_recommender.line import LINE

    draw = LINE.sampler

    def get_user_id_list(self: Any) -> np.ndarray:
        users = np.unique(self.interaction_feat[self.USER_ID].numpy())
        return users[users > 0]

    def sampler(self: Any, key_ids: torch.Tensor) -> Any:
        for item in key_ids.unique().tolist():
            if len(self.used_ids[item]) >= self.random_list_length:
                raise UsageError(
                    "LINE learns from users who have not met an item, and there is an item that all of them have: "
                    "leave it out with item_inter_num_interval, or choose another model"
                )
        return draw(self, key_ids)

    LINE.get_user_id_list = get_user_id_list
    LINE.sampler = sampler
