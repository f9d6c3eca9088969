"""Rows scaled to unit length, and the gradient of rows that were looked up."""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

SMALLEST = 1e-12  # as model/rows.py has it
MOST_SUMMED = 1 << 26  # numbers of a table whose gradient is summed in int64: half a gigabyte


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
    @once_differentiable
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


@triton.jit
def _scale_of(largest, bits):
    # a power of two, so that multiplying by it and its inverse is exact; at most 2 ** 120, whose inverse is a number
    exponent = tl.minimum(bits - 1.0 - tl.floor(tl.log2(tl.maximum(largest, 1e-37))), 120.0)
    return tl.exp2(exponent)


@triton.jit(do_not_specialize=["bits"])
def _add_rows(gradient, row_of, sums, largest, width, padding, bits, WIDTH: tl.constexpr):
    place = tl.program_id(0).to(tl.int64)
    into = tl.load(row_of + place)
    if into != padding:
        column = tl.arange(0, WIDTH)
        here = column < width
        scale = _scale_of(tl.load(largest), bits)
        value = tl.load(gradient + place * width + column, mask=here, other=0.0).to(tl.float32) * scale
        tl.atomic_add(sums + into * width + column, value.to(tl.int64), mask=here & (value != 0))


@triton.jit(do_not_specialize=["bits"])
def _as_numbers(sums, out, largest, count, bits, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = place < count
    most = tl.load(largest)
    scale = _scale_of(most, bits)
    value = tl.load(sums + place, mask=here, other=0).to(tl.float32) * (1.0 / scale)
    # what is no number stays none
    value = tl.where((most - most) == 0.0, value, float("nan"))
    tl.store(out + place, value.to(out.dtype.element_ty), mask=here)


def sum_of_rows(gradient: Tensor, rows: Tensor, table_rows: int, padding: int = -1) -> Tensor:
    """(table_rows, d) sum over places p of `gradient[p]` in row `rows[p]`, the same bits in every run.

    Sums of integers do not depend on their order, so the numbers are added as multiples of one power of two, without
    the sort that torch's own gradient makes. It is 2^-61 n of the largest one or less, 2^-48 for 8,192 places: of a
    number 2^-24 of the largest as many digits are left as float32 has. Where one is no number, none of the sums is.

    gradient: (n, d) float32 or less. rows: (n,) int64. padding: a row that gets nothing.
    """
    gradient, rows = gradient.contiguous(), rows.contiguous()
    n, width = gradient.shape
    sums = torch.zeros(table_rows, width, dtype=torch.int64, device=gradient.device)
    out = torch.empty(table_rows, width, dtype=gradient.dtype, device=gradient.device)
    largest = torch.linalg.vector_norm(gradient, torch.inf, dtype=torch.float32)
    # n of the largest do not overflow
    bits = 62 - max(1, math.ceil(math.log2(max(n, 2))))
    _add_rows[(n,)](
        gradient, rows, sums, largest, width, padding, bits, triton.next_power_of_2(width), num_warps=1
    )
    block = 1024
    _as_numbers[(triton.cdiv(sums.numel(), block),)](
        sums, out, largest, sums.numel(), bits, block, num_warps=4
    )
    return out


class LookedUpRows(torch.autograd.Function):
    """Rows of a table, as F.embedding, whose gradient is made without a sort."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, items: Tensor, padding: int) -> Tensor:
        """(…, d) rows `items` (…) of table (n, d)."""
        ctx.save_for_backward(items)
        ctx.rows, ctx.padding = len(table), padding
        return torch.nn.functional.embedding(items, table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of the table, (n, d)."""
        (items,) = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, gradients[0].shape[-1])
        return sum_of_rows(gradient, items.flatten(), ctx.rows, ctx.padding), None, None


def look_up(table: Tensor, items: Tensor, padding: int = -1) -> Tensor:
    """(…, d) rows `items` (…) of a table (n, d); `padding` names a row without gradient."""
    if table.numel() > MOST_SUMMED or items.numel() == 0 or table.dtype == torch.float64:
        return torch.nn.functional.embedding(items, table, None if padding < 0 else padding)
    rows: Tensor = LookedUpRows.apply(table, items, padding)
    return rows
