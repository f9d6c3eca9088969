"""Scores of all items, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from recbole_ext.scores.ranks import rows_at_a_time, target_ranks
from recbole_ext.scores.top import listed_items


class RowScores(Protocol):
    """Scores of B rows for all items that come some rows at a time, such as FactoredScores."""

    @property
    def width(self) -> int:
        """Number of items, the padding included."""

    def __len__(self) -> int:
        """B."""

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows and their scores, -inf = not a candidate; the next ones may overwrite them, and so may the caller."""

    def ranks(self, items: Tensor) -> Tensor:
        """(B,) rank of item `items[b]` in row b, as `target_ranks`."""

    def top(self, k: int) -> Tensor:
        """(B, k) best items of every row, best first, equal ones by their number; 0 where no candidate is left."""


class DenseScores:
    """RowScores that exist already as a matrix (B, n_items)."""

    def __init__(self, scores: Tensor):
        self.scores = scores

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def width(self) -> int:
        """As RowScores'."""
        return self.scores.shape[1]

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """As RowScores', copies."""
        rows = rows_at_a_time(self.width, self.scores.is_cuda)
        for first in range(0, len(self), rows):
            piece = slice(first, min(first + rows, len(self)))
            yield piece, self.scores[piece].clone()

    def ranks(self, items: Tensor) -> Tensor:
        """As RowScores'."""
        return target_ranks(self.scores, torch.arange(len(self), device=items.device), items)

    def top(self, k: int) -> Tensor:
        """As RowScores'."""
        return listed_items(self.scores, k)
