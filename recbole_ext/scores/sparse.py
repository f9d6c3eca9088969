"""Scores that are known for a few items a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recbole_ext.scores.ranks import rows_at_a_time
from recbole_ext.segments import owner_of, place_in, start_of


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
        self.row = owner_of(np.diff(self.indptr))  # (N,) of every stored score
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
        rows = rows_at_a_time(self.width, on_gpu=False)
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
        """(B, k) best items of every row, best first; where fewer are known, the best of the others follow.

        0 where no candidate is left.
        """
        order = np.lexsort((self.indices, -self.data, self.row))
        place = place_in(np.diff(self.indptr))
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
        ranked = self.open[short, None] & ~np.isneginf(self.below[from_fill])
        best[short] = np.where(filled, np.where(ranked, from_fill, 0), best[short])
        return torch.from_numpy(best).to(self.device)


def _places(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) how many scores are higher than each of `scores` (n,), and how many are alike, itself included."""
    _, place, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    place = place.reshape(-1)
    return start_of(counts)[place], counts[place]
