"""How numbers, durations, metrics and settings read: one home for page, Markdown, pictures and the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

ALPHA = 0.05
NONE = "–"
MINUS = "−"


def known(value: Any) -> TypeGuard[float]:
    """Whether `value` is a number that can be shown."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def score(value: Any, digits: int = 4) -> str:
    """A metric: .2371, without the leading nought that says nothing; a dash where there is none."""
    if not known(value):
        return NONE
    text = f"{abs(value):.{digits}f}"
    if text.startswith("0."):
        text = text[1:]
    return (MINUS if value < 0 and float(f"{value:.{digits}f}") else "") + text


def signed(value: Any, digits: int = 4) -> str:
    """A difference with its sign: +.0123, −.0040, .0000."""
    if not known(value):
        return NONE
    return ("+" if float(f"{value:.{digits}f}") > 0 else "") + score(value, digits)


def interval(found: Mapping[str, Any], digits: int = 4) -> str:
    """The interval of a value with `low` and `high`: .2330–.2410; empty where there is none."""
    low, high = found.get("low"), found.get("high")
    if not (known(low) and known(high)):
        return ""
    if low < 0 or high < 0:
        return f"{signed(low, digits)} to {signed(high, digits)}"
    return f"{score(low, digits)}–{score(high, digits)}"


def p_value(p: Any) -> str:
    """p < .001, p = .013; with a fourth digit where three would hide on which side of .05 it lies."""
    if not known(p):
        return "p unknown"
    if p < 0.001:
        return "p < .001"
    return f"p = {score(p, 4 if 0.0495 <= p < 0.0505 else 3)}"


def stars(p: Any) -> str:
    """*** p < .001, ** p < .01, * p < .05, n.s. otherwise, ? untested."""
    if not known(p):
        return "?"
    for limit, mark in ((0.001, "***"), (0.01, "**"), (ALPHA, "*")):
        if p < limit:
            return mark
    return "n.s."


def seconds(value: Any) -> str:
    """A duration, to two or three figures: 0.04 s, 3.2 s, 48 s, 12 min, 3.4 h."""
    if not known(value):
        return NONE
    if value < 0.1:
        return f"{value:.2g} s"
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    if value < 7200:
        return f"{value / 60:.1f} min" if value < 600 else f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h"


def duration(value: float) -> str:
    """A duration as a progress line has it, to the minute: 0 s, 31 s, 5 min, 2.5 h."""
    if value < 100:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 100 * 60 else f"{value / 3600:.1f} h"


def count(value: Any) -> str:
    """A whole number with separators; a mean that is no whole number with one digit."""
    if not known(value):
        return NONE
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def roughly(value: Any) -> str:
    """A large whole number to three figures: 950, 12.4 k, 4.81 M, 1.20 G."""
    if not known(value) or abs(value) < 10_000:
        return count(value)
    for limit, unit in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= limit:
            return f"{value / limit:.2f} {unit}"
    return f"{value / 1000:.1f} k" if value < 99_950 else f"{value / 1000:.0f} k"


def amount(value: Any) -> str:
    """A share to three digits, a larger quantity to one: .691, 312.4."""
    if not known(value):
        return NONE
    return score(value, 3) if abs(value) <= 1 else f"{value:,.1f}"


def size(value: Any) -> str:
    """Bytes in the nearest decimal unit."""
    if not known(value):
        return NONE
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def listed(names: Sequence[str], most: int = 4) -> str:
    """A, B and C; of many the first few and how many more."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def spaced(name: str) -> str:
    """A name from a program as words: session_length is session length."""
    return name.replace("_", " ")


def metric_name(metric: str) -> str:
    """The metric as papers write it: ndcg@10 is NDCG@10, hit@20 is HR@20, gini@20 is Gini@20."""
    name, at, k = metric.partition("@")
    shown = {"hit": "HR", "ndcg": "NDCG", "mrr": "MRR", "category_hit": "Category HR"}.get(name.lower())
    return (shown or name[:1].upper() + name[1:].replace("_", " ")) + at + k


def differing(what: str, values: Sequence[str]) -> str:
    """2 different devices: A and B."""
    return f"{len(values)} different {what}: {listed(values)}"


def shown_value(value: Any) -> str:
    """A setting as yaml would have it, on one line."""
    if value is None:
        return "~"
    if isinstance(value, Mapping):
        if set(value) == {"__enum__"}:
            return str(value["__enum__"][-1])
        return "{" + ", ".join(f"{k}: {shown_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(shown_value(v) for v in value) + "]"
    return f"{value:g}" if isinstance(value, float) and value == float(f"{value:g}") else str(value)
