"""Blocks made side by side in threads and taken in turn, a bounded number of them ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_turn(make: Callable[[Given], Made], blocks: Iterable[Given], at_once: int) -> Iterator[Made]:
    """What `make` makes of each block, in their order; `at_once` are in the making while one is used.

    make: whose result depends on its argument alone.
    """
    with ThreadPoolExecutor(at_once) as pool:
        ahead: deque[Future[Made]] = deque()
        for block in blocks:
            ahead.append(pool.submit(make, block))
            if len(ahead) > at_once:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
