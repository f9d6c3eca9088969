"""A progress line on a terminal for what takes longer than two seconds; nothing elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUIET_SECONDS = 2.0
EVERY_SECONDS = 0.25


@contextmanager
def progress(label: str, total: float | None = None, unit: str = "") -> Iterator[Callable[[float], None]]:
    """A function to call with the amount done since the last call; `total` None: no share is shown.

    Writes to stderr, only on a terminal and only after QUIET_SECONDS; the line is wiped at the end.
    """
    began = shown = time.monotonic()
    done = 0.0
    terminal = sys.stderr.isatty()

    def advance(amount: float) -> None:
        nonlocal done, shown
        done += amount
        now = time.monotonic()
        if not terminal or now - began < QUIET_SECONDS or now - shown < EVERY_SECONDS:
            return
        shown = now
        amount_text = f"{done:,.0f}{unit}" if total is None else f"{min(done / max(total, 1), 1):4.0%}"
        print(f"\r\x1b[K{label} {amount_text}, {now - began:.0f} s", end="", file=sys.stderr, flush=True)

    try:
        yield advance
    finally:
        if shown > began:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
