"""Rows of a table: looked up, and scaled to unit length."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_ext.model import kernels
from recbole_ext.scores.ways import KERNELS, OWN, ROWS, took

SMALLEST = 1e-12  # as F.normalize: shorter rows are divided by this


def unit_rows(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Rows (…, d) divided by their Euclidean length, as `dtype` if given; differentiable once.

    A row of zeros stays one and gets no gradient: it has no direction, where dividing by a smallest length would send
    1e12 times what came (an item without features whose id part is dropped, before the first step has moved a bias).
    """
    found = kernels.found() if x.is_cuda and x.dim() == 2 else None
    rows = _UnitRows if found is None else found.rows.UnitRows
    unit: Tensor = rows.apply(x, dtype or x.dtype)
    return unit


class _UnitRows(torch.autograd.Function):
    """In half the passes over memory that autograd would make of F.normalize."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dtype: torch.dtype) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min_(SMALLEST)
        unit = x / size
        ctx.save_for_backward(unit, size)
        return unit.to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        unit, size = ctx.saved_tensors
        dy = gradients[0].to(unit.dtype)
        along = (unit * dy).sum(-1, keepdim=True)
        inverse = torch.where(size > SMALLEST, size.reciprocal(), 0.0)
        return torch.addcmul(dy, unit, along, value=-1).mul_(inverse), None


# items (k,) that were looked up, and the gradients (k, d) of their rows
Collected = list[tuple[Tensor, Tensor]]


class _Rows(torch.autograd.Function):
    """Rows whose gradients go to a list that the table's own backward adds up, which autograd runs after this one."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, items: Tensor, collected: Collected) -> Tensor:
        ctx.save_for_backward(items)
        ctx.into = collected
        return F.embedding(items, table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        (items,) = ctx.saved_tensors
        ctx.into.append((items.flatten(), gradients[0].flatten(0, -2)))
        return None, None, None


def table_rows(table: Tensor, items: Tensor, padding: int = -1) -> Tensor:
    """(…, d) rows `items` (…) of a table (n, d), as F.embedding; with a faster gradient on a GPU, and of a table that
    collects them (passes.py) on a CPU.

    padding: a row without gradient.
    """
    collected: Collected | None = getattr(table.grad_fn, "collected", None)
    if collected is not None and torch.is_grad_enabled():
        took(ROWS, OWN)
        one_by_one: Tensor = _Rows.apply(table, items, collected)
        return one_by_one
    learns = table.is_cuda and table.requires_grad and torch.is_grad_enabled()
    found = kernels.found() if learns else None
    took(ROWS, OWN if found is None else KERNELS)
    if found is None:
        return F.embedding(items, table, None if padding < 0 else padding)
    rows: Tensor = found.rows.look_up(table, items, padding)
    return rows
