"""What a training step minimises: one loss of losses.py over the states of a factored model.

`train_loss: softmax | sampled_softmax | bce | gbce` names it; left out, a model keeps its own loss, which for RecBole's
`loss_type: CE` is the softmax.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from recbole_ext.data.positions import PositionBatch
from recbole_ext.data.recency import weight_of
from recbole_ext.model import beside
from recbole_ext.model.cosine_softmax import cosine_softmax_loss, takes
from recbole_ext.model.factored import Factored, Scoring, Vectors, look_up
from recbole_ext.model.large_softmax import Mixture
from recbole_ext.model.losses import (
    SharedNegatives,
    binary_loss,
    drawn_by_score,
    gbce_exponent,
    sampled_softmax_loss,
    shared_scores,
    softmax_loss,
)
from recbole_ext.model.passes import chosen_unit_rows, directions
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
        self.pool = training.negative_pool
        self.batch_negatives = training.batch_negatives
        self.target_log_q = training.target_log_q
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

    def forward(
        self,
        scoring: Scoring,
        states: Tensor,
        vectors: Vectors,
        target: Tensor,
        weight: Tensor,
        mixture: Mixture | None = None,
    ) -> Tensor:
        """Weighted sum of losses; states (N, d), vectors (n_items, d), both as `scoring` takes them, target (N,) items,
        weight (N,), 0 where there is no target.

        mixture: as of `softmax_loss`, where the softmax is one part of p; bce and gbce have none.
        """
        states = scoring.states(states)
        if self.candidates is not None:
            target = self.column[target]
        if self.kind != "softmax":
            return self._sampled(scoring, states, vectors, target, weight, mixture)
        assert isinstance(vectors, Tensor), "a softmax over all items reads them all"
        if self.candidates is not None and self._reads_directions(scoring, vectors):
            begun = getattr(vectors.grad_fn, "directions", None)
            made = begun() if begun is not None else directions(vectors.detach(), self.candidates)
            if takes(states, vectors, self.candidates, self.precision):
                chosen = self.candidates, made
                return cosine_softmax_loss(states, vectors, *chosen, target, weight, mixture, self.precision)
            scored = chosen_unit_rows(vectors, self.candidates, made)
            return softmax_loss(states, scored, target, weight, self.precision, mixture=mixture)
        rounded = self.precision == "bf16" and vectors.is_cuda
        scored = scoring.vectors(vectors, torch.bfloat16 if rounded else None)
        if self.candidates is not None:
            scored = _Chosen.apply(scored, self.candidates)
        return softmax_loss(states, scored, target, weight, self.precision, mixture=mixture)

    def begin(self, scoring: Scoring, vectors: Vectors) -> None:
        """Begin with what the loss needs of item vectors alone, beside what follows, on a CPU."""
        node: Any = getattr(vectors, "grad_fn", None)
        if not hasattr(node, "directions") or self.kind != "softmax" or self.candidates is None:
            return
        if isinstance(vectors, Tensor) and self._reads_directions(scoring, vectors):
            node.directions = beside.start(partial(directions, vectors.detach(), self.candidates))

    def _reads_directions(self, scoring: Scoring, vectors: Tensor) -> bool:
        return vectors.is_cpu and bool(getattr(scoring, "plain_cosine", False))

    def _sampled(
        self,
        scoring: Scoring,
        states: Tensor,
        vectors: Vectors,
        target: Tensor,
        weight: Tensor,
        mixture: Mixture | None,
    ) -> Tensor:
        """As `forward`, with `scoring` done for the states already, and target (N,) the column of a candidate."""

        def scored(columns: Tensor) -> Tensor:
            items = columns if self.candidates is None else self.candidates[columns]
            return scoring.vectors(look_up(items, vectors))

        negatives, own_q, shared_q = self._drawn(target, weight)
        if self.pool is not None:
            with torch.no_grad():
                scores = (states @ scored(negatives).T).float()
                scores.masked_fill_(target.unsqueeze(1) == negatives, -torch.inf)
                kept, shared_q = drawn_by_score(scores, shared_q, self.number, weight)
            negatives = negatives[kept]
        # one look-up: the dense gradient of a table is as large as the table, however few rows are read
        own, shared = scored(torch.cat((target, negatives))).split((len(target), len(negatives)))
        if self.kind == "sampled_softmax":
            items, correction = (target, negatives), (own_q if self.target_log_q else None, shared_q)
            return sampled_softmax_loss(
                states, own, shared, items, correction, weight, mixture, self.precision
            )
        positive, negative, same = shared_scores(states, own, shared, target, negatives)
        return binary_loss(positive, negative, same, weight, self.exponent)

    def _drawn(self, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Columns (M,) of the negatives, and log Q of the targets (N,) and of these (M,)."""
        number = self.number if self.pool is None else self.pool
        drawn = self.negatives.draw(number)
        if not self.batch_negatives:
            log_q = partial(self.negatives.log_expected, number=number)
            return drawn, log_q(target), log_q(drawn)
        learnt = weight != 0
        both = torch.cat((drawn, target))
        expected = self.negatives.log_expected_beside(both, number, (learnt.sum() - 1).clamp_min(0))
        # a row without a target has none that could be another's negative
        shared = expected.masked_fill(
            torch.cat((torch.zeros_like(drawn, dtype=torch.bool), ~learnt)), torch.inf
        )
        return both, expected[number:], shared


def shares(learnt: Tensor, weight: Tensor | None) -> Tensor:
    """(N,) share of each target in the mean over the learnt ones, times its weight; learnt (N,) bool, weight (N,)."""
    share = learnt / learnt.sum().clamp_min(1)
    return share if weight is None else share * weight


def position_loss(factored: Factored, objective: Objective, batch: PositionBatch, select: bool) -> Tensor:
    """Mean loss over the targets of a PositionBatch.

    select: compute the loss at positions with a target only; False computes it everywhere and weighs the others 0, so
    that nothing depends on how many there are (a graph wants that).
    """
    raw = factored.training_vectors()
    read = factored.read_positions(batch, raw)
    target = batch.targets.flatten()
    learnt, weight = target != 0, weight_of(batch)
    if select:
        place = torch.nonzero(learnt).squeeze(1)
        if len(place) < len(target):
            read, target, learnt = read.only(place), target[place], learnt[place]
            weight = None if weight is None else weight[place]
    return loss_of(factored, objective, read, raw, target, shares(learnt, weight))


def row_loss(factored: Factored, objective: Objective, interaction: Any, target: Tensor) -> Tensor:
    """Mean loss over (prefix, target) rows of a RecBole Interaction."""
    raw = factored.training_vectors()
    read = factored.read_rows(interaction, raw)
    share = torch.full((len(target),), 1 / len(target), device=target.device)
    weight = weight_of(interaction)
    return loss_of(factored, objective, read, raw, target, share if weight is None else share * weight)


def loss_of(
    factored: Factored, objective: Objective, read: Read, vectors: Vectors, target: Tensor, weight: Tensor
) -> Tensor:
    """Weighted sum of losses of N prefixes; vectors as of `training_vectors`, target and weight (N,)."""
    loss: Tensor = objective(factored.scoring, read.states, vectors, target, weight, read.mixture(target))
    return loss
