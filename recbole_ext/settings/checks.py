"""Values of a config, checked one by one."""

from __future__ import annotations

import math
from typing import Any

from recbole_ext.errors import UsageError


def number(config: Any, key: str, low: float, high: float = math.inf, *, whole: bool = False) -> float:
    """The number at `key`; UsageError when it is none, not whole where it has to be, or outside [low, high]."""
    value = config[key]
    right = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not right or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        bounds = f"from {low} to {high}" if high < math.inf else f"of {low} or more"
        raise UsageError(f"{key} is {value!r}: it has to be {kind} {bounds}")
    return value


def one_of(config: Any, key: str, allowed: tuple[str, ...]) -> str:
    """The word at `key`; UsageError when it is not among `allowed`."""
    # `--user_state=none` on a command line is read as yaml's null
    value = "none" if config[key] is None and key in config else config[key]
    if value not in allowed:
        raise UsageError(f"{key} is {value!r}: it has to be one of {', '.join(allowed)}")
    return value
