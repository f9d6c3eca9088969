"""The value of `eval_args.split`, read and checked: which sessions train, validate and test.

`LS`, `RS` and `TS` are RecBole's and cut inside sessions; `session_time`, `given` and `session_random` keep them whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from recbole_ext.errors import UsageError, did_you_mean
from recbole_ext.settings.base import unknown_key

STRADDLING = ("LS", "RS", "TS")
WHOLE_SESSIONS = ("session_time", "given", "session_random")
SPLITS = STRADDLING + WHOLE_SESSIONS
LEAVE_ONE_OUT = ("valid_and_test", "valid_only", "test_only")
Shares = tuple[float, float, float]


class Split(NamedTuple):
    """Name and value of `eval_args.split`, as they are written."""

    name: str
    value: Any


def straddles(split: str | Mapping[str, Any]) -> bool:
    """Whether this split (its name, or `eval_args.split`) puts events of one session into several parts."""
    name = split if isinstance(split, str) else next(iter(split))
    return name in STRADDLING


def named(split: Any) -> Split:
    """Name and value of `eval_args.split`; raises UsageError when it is none of these."""
    known = ", ".join(SPLITS)
    if not isinstance(split, Mapping) or len(split) != 1:
        raise UsageError(
            f"eval_args.split is {split}: write one of {known} with its value, such as {{RS: [8, 1, 1]}}"
        )
    ((name, value),) = split.items()
    if name not in SPLITS:
        meant = did_you_mean(str(name), SPLITS)
        raise UsageError(f"unknown key {name} in eval_args.split{meant or f': choose one of {known}'}")
    return Split(name, value)


def checked(split: Any) -> Split:
    """As `named`, and the value is one that this split can use; raises UsageError."""
    name, value = named(split)
    if name == "LS":
        if value not in LEAVE_ONE_OUT:
            meant = did_you_mean(str(value), LEAVE_ONE_OUT)
            raise UsageError(
                f"eval_args.split LS is {value!r}: it has to be one of {', '.join(LEAVE_ONE_OUT)}{meant}"
            )
    elif name in ("RS", "TS"):
        shares_of(value, name, f"or another split than {name}")
    elif name == "given":
        valid_share(value)
    elif name == "session_random":
        shares_and_seed(value)
    elif isinstance(value, Mapping):
        days_of(value)
    else:
        shares_of(value)
    return Split(name, value)


def valid_share(value: Any) -> float:
    """Of the split `given`: share of the training sessions that validate where the data marks none."""
    options = {} if value is None else value
    if not isinstance(options, Mapping):
        raise UsageError(
            f"eval_args.split given has the value {value}: write {{given: {{valid_share: 0.1}}}}"
        )
    _refuse_others(options, ("valid_share",), "given")
    share = options.get("valid_share", 0.1)
    if not _is_number(share) or not 0 <= share < 1:
        raise UsageError(f"eval_args.split given has valid_share {share}: write a number from 0 to below 1")
    return float(share)


def days_of(value: Mapping[str, Any]) -> tuple[int, int]:
    """Of `session_time` by days: test days and validation days."""
    _refuse_others(value, ("test_days", "valid_days"), "session_time")
    options = {"valid_days": value.get("test_days"), **value}
    whole = all(isinstance(item, int) and not isinstance(item, bool) for item in options.values())
    usable = whole and set(options) == {"test_days", "valid_days"}
    if not usable or options["test_days"] < 1 or options["valid_days"] < 0:
        raise UsageError(
            f"eval_args.split session_time has the value {dict(value)}: write whole days, as in "
            "{test_days: 1, valid_days: 1}, or three shares"
        )
    return options["test_days"], options["valid_days"]


def shares_and_seed(value: Any) -> tuple[Shares, int]:
    """Of `session_random`: shares of the sessions, and the seed that they are drawn with."""
    options = value if isinstance(value, Mapping) else {"shares": value}
    _refuse_others(options, ("shares", "seed"), "session_random")
    seed = options.get("seed", 0)
    if "shares" not in options or not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UsageError(
            f"eval_args.split session_random has the value {value}: write "
            "{shares: [0.8, 0.1, 0.1], seed: 1}, or three shares"
        )
    return shares_of(options["shares"], "session_random", "or {shares: [0.8, 0.1, 0.1], seed: 1}"), seed


def shares_of(
    value: Any, name: str = "session_time", other: str = "or {test_days: 1, valid_days: 1}"
) -> Shares:
    """Three shares of train, valid and test, which sum to 1 whatever they were written as."""
    numbers = isinstance(value, list | tuple) and len(value) == 3 and all(_is_number(item) for item in value)
    if not numbers or min(value) < 0 or not value[0] or not value[2]:
        raise UsageError(
            f"eval_args.split {name} has the value {value}: write three shares (train, valid, test), "
            f"as in [0.8, 0.1, 0.1], {other}"
        )
    total = sum(value)
    return value[0] / total, value[1] / total, value[2] / total


def _refuse_others(options: Mapping[str, Any], known: tuple[str, ...], name: str) -> None:
    for key in options:
        if key not in known:
            raise UsageError(unknown_key(str(key), known, f"eval_args.split.{name}"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
