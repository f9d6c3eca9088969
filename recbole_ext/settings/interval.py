"""Intervals of numbers as RecBole writes them: "[3,inf)", or several, "[1,2];(5,9]"."""

from __future__ import annotations

import math
import re
from typing import Any

from recbole_ext.errors import UsageError

# low, high, whether low itself belongs to it, whether high does
Limits = list[tuple[float, float, bool, bool]]

_EVERYTHING = ("[0,inf)", "(-inf,inf)", "[0,inf]", "none", "false", "")
_INTERVAL = re.compile(r"([\[(])([^,;\[\]()]+),([^,;\[\]()]+)([\])])")


def limits(value: Any) -> bool:
    """Whether a k-core interval (or a list of columns to normalise) does anything."""
    return value is not None and str(value).replace(" ", "").lower() not in _EVERYTHING


def parse_limits(value: Any, key: str) -> Limits | None:
    """The intervals of numbers of events that `key` holds; None: everything stays.

    Raises UsageError where RecBole only warns, and for a limit below 0, which no number of events can have.
    """
    if not limits(value):
        return None
    found = _parts(value)
    if found is None or any(-math.inf < low < 0 or high < 0 for low, high, _, _ in found):
        raise UsageError(f'{key} is {value}: write an interval of numbers of events, as in "[5,inf)"')
    return found


def check_interval(value: Any, key: str) -> None:
    """Raise UsageError unless `value` is one or more intervals of numbers."""
    if _parts(value) is None:
        raise UsageError(f'{key} is {value!r}: write an interval of numbers, as in "[0,100)"')


def _parts(value: Any) -> Limits | None:
    intervals = []
    for text in str(value).replace(" ", "").split(";"):
        found = _INTERVAL.fullmatch(text)
        if found is None:
            return None
        try:
            low, high = float(found[2]), float(found[3])
        except ValueError:
            return None
        if not low <= high:
            return None
        intervals.append((low, high, found[1] == "[", found[4] == "]"))
    return intervals
