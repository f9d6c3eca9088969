"""Rank and top items of every target, kept beside what RecBole's Evaluator is given.

The rank of a target is one more than the number of items that score higher, plus half of the others that tie with it
(rounded down): a model that scores everything alike lands in the middle, whatever order the ties come in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
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


LATER = 1e-3  # in a score, so that of items that are otherwise alike the one named later comes first


def add_and_hide(scores: Tensor, hidden: Tensor, additions: tuple[Tensor, Tensor] | None) -> Tensor:
    """Scores (B, n_items), changed in place: the items `hidden` (H,) are no candidates, and additions are made.

    additions: (B, K) items in the order of their events and what is added to the row's score of each, 0 or more. What
    is raised is a candidate in its row, hidden elsewhere or not. The score of a hidden one says nothing; it starts from
    that of the best other item that the row names, or of the best of all where it names none, the later the better.
    """
    scores[:, hidden] = -torch.inf
    if additions is None:
        return scores
    items, values = additions
    own = scores.gather(1, items)
    unknown = (own == -torch.inf) & (values > 0)
    if unknown.any():
        best = own.amax(1, keepdim=True)
        best = torch.where(best > -torch.inf, best, scores.amax(1, keepdim=True))
        later = torch.arange(items.shape[1], device=items.device) * LATER
        own = torch.where(unknown, best + later, own)
    return scores.scatter_reduce_(1, items, own + values, "amax")


class FactoredScores:
    """Scores of B rows for all items as a product: state (B, d) · vector (n_items, d); never stored whole.

    rankable: (n_items,) bool, None: all. Item 0, the padding, never is. additions: (B, K) int64 items and what is added
    to the row's score of each (once, if it is named twice), which makes them rankable there; None: nothing.
    """

    def __init__(
        self,
        states: Tensor,
        vectors: Tensor,
        rankable: Tensor | None = None,
        additions: tuple[Tensor, Tensor] | None = None,
    ):
        self.states, self.vectors, self.additions = states, vectors, additions
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
            added = None if self.additions is None else (self.additions[0][piece], self.additions[1][piece])
            yield piece, add_and_hide(scores, self.hidden, added)

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

    def of(self, items: Tensor) -> Tensor:
        """(B, C) scores of the items (B, C)."""
        return torch.cat([scores.gather(1, items[piece]) for piece, scores in self.chunks()])

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


class SparseScores:
    """Scores of B rows that are known for a few items each, one order for all others below them; never stored whole.

    known: (B, n_items) csr, a stored value is a score, in float32, each higher than all of `below`; no item is stored
        twice in a row.
    below: (n_items,) float32 scores of a row's other items, the padding's is not looked at.
    open: (B,) bool, rows whose other items have these scores; in the rest they are no candidates (-inf).
    """

    def __init__(self, known: sp.csr_matrix, below: np.ndarray, open: np.ndarray, device: Any = "cpu"):
        self.indptr, self.indices = known.indptr, known.indices
        self.data = known.data.astype(np.float32, copy=False)
        self.row = np.repeat(np.arange(len(open)), np.diff(self.indptr))  # (N,) of every stored score
        self.below, self.open, self.device = below.astype(np.float32), open, device
        self.below[0] = -np.inf

    def __len__(self) -> int:
        return len(self.open)

    @property
    def width(self) -> int:
        """Number of items, the padding included."""
        return len(self.below)

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows and all their scores, some at a time."""
        rows = max(16, CHUNK_SCORES // 16 // self.width)
        for first in range(0, len(self), rows):
            piece = slice(first, min(first + rows, len(self)))
            yield piece, self._dense(piece)

    def _dense(self, piece: slice) -> Tensor:
        scores = np.where(self.open[piece, None], self.below, np.float32(-np.inf))
        stored = slice(self.indptr[piece.start], self.indptr[piece.stop])
        scores[self.row[stored] - piece.start, self.indices[stored]] = self.data[stored]
        return torch.from_numpy(scores).to(self.device)

    def dense(self) -> Tensor:
        """(B, n_items) all scores, -inf where an item is no candidate."""
        return self._dense(slice(0, len(self)))

    def of(self, items: Tensor) -> Tensor:
        """(B, C) float32 scores of items (B, C)."""
        wanted = items.cpu().numpy()
        found = np.where(self.open[:, None], self.below[wanted], np.float32(-np.inf))
        keys = self.row * self.width + self.indices
        order = np.argsort(keys)
        asked = np.arange(len(self))[:, None] * self.width + wanted
        place = np.searchsorted(keys, asked, sorter=order).clip(max=max(len(keys) - 1, 0))
        if len(keys):
            stored = keys[order[place]] == asked
            found[stored] = self.data[order[place[stored]]]
        return torch.from_numpy(found).to(self.device)

    def ranks(self, items: Tensor) -> Tensor:
        """(B,) rank of item `items[b]` in row b, as `target_ranks` of `dense()`."""
        target = items.cpu().numpy()
        mine = self.row
        floor = self.below[target]
        own = np.where(self.open, floor, np.float32(-np.inf))
        met = self.indices == target[mine]
        own[mine[met]] = self.data[met]
        is_known = np.zeros(len(self), dtype=bool)
        is_known[mine[met]] = True
        stored = self._per_row(np.ones(len(mine), dtype=bool))
        # a known target meets the known ones only, another one those that are not stored too
        higher = np.where(is_known, self._per_row(self.data > own[mine]), stored)
        ties = np.where(is_known, self._per_row(self.data == own[mine]), 0)
        above, level = _places(self.below)
        floors = self.below[self.indices]
        others_higher = above[target] - self._per_row(floors > floor[mine])
        others_level = level[target] - self._per_row(floors == floor[mine])
        higher = np.where(is_known, higher, higher + others_higher)
        ties = np.where(is_known, ties, others_level)
        rank = higher + (ties - 1) // 2 + 1
        nowhere = np.isneginf(own) | np.isnan(own)
        return torch.from_numpy(np.where(nowhere, self.width - 1, rank)).to(items.device)

    def _per_row(self, counted: np.ndarray) -> np.ndarray:
        """(B,) number of stored scores (N,) that are counted."""
        return np.bincount(self.row[counted], minlength=len(self))

    def top(self, k: int) -> Tensor:
        """(B, k) best items of every row, best first; where fewer are known, the best of the others follow."""
        order = np.lexsort((-self.data, self.row))
        place = np.arange(len(order)) - np.repeat(self.indptr[:-1], np.diff(self.indptr))
        best = np.zeros((len(self), k), dtype=np.int64)
        kept = place < k
        best[self.row[kept], place[kept]] = self.indices[order[kept]]
        known = np.minimum(np.diff(self.indptr), k)
        short = np.flatnonzero(known < k)
        # the k that follow are among the 2k best of the others, of which at most k - 1 are known in such a row
        fill = np.argsort(-self.below[1:], kind="stable")[: 2 * k] + 1
        column = np.full(self.width, -1)
        column[fill] = np.arange(len(fill))
        taken = np.zeros((len(self), len(fill)), dtype=bool)
        at = column[self.indices]
        taken[self.row[at >= 0], at[at >= 0]] = True
        free = fill[np.argsort(taken[short], axis=1, kind="stable")[:, :k]]
        step = np.arange(k)
        filled = step >= known[short, None]
        from_fill = np.take_along_axis(free, np.maximum(step - known[short, None], 0), axis=1)
        best[short] = np.where(filled, from_fill, best[short])
        return torch.from_numpy(best).to(self.device)


def _places(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) how many scores are higher than each of `scores` (n,), and how many are alike, itself included."""
    _, place, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    place = place.reshape(-1)
    return (np.cumsum(counts) - counts)[place], counts[place]


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
