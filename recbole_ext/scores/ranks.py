"""The rank of a target.

It is one more than the number of items that score higher, plus half of the others that tie with it (rounded down): a
model that scores everything alike lands in the middle, whatever order the ties come in."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

TOP = 20
WIDE = 4096  # scores a row from which rows are counted one by one on a CPU


CHUNK_SCORES = 96 << 20  # scores that exist at a time on a GPU; on a CPU a sixteenth, which stays in cache


def rows_at_a_time(width: int, on_gpu: bool) -> int:
    """How many rows of `width` scores exist at a time."""
    return max(16, (CHUNK_SCORES if on_gpu else CHUNK_SCORES // 16) // width)


def target_ranks(scores: Tensor, rows: Tensor, items: Tensor) -> Tensor:
    """(T,) int64 ranks, 1 = best, of item `items[t]` in row `rows[t]`; scores: (B, n_items), -inf = not a candidate.

    A target that is no candidate itself, or whose score is not a number, ranks last among all items.
    """
    one_each = torch.equal(rows, torch.arange(len(scores), device=rows.device))
    ranked = scores if one_each else scores[rows]
    return ranks_among(ranked, scores[rows, items], scores.shape[1] - 1)


def ranks_among(scores: Tensor, own: Tensor, last: int) -> Tensor:
    """(T,) ranks of scores `own` (T,) among the rows of `scores` (T, C), each of which holds its own score once.

    With h items higher, l lower and t others tied, h + l + t + 1 = C, and the sum of signs is h - l, so that
    h + t / 2 = (C - 1 + h - l) / 2. A score that is no number ties, as the sign of a difference from it is 0.
    """
    nowhere = own.isnan() | (own == -torch.inf)
    column = own.masked_fill(nowhere, 0).unsqueeze(1)
    if not scores.is_cuda and scores.dtype == torch.float32 and scores.shape[1] >= WIDE:
        lead = torch.from_numpy(_lead(scores.detach().numpy(), column.detach().numpy()))
    else:
        # signs are summed as float32, exact up to 16 million items and many times faster than booleans on a CPU
        lead = torch.sub(scores, column, out=torch.empty_like(scores)).sign_().sum(1)
    better = torch.div(scores.shape[1] - 1 + lead, 2, rounding_mode="floor")
    return torch.where(nowhere, last, better.long() + 1)


def _lead(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(T,) int64 how many more of the rows of `scores` (T, C) are higher than `own` (T, 1) than are lower.

    Row by row, a row is read from memory once and its answers stay in the nearest cache: half of the time of three
    passes over all rows.
    """
    lead = np.empty(len(scores), np.int64)

    def count(rows: Sequence[int]) -> None:
        answer = np.empty(scores.shape[1], np.bool_)
        for row in rows:
            np.greater(scores[row], own[row], out=answer)
            higher = np.count_nonzero(answer)
            np.less(scores[row], own[row], out=answer)
            lead[row] = higher - np.count_nonzero(answer)

    threads = min(torch.get_num_threads(), len(scores))
    if threads < 2:
        count(range(len(scores)))
        return lead
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(count, [range(first, len(scores), threads) for first in range(threads)]))
    return lead
