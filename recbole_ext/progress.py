"""How far something is that takes longer than two seconds: a line on a terminal with an estimate, one in the log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import accumulate

QUIET_SECONDS = 2.0
EVERY_SECONDS = 0.25

_stage: ContextVar[Callable[[str, float], None] | None] = ContextVar("stage", default=None)


@contextmanager
def progress(label: str, total: float | None = None, unit: str = "") -> Iterator[Callable[[float], None]]:
    """A function to call with the amount done since the last call; `total` None: no share and no estimate is shown.

    On a terminal a line on stderr, from QUIET_SECONDS on, which is wiped at the end. What took as long is said in the
    log then, if there is one that takes `info`.
    """
    began = shown = time.monotonic()
    done = 0.0
    terminal = sys.stderr.isatty()
    wiper = (
        _Wiper() if terminal and logging.root.handlers else None
    )  # where there is none, logging has its own

    def advance(amount: float) -> None:
        nonlocal done, shown
        done += amount
        now = time.monotonic()
        if not terminal or now - began < QUIET_SECONDS or now - shown < EVERY_SECONDS:
            return
        shown = now
        said = _said(done, total, unit, now - began)
        print(f"\r\x1b[K{label} {said}", end="", file=sys.stderr, flush=True)

    if wiper is not None:
        logging.root.handlers.insert(0, wiper)  # before the one that writes to the terminal
    try:
        yield advance
    finally:
        if wiper is not None:
            logging.root.removeHandler(wiper)
        if shown > began:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if time.monotonic() - began >= QUIET_SECONDS:
        logging.getLogger(__name__).info("%s took %s", label.rstrip(":"), _span(time.monotonic() - began))


class _Wiper(logging.Handler):
    """Takes the line away before a message is written where it stands."""

    def emit(self, record: logging.LogRecord) -> None:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextmanager
def staged(label: str, stages: Mapping[str, float]) -> Iterator[None]:
    """As `progress`, of work whose steps lie in rooms that do not know of each other: they call `stage`.

    stages: names in order, with what each one usually takes, in any unit; a stage of another name is passed over.
    """
    before = dict(zip(stages, accumulate(stages.values(), initial=0.0)))
    reached = 0.0
    with progress(label, sum(stages.values())) as advance:

        def tell(name: str, share: float) -> None:
            nonlocal reached
            if name not in before:
                return
            place = max(before[name] + share * stages[name], reached)  # what comes again takes nothing back
            advance(place - reached)
            reached = place

        outer = _stage.set(tell)
        try:
            yield
        finally:
            _stage.reset(outer)


def stage(name: str, share: float = 0.0) -> None:
    """The work that is `staged` around this is at `share` of the stage `name`; nothing where none is."""
    tell = _stage.get()
    if tell is not None:
        tell(name, share)


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
