"""Work beside the rest of a training step, on a CPU: two things that do not wait for each other share its threads.

The operations of a small step are too short for two threads to share one of them: they wait longer than they win.
So within `beside()`, half of torch's threads take the work that is given to `start`, and the calling thread goes on
with the other half until it asks for the result. What is computed, and in which order, stays the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")
_here = threading.local()


class _Halves:
    """One more Python thread, with half of torch's threads while it works."""

    def __init__(self, threads: int):
        self.threads = threads
        self.begun: list[Future[Any]] = []
        self.other = ThreadPoolExecutor(1, "beside", torch.set_num_threads, (threads // 2,))

    def start(self, work: Callable[[], Result]) -> Callable[[], Result]:
        future = self.other.submit(torch.no_grad()(work))
        self.begun.append(future)
        torch.set_num_threads(self.threads - self.threads // 2)

        def result() -> Result:
            found = future.result()
            self.begun = [other for other in self.begun if not other.done()]
            if not self.begun:
                torch.set_num_threads(self.threads)
            return found

        return result


@contextmanager
def beside(wanted: bool) -> Iterator[None]:
    """Within the block `start` has another thread for what this one gives it, if wanted and torch may use two."""
    threads = torch.get_num_threads()
    if not wanted or threads < 2 or getattr(_here, "halves", None) is not None:
        yield
        return
    halves = _here.halves = _Halves(threads)
    try:
        yield
    finally:
        _here.halves = None
        halves.other.shutdown()
        torch.set_num_threads(threads)


def start(work: Callable[[], Result]) -> Callable[[], Result]:
    """Begin work without gradients, and return what waits for its result, to be called by this thread; outside of
    `beside` the work is done at once. One is done after the other, in the order they are begun."""
    halves: _Halves | None = getattr(_here, "halves", None)
    if halves is not None:
        return halves.start(work)
    with torch.no_grad():
        found = work()
    return lambda: found
