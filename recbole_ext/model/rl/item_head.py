"""A score per item from a state: the Q head and the untied supervised head of reinforcement learning.

Nothing here makes a matrix of all states and items at once: what is wanted of all items (the best, a log-sum) is found
some states at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK_SCORES = 96 << 20  # scores that exist at a time on a GPU; on a CPU a sixteenth, which stays in cache


class ItemHead(nn.Module):
    """`score(s, a) = query(s) · row(a) + bias(a)`.

    free: rows are the head's own weights (n_items, d) and query(s) = s. tied: rows are the item vectors, and query is a
    linear map. Parameters are drawn from `generator`, so that making a head leaves the global random state alone.
    """

    def __init__(self, states: int, items: int, vectors: int, generator: torch.Generator, tied: bool = False):
        super().__init__()
        self.tied = tied
        self.bias = nn.Parameter(torch.zeros(items))
        shape = (vectors, states) if tied else (items, states)
        limit = (6.0 / (sum(shape) if tied else 2 * states)) ** 0.5
        drawn = torch.rand(shape, generator=generator) * 2 - 1
        self.weight = nn.Parameter(drawn * limit * (1.0 if tied else 0.1))

    def query(self, states: Tensor) -> Tensor:
        """States (…, d) such that a product with `rows` and the bias is the score."""
        return states @ self.weight.T if self.tied else states

    def rows(self, vectors: Tensor) -> Tensor:
        """(n_items, d) what queries are multiplied with; vectors: (n_items, d) of the items."""
        return vectors if self.tied else self.weight

    def at(self, query: Tensor, vectors: Tensor, items: Tensor) -> Tensor:
        """(N,) or (N, K) scores of items (N,) or (N, K) for queries (N, d)."""
        rows = F.embedding(items, self.rows(vectors))
        if items.dim() == 1:
            return (query * rows).sum(-1) + self.bias[items]
        return torch.einsum("nd,nkd->nk", query, rows) + self.bias[items]

    def best(
        self, query: Tensor, vectors: Tensor, allowed: Tensor, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """(N,) int64 the item with the highest score among `allowed` (n_items,) bool; no gradient."""
        found = query.new_empty(len(query), dtype=torch.int64)
        for piece, scores in self._chunks(query, vectors, allowed, dtype):
            torch.argmax(scores, dim=1, out=found[piece])
        return found

    def log_sum(self, query: Tensor, vectors: Tensor, allowed: Tensor) -> Tensor:
        """(N,) logsumexp of the scores of `allowed` items; no gradient."""
        found = query.new_empty(len(query))
        for piece, scores in self._chunks(query, vectors, allowed, torch.float32):
            found[piece] = scores.logsumexp(1)
        return found

    @torch.no_grad()
    def _chunks(
        self, query: Tensor, vectors: Tensor, allowed: Tensor, dtype: torch.dtype
    ) -> Iterator[tuple[slice, Tensor]]:
        bias = self.bias.detach().masked_fill(~allowed, -torch.inf).to(dtype)
        table = self.rows(vectors).detach().to(dtype)
        query = query.detach().to(dtype)
        most = CHUNK_SCORES if query.is_cuda else CHUNK_SCORES // 16
        rows = max(16, most // len(table))
        room = query.new_empty(min(rows, len(query)), len(table))
        for first in range(0, len(query), rows):
            piece = slice(first, min(first + rows, len(query)))
            yield piece, torch.addmm(bias, query[piece], table.T, out=room[: piece.stop - first])

    def extended(self, query: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (…, d + 1) and rows (n_items, d + 1) whose plain product is the score, bias included."""
        return (
            F.pad(query, (0, 1), value=1.0),
            torch.cat((self.rows(vectors), self.bias.unsqueeze(1)), 1),
        )
