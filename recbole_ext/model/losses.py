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

from recbole_ext.model.large_softmax import softmax_loss
from recbole_ext.model.rows import SMALLEST
from recbole_ext.model.shared_softmax import sampled_softmax_loss

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

    count: (C,) how often each candidate is a training event; power 0 draws uniformly, 1 by popularity. Candidates
    that are never a target are drawn as if they were one once, so that they too learn to rank low.
    """

    cumulative: Tensor
    log_chance: Tensor
    log_share: Tensor

    def __init__(self, count: Tensor, power: float):
        super().__init__()
        chance = count.double().clamp_min(1) ** power
        chance /= chance.sum()
        # in float64: of millions of items, float32 would draw some twice as often as their chance says
        self.register_buffer("cumulative", chance.cumsum(0), persistent=False)
        self.register_buffer("log_chance", chance.log().float(), persistent=False)
        share = count.double() / count.sum().clamp_min(1)
        self.register_buffer("log_share", share.log().float(), persistent=False)

    def draw(self, number: int) -> Tensor:
        """(number,) int64 candidates; nothing here waits for the device."""
        point = torch.rand(number, device=self.cumulative.device, dtype=torch.float64)
        return torch.searchsorted(self.cumulative, point).clamp_max(len(self.cumulative) - 1)

    def log_expected(self, candidates: Tensor, number: int) -> Tensor:
        """log of how often each of the candidates is expected among `number` draws: log Q."""
        return self.log_chance[candidates] + math.log(number)

    def log_expected_beside(self, candidates: Tensor, number: int, others: Tensor) -> Tensor:
        """log of how often each is expected among `number` draws and so many other rows' targets, others (), which come
        as often as training events do.

        The one Q of both sources together is the balance heuristic of Veach and Guibas (SIGGRAPH 1995); the mixture is
        that of Yang et al. (WWW 2020).
        """
        return torch.logaddexp(
            self.log_expected(candidates, number), self.log_share[candidates] + others.log()
        )


def drawn_by_score(
    scores: Tensor, log_expected: Tensor, number: int, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Which of a pool of negatives to keep, those that a batch scores high more often, and log Q of these.

    A negative's chance is half its mean share in the rows' softmax over the pool, and half that of a uniform draw,
    which bounds what it may weigh; draws are with replacement. Over both draws the estimate of a sum over all items
    stays unbiased, as log Q is that of the pool plus the log of how often each is expected among those kept.

    Args:
        scores: (N, M) of the rows for the pool, -inf where one is the row's own target. log_expected: (M,) log Q of
            the pool. number: how many are kept. weight: (N,) of the rows.
    """
    shares = (scores - log_expected).softmax(1).nan_to_num()  # a row may have nothing left
    chance = (shares * weight.unsqueeze(1)).sum(0)  # no product, which autocast would round
    chance = (chance / chance.sum().clamp_min(SMALLEST) + 1 / len(chance)) / 2
    chance = chance / chance.sum()
    point = torch.rand(number, device=chance.device, dtype=torch.float64)
    kept = torch.searchsorted(chance.double().cumsum(0), point).clamp_max(len(chance) - 1)
    return kept, log_expected[kept] + chance[kept].log() + math.log(number)


def binary_loss(
    positive: Tensor, negative: Tensor, same: Tensor, weight: Tensor, exponent: float = 1.0
) -> Tensor:
    """Weighted sum of `-(log sigmoid(s+) ** exponent + sum log(1 - sigmoid(s-))) / (K + 1)`; exponent: gBCE's beta.

    positive, negative, same: of `shared_scores`. weight: (N,).
    """
    loss = -exponent * F.logsigmoid(positive) - (F.logsigmoid(-negative) * ~same).sum(1)
    return (loss / (negative.shape[1] + 1) * weight).sum()


def gbce_exponent(negatives: int, candidates: int, t: float) -> float:
    """gBCE's beta for a sampling rate of negatives / (candidates - 1); t = 0: plain BCE, t = 1: sampling undone."""
    rate = min(1.0, negatives / max(candidates - 1, 1))
    return rate * (t * (1 - 1 / rate) + 1 / rate)


def shared_scores(
    states: Tensor, own: Tensor, shared: Tensor, target: Tensor, negatives: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(N,) scores of the rows' targets and (N, K) of shared negatives, in float32, and (N, K) bool: where the two are
    the same.

    states: (N, d). own: (N, d) vectors of the targets. shared: (K, d) of the negatives. target: (N,). negatives: (K,).
    """
    scores = (states * own).sum(1).float(), (states @ shared.T).float()
    return *scores, target.unsqueeze(1) == negatives


__all__ = [
    "LOSSES",
    "SharedNegatives",
    "binary_loss",
    "cross_entropy",
    "drawn_by_score",
    "gbce_exponent",
    "in_batch",
    "sampled_softmax_loss",
    "shared_scores",
    "softmax_loss",
]
