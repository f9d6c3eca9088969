"""Negative actions of a state, and candidates for its best one, drawn from the items that are trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class UnlikeSampler(nn.Module):
    """Draws, for each of N items, some items unlike it, uniformly from those with a count.

    count: (n_items,) training events of each item; items without any are never drawn. A point of [0, 1 - p(own)) steps
    over its own item's stretch, so nothing is drawn twice.
    """

    cumulative: Tensor
    items: Tensor
    column: Tensor

    def __init__(self, count: Tensor):
        super().__init__()
        items = torch.nonzero(count > 0).squeeze(1)
        chance = torch.ones(len(items), dtype=torch.float64)
        column = torch.zeros(len(count), dtype=torch.int64)
        column[items] = torch.arange(len(items))
        self.register_buffer("items", items, persistent=False)
        self.register_buffer("cumulative", (chance / chance.sum()).cumsum(0), persistent=False)
        self.register_buffer("column", column, persistent=False)

    def draw(self, unlike: Tensor, number: int) -> Tensor:
        """(N, number) items, each unlike its row's item (N,); a catalogue of one item has no other to give."""
        own = self.column[unlike]
        upper = self.cumulative[own]
        lower = torch.where(own > 0, self.cumulative[(own - 1).clamp_min(0)], 0.0)
        width = (upper - lower).unsqueeze(1)
        point = torch.rand(len(unlike), number, device=own.device, dtype=torch.float64) * (1 - width)
        point = torch.where(point >= lower.unsqueeze(1), point + width, point)
        drawn = self._at(point)
        # rounding can leave a point on the border of the own stretch
        drawn = torch.where(drawn == own.unsqueeze(1), (drawn + 1) % len(self.items), drawn)
        return self.items[drawn]

    def some(self, number: int) -> Tensor:
        """(number,) items for all rows of a batch, with replacement."""
        return self.items[self._at(torch.rand(number, device=self.cumulative.device, dtype=torch.float64))]

    def _at(self, point: Tensor) -> Tensor:
        return torch.searchsorted(self.cumulative, point, right=True).clamp_max(len(self.items) - 1)
