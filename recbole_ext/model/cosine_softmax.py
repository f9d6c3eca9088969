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
from recbole_ext.model.large_softmax import CPU_CHUNK_LOGITS, Mixture, exponentials, probabilities
from recbole_ext.model.passes import Directions
from recbole_ext.model.rows import SMALLEST
from recbole_ext.scores.products import by_onednn, product, takes_bf16
from recbole_ext.scores.ways import ONEDNN, OWN, SOFTMAX, took


def takes(states: Tensor, vectors: Tensor, rows: Tensor, precision: str) -> bool:
    """Whether `cosine_softmax_loss` does what is asked, and is the faster way: of vectors that `joined` has made, for
    so few states (N, d) that all logits may be kept."""
    joined = hasattr(vectors.grad_fn, "whole") and states.requires_grad and torch.is_grad_enabled()
    multiplied = precision == "fp32" or (states.dtype == torch.float32 and takes_bf16(states.device))
    return joined and multiplied and len(states) * len(rows) <= CPU_CHUNK_LOGITS


def cosine_softmax_loss(
    states: Tensor,
    vectors: Tensor,
    rows: Tensor,
    made: Directions,
    target: Tensor,
    weight: Tensor,
    mixture: Mixture | None,
    precision: str = "fp32",
) -> Tensor:
    """As `softmax_loss` of states (N, d) and the directions of rows (C,) of vectors (n, d), each chosen once;
    differentiable once. made: as of `directions`, without gradients."""
    rest, copied = (None, None) if mixture is None else mixture
    loss: Tensor = _CosineSoftmax.apply(
        states,
        vectors,
        rows,
        *made,
        target,
        weight.detach(),
        rest,
        copied,
        vectors.grad_fn,
        precision == "bf16",
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
        low: bool,
    ) -> Tensor:
        took(SOFTMAX, ONEDNN if low or by_onednn(states, unit) else OWN)
        mixture = None if log_rest is None or log_copied is None else (log_rest, log_copied)
        x, scored = (states.bfloat16(), unit.bfloat16()) if low else (states, unit)
        made = exponentials(x, scored, target, weight, mixture) if low else None
        # in bfloat16 exponentials, which their sum makes probabilities; the target's, left out of them, was known
        if made is not None:
            loss, found, pull, share, total, missed = made
            each, own = pull / total, pull * missed
        else:
            loss, found, pull, share = probabilities(x, scored, target, weight, mixture)
            each = own = pull
        d_mixture = (None, None) if share is None else (-weight * share, -weight * (1 - share))
        # where each item's gradient is among those of the rows; C: nowhere
        (kept,) = table.saved_tensors
        place = rows.new_full((len(kept),), len(rows)).index_copy_(0, rows, torch.arange(len(rows)))
        places = place.where(kept.squeeze(1) != 0, len(rows)), place
        inverse = torch.where(size > SMALLEST, size.reciprocal(), 0.0)
        ctx.save_for_backward(scored, found, each, own, states, unit, inverse, target, *places, *d_mixture)
        ctx.table = table
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scored, found, *weights, states, unit, inverse, target, of_ids, of_features, rest, copied = (
            ctx.saved_tensors
        )
        scale = gradients[0]
        each, own = (weight * scale for weight in weights)
        # by all threads, as autograd goes on from here
        d_states = product(found, scored).to(states.dtype)
        pulled, of_targets = (states * each).to(found.dtype), states * (own * inverse[target])
        width = ctx.table.widths[0]

        def of_items() -> tuple[Tensor, Tensor]:
            """Gradients (n, …) of both parts of all items, in few operations, as each takes Python's lock."""
            every = unit.new_empty(len(unit) + 1, unit.shape[1])
            every[-1] = 0  # of items that are not chosen
            low = found.dtype == torch.bfloat16  # whose products are faster this way round
            made = (pulled.T.contiguous() @ found).T if low else product(found.T, pulled)
            d = torch.mul(made, inverse, out=every[:-1])
            d.index_add_(0, target, of_targets, alpha=-1)
            d.addcmul_(unit, torch.linalg.vecdot(unit, d).unsqueeze(1), value=-1)
            return every[:, :width].index_select(0, of_ids), every[:, width:].index_select(0, of_features)

        ctx.table.whole.append(beside.start(of_items))
        d_states.mul_(each).addcmul_(scored[target], own, value=-1)
        d_rest, d_copied = (None if d is None else d * scale for d in (rest, copied))
        return d_states, *(None,) * 6, d_rest, d_copied, None, None
