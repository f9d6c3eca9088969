"""What a training step minimises: one loss of losses.py over the states of a factored model.

`train_loss: softmax | sampled_softmax | bce | gbce` names it; left out, a model keeps its own loss, which for RecBole's
`loss_type: CE` is the softmax.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_ext.data.positions import PositionBatch
from recbole_ext.data.recency import weight_of
from recbole_ext.model.factored import Factored
from recbole_ext.model.large_softmax import Mixture
from recbole_ext.model.losses import (
    SharedNegatives,
    binary_loss,
    gbce_exponent,
    sampled_softmax_loss,
    softmax_loss,
)
from recbole_ext.model.pointer import Read
from recbole_ext.settings.training import Training


class _Chosen(torch.autograd.Function):
    """Rows (C, d) of vectors (n, d), each chosen once: backward is a copy, where indexing would sort and add."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.count = len(vectors)
        return vectors.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        gradient = gradients[0]
        return gradient.new_zeros(ctx.count, gradient.shape[1]).index_copy_(0, rows, gradient), None


class Objective(nn.Module):
    """Mean loss of targets given states, in the terms of one catalogue of candidates.

    candidates: (C,) int64 items that are scored in training; None: all items, the padding too, as RecBole does.
    count: (n_items,) how often each item is a training event, by which negatives are drawn.
    """

    candidates: Tensor | None
    column: Tensor

    def __init__(self, training: Training, count: Tensor, candidates: Tensor | None = None):
        super().__init__()
        self.kind = training.train_loss or "softmax"
        self.precision = training.precision
        self.number = training.negatives
        self.register_buffer("candidates", candidates, persistent=False)
        column = None
        if candidates is not None:
            column = torch.zeros(len(count), dtype=torch.int64)
            column[candidates] = torch.arange(len(candidates))
            count = count[candidates]
        self.register_buffer("column", column, persistent=False)
        if self.kind != "softmax":
            power = training.negative_power if self.kind == "sampled_softmax" else 0.0
            self.negatives = SharedNegatives(count, power)
            real = len(count) - (candidates is None)
            self.exponent = 1.0
            if self.kind == "gbce":
                self.exponent = gbce_exponent(min(self.number, real - 1), real, training.gbce_t)

    def vector_dtype(self, vectors: Tensor) -> torch.dtype | None:
        """What these item vectors are best handed over as; None: as they are."""
        rounded = self.precision == "bf16" and self.kind == "softmax"
        return torch.bfloat16 if rounded and vectors.is_cuda else None

    def forward(
        self,
        states: Tensor,
        vectors: Tensor,
        target: Tensor,
        weight: Tensor,
        mixture: Mixture | None = None,
    ) -> Tensor:
        """Weighted sum of losses; states (N, d), vectors (n_items, d), target (N,) items, weight (N,).

        mixture: as of `softmax_loss`, where the softmax is one part of p; bce and gbce have none.
        """
        if self.candidates is not None:
            vectors, target = _Chosen.apply(vectors, self.candidates), self.column[target]
        if self.kind == "softmax":
            return softmax_loss(states, vectors, target, weight, self.precision, mixture=mixture)
        negatives = self.negatives.draw(self.number)
        if self.kind == "sampled_softmax":
            own, shared = (self.negatives.log_expected(drawn, self.number) for drawn in (target, negatives))
            return sampled_softmax_loss(states, vectors, target, negatives, (own, shared), weight, mixture)
        return binary_loss(states, vectors, target, negatives, weight, self.exponent)


def shares(learnt: Tensor, weight: Tensor | None) -> Tensor:
    """(N,) share of each target in the mean over the learnt ones, times its weight; learnt (N,) bool, weight (N,)."""
    share = learnt / learnt.sum().clamp_min(1)
    return share if weight is None else share * weight


def position_loss(factored: Factored, objective: Objective, batch: PositionBatch, select: bool) -> Tensor:
    """Mean loss over the targets of a PositionBatch.

    select: compute the loss at positions with a target only; False computes it everywhere and weighs the others 0, so
    that nothing depends on how many there are (a graph wants that).
    """
    raw = factored.item_vectors()
    read = factored.read_positions(batch, raw)
    target = batch.targets.flatten()
    learnt, weight = target != 0, weight_of(batch)
    if select:
        place = torch.nonzero(learnt).squeeze(1)
        read, target, learnt = read.only(place), target[place], learnt[place]
        weight = None if weight is None else weight[place]
    return loss_of(factored, objective, read, raw, target, shares(learnt, weight))


def row_loss(factored: Factored, objective: Objective, interaction: Any, target: Tensor) -> Tensor:
    """Mean loss over (prefix, target) rows of a RecBole Interaction."""
    raw = factored.item_vectors()
    read = factored.read_rows(interaction, raw)
    share = torch.full((len(target),), 1 / len(target), device=target.device)
    weight = weight_of(interaction)
    return loss_of(factored, objective, read, raw, target, share if weight is None else share * weight)


def loss_of(
    factored: Factored, objective: Objective, read: Read, vectors: Tensor, target: Tensor, weight: Tensor
) -> Tensor:
    """Weighted sum of losses of N prefixes; vectors (n_items, d) as of `item_vectors`, target and weight (N,)."""
    scoring = factored.scoring
    loss: Tensor = objective(
        scoring.states(read.states),
        scoring.vectors(vectors, objective.vector_dtype(vectors)),
        target,
        weight,
        read.mixture(target),
    )
    return loss
