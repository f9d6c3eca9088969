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

    A target that is no candidate itself ranks last among all items.
    """
    own = scores[rows, items].unsqueeze(1)  # (T, 1)
    ranked = scores[rows]
    higher = (ranked > own).sum(1)
    ties = (ranked == own).sum(1) - 1
    rank = higher + ties // 2 + 1
    return torch.where(own.squeeze(1) == -torch.inf, torch.full_like(rank, scores.shape[1] - 1), rank)


class RankCollector(Collector):
    """RecBole's Collector that also keeps, for every target of an evaluation, its rank and the row's top items.

    After `Trainer.evaluate`, `targets()` holds the last evaluation's arrays.
    """

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
        """As RecBole's; scores_tensor: (B, n_items), positive_u, positive_i: (T,) row and item of every target."""
        super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
        if not self.keep:
            return
        rows = positive_u.to(scores_tensor.device)
        items = positive_i.to(scores_tensor.device)
        kept = {"item": items, "rank": target_ranks(scores_tensor, rows, items)}
        kept["top"] = scores_tensor.topk(min(TOP, scores_tensor.shape[1] - 1), dim=1).indices[rows]
        for field in ("event_index", self.config["USER_ID_FIELD"], self.config["ITEM_LIST_LENGTH_FIELD"]):
            if field in interaction and len(interaction[field]) == len(scores_tensor):
                kept[field] = interaction[field].to(rows.device)[rows]
        self._kept.append({k: v.cpu() for k, v in kept.items()})

    def targets(self) -> dict[str, np.ndarray]:
        """item, rank (T,), top (T, 20) and the rows' own columns, in evaluation order; stops keeping."""
        self.keep = False
        if not self._kept:
            return {}
        return {k: torch.cat([part[k] for part in self._kept]).numpy() for k in self._kept[0]}
