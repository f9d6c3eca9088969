"""A score per item from a state: the Q head and the free supervised head of reinforcement learning.

Nothing here makes a matrix of all states and items at once: the best of all items is found some states at a time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_ext.scores.products import by_onednn, linear

CHUNK_SCORES = 96 << 20  # scores that exist at a time on a GPU; on a CPU a sixteenth, which stays in cache


class ItemHead(nn.Module):
    """`score(s, a) = s · w(a) + b(a)` for states s (…, d), with a row w and a bias b an item.

    Parameters are drawn from `generator`, so that making a head leaves the global random state alone.
    """

    def __init__(self, dim: int, items: int, generator: torch.Generator):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(items))
        drawn = torch.rand((items, dim), generator=generator) * 2 - 1
        self.weight = nn.Parameter(drawn * (3.0 / dim) ** 0.5 * 0.1)

    def at(self, states: Tensor, items: Tensor) -> Tensor:
        """(N,) or (N, K) scores of items (N,) or (N, K) for states (N, d)."""
        rows = F.embedding(items, self.weight)
        if items.dim() == 1:
            return (states * rows).sum(-1) + self.bias[items]
        return torch.einsum("nd,nkd->nk", states, rows) + self.bias[items]

    @torch.no_grad()
    def best(self, states: Tensor, allowed: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(N,) int64 the item with the highest score among `allowed` (n_items,) bool; no gradient."""
        found = states.new_empty(len(states), dtype=torch.int64)
        bias = self.bias.detach().masked_fill(~allowed, -torch.inf).to(dtype)
        table, states = self.weight.detach().to(dtype), states.detach().to(dtype)
        most = CHUNK_SCORES if states.is_cuda else CHUNK_SCORES // 16
        rows = max(16, most // len(table))
        onednn = by_onednn(states, table)
        room = None if onednn else states.new_empty(min(rows, len(states)), len(table))
        for first in range(0, len(states), rows):
            piece = slice(first, min(first + rows, len(states)))
            if room is None:
                scores = linear(states[piece], table, bias)
            else:
                scores = torch.addmm(bias, states[piece], table.T, out=room[: piece.stop - first])
            torch.argmax(scores, dim=1, out=found[piece])
        return found

    # as a `Scoring` has them: a plain product of the two is the score, bias included

    def states(self, states: Tensor) -> Tensor:
        """(…, d + 1) of states (…, d)."""
        return F.pad(states, (0, 1), value=1.0)

    def vectors(self, vectors: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """(n_items, d + 1) the head's own, whatever the items' `vectors` are."""
        return torch.cat((self.weight, self.bias.unsqueeze(1)), 1)
