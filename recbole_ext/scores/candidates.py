"""Scores of a few candidates a row."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_ext.scores.ranks import ranks_among


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
        return ranks_among(scores.masked_fill(repeated, -torch.inf), scores[:, 0], self.width - 1)

    def top(self, k: int) -> Tensor:
        """(B, k) best candidates of every row, best first, padded with items that are none."""
        return self.dense().topk(k, dim=1).indices

    def dense(self) -> Tensor:
        """(B, n_items) the scores, -inf elsewhere."""
        whole = self.scores.new_full((len(self), self.width), -torch.inf)
        return whole.scatter_(1, self.items, self.scores)
