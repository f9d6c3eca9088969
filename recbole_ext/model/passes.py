"""Passes over all items on a CPU: a few, where autograd would make many.

A training step reads and writes tables of all items, which no cache of a core holds, so what it takes is their number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_ext.model.rows import SMALLEST


def joined(ids: Tensor, features: Tensor, kept: Tensor) -> Tensor:
    """(n, d + e) of ids (n, d), zero where not kept (n,), and features (n, e), side by side; differentiable once.

    It collects the gradients of rows that `table_rows` looks up, of each of which autograd would make a whole table.
    """
    both: Tensor = _Joined.apply(ids, features, kept.unsqueeze(1).to(ids.dtype))
    return both


class _Joined(torch.autograd.Function):
    """Its node, the result's `grad_fn`, holds what comes beside autograd's own gradient: `collected` of rows, and
    `whole`, functions that say both gradients of all rows. `directions`: what says those of the rows that the loss
    reads, where they are being made."""

    @staticmethod
    def forward(ctx: Any, ids: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.set_materialize_grads(False)
        ctx.collected, ctx.whole, ctx.directions = [], [], None
        ctx.widths = width, wide = ids.shape[1], features.shape[1]
        both = ids.new_empty(len(ids), width + wide)
        torch.mul(ids, mask, out=both[:, :width])
        both[:, width:] = features
        return both

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, Tensor, None]:
        (mask,) = ctx.saved_tensors
        width = ctx.widths[0]
        parts: list[tuple[Tensor, Tensor]] = [made() for made in ctx.whole]
        if gradients[0] is not None:
            d_features = gradients[0][:, width:].clone(memory_format=torch.contiguous_format)
            parts.append((gradients[0][:, :width] * mask, d_features))
        if not parts:
            parts.append((mask.new_zeros(len(mask), width), mask.new_zeros(len(mask), ctx.widths[1])))
        d_ids, d_features = parts[0]
        for more in parts[1:]:
            d_ids.add_(more[0])
            d_features.add_(more[1])
        for items, rows in ctx.collected:
            d_ids.index_add_(0, items, rows[:, :width] * mask[items])
            d_features.index_add_(0, items, rows[:, width:])
        ctx.collected.clear()
        ctx.whole.clear()
        return d_ids, d_features, None


class Directions(NamedTuple):
    """Rows (C, d) divided by their lengths (C, 1)."""

    unit: Tensor
    size: Tensor


def directions(vectors: Tensor, rows: Tensor) -> Directions:
    """Those of rows (C,) of vectors (n, d)."""
    unit = vectors.index_select(0, rows)
    size = torch.linalg.vector_norm(unit, dim=-1, keepdim=True).clamp_min_(SMALLEST)
    return Directions(unit.div_(size), size)


def chosen_unit_rows(vectors: Tensor, rows: Tensor, made: Directions | None = None) -> Tensor:
    """(C, d) rows (C,) of vectors (n, d), each chosen once, divided by their lengths, as `unit_rows`; differentiable
    once. made: their directions, without gradients, where they have been made already."""
    unit: Tensor = _ChosenUnitRows.apply(vectors, rows, *(made or directions(vectors.detach(), rows)))
    return unit


class _ChosenUnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, rows: Tensor, unit: Tensor, size: Tensor) -> Tensor:
        ctx.save_for_backward(unit, size, rows)
        ctx.count = len(vectors)
        return unit.view_as(unit)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        unit, size, rows = ctx.saved_tensors
        dy, count = gradients[0], len(rows)
        along = (unit * dy).sum(-1, keepdim=True)
        inverse = torch.where(size > SMALLEST, size.reciprocal(), 0.0)
        own = unit.new_empty(count + 1, unit.shape[1])
        own[count] = 0  # for those that are not chosen
        torch.addcmul(dy, unit, along, value=-1, out=own[:count]).mul_(inverse)
        place = rows.new_full((ctx.count,), count)
        place[rows] = torch.arange(count)
        return own.index_select(0, place), None, None, None  # faster than putting them where they belong


class Sums:
    """A sparse matrix that tables are multiplied with: weighted sums of their rows.

    Both ways, as bags of rows: twice as fast as MKL's sparse products.
    """

    def __init__(self, row: Tensor, column: Tensor, value: Tensor, shape: tuple[int, int]):
        """row, column (K,) int64 and value (K,) float32 of the cells; shape: (n, m)."""
        self._by_row = _bags(row, column, value, shape[0])
        self._by_column = _bags(column, row, value, shape[1])

    def of(self, table: Tensor) -> Tensor:
        """(n, d) sums of the rows of a table (m, d), float32; differentiable once."""
        sums: Tensor = _Sums.apply(table, self)
        return sums


Bags = tuple[Tensor, Tensor, Tensor]  # (K,) which rows, (n,) where each bag begins, (K,) weights


def _bags(bag: Tensor, row: Tensor, value: Tensor, count: int) -> Bags:
    order = bag.argsort(stable=True)
    size = torch.bincount(bag, minlength=count)
    return row[order], size.cumsum(0) - size, value[order]


def _summed(bags: Bags, table: Tensor) -> Tensor:
    row, begin, value = bags
    return F.embedding_bag(row, table, begin, mode="sum", per_sample_weights=value)


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, sums: Sums) -> Tensor:
        ctx.sums = sums
        return _summed(sums._by_row, table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _summed(ctx.sums._by_column, gradients[0]), None
