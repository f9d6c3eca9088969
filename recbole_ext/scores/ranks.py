"""The rank of a target.

It is one more than the number of items that score higher, plus half of the others that tie with it (rounded down): a
model that scores everything alike lands in the middle, whatever order the ties come in."""

from __future__ import annotations

import torch
from torch import Tensor

TOP = 20


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
