"""Rank and top items of every target, kept beside what RecBole's Evaluator is given.

The rank of a target is one more than the number of items that score higher, plus half of the others that tie with it
(rounded down): a model that scores everything alike lands in the middle, whatever order the ties come in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from recbole.evaluator import Collector
from torch import Tensor

if TYPE_CHECKING:
    from recbole_ext.evaluate.off_policy import OffPolicy

TOP = 20
CHUNK_SCORES = 96 << 20  # scores that exist at a time on a GPU; on a CPU a sixteenth, which stays in cache
MATRIX_RESOURCES = ("rec.meanrank", "rec.score", "data.label")


def target_ranks(scores: Tensor, rows: Tensor, items: Tensor) -> Tensor:
    """(T,) int64 ranks, 1 = best, of item `items[t]` in row `rows[t]`; scores: (B, n_items), -inf = not a candidate.

    A target that is no candidate itself, or whose score is not a number, ranks last among all items.
    """
    one_each = torch.equal(rows, torch.arange(len(scores), device=rows.device))
    ranked = scores if one_each else scores[rows]
    return _ranks(ranked, scores[rows, items], scores.shape[1] - 1)


def _ranks(scores: Tensor, own: Tensor, last: int) -> Tensor:
    """(T,) ranks of scores `own` (T,) among the rows of `scores` (T, C), each of which holds its own score once.

    With h items higher, l lower and t others tied, h + l + t + 1 = C, and the sum of signs is h - l, so that
    h + t / 2 = (C - 1 + h - l) / 2: one pass over the scores less than counting both.
    """
    nowhere = own.isnan() | (own == -torch.inf)
    column = own.masked_fill(nowhere, 0).unsqueeze(1)
    # signs are summed as float32, exact up to 16 million items and many times faster than booleans on a CPU
    lead = torch.sub(scores, column, out=torch.empty_like(scores)).sign_().sum(1)
    better = torch.div(scores.shape[1] - 1 + lead, 2, rounding_mode="floor")
    if not lead.isfinite().all():  # scores that are no numbers, or infinite ones that tie
        better = (scores > column).sum(1) + ((scores == column).sum(1) - 1) // 2
    return torch.where(nowhere, last, better.long() + 1)


class FactoredScores:
    """Scores of B rows for all items as a product: state (B, d) · vector (n_items, d); never stored whole.

    rankable: (n_items,) bool, None: all. Item 0, the padding, never is.
    """

    def __init__(self, states: Tensor, vectors: Tensor, rankable: Tensor | None = None):
        self.states, self.vectors = states, vectors
        allowed = torch.ones(len(vectors), dtype=torch.bool) if rankable is None else rankable.clone()
        allowed[0] = False
        self.hidden = torch.nonzero(~allowed).squeeze(1).to(vectors.device)

    def __len__(self) -> int:
        return len(self.states)

    @property
    def width(self) -> int:
        """Number of items, the padding included."""
        return len(self.vectors)

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows and their scores, some at a time: as many as stay in cache on a CPU; the next ones overwrite them."""
        most = CHUNK_SCORES if self.states.is_cuda else CHUNK_SCORES // 16
        rows = max(16, most // self.width)
        room = self.states.new_empty(min(rows, len(self)), self.width)
        for first in range(0, len(self), rows):
            piece = slice(first, min(first + rows, len(self)))
            scores = room[: piece.stop - first]
            torch.mm(self.states[piece], self.vectors.T, out=scores)
            scores[:, self.hidden] = -torch.inf
            yield piece, scores

    def ranks(self, items: Tensor) -> Tensor:
        """(B,) rank of item `items[b]` in row b, as `target_ranks`."""
        found = torch.empty(len(self), dtype=torch.int64, device=self.states.device)
        for piece, scores in self.chunks():
            own = scores.gather(1, items[piece].unsqueeze(1)).squeeze(1)
            found[piece] = _ranks(scores, own, self.width - 1)
        return found

    def top(self, k: int) -> Tensor:
        """(B, k) best items of every row, best first."""
        return torch.cat([scores.topk(k, dim=1).indices for _, scores in self.chunks()])

    def dense(self) -> Tensor:
        """(B, n_items) all scores, for metrics that need them."""
        return torch.cat([scores.clone() for _, scores in self.chunks()])


class CandidateScores:
    """Scores (B, C) of a few candidates a row, items (B, C), the row's target first, as sampled evaluation has them."""

    def __init__(self, scores: Tensor, items: Tensor, width: int):
        self.scores, self.items, self.width = scores.float(), items, width

    def __len__(self) -> int:
        return len(self.scores)

    def ranks(self, items: Tensor) -> Tensor:
        """(B,) rank of each row's target; a negative drawn twice counts once, as in a row of all items."""
        scores = self.scores
        ordered, order = self.items.sort(
            dim=1, stable=True
        )  # stable: the target comes before its own repeats
        repeated = torch.zeros_like(scores, dtype=torch.bool)
        repeated.scatter_(1, order[:, 1:], ordered[:, 1:] == ordered[:, :-1])
        return _ranks(scores.masked_fill(repeated, -torch.inf), scores[:, 0], self.width - 1)

    def top(self, k: int) -> Tensor:
        """(B, k) best candidates of every row, best first, padded with items that are none."""
        return self.dense().topk(k, dim=1).indices

    def dense(self) -> Tensor:
        """(B, n_items) the scores, -inf elsewhere."""
        whole = self.scores.new_full((len(self), self.width), -torch.inf)
        return whole.scatter_(1, self.items, self.scores)


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
    off_policy: OffPolicy | None = None

    def __init__(self, config: Any):
        super().__init__(config)
        self.keep = False
        self._kept: list[dict[str, Tensor]] = []

    def start(self) -> None:
        """Keep the targets of the evaluation that follows."""
        self.keep, self._kept = True, []

    def eval_batch_collect(
        self,
        scores_tensor: Tensor | FactoredScores | CandidateScores,
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
            top = scores.topk(min(TOP, scores.shape[1] - 1), dim=1).indices[rows]
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
