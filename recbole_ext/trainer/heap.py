"""Memory that a step of training or ranking frees is kept for the next step, on a CPU under glibc.

glibc gives blocks of more than 32 MB back to the kernel when they are freed, and what is free at the heap's end too.
The next step then gets fresh pages, which the kernel clears one by one: a quarter of the CPU time of a softmax over
43,000 items in float32, two fifths in bfloat16.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# of malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
# after training: where glibc's own adjustment of its thresholds ends
MMAP_FROM, TRIM_FROM, MMAPS = 32 << 20, 64 << 20, 65536

_open = 0  # blocks of `kept`


@contextmanager
def kept() -> Iterator[None]:
    """Within the block, and those within it, what is freed is kept."""
    global _open
    _open += 1
    if _open == 1:
        keep()
    try:
        yield
    finally:
        _open -= 1
        if not _open:
            give_back()


def keep() -> None:
    """Keep what is freed from now on; nothing where another C library runs, or variables MALLOC_* say what to do."""
    libc = _glibc()
    if libc is not None:
        libc.mallopt(MMAP_MAX, 0)
        libc.mallopt(TRIM_THRESHOLD, -1)


def give_back() -> None:
    """Give what is free to the kernel, and what will be freed; glibc's thresholds then stay where its own would end."""
    libc = _glibc()
    if libc is not None:
        libc.mallopt(MMAP_MAX, MMAPS)
        libc.mallopt(MMAP_THRESHOLD, MMAP_FROM)
        libc.mallopt(TRIM_THRESHOLD, TRIM_FROM)
        libc.malloc_trim(0)


def _glibc() -> Any:
    chosen = any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get(
        "GLIBC_TUNABLES", ""
    )
    if chosen or platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)
