"""Rank and top items of every target, kept beside what RecBole's Evaluator is given."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from recbole.evaluator import Collector
from torch import Tensor

from recbole_ext.scores.candidates import CandidateScores
from recbole_ext.scores.factored import FactoredScores
from recbole_ext.scores.ranks import TOP, target_ranks
from recbole_ext.scores.sparse import SparseScores
from recbole_ext.scores.top import best_items

MATRIX_RESOURCES = ("rec.meanrank", "rec.score", "data.label")


class Listener(Protocol):
    """What else takes in an evaluation, batch by batch."""

    def collect(self, scores: Any, events: Tensor, items: Tensor) -> None:
        """Scores of B rows, their targets' places among the events (B,), and items (B,)."""


class _Without:
    """RecBole's register of needed resources, less those that have been collected already."""

    def __init__(self, register: Any, resources: tuple[str, ...]):
        self._register, self._resources = register, resources

    def need(self, resource: str) -> bool:
        return resource not in self._resources and self._register.need(resource)


class RankCollector(Collector):
    """RecBole's Collector that also keeps, for every target of an evaluation, its rank and the row's top items.

    After `Trainer.evaluate`, `targets()` holds the last evaluation's arrays. off_policy: what else takes in the
    evaluation that is kept; None: nothing.
    """

    register: Any
    off_policy: Listener | None = None

    def __init__(self, config: Any):
        super().__init__(config)
        self.keep = False
        self._kept: list[dict[str, Tensor]] = []

    def start(self) -> None:
        """Keep the targets of the evaluation that follows."""
        self.keep, self._kept = True, []

    def eval_batch_collect(
        self,
        scores_tensor: Tensor | FactoredScores | CandidateScores | SparseScores,
        interaction: Any,
        positive_u: Tensor,
        positive_i: Tensor,
    ) -> None:
        """As RecBole's; scores_tensor: (B, n_items), positive_u, positive_i: (T,) row and item of every target.

        Where every row has one target, its rank decides what the metrics count as hit, so ties fall alike everywhere;
        RecBole's topk leaves them to the order of the items. Rows with several targets are RecBole's as they stand.
        """
        if self.keep and self.off_policy is not None:
            self.off_policy.collect(scores_tensor, interaction["event_index"], positive_i)
        if isinstance(scores_tensor, Tensor):
            self._collect_matrix(scores_tensor, interaction, positive_u, positive_i)
            return
        scores = scores_tensor
        rank = scores.ranks(positive_i.to(self.device))
        top = rank.new_empty(0, 0)
        if self.keep or self.register.need("rec.items"):
            top = scores.top(min(max(TOP, *self.topk), scores.width - 1))
        if self.register.need("rec.topk"):
            self._collect_hits(rank)
        if self.register.need("rec.items"):
            self.data_struct.update_tensor("rec.items", top[:, : max(self.topk)])
        if any(map(self.register.need, MATRIX_RESOURCES)):
            self._collect_rest(scores.dense(), interaction, positive_u, positive_i)
        if self.keep:
            rows = torch.arange(len(scores), device=rank.device)
            self._keep(rank, positive_i.to(rank.device), top[:, :TOP], interaction, rows, len(scores), True)

    def _collect_matrix(
        self, scores: Tensor, interaction: Any, positive_u: Tensor | None, positive_i: Tensor
    ) -> None:
        if positive_u is None:  # value metrics (AUC, LogLoss) rank nothing
            super().eval_batch_collect(scores, interaction, positive_u, positive_i)
            return
        rows = positive_u.to(scores.device)
        items = positive_i.to(scores.device)
        rank = target_ranks(scores, rows, items)
        one_each = torch.equal(rows, torch.arange(len(scores), device=rows.device))
        if one_each and self.register.need("rec.topk"):
            self._collect_hits(rank)
            self._collect_rest(scores, interaction, positive_u, positive_i, "rec.topk")
        else:
            super().eval_batch_collect(scores, interaction, positive_u, positive_i)
        if self.keep:
            top = best_items(scores, min(TOP, scores.shape[1] - 1))[0][rows]
            self._keep(rank, items, top, interaction, rows, len(scores), one_each)

    def _collect_hits(self, rank: Tensor) -> None:
        place = torch.arange(1, max(self.topk) + 1, device=rank.device)
        hits = (rank.unsqueeze(1) == place).to(torch.int32)  # (B, K)
        self.data_struct.update_tensor("rec.topk", torch.cat((hits, torch.ones_like(hits[:, :1])), dim=1))

    def _collect_rest(
        self,
        scores: Tensor,
        interaction: Any,
        positive_u: Tensor,
        positive_i: Tensor,
        *done: str,
    ) -> None:
        """RecBole's own collection of what is not `done`; by default of what needs all scores."""
        register = self.register
        self.register = _Without(register, done or ("rec.topk", "rec.items"))
        try:
            super().eval_batch_collect(scores, interaction, positive_u, positive_i)
        finally:
            self.register = register

    def _keep(
        self,
        rank: Tensor,
        items: Tensor,
        top: Tensor,
        interaction: Any,
        rows: Tensor,
        size: int,
        one_each: bool,
    ) -> None:
        kept = {"item": items, "rank": rank, "top": top}
        length = self.config["ITEM_LIST_LENGTH_FIELD"]
        for field in ("event_index", self.config["USER_ID_FIELD"], length, self.config["EVENT_FIELD"]):
            # sampled negatives follow the targets in a batch, so the first rows are the targets'
            if field in interaction and (one_each or len(interaction[field]) == size):
                kept[field] = interaction[field][:size].to(rows.device)[rows]
        history = f"{self.config['ITEM_ID_FIELD']}{self.config['LIST_SUFFIX']}"
        if length in kept and history in interaction:
            # before a session's first event the only step is padding
            opened = interaction[history][:size, 0].to(rows.device)[rows] != 0
            kept[length] = kept[length] * opened
        self._kept.append({k: v.cpu() for k, v in kept.items()})

    def targets(self) -> dict[str, np.ndarray]:
        """item, rank (T,), top (T, 20) and the rows' own columns, in the order of events if known; stops keeping.

        The rows' columns: event_index, session, number of items in the prefix, and the target's event kind (its id).
        """
        self.keep = False
        if not self._kept:
            return {}
        found = {k: torch.cat([part[k] for part in self._kept]).numpy() for k in self._kept[0]}
        if "event_index" not in found:
            return found
        in_order = np.argsort(found["event_index"], kind="stable")  # evaluation goes by length of the prefix
        return {k: v[in_order] for k, v in found.items()}
