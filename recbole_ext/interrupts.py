"""Ctrl-C, taken calmly by a program: one interrupt ends the work, a second press right behind it changes nothing, and
none shows a traceback. Loads nothing else of ours, so that it holds before long imports."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

AGAIN = 1.0  # seconds in which a second press is meant as the first
CODE = 130  # exit code of what was interrupted, as shells have it


def program(do: Callable[[], int]) -> int:
    """The exit code of what a program does; from then on the process is to end, and Ctrl-C ends it at once, with CODE.

    An interrupt that `do` does not take is said in a word. Where SIGINT is not Python's own, as in a shell's background
    job, which ignores it, nothing is changed.
    """
    calm = _Calm() if signal.getsignal(signal.SIGINT) is signal.default_int_handler else None
    if calm is not None:
        signal.signal(signal.SIGINT, calm)
        # the last thing that Python calls: it would put the system's own handler back, which kills
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    try:
        return do()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return CODE
    finally:
        if calm is not None:
            calm.done = True


def reason(stop: KeyboardInterrupt) -> str:
    """What an interrupt says of how to go on, or the one that it came upon while that one was on its way out."""
    found: BaseException | None = stop
    while found is not None:
        if isinstance(found, KeyboardInterrupt) and str(found):
            return str(found)
        found = found.__cause__ or found.__context__
    return ""


@contextmanager
def kept_from_children() -> Iterator[None]:
    """Processes that are started within the block get no Ctrl-C, from their first instruction on.

    It reaches their parent too, which ends them; one that comes in between reaches it behind the block.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # it lets signals through again when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Calm:
    """A handler of SIGINT. done: the program's work is, whether or not it was interrupted."""

    def __init__(self) -> None:
        self.done = False
        self.last = -AGAIN

    def __call__(self, number: int, frame: FrameType | None) -> Any:
        now = time.monotonic()
        if now - self.last < AGAIN:
            return
        self.last = now
        if not self.done:
            raise KeyboardInterrupt
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError, RuntimeError):  # closed, or being written
                stream.flush()
        os._exit(CODE)
