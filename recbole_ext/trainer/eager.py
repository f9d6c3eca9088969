"""torch's optimizers without torch's compiler.

Making an optimizer, its step and a few of its methods import `torch._dynamo`, so that a compiled program leaves them
alone (torch/_compile.py, torch/optim/optimizer.py of torch 2.6 to 2.13). That takes a second or more in every process,
and nothing here is compiled, so they are called as they are beneath that. Where the compiler has been imported already,
by somebody who may use it, all stays as torch has it.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim import optimizer as module

COMPILER = "torch._dynamo"
METHODS = (
    "zero_grad",
    "state_dict",
    "load_state_dict",
    "add_param_group",
)  # those that torch keeps from its compiler
_MARK = "__dynamo_disable"  # where torch keeps what it calls in the place of such a method


@contextmanager
def without_compiler() -> Iterator[None]:
    """Make optimizers in this block without importing the compiler."""
    method = inspect.unwrap(Optimizer.add_param_group)
    if COMPILER in sys.modules or hasattr(method, _MARK):
        yield
        return
    setattr(method, _MARK, method)
    try:
        yield
    finally:
        delattr(method, _MARK)


def eager(optimizer: Optimizer) -> Optimizer:
    """The optimizer, whose methods do what its class says and import no compiler; hooks of its step are called."""
    if COMPILER in sys.modules:
        return optimizer
    own = type(optimizer)
    bare = inspect.unwrap(own.step)

    @functools.wraps(own.step)
    def step(self: Any, closure: Any = None) -> Any:
        if _hooked(self) or closure is not None or self.defaults.get("differentiable"):
            return own.step(self, closure)
        with torch.no_grad():
            return bare(self)

    optimizer.step = MethodType(step, optimizer)  # type: ignore[method-assign]
    for name in METHODS:
        setattr(optimizer, name, MethodType(inspect.unwrap(getattr(own, name)), optimizer))
    return optimizer


def _hooked(optimizer: Any) -> bool:
    every = (module._global_optimizer_pre_hooks, module._global_optimizer_post_hooks)
    own = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
    return any((*every, *own))
