"""Layer norms of short rows, many of them in a block; torch gives each row a block of its own."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

NUMBERS = 4096  # of a block
PROGRAMS = 256  # that sum the gradients of weight and bias


@triton.jit(do_not_specialize=["rows"])
def _forward(x, weight, bias, y, mean, scale, rows, width, eps, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    lane = tl.arange(0, WIDTH)
    inside = lane < width
    here = (row < rows)[:, None] & inside[None, :]
    place = row[:, None].to(tl.int64) * width + lane[None, :]
    values = tl.load(x + place, mask=here, other=0.0)
    middle = tl.sum(values, axis=1) / width
    apart = tl.where(here, values - middle[:, None], 0.0)
    one_over = tl.rsqrt(tl.sum(apart * apart, axis=1) / width + eps)
    w = tl.load(weight + lane, mask=inside, other=0.0)
    b = tl.load(bias + lane, mask=inside, other=0.0)
    tl.store(y + place, apart * one_over[:, None] * w[None, :] + b[None, :], mask=here)
    tl.store(mean + row, middle, mask=row < rows)
    tl.store(scale + row, one_over, mask=row < rows)


@triton.jit(do_not_specialize=["rows", "programs"])
def _backward(
    x, weight, mean, scale, dy, dx, sums, rows, width, programs, ROWS: tl.constexpr, WIDTH: tl.constexpr
):
    program = tl.program_id(0)
    lane = tl.arange(0, WIDTH)
    inside = lane < width
    w = tl.load(weight + lane, mask=inside, other=0.0)
    of_weight = tl.zeros([WIDTH], tl.float32)
    of_bias = tl.zeros([WIDTH], tl.float32)
    for first in range(program * ROWS, rows, programs * ROWS):
        row = first + tl.arange(0, ROWS)
        here = (row < rows)[:, None] & inside[None, :]
        place = row[:, None].to(tl.int64) * width + lane[None, :]
        middle = tl.load(mean + row, mask=row < rows, other=0.0)
        one_over = tl.load(scale + row, mask=row < rows, other=0.0)
        unit = (tl.load(x + place, mask=here, other=0.0) - middle[:, None]) * one_over[:, None]
        unit = tl.where(here, unit, 0.0)
        gradient = tl.load(dy + place, mask=here, other=0.0)
        of_weight += tl.sum(gradient * unit, axis=0)
        of_bias += tl.sum(gradient, axis=0)
        pulled = gradient * w[None, :]
        along = tl.sum(pulled * unit, axis=1) / width
        common = tl.sum(pulled, axis=1) / width
        found = (pulled - unit * along[:, None] - common[:, None]) * one_over[:, None]
        tl.store(dx + place, found, mask=here)
    tl.store(sums + program * WIDTH + lane, of_weight)
    tl.store(sums + (programs + program) * WIDTH + lane, of_bias)


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        x = x.contiguous()
        width = x.shape[-1]
        rows = x.numel() // width
        wide = triton.next_power_of_2(width)
        each = max(1, NUMBERS // wide)
        y = torch.empty_like(x)
        mean, scale = torch.empty(2, rows, dtype=torch.float32, device=x.device).unbind()
        _forward[(triton.cdiv(rows, each),)](x, weight, bias, y, mean, scale, rows, width, eps, each, wide)
        ctx.save_for_backward(x, weight, mean, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, scale = ctx.saved_tensors
        width = x.shape[-1]
        rows = x.numel() // width
        wide = triton.next_power_of_2(width)
        each = max(1, NUMBERS // wide)
        dx = torch.empty_like(x)
        programs = min(PROGRAMS, triton.cdiv(rows, each))
        sums = torch.empty(2, programs, wide, dtype=torch.float32, device=x.device)
        _backward[(programs,)](
            x, weight, mean, scale, gradients[0].contiguous(), dx, sums, rows, width, programs, each, wide
        )
        of_weight, of_bias = sums.sum(1)[:, :width]
        return dx, of_weight, of_bias, None


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """(…, d) rows of x, float32, of mean 0 and variance 1, times weight (d,) plus bias (d,), as F.layer_norm."""
    if x.numel() == 0:
        return torch.nn.functional.layer_norm(x, weight.shape, weight, bias, eps)
    normed: Tensor = _LayerNorm.apply(x, weight, bias, eps)
    return normed
