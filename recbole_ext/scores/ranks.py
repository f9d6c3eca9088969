"""The rank of a target.

It is one more than the number of items that score higher, plus half of the others that tie with it (rounded down): a
model that scores everything alike lands in the middle, whatever order the ties come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    pass


TOP = 20


CHUNK_SCORES = 96 << 20  # scores that exist at a time on a GPU; on a CPU a sixteenth, which stays in cache


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
