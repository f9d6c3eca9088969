"""Ranking losses over item scores, one home for all models.

CE: softmax cross-entropy over all candidate items. BPR and TOP1: pairwise with the other targets of the batch as
negatives, as GRU4Rec samples them (Hidasi et al., ICLR 2016).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LOSSES = ("CE", "BPR", "TOP1")


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean of `-log softmax(logits)[target]`; logits: (N, C) float, target: (N,) column of the true item."""
    return F.cross_entropy(logits, target)


def in_batch(kind: str, scores: Tensor, target: Tensor) -> Tensor:
    """Mean pairwise loss of row i's target against the other rows' targets.

    Args:
        kind: BPR `-log sigmoid(r_i - r_j)` or TOP1 `sigmoid(r_j - r_i) + sigmoid(r_j ** 2)`.
        scores: (N, N) float, scores[i, j] of row i for row j's target.
        target: (N,) int64 items; a negative that is the row's own target is left out.
    """
    positive = scores.diagonal().unsqueeze(1)  # (N, 1)
    negative = target.unsqueeze(0) != target.unsqueeze(1)  # (N, N) bool
    if kind == "BPR":
        loss = -F.logsigmoid(positive - scores)
    elif kind == "TOP1":
        loss = torch.sigmoid(scores - positive) + torch.sigmoid(scores.square())
    else:
        raise ValueError(f"loss_type is {kind!r}: it has to be one of {', '.join(LOSSES)}")
    count = negative.sum().clamp_min(1)
    return (loss * negative).sum() / count
