"""Rank and top items of every target, kept beside what RecBole's Evaluator is given.

The rank of a target is one more than the number of items that score higher, plus half of the others that tie with it
(rounded down): a model that scores everything alike lands in the middle, whatever order the ties come in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.evaluator import Collector
from torch import Tensor

TOP = 20


def target_ranks(scores: Tensor, rows: Tensor, items: Tensor) -> Tensor:
    """(T,) int64 ranks, 1 = best, of item `items[t]` in row `rows[t]`; scores: (B, n_items), -inf = not a candidate.

    A target that is no candidate itself, or whose score is not a number, ranks last among all items.
    """
    own = scores[rows, items].unsqueeze(1)  # (T, 1)
    one_each = torch.equal(rows, torch.arange(len(scores), device=rows.device))
    ranked = scores if one_each else scores[rows]
    higher = (ranked > own).sum(1)
    ties = (ranked == own).sum(1) - 1
    rank = higher + ties // 2 + 1
    nowhere = own.squeeze(1).isnan() | (own.squeeze(1) == -torch.inf)
    return torch.where(nowhere, torch.full_like(rank, scores.shape[1] - 1), rank)


class _Without:
    """RecBole's register of needed resources, less one that has been collected already."""

    def __init__(self, register: Any, resource: str):
        self._register, self._resource = register, resource

    def need(self, resource: str) -> bool:
        return resource != self._resource and self._register.need(resource)


class RankCollector(Collector):
    """RecBole's Collector that also keeps, for every target of an evaluation, its rank and the row's top items.

    After `Trainer.evaluate`, `targets()` holds the last evaluation's arrays.
    """

    register: Any

    def __init__(self, config: Any):
        super().__init__(config)
        self.keep = False
        self._kept: list[dict[str, Tensor]] = []

    def start(self) -> None:
        """Keep the targets of the evaluation that follows."""
        self.keep, self._kept = True, []

    def eval_batch_collect(
        self, scores_tensor: Tensor, interaction: Any, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        """As RecBole's; scores_tensor: (B, n_items), positive_u, positive_i: (T,) row and item of every target.

        Where every row has one target, its rank decides what the metrics count as hit, so ties fall alike everywhere;
        RecBole's topk leaves them to the order of the items. Rows with several targets are RecBole's as they stand.
        """
        if positive_u is None:  # value metrics (AUC, LogLoss) rank nothing
            super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
            return
        rows = positive_u.to(scores_tensor.device)
        items = positive_i.to(scores_tensor.device)
        rank = target_ranks(scores_tensor, rows, items)
        one_each = torch.equal(rows, torch.arange(len(scores_tensor), device=rows.device))
        register = self.register
        if one_each and register.need("rec.topk"):
            place = torch.arange(1, max(self.topk) + 1, device=rank.device)
            hits = (rank.unsqueeze(1) == place).to(torch.int32)  # (B, K)
            self.data_struct.update_tensor("rec.topk", torch.cat((hits, torch.ones_like(hits[:, :1])), dim=1))
            self.register = _Without(register, "rec.topk")
        try:
            super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
        finally:
            self.register = register
        if not self.keep:
            return
        kept = {"item": items, "rank": rank}
        kept["top"] = scores_tensor.topk(min(TOP, scores_tensor.shape[1] - 1), dim=1).indices[rows]
        length = self.config["ITEM_LIST_LENGTH_FIELD"]
        for field in ("event_index", self.config["USER_ID_FIELD"], length, self.config["EVENT_FIELD"]):
            # sampled negatives follow the targets in a batch, so the first rows are the targets'
            if field in interaction and (one_each or len(interaction[field]) == len(scores_tensor)):
                kept[field] = interaction[field][: len(scores_tensor)].to(rows.device)[rows]
        history = f"{self.config['ITEM_ID_FIELD']}{self.config['LIST_SUFFIX']}"
        if (
            length in kept and history in interaction
        ):  # before a session's first event the only step is padding
            opened = interaction[history][: len(scores_tensor), 0].to(rows.device)[rows] != 0
            kept[length] = kept[length] * opened
        self._kept.append({k: v.cpu() for k, v in kept.items()})

    def targets(self) -> dict[str, np.ndarray]:
        """item, rank (T,), top (T, 20) and the rows' own columns, in evaluation order; stops keeping.

        The rows' columns: event_index, session, number of items in the prefix, and the target's event kind (its id).
        """
        self.keep = False
        if not self._kept:
            return {}
        return {k: torch.cat([part[k] for part in self._kept]).numpy() for k in self._kept[0]}
