"""A GRU's steps over many sequences at once, in one launch each way.

cuDNN reads the hidden weights anew in every step; here a block of sequences keeps them on its processor. What is
multiplied is rounded to float16 forward, where it lies between -1 and 1 or is a weight, and to bfloat16 backward, whose
gradients can be small; states, sums and gates are float32.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_ext.model.kernels.probe import AMPERE, Kept, runs

SEQUENCES = 16  # of a block: the fewest that matrix units take
WARPS = 8
WIDTHS = (16, 32, 64, 128)  # of states that fit
FORWARD, BACKWARD = torch.float16, torch.bfloat16  # what is multiplied


@triton.jit
def _gates(base, here, H: tl.constexpr):
    return (
        tl.load(base, mask=here, other=0.0).to(tl.float32),
        tl.load(base + H, mask=here, other=0.0).to(tl.float32),
        tl.load(base + 2 * H, mask=here, other=0.0).to(tl.float32),
    )


@triton.jit
def _tanh(x):
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit(do_not_specialize=["steps", "sequences"])
def _forward(
    gates,
    weight,
    bias,
    states,
    kept,
    size,
    steps,
    sequences,
    gates_step,
    gates_sequence,
    step,
    sequence,
    H: tl.constexpr,
    SEQUENCES: tl.constexpr,
    BIASED: tl.constexpr,
):
    row = (tl.program_id(0) * SEQUENCES + tl.arange(0, SEQUENCES)).to(tl.int64)  # a batch may be large
    lane = tl.arange(0, H)
    here = (row < sequences)[:, None] & (lane < H)[None, :]
    square = lane[:, None] * H + lane[None, :]
    reset_weight = tl.trans(tl.load(weight + square))
    update_weight = tl.trans(tl.load(weight + H * H + square))
    new_weight = tl.trans(tl.load(weight + 2 * H * H + square))
    reset_bias = tl.zeros([H], tl.float32)
    update_bias = tl.zeros([H], tl.float32)
    new_bias = tl.zeros([H], tl.float32)
    if BIASED:
        reset_bias = tl.load(bias + lane).to(tl.float32)
        update_bias = tl.load(bias + H + lane).to(tl.float32)
        new_bias = tl.load(bias + 2 * H + lane).to(tl.float32)
    kept_update = kept + size
    kept_new = kept_update + size
    kept_hidden = kept_new + size
    kept_before = kept_hidden + size
    before = tl.zeros([SEQUENCES, H], tl.float32)
    of_gates = gates + row[:, None] * gates_sequence + lane[None, :]
    place = row[:, None] * sequence + lane[None, :]
    for t in range(steps):
        x_reset, x_update, x_new = _gates(of_gates + t * gates_step, here, H)
        low = before.to(weight.dtype.element_ty)
        reset = tl.sigmoid(x_reset + tl.dot(low, reset_weight) + reset_bias[None, :])
        update = tl.sigmoid(x_update + tl.dot(low, update_weight) + update_bias[None, :])
        hidden = tl.dot(low, new_weight) + new_bias[None, :]
        new = _tanh(x_new + reset * hidden)
        now = (1.0 - update) * new + update * before
        at = place + t * step
        tl.store(kept + at, reset, mask=here)
        tl.store(kept_update + at, update, mask=here)
        tl.store(kept_new + at, new, mask=here)
        tl.store(kept_hidden + at, hidden, mask=here)
        tl.store(kept_before + at, before, mask=here)
        tl.store(states + at, now, mask=here)
        before = now


@triton.jit(do_not_specialize=["steps", "sequences"])
def _backward(
    gradient,
    weight,
    kept,
    d_input,
    d_hidden,
    size,
    steps,
    sequences,
    step,
    sequence,
    H: tl.constexpr,
    SEQUENCES: tl.constexpr,
):
    row = (tl.program_id(0) * SEQUENCES + tl.arange(0, SEQUENCES)).to(tl.int64)  # a batch may be large
    lane = tl.arange(0, H)
    here = (row < sequences)[:, None] & (lane < H)[None, :]
    square = lane[:, None] * H + lane[None, :]
    reset_weight = tl.load(weight + square)
    update_weight = tl.load(weight + H * H + square)
    new_weight = tl.load(weight + 2 * H * H + square)
    kept_update = kept + size
    kept_new = kept_update + size
    kept_hidden = kept_new + size
    kept_before = kept_hidden + size
    later = tl.zeros([SEQUENCES, H], tl.float32)
    place = row[:, None] * sequence + lane[None, :]
    gate_place = row[:, None] * sequence * 3 + lane[None, :]
    for back in range(steps):
        t = steps - 1 - back
        at = place + t * step
        reset = tl.load(kept + at, mask=here, other=0.0)
        update = tl.load(kept_update + at, mask=here, other=0.0)
        new = tl.load(kept_new + at, mask=here, other=0.0)
        hidden = tl.load(kept_hidden + at, mask=here, other=0.0)
        before = tl.load(kept_before + at, mask=here, other=0.0)
        d_now = later + tl.load(gradient + at, mask=here, other=0.0).to(tl.float32)
        d_new = d_now * (1.0 - update) * (1.0 - new * new)
        d_update = d_now * (before - new) * update * (1.0 - update)
        d_inner = d_new * reset
        d_reset = d_new * hidden * reset * (1.0 - reset)
        to = gate_place + t * step * 3
        tl.store(d_input + to, d_reset, mask=here)
        tl.store(d_input + to + H, d_update, mask=here)
        tl.store(d_input + to + 2 * H, d_new, mask=here)
        tl.store(d_hidden + to, d_reset, mask=here)
        tl.store(d_hidden + to + H, d_update, mask=here)
        tl.store(d_hidden + to + 2 * H, d_inner, mask=here)
        low = weight.dtype.element_ty
        later = tl.dot(d_reset.to(low), reset_weight, d_now * update)
        later = tl.dot(d_update.to(low), update_weight, later)
        later = tl.dot(d_inner.to(low), new_weight, later)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor | None, batch_first: bool) -> Tensor:
        gates = gates.contiguous()
        hidden = weight.shape[1]
        sequences, steps = gates.shape[:2] if batch_first else gates.shape[1::-1]
        ctx.steps, ctx.sequences = steps, sequences
        ctx.strides = (hidden, steps * hidden) if batch_first else (sequences * hidden, hidden)
        states = torch.empty(*gates.shape[:2], hidden, dtype=torch.float32, device=gates.device)
        kept = torch.empty(5, *states.shape, dtype=torch.float32, device=gates.device)
        step, sequence = ctx.strides
        _forward[(triton.cdiv(sequences, SEQUENCES),)](
            gates,
            weight.to(FORWARD),
            gates if bias is None else bias,
            states,
            kept,
            states.numel(),
            steps,
            sequences,
            3 * step,
            3 * sequence,
            step,
            sequence,
            H=hidden,
            SEQUENCES=SEQUENCES,
            BIASED=bias is not None,
            num_warps=WARPS,
        )
        ctx.save_for_backward(kept, weight)
        ctx.biased = bias is not None
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        kept, weight = ctx.saved_tensors
        hidden = weight.shape[1]
        gradient = gradients[0].contiguous()
        shape = (*gradient.shape[:2], 3 * hidden)
        d_input, d_hidden = torch.empty(2, *shape, dtype=torch.float32, device=gradient.device).unbind()
        _backward[(triton.cdiv(ctx.sequences, SEQUENCES),)](
            gradient,
            weight.to(BACKWARD),
            kept,
            d_input,
            d_hidden,
            gradient.numel(),
            ctx.steps,
            ctx.sequences,
            *ctx.strides,
            H=hidden,
            SEQUENCES=SEQUENCES,
            num_warps=WARPS,
        )
        flat = d_hidden.view(-1, 3 * hidden)
        d_weight = flat.T @ kept[4].view(-1, hidden)
        return d_input, d_weight, flat.sum(0) if ctx.biased else None, None


@Kept
def fits(hidden: int) -> bool:
    """Whether the GPU takes states of this width; the weights have to fit a block's memory (200 KB for 128)."""
    if hidden not in WIDTHS or torch.cuda.get_device_capability() < AMPERE:
        return False
    return runs(lambda: _try(hidden))


@torch.enable_grad()
def _try(hidden: int) -> None:
    gates = torch.zeros(1, 1, 3 * hidden, device="cuda", requires_grad=True)
    recurrence(gates, torch.zeros(3 * hidden, hidden, device="cuda"), None).sum().backward()


def recurrence(gates: Tensor, weight: Tensor, bias: Tensor | None, batch_first: bool = False) -> Tensor:
    """(L, n, h) states of a GRU that starts from zero, (n, L, h) if batch_first.

    gates: (L, n, 3 h) or (n, L, 3 h) float32, what the inputs give to the gates reset, update and new, their bias
    included. weight: (3 h, h), bias: (3 h,), of the state, as of torch.nn.GRU.
    """
    states: Tensor = _Recurrence.apply(gates, weight, bias, batch_first)
    return states
