"""Kinds of columns of a log: what makes a text bad, and how a good one becomes a value.

What is not exactly a value of its kind is bad, never coerced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from recbole_ext.convert.engine import pl

Test = Callable[["pl.Expr"], "pl.Expr"]
WHOLE = r"^(0|[1-9][0-9]{0,17})$"  # what an id looks like


@dataclass(frozen=True)
class Column:
    """One column of a log: our name, the owner's, what makes a text bad and how a good one becomes a value.

    `faults` are (reason, test on the text) pairs, the first that holds names the row's fault; `unknown` are
    texts that mean that there is no value (null), which is not a fault. Spellings that differ from the
    owner's in case, `_` or `.` alone are the same column (sessionId = session_id). `whole`: (least, most) where
    whole numbers of this range in their shortest spelling are good texts, 0 <= least <= most < 10^18.
    `no_marks`: a tab or quotation mark is a fault.
    """

    name: str
    owner: str
    value: Test
    faults: tuple[tuple[str, Test], ...] = ()
    unknown: tuple[str, ...] = ()
    whole: tuple[int, int] | None = None
    no_marks: bool = False


def id_column(name: str, owner: str, unknown: Sequence[str] = ()) -> Column:
    """An id: decimal digits without sign, point, exponent or leading zeros, up to 18 of them -> Int64."""
    fault = (f"{owner} is not a whole number", lambda text: ~text.str.contains(WHOLE))
    whole = None if unknown else (0, 10**18 - 1)
    return Column(
        name, owner, lambda text: text.cast(pl.Int64, strict=False), (fault,), tuple(unknown), whole
    )


def choice_column(name: str, owner: str, choices: Sequence[str]) -> Column:
    """One of a few words -> Enum in the order of `choices`."""
    fault = (f"{owner} is none of {', '.join(choices)}", lambda text: ~text.is_in(list(choices)))
    return Column(name, owner, lambda text: text.cast(pl.Enum(choices), strict=False), (fault,))


def text_column(name: str, owner: str, unknown: Sequence[str] = ()) -> Column:
    """Any text without tabs and quotation marks, not empty -> String."""
    fault = (f"{owner} is empty", lambda text: text == "")
    return Column(name, owner, lambda text: text, (fault,), tuple(unknown), no_marks=True)


def epoch_ms_column(name: str, owner: str, first: date, last: date) -> Column:
    """A moment in whole milliseconds since 1970, from the day `first` to the day `last` (UTC) -> Int64."""
    low, high = (int((day - date(1970, 1, 1)).total_seconds()) * 1000 for day in (first, last))
    high += 86_400_000 - 1

    def number(text: pl.Expr) -> pl.Expr:
        return text.cast(pl.Int64, strict=False)

    faults: tuple[tuple[str, Test], ...] = (
        (f"{owner} is not a whole number", lambda text: ~text.str.contains(WHOLE)),
        (f"{owner} is out of range", lambda text: ~number(text).is_between(low, high).fill_null(False)),
    )
    return Column(name, owner, number, faults, whole=(low, high))


def duration_column(name: str, owner: str, longest: int) -> Column:
    """A time since the session's start: whole, not negative, at most `longest` -> Int64."""
    faults: tuple[tuple[str, Test], ...] = (
        (f"{owner} is negative", lambda text: text.str.contains(r"^-[0-9]+$")),
        (f"{owner} is not a whole number", lambda text: ~text.str.contains(r"^[0-9]+$")),
        (
            f"{owner} is out of range",
            lambda text: ~(text.cast(pl.Int64, strict=False) <= longest).fill_null(False),
        ),
    )
    return Column(name, owner, lambda text: text.cast(pl.Int64, strict=False), faults, whole=(0, longest))


def date_column(name: str, owner: str, first: date, last: date) -> Column:
    """A day written YYYY-MM-DD, from `first` to `last` -> Date."""

    def day(text: pl.Expr) -> pl.Expr:
        return text.str.to_date("%Y-%m-%d", strict=False)

    faults: tuple[tuple[str, Test], ...] = (
        (
            f"{owner} is not a date",
            lambda text: ~text.str.contains(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$") | day(text).is_null(),
        ),
        (f"{owner} is out of range", lambda text: ~day(text).is_between(first, last)),
    )
    return Column(name, owner, day, faults)


def number_column(name: str, owner: str, low: float, high: float, unknown: Sequence[str] = ()) -> Column:
    """A decimal number from `low` to `high` -> Float64."""

    def number(text: pl.Expr) -> pl.Expr:
        return text.cast(pl.Float64, strict=False)

    faults: tuple[tuple[str, Test], ...] = (
        (
            f"{owner} is not a number",
            lambda text: ~text.str.contains(r"^[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?$"),
        ),
        (f"{owner} is out of range", lambda text: ~number(text).is_between(low, high).fill_null(False)),
    )
    return Column(name, owner, number, faults, tuple(unknown))


def tokens_column(name: str, owner: str, unknown: Sequence[str] = ()) -> Column:
    """Comma-separated tokens without blanks, quotation marks or control characters -> space-joined String; empty ones
    go."""
    fault = (
        f"{owner} holds blanks or quotation marks",
        lambda text: text.str.contains(r"[\s\"\x00-\x1f\x7f]"),
    )

    def joined(text: pl.Expr) -> pl.Expr:
        tokens = text.str.replace_all(",+", " ").str.strip_chars(" ")
        return pl.when(tokens != "").then(tokens)

    return Column(name, owner, joined, (fault,), tuple(unknown))
