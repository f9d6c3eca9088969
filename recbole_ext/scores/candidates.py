"""Scores of a few candidates a row."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_ext.scores.ranks import ranks_among
from recbole_ext.scores.top import listed_items


class CandidateScores:
    """Scores (B, C) of a few candidates a row, items (B, C), the row's target first, as sampled evaluation has them."""

    def __init__(self, scores: Tensor, items: Tensor, width: int):
        self.scores, self.items, self.width = scores.float(), items, width

    def __len__(self) -> int:
        return len(self.scores)

    def ranks(self, items: Tensor) -> Tensor:
        """(B,) rank of each row's target; a negative drawn twice counts once, as in a row of all items."""
        scores = self.scores.masked_fill(self._repeated(), -torch.inf)
        return ranks_among(scores, self.scores[:, 0], self.width - 1)

    def sizes(self) -> Tensor:
        """(B,) how many different candidates each row has."""
        return (~self._repeated()).sum(1)

    def _repeated(self) -> Tensor:
        """(B, C) candidates that stand further left too."""
        # stable: the target comes before its own repeats
        ordered, order = self.items.sort(dim=1, stable=True)
        repeated = torch.zeros_like(self.items, dtype=torch.bool)
        return repeated.scatter_(1, order[:, 1:], ordered[:, 1:] == ordered[:, :-1])

    def top(self, k: int) -> Tensor:
        """(B, k) best candidates of every row, best first; 0 where none is left."""
        return listed_items(self.dense(), k)

    def dense(self) -> Tensor:
        """(B, n_items) the scores, -inf elsewhere."""
        whole = self.scores.new_full((len(self), self.width), -torch.inf)
        return whole.scatter_(1, self.items, self.scores)
