"""Counts of what was tried, and how it ended: right, or wrong with a sentence that says how."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any

KEY = "robustness"
SHOWN = 8  # of the wrong ones of a test


class Tally:
    """The tries of one test.

    part: which of the five; what: the thing tried; properties: of the test, for the counts. step: of cheap tries, which
    are many, each step-th is made.
    At the end of its block the counts are noted, and an AssertionError shows some of the wrong ones.
    """

    def __init__(self, part: str, what: str, properties: list[tuple[str, Any]], step: int = 1) -> None:
        self.part, self.what, self.properties, self.step = part, what, properties, step
        self.tried = 0
        self.wrong: list[str] = []
        self.ways: dict[str, int] = {}

    def right(self, way: str) -> None:
        """One more that ended right; way: how, as there are several right ones."""
        self.tried += 1
        self.ways[way] = self.ways.get(way, 0) + 1

    def fail(self, how: str) -> None:
        """One more that ended wrong."""
        self.tried += 1
        self.wrong.append(how)

    def __enter__(self) -> Tally:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.properties.append((KEY, self.row()))
        if error is not None:
            return
        assert self.tried, f"{self.what}: nothing was tried"
        shown = "\n".join(self.wrong[:SHOWN])
        assert not self.wrong, f"{self.what}: {len(self.wrong)} of {self.tried} are wrong, such as\n{shown}"

    def row(self) -> list[Any]:
        """What a report carries from one process to another."""
        return [self.part, self.what, self.tried, len(self.wrong), self.ways]


def added(rows: Iterable[list[Any]]) -> list[list[Any]]:
    """Rows of `Tally.row`, those of one part and thing added up, in the order of the parts."""
    sums: dict[tuple[str, str], list[Any]] = {}
    for part, what, tried, wrong, ways in rows:
        row = sums.setdefault((part, what), [part, what, 0, 0, {}])
        row[2] += tried
        row[3] += wrong
        for way, count in ways.items():
            row[4][way] = row[4].get(way, 0) + count
    return [sums[key] for key in sorted(sums)]


def lines(rows: Iterable[list[Any]]) -> list[tuple[str, str, str, str, str, str]]:
    """Part, thing, tried, right, wrong and the right ways, as text."""
    shown = []
    for part, what, tried, wrong, ways in added(rows):
        how = ", ".join(f"{way} {count:,}" for way, count in sorted(ways.items()))
        shown.append((part, what, f"{tried:,}", f"{tried - wrong:,}", f"{wrong:,}", how))
    return shown
