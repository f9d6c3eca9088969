"""Triton kernels for a GPU. Each has a counterpart in plain torch, which it is tested against.

softmax.py: softmax cross-entropy over a large catalogue. rows.py: rows scaled to unit length, and the gradient of
looked-up rows. recurrence.py: a GRU's steps. norm.py: layer norms. Imported only where Triton is there, by `found`.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import torch


@functools.cache
def found() -> Any:
    """The modules of kernels as attributes, or None where Triton is missing or cannot compile for the GPU here."""
    try:
        from recbole_ext.model.kernels import norm, recurrence, rows, softmax
    except ImportError:
        return None
    modules = SimpleNamespace(softmax=softmax, rows=rows, recurrence=recurrence, norm=norm)
    return modules if _works(modules) else None


def _works(modules: Any) -> bool:
    try:
        one = torch.ones(2, 3, device="cuda")
        modules.softmax.gradient(one, torch.zeros(2, dtype=torch.int64, device="cuda"), one[:, 0])
    except Exception:  # no compiler for the launcher, an unsupported GPU: torch's own operations do the same
        return False
    return True
