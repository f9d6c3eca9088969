"""Softmax cross-entropy over the directions of a small catalogue's item vectors, whose gradient is made beside.

As `softmax_loss` of `chosen_unit_rows`, on a CPU, where all logits of a batch are kept until backward. There the
gradient of the items is nobody's input but their table's, which autograd reaches last, so `beside.start` makes it while
autograd goes back through the encoder of the states.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_ext.model import beside
from recbole_ext.model.large_softmax import CPU_CHUNK_LOGITS, Mixture, probabilities
from recbole_ext.model.passes import Directions
from recbole_ext.model.rows import SMALLEST
from recbole_ext.scores.products import by_onednn, product
from recbole_ext.scores.ways import ONEDNN, OWN, SOFTMAX, took


def takes(states: Tensor, vectors: Tensor, rows: Tensor, precision: str) -> bool:
    """Whether `cosine_softmax_loss` does what is asked, and is the faster way: of vectors that `joined` has made, for
    so few states (N, d) that all logits may be kept."""
    joined = hasattr(vectors.grad_fn, "whole") and states.requires_grad and torch.is_grad_enabled()
    return joined and precision == "fp32" and len(states) * len(rows) <= CPU_CHUNK_LOGITS


def cosine_softmax_loss(
    states: Tensor,
    vectors: Tensor,
    rows: Tensor,
    made: Directions,
    target: Tensor,
    weight: Tensor,
    mixture: Mixture | None,
) -> Tensor:
    """As `softmax_loss` of states (N, d) and the directions of rows (C,) of vectors (n, d), each chosen once;
    differentiable once. made: as of `directions`, without gradients."""
    rest, copied = (None, None) if mixture is None else mixture
    loss: Tensor = _CosineSoftmax.apply(
        states, vectors, rows, *made, target, weight.detach(), rest, copied, vectors.grad_fn
    )
    return loss


class _CosineSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        vectors: Tensor,
        rows: Tensor,
        unit: Tensor,
        size: Tensor,
        target: Tensor,
        weight: Tensor,
        log_rest: Tensor | None,
        log_copied: Tensor | None,
        table: Any,
    ) -> Tensor:
        took(SOFTMAX, ONEDNN if by_onednn(states, unit) else OWN)
        mixture = None if log_rest is None or log_copied is None else (log_rest, log_copied)
        loss, found, pull, share = probabilities(states, unit, target, weight, mixture)
        d_mixture = (None, None) if share is None else (-weight * share, -weight * (1 - share))
        # where each item's gradient is among those of the rows; C: nowhere
        (kept,) = table.saved_tensors
        place = rows.new_full((len(kept),), len(rows)).index_copy_(0, rows, torch.arange(len(rows)))
        places = place.where(kept.squeeze(1) != 0, len(rows)), place
        inverse = torch.where(size > SMALLEST, size.reciprocal(), 0.0)
        ctx.save_for_backward(states, unit, inverse, target, found, pull, *places, *d_mixture)
        ctx.table = table
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, unit, inverse, target, found, pull, of_ids, of_features, *d_mixture = ctx.saved_tensors
        scale = gradients[0]
        pull = pull * scale
        d_states = product(found, unit)  # by all threads, as autograd goes on from here
        pulled, of_targets = states * pull, states * (pull * inverse[target])
        width = ctx.table.widths[0]

        def of_items() -> tuple[Tensor, Tensor]:
            """Gradients (n, …) of both parts of all items, in few operations, as each takes Python's lock."""
            own = unit.new_empty(len(unit) + 1, unit.shape[1])
            own[-1] = 0  # of items that are not chosen
            d = torch.mul(product(found.T, pulled), inverse, out=own[:-1])
            d.index_add_(0, target, of_targets, alpha=-1)
            d.addcmul_(unit, torch.linalg.vecdot(unit, d).unsqueeze(1), value=-1)
            return own[:, :width].index_select(0, of_ids), own[:, width:].index_select(0, of_features)

        ctx.table.whole.append(beside.start(of_items))
        d_states.sub_(unit[target]).mul_(pull)
        d_rest, d_copied = (None if d is None else d * scale for d in d_mixture)
        return d_states, None, None, None, None, None, None, d_rest, d_copied, None
