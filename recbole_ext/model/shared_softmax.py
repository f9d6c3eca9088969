"""Softmax cross-entropy over a row's target and negatives that all rows share, which makes its gradient at once.

As in large_softmax.py, the logits of some rows are turned into their own gradient in place and multiplied back, where
autograd would keep and pass over several matrices of rows by negatives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recbole_ext.model.large_softmax import Mixture

CPU_CHUNK_LOGITS = 1 << 21  # they stay in cache
GPU_CHUNK_LOGITS = 1 << 27


def sampled_softmax_loss(
    states: Tensor,
    own: Tensor,
    shared: Tensor,
    items: tuple[Tensor, Tensor],
    correction: tuple[Tensor | None, Tensor] | None,
    weight: Tensor,
    mixture: Mixture | None = None,
    precision: str = "fp32",
) -> Tensor:
    """Weighted sum of the rows' cross-entropy over their target and the shared negatives, a scalar.

    Args:
        states: (N, d). own: (N, d) vectors of the rows' targets. shared: (K, d) vectors of the negatives.
        items: (N,) the targets and (K,) the negatives; one that is a row's target is left out of that row.
        correction: log Q of the targets (N,) and of the negatives (K,), subtracted from the scores; None for the
            targets: theirs stay, so that exp(score) summed over the negatives estimates that of all other items, and
            the target counts once, as in the softmax (Khrylchenko et al., RecSys 2025). None for both: none.
        weight: (N,), constant. mixture: as of `softmax_loss`, the softmax being that over target and negatives.
        precision: bf16 rounds what is multiplied on a GPU.
    """
    own_q, shared_q = (None, None) if correction is None else correction
    rest, copied = (None, None) if mixture is None else mixture
    low = precision == "bf16" and states.is_cuda
    loss: Tensor = _SharedSoftmax.apply(
        states, own, shared, *items, own_q, shared_q, weight.detach(), rest, copied, low
    )
    return loss


class _SharedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        own: Tensor,
        shared: Tensor,
        target: Tensor,
        negatives: Tensor,
        own_q: Tensor | None,
        shared_q: Tensor | None,
        weight: Tensor,
        log_rest: Tensor | None,
        log_copied: Tensor | None,
        low: bool,
    ) -> Tensor:
        exact = torch.promote_types(states.dtype, torch.float32)
        x, y, table = states.to(exact), own.to(exact), shared.to(exact)
        total = torch.zeros((), dtype=exact, device=x.device)
        d_states, d_own, d_shared = torch.empty_like(x), torch.empty_like(y), torch.zeros_like(table)
        d_rest = None if log_rest is None else torch.empty_like(log_rest)
        most = GPU_CHUNK_LOGITS if x.is_cuda else CPU_CHUNK_LOGITS
        rows = max(16, most // max(len(table), 1))
        order = None if x.is_cuda else negatives.sort()
        with torch.autocast(x.device.type, enabled=False):
            for first in range(0, len(x), rows):
                piece = slice(first, first + rows)
                logits = _product(x[piece], table.T, low)
                if shared_q is not None:
                    logits.sub_(shared_q)
                _leave_out(logits, target[piece], negatives, order)
                positive = (x[piece] * y[piece]).sum(1)
                if own_q is not None:
                    positive = positive - own_q[piece]
                loss, others, each = _to_shares(logits, positive)
                w = share = weight[piece]
                if log_rest is not None and log_copied is not None and d_rest is not None:
                    generated = log_rest[piece] - loss
                    both = torch.logaddexp(generated, log_copied[piece])
                    d_rest[piece] = (generated - both).exp()  # the softmax's share, for now
                    loss, share = -both, w * d_rest[piece]
                total += (loss * w).sum()
                logits.mul_((share * each).unsqueeze(1))
                d_positive = (-share * others).unsqueeze(1)
                d_states[piece] = _product(logits, table, low).addcmul_(d_positive, y[piece])
                d_own[piece] = d_positive * x[piece]
                d_shared += _product(x[piece].T, logits, low).T  # the other way round is slower on a CPU
        d_copied = None
        if d_rest is not None:
            d_rest, d_copied = -weight * d_rest, -weight * (1 - d_rest)
        ctx.save_for_backward(
            d_states.to(states.dtype), d_own.to(own.dtype), d_shared.to(shared.dtype), d_rest, d_copied
        )
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scale = gradients[0]
        scaled = [None if d is None else d * scale.to(d.dtype) for d in ctx.saved_tensors]
        return *scaled[:3], *(None,) * 5, *scaled[3:], None


def _leave_out(
    logits: Tensor, target: Tensor, negatives: Tensor, order: tuple[Tensor, Tensor] | None
) -> None:
    """Put -inf where a row's (n,) target is among the negatives (K,); order: as of `negatives.sort()`, on a CPU, where
    looking up the few places is faster than comparing all."""
    if order is None:
        logits.masked_fill_(target.unsqueeze(1) == negatives, -torch.inf)
        return
    ordered, column = order
    first = torch.searchsorted(ordered, target)
    count = torch.searchsorted(ordered, target, right=True) - first
    row = torch.arange(len(target)).repeat_interleave(count)
    nth = torch.arange(len(row)) - (count.cumsum(0) - count)[row]
    logits[row, column[first[row] + nth]] = -torch.inf


def _product(a: Tensor, b: Tensor, low: bool) -> Tensor:
    """a @ b, of factors rounded to bfloat16 if `low`."""
    return (a.bfloat16() @ b.bfloat16()).float() if low else a @ b


def _to_shares(logits: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Losses (n,) of rows, the share (n,) of all negatives in each, and what the logits (n, K), which become
    exponentials in place, are multiplied with (n,) to be theirs; positive: (n,) logits of the targets."""
    highest = torch.maximum(logits.amax(1), positive)
    others = logits.sub_(highest.unsqueeze(1)).exp_().sum(1)
    whole = others + (positive - highest).exp()
    return whole.log() + highest - positive, others / whole, 1 / whole
