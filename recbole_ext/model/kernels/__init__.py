"""Triton kernels for a GPU. Each has a counterpart in plain torch, which it is tested against.

softmax.py: softmax cross-entropy over a large catalogue. rows.py: rows scaled to unit length, and the gradient of
looked-up rows. recurrence.py: a GRU's steps. norm.py: layer norms. probe.py: whether a GPU takes one. Those with
kernels are imported only where Triton is there, by `found`.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import torch

from recbole_ext.model.kernels.probe import Kept, runs


def found() -> Any:
    """The modules of kernels as attributes, or None where Triton is missing or cannot compile for the GPU here."""
    return _modules() if _works() else None


@functools.cache
def _modules() -> Any:
    try:
        from recbole_ext.model.kernels import norm, recurrence, rows, softmax
    except ImportError:
        return None
    return SimpleNamespace(softmax=softmax, rows=rows, recurrence=recurrence, norm=norm)


@Kept
def _works() -> bool:
    """False where there is no compiler for the launcher, or the GPU is unsupported: torch's own do the same."""
    modules = _modules()
    return modules is not None and runs(lambda: _try(modules))


def _try(modules: Any) -> None:
    one = torch.ones(2, 3, device="cuda")
    modules.softmax.gradient(one, torch.zeros(2, dtype=torch.int64, device="cuda"), one[:, 0])
