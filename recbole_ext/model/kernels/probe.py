"""Whether a GPU takes a kernel: found out by running it once. Loads no Triton."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

AMPERE = (8, 0)  # older GPUs multiply no bfloat16


class Kept:
    """A probe that is asked for each argument until it has an answer.

    Where memory was out there is none: that says nothing of the kernel, so it is not used now and asked for again.
    """

    def __init__(self, probe: Callable[..., bool]):
        functools.update_wrapper(self, probe)
        self._answer = functools.cache(probe)  # which keeps no error
        self.cache_clear = self._answer.cache_clear

    def __call__(self, *arguments: Any) -> bool:
        try:
            return self._answer(*arguments)
        except OutOfMemory:
            return False


class OutOfMemory(Exception):
    """What `runs` raises where memory was out."""


def runs(kernel: Callable[[], Any]) -> bool:
    """Whether a kernel runs: False for what a GPU or its compiler does not take, such as too little memory in a block.

    Raises OutOfMemory where the GPU's own memory was out.
    """
    try:
        kernel()
    except Exception as error:
        # torch's own error, CUDA's or Triton's; of a block's memory they say "out of resource"
        if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error):
            raise OutOfMemory from error
        return False
    return True
