"""The rank of a target.

It is one more than the number of items that score higher, plus half of the others that tie with it (rounded down): a
model that scores everything alike lands in the middle, whatever order the ties come in."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from recbole_ext.scores.products import product
from recbole_ext.scores.threads import rows_of_each, side_by_side

TOP = 20
WIDE = 4096  # scores a row from which they are counted row by row, or in blocks, on a CPU


BLOCK_ROWS, BLOCK_ITEMS = 512, 1024  # scores that stay in a core's cache: 2 MB
FEW = 64  # items that make no block
BLOCKS = 127  # so many an int8 adds up
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
        lead = torch.sub(scores, column, out=torch.empty_like(scores)).sign_().sum(1, dtype=torch.float32)
    better = torch.div(scores.shape[1] - 1 + lead, 2, rounding_mode="floor")
    return torch.where(nowhere, last, better.long() + 1)


def ranks_in_products(states: Tensor, vectors: Tensor, hidden: Tensor, items: Tensor) -> Tensor:
    """(B,) ranks, as `target_ranks`, of items (B,) among products of states (B, d) with vectors (n, d), B at least 2.

    For float32 on a CPU where oneDNN makes the products, which are the same to the last bit in blocks of any size from
    two by two on: a block's scores are compared while a core's cache holds them, and kept nowhere. hidden: (H,) int64
    ascending items that are no candidates.
    """
    found = torch.empty(len(states), dtype=torch.int64)

    def rank(rows: slice) -> None:
        start = min(rows.start, len(states) - 2)  # a single row's sums come in another order
        piece = slice(start, rows.stop)
        found[piece] = _ranks_in_blocks(states[piece], vectors, hidden, items[piece])

    side_by_side(rank, rows_of_each(len(states), BLOCK_ROWS))
    return found


def _ranks_in_blocks(states: Tensor, vectors: Tensor, hidden: Tensor, items: Tensor) -> Tensor:
    own = product(states, vectors[items].T).diagonal().masked_fill(torch.isin(items, hidden), -torch.inf)
    nowhere = own.isnan() | (own == -torch.inf)
    column = own.masked_fill(nowhere, 0).unsqueeze(1).numpy()
    lead = np.zeros(len(states), np.int64)
    for width, blocks in itertools.groupby(_blocks(len(vectors)), lambda block: block.stop - block.start):
        answer = np.empty((len(states), width), np.bool_)
        more = np.zeros(answer.shape, np.int8)  # by place in a block: higher ones, less lower ones
        for number, block in enumerate(blocks, 1):
            scores = product(states, vectors[block].T)
            few = hidden[slice(*np.searchsorted(hidden.numpy(), (block.start, block.stop)))]
            scores[:, few - block.start] = -torch.inf
            _count(scores.numpy(), column, answer, more)
            if number % BLOCKS == 0:
                lead += more.sum(1, dtype=np.int64)
                more[:] = 0
        lead += more.sum(1, dtype=np.int64)
    better = torch.from_numpy((len(vectors) - 1 + lead) // 2)
    return torch.where(nowhere, len(vectors) - 1, better + 1)


def _count(scores: np.ndarray, column: np.ndarray, answer: np.ndarray, more: np.ndarray) -> None:
    """Add to `more` (B, m) int8 one for each of `scores` (B, m) that is higher than its row's `column` (B, 1), and take
    one away for each that is lower; answer: (B, m) bool, room."""
    np.greater(scores, column, out=answer)
    more += answer.view(np.int8)
    np.less(scores, column, out=answer)
    more -= answer.view(np.int8)


def _blocks(count: int) -> Iterator[slice]:
    """Items in blocks of BLOCK_ITEMS; the last one takes in what would be a block of a few."""
    stops = [*range(BLOCK_ITEMS, count - FEW + 1, BLOCK_ITEMS), count]
    return (slice(start, stop) for start, stop in zip([0, *stops], stops))


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
    side_by_side(count, [range(first, len(scores), threads) for first in range(threads)])
    return lead
