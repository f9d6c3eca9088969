"""Ranking losses over item scores, one home for all models.

softmax: cross-entropy over all candidates, in chunks (large_softmax.py). sampled_softmax: over the target and negatives
shared by the batch, with the log-Q correction (Bengio and Senécal 2008; Yi et al., RecSys 2019). bce, gbce: binary
cross-entropy against shared uniform negatives (Kang and McAuley, ICDM 2018; gBCE: Petrov and Macdonald, RecSys 2023).
BPR, TOP1: pairwise against the other targets of the batch, as GRU4Rec samples them (Hidasi et al., ICLR 2016).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_ext.model.large_softmax import Mixture, softmax_loss

LOSSES = ("CE", "BPR", "TOP1")


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean of `-log softmax(logits)[target]`; logits: (N, C) float, target: (N,) column of the true item."""
    return F.cross_entropy(logits, target)


def in_batch(kind: str, scores: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean pairwise loss of row i's target against the other rows' targets.

    Args:
        kind: BPR `-log sigmoid(r_i - r_j)` or TOP1 `sigmoid(r_j - r_i) + sigmoid(r_j ** 2)`.
        scores: (N, N) float, scores[i, j] of row i for row j's target.
        target: (N,) int64 items; a negative that is the row's own target is left out.
        weight: (N,) of the rows' losses; None: 1.
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
    if weight is not None:
        loss = loss * weight.unsqueeze(1)
    return (loss * negative).sum() / count


class SharedNegatives(nn.Module):
    """Draws negatives that all rows of a batch share, with replacement, by `count ** power` of the candidates.

    count: (C,) how often each candidate is a training target; power 0 draws uniformly, 1 by popularity. Candidates
    that are never a target are drawn as if they were one once, so that they too learn to rank low.
    """

    cumulative: Tensor
    log_chance: Tensor

    def __init__(self, count: Tensor, power: float):
        super().__init__()
        chance = count.double().clamp_min(1) ** power
        chance /= chance.sum()
        self.register_buffer("cumulative", chance.cumsum(0).float(), persistent=False)
        self.register_buffer("log_chance", chance.log().float(), persistent=False)

    def draw(self, number: int) -> Tensor:
        """(number,) int64 candidates; nothing here waits for the device."""
        point = torch.rand(number, device=self.cumulative.device)
        return torch.searchsorted(self.cumulative, point).clamp_max(len(self.cumulative) - 1)

    def log_expected(self, candidates: Tensor, number: int) -> Tensor:
        """log of how often each of the candidates is expected among `number` draws: log Q."""
        return self.log_chance[candidates] + math.log(number)


def sampled_softmax_loss(
    states: Tensor,
    vectors: Tensor,
    target: Tensor,
    negatives: Tensor,
    correction: tuple[Tensor, Tensor] | None,
    weight: Tensor,
    mixture: Mixture | None = None,
) -> Tensor:
    """Weighted sum of the rows' cross-entropy over their target and the shared negatives.

    Args:
        states: (N, d). vectors: (C, d). target: (N,). negatives: (K,), left out of the rows whose target they are.
        correction: log Q of the targets (N,) and of the negatives (K,), subtracted from the logits; None: none.
        weight: (N,). mixture: as of `softmax_loss`, the softmax being that over target and negatives.
    """
    positive, negative = _scores(states, vectors, target, negatives)
    if correction is not None:
        positive, negative = positive - correction[0], negative - correction[1]
    negative = negative.masked_fill(target.unsqueeze(1) == negatives, -torch.inf)
    loss = torch.logaddexp(positive, negative.logsumexp(1)) - positive
    if mixture is not None:
        log_rest, log_copied = mixture
        loss = -torch.logaddexp(log_rest - loss, log_copied)
    return (loss * weight).sum()


def binary_loss(
    states: Tensor, vectors: Tensor, target: Tensor, negatives: Tensor, weight: Tensor, exponent: float = 1.0
) -> Tensor:
    """Weighted sum of `-(log sigmoid(s+) ** exponent + sum log(1 - sigmoid(s-))) / (K + 1)`; exponent: gBCE's beta."""
    positive, negative = _scores(states, vectors, target, negatives)
    others = target.unsqueeze(1) != negatives
    loss = -exponent * F.logsigmoid(positive) - (F.logsigmoid(-negative) * others).sum(1)
    return (loss / (len(negatives) + 1) * weight).sum()


def gbce_exponent(negatives: int, candidates: int, t: float) -> float:
    """gBCE's beta for a sampling rate of negatives / (candidates - 1); t = 0: plain BCE, t = 1: sampling undone."""
    rate = min(1.0, negatives / max(candidates - 1, 1))
    return rate * (t * (1 - 1 / rate) + 1 / rate)


def _scores(states: Tensor, vectors: Tensor, target: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) scores of the targets and (N, K) of the negatives, in float32."""
    # one lookup: the gradient of a table is as large as the table, however few rows are read
    rows = F.embedding(torch.cat((target, negatives)), vectors)
    own, shared = rows.split((len(target), len(negatives)))
    return (states * own).sum(1).float(), (states @ shared.T).float()


__all__ = [
    "LOSSES",
    "SharedNegatives",
    "binary_loss",
    "cross_entropy",
    "gbce_exponent",
    "in_batch",
    "sampled_softmax_loss",
    "softmax_loss",
]
