"""Triton kernels for a GPU: softmax cross-entropy's gradient in place of the logits, and rows scaled to unit length.

Imported only where Triton is there (`available`); each has a counterpart in plain torch, and is tested against it.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096
WARPS = 32
SMALLEST = 1e-12  # as F.normalize: shorter rows are divided by this


@triton.jit
def _softmax_gradient(
    logits,
    target,
    weight,
    loss,
    log_rest,
    log_copied,
    share,
    columns,
    stride,
    BLOCK: tl.constexpr,
    MIXED: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    base = logits + row * stride
    place = tl.load(target + row)
    w = tl.load(weight + row).to(tl.float32)
    own = tl.load(base + place).to(
        tl.float32
    )  # before the first pass, whose reductions part it from the stores
    highest = float("-inf")
    total = 0.0
    for first in range(0, columns, BLOCK):
        column = first + tl.arange(0, BLOCK)
        x = tl.load(base + column, mask=column < columns, other=float("-inf")).to(tl.float32)
        new = tl.maximum(highest, tl.max(x, axis=0))
        total = total * tl.exp(highest - new) + tl.sum(tl.exp(x - new), axis=0)
        highest = new
    value = highest + tl.log(total) - own
    if MIXED:
        generated = tl.load(log_rest + row).to(tl.float32) - value
        copied = tl.load(log_copied + row).to(tl.float32)
        more = tl.maximum(generated, copied)
        both = more + tl.log(tl.exp(generated - more) + tl.exp(copied - more))
        part = tl.exp(generated - both)
        tl.store(share + row, part)
        tl.store(loss + row, -both * w)
        w = w * part
    else:
        tl.store(loss + row, value * w)
    scale = w / total
    for first in range(0, columns, BLOCK):
        column = first + tl.arange(0, BLOCK)
        x = tl.load(base + column, mask=column < columns, other=float("-inf")).to(tl.float32)
        gradient = tl.exp(x - highest) * scale - tl.where(column == place, w, 0.0)
        tl.store(base + column, gradient.to(logits.dtype.element_ty), mask=column < columns)


def softmax_gradient(
    logits: Tensor, target: Tensor, weight: Tensor, mixed: tuple[Tensor, Tensor, Tensor] | None = None
) -> Tensor:
    """Sum of the rows' weighted losses; logits (n, C) become weight * share * (softmax - one-hot).

    mixed: as of `large_softmax._to_gradient`, whose counterpart this is.
    """
    rows, columns = logits.shape
    loss = torch.empty(rows, dtype=torch.float32, device=logits.device)
    parts = (loss, loss, loss) if mixed is None else mixed  # pointers that are not looked at
    _softmax_gradient[(rows,)](
        logits,
        target,
        weight,
        loss,
        *parts,
        columns,
        logits.stride(0),
        BLOCK=BLOCK,
        MIXED=mixed is not None,
        num_warps=WARPS,
    )
    return loss.sum()


@triton.jit
def _unit_rows(x, y, size, width, SMALLEST: tl.constexpr, WIDTH: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, WIDTH)
    here = column < width
    values = tl.load(x + row * width + column, mask=here, other=0.0).to(tl.float32)
    length = tl.maximum(tl.sqrt(tl.sum(values * values, axis=0)), SMALLEST)
    tl.store(size + row, length)
    tl.store(y + row * width + column, (values / length).to(y.dtype.element_ty), mask=here)


@triton.jit
def _unit_rows_backward(x, size, dy, dx, width, SMALLEST: tl.constexpr, WIDTH: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, WIDTH)
    here = column < width
    length = tl.load(size + row)
    unit = tl.load(x + row * width + column, mask=here, other=0.0).to(tl.float32) / length
    gradient = tl.load(dy + row * width + column, mask=here, other=0.0).to(tl.float32)
    along = tl.sum(unit * gradient, axis=0)
    inverse = tl.where(length > SMALLEST, 1.0 / length, 0.0)  # a row of zeros has no direction
    tl.store(
        dx + row * width + column, ((gradient - unit * along) * inverse).to(dx.dtype.element_ty), mask=here
    )


class UnitRows(torch.autograd.Function):
    """Rows (n, d) divided by their length, in another dtype if wanted: one pass over memory each way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows of x, (n, d), of length 1, in `dtype`."""
        x = x.contiguous()
        rows, width = x.shape
        y = torch.empty(rows, width, dtype=dtype, device=x.device)
        size = torch.empty(rows, dtype=torch.float32, device=x.device)
        _unit_rows[(rows,)](x, y, size, width, SMALLEST, triton.next_power_of_2(width), num_warps=1)
        ctx.save_for_backward(x, size)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient of x, (n, d)."""
        x, size = ctx.saved_tensors
        dy = gradients[0].contiguous()
        rows, width = x.shape
        dx = torch.empty_like(x)
        _unit_rows_backward[(rows,)](
            x, size, dy, dx, width, SMALLEST, triton.next_power_of_2(width), num_warps=1
        )
        return dx, None


@functools.cache
def works() -> bool:
    """Whether a kernel can be compiled and run on this machine's GPU."""
    try:
        one = torch.ones(2, 3, device="cuda")
        softmax_gradient(one, torch.zeros(2, dtype=torch.int64, device="cuda"), one[:, 0])
    except Exception:  # no compiler for the launcher, an unsupported GPU: torch's own operations do the same
        return False
    return True
