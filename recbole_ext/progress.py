"""How far something is that takes longer than two seconds: a line on a terminal with an estimate, one in the log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUIET_SECONDS = 2.0
EVERY_SECONDS = 0.25


@contextmanager
def progress(label: str, total: float | None = None, unit: str = "") -> Iterator[Callable[[float], None]]:
    """A function to call with the amount done since the last call; `total` None: no share and no estimate is shown.

    On a terminal a line on stderr, from QUIET_SECONDS on, which is wiped at the end. What took as long is said in the
    log then, if there is one that takes `info`.
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
        said = _said(done, total, unit, now - began)
        print(f"\r\x1b[K{label} {said}", end="", file=sys.stderr, flush=True)

    try:
        yield advance
    finally:
        if shown > began:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if time.monotonic() - began >= QUIET_SECONDS:
        logging.getLogger(__name__).info("%s took %s", label.rstrip(":"), _span(time.monotonic() - began))


def _said(done: float, total: float | None, unit: str, seconds: float) -> str:
    """`34%, 5 s, 10 s left`, or how much is done where nobody knows how much there is."""
    if total is None:
        return f"{done:,.0f}{unit}, {_span(seconds)}"
    share = min(done / max(total, 1), 1)
    left = f", {_span(seconds * (1 / share - 1))} left" if share > 0 else ""
    return f"{share:4.0%}, {_span(seconds)}{left}"


def _span(seconds: float) -> str:
    """31 s, 5 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
