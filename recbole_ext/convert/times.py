"""Times of a log whose unit is not known: told from an excerpt, then read exactly or not at all.

Between two days of this age a moment in seconds, milliseconds, microseconds or nanoseconds since 1970 has another
number of digits, so a number belongs to one unit, and a number of another unit is out of range: a bad row.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from recbole_ext.convert.columns import Column, Test
from recbole_ext.convert.engine import pl

NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}  # nanoseconds in a unit
NAMES = {
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "ns": "nanoseconds since 1970",
    "iso": "ISO 8601 date-times (UTC where no zone is named)",
    "date": "days",
}
UNITS = tuple(NAMES)
EARLIEST, LATEST = date(1970, 1, 1), date(2199, 12, 31)  # what 64 bits of nanoseconds hold, and no signs
DAY_NS = 86_400 * 10**9
CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.,][0-9]{1,9})?)?"
ZONE = r"( ?([Zz]|UTC)| ?[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)?"
DATE_TIME = f"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[Tt ]{CLOCK}{ZONE}$"
DATE = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


def guess_unit(texts: pl.Series, first: date, last: date) -> str | None:
    """The unit (of UNITS) that most of the `texts` are a time in, from the day `first` to the day `last`; None
    where none is."""
    counts = {}
    for unit in UNITS:
        column = time_column("time", "time", unit, first, last)
        bad = pl.any_horizontal(is_bad(pl.col("text")) for _, is_bad in column.faults)
        counts[unit] = int(texts.alias("text").to_frame().select((~bad).sum()).item())
    best = max(UNITS, key=lambda unit: counts[unit])
    return best if counts[best] else None


def time_column(name: str, owner: str, unit: str, first: date, last: date) -> Column:
    """A moment in `unit` (of UNITS), from the day `first` to the day `last` (UTC) -> Int64, nanoseconds since
    1970. Numbers may have a decimal fraction, down to nanoseconds."""
    pattern = {"iso": DATE_TIME, "date": DATE}.get(unit, _number_pattern(unit))
    value: Test = {"iso": _date_time, "date": _day}.get(unit, lambda text: _number(text, unit))

    def out_of_range(text: pl.Expr) -> pl.Expr:
        low, high = (first - EARLIEST).days * DAY_NS, (last - EARLIEST).days * DAY_NS + DAY_NS - 1
        if unit not in NS:
            return ~value(text).is_between(low, high).fill_null(False)
        whole = text.str.extract("^([0-9]+)").cast(pl.Int64, strict=False)  # nanoseconds might overflow
        return ~whole.is_between(low // NS[unit], high // NS[unit]).fill_null(False)

    faults: tuple[tuple[str, Test], ...] = (
        (f"{owner} is no time in {NAMES[unit]}", lambda text: ~text.str.contains(pattern)),
        (f"{owner} is no time in {NAMES[unit]} from {first} to {last}", out_of_range),
    )
    return Column(name, owner, value, faults)


def shown_range(time_ns: pl.Series, unit: str) -> str:
    """The unit, and the first and last day of some times (nanoseconds since 1970), for people."""
    days = [
        (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(ns) // 1000)).date().isoformat()  # type: ignore[arg-type, call-overload]
        for ns in (time_ns.min(), time_ns.max())
    ]
    return f"{NAMES[unit]}: {days[0]} to {days[1]}"


def _digits(unit: str) -> int:
    """Decimals that a number of the unit may have."""
    return len(str(NS.get(unit, 1))) - 1


def _number_pattern(unit: str) -> str:
    fraction = f"([.][0-9]{{1,{_digits(unit)}}})?" if _digits(unit) else "([.]0)?"
    return f"^(0|[1-9][0-9]{{0,18}}){fraction}$"


def _number(text: pl.Expr, unit: str) -> pl.Expr:
    parts = text.str.split_exact(".", 1)
    whole = parts.struct.field("field_0").cast(pl.Int64, strict=False)
    if not _digits(unit):
        return whole
    fraction = parts.struct.field("field_1").fill_null("").str.pad_end(_digits(unit), "0")
    return whole * NS[unit] + fraction.cast(pl.Int64, strict=False)


def _day(text: pl.Expr) -> pl.Expr:
    return text.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64) * DAY_NS


def _date_time(text: pl.Expr) -> pl.Expr:
    """Of a text of the form DATE_TIME, whose day and minute stand at fixed places; null for no day."""

    def number(part: pl.Expr) -> pl.Expr:
        return part.cast(pl.Int64, strict=False).fill_null(0)

    rest = text.str.slice(16)  # [:SS[.fraction]][zone]
    fraction = rest.str.extract("^:[0-9]{2}[.,]([0-9]{1,9})").str.pad_end(9, "0")
    seconds = number(text.str.slice(11, 2)) * 3600 + number(text.str.slice(14, 2)) * 60
    seconds += number(rest.str.extract("^:([0-9]{2})"))
    zone = number(rest.str.extract("[+-]([0-9]{2})")) * 60 + number(
        rest.str.extract("[+-][0-9]{2}:?([0-9]{2})$")
    )
    ahead = pl.when(rest.str.contains("-", literal=True)).then(-zone).otherwise(zone)
    return _day(text) + (seconds - ahead * 60) * 10**9 + number(fraction)
