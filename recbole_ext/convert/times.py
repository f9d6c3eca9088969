"""Times of a log whose unit is not known: told from an excerpt, then read exactly or not at all.

Between two days of this age a moment in seconds, milliseconds, microseconds or nanoseconds since 1970 has another
number of digits, so a number belongs to one unit, and a number of another unit is out of range: a bad row. Times that
are neither numbers nor ISO 8601 have a format, in the letters of strptime; it is guessed where only one fits.
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
TYPED = "datetime"  # of columns that hold date-times, not texts; nanoseconds by the time they are text
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", ", %H:%M:%S")
DAY_OR_MONTH_FIRST = (("%d/%m/%Y", "%m/%d/%Y"), ("%d-%m-%Y", "%m-%d-%Y"))
FORMATS = (
    *(day + clock for day in ("%d.%m.%Y", "%Y/%m/%d", "%Y.%m.%d") for clock in CLOCKS),
    *("%Y%m%d", "%Y%m%d%H%M%S", "%Y%m%dT%H%M", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ", "%Y%m%dT%H%M%S%.f"),
    *("%Y%m%dT%H%M%S%.fZ", "%Y%m%dT%H%M%S%z", "%Y%m%d %H%M%S", "%Y%m%d %H:%M:%S"),
)
SAMPLE = 2_000  # texts that formats are tried on
EARLIEST, LATEST = date(1970, 1, 1), date(2199, 12, 31)  # what 64 bits of nanoseconds hold, and no signs
DAY_NS = 86_400 * 10**9
CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.,][0-9]{1,9})?)?"
ZONE = r"( ?([Zz]|UTC)| ?[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)?"
DATE_TIME = f"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[Tt ]{CLOCK}{ZONE}$"
DATE = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


def guess_unit(texts: pl.Series, first: date, last: date) -> str | tuple[str, str] | None:
    """The unit (of UNITS) or format that most of the `texts` are a time in, from the day `first` to the day `last`.

    None where none is; two formats where days and months may be meant either way.
    """
    counts = {unit: _fitting(texts, unit, first, last) for unit in UNITS}
    best = max(UNITS, key=lambda unit: counts[unit])
    if 2 * counts[best] > len(texts):
        return best
    known = texts.filter(texts != "")
    some = known.gather_every(max(len(known) // SAMPLE, 1))
    fits = {form: _fitting(some, form, first, last) for form in FORMATS}
    pairs = [(a + clock, b + clock) for a, b in DAY_OR_MONTH_FIRST for clock in CLOCKS]
    fits |= {form: _fitting(some, form, first, last) for pair in pairs for form in pair}
    form = max(fits, key=lambda form: fits[form])
    if 2 * fits[form] <= len(some) or fits[form] * len(texts) <= counts[best] * len(some):
        return best if counts[best] else None
    for pair in pairs:
        if form in pair and fits[pair[0]] == fits[pair[1]]:
            return pair
    return form


def _fitting(texts: pl.Series, unit: str, first: date, last: date) -> int:
    """How many of the texts are a time in a unit or format."""
    column = time_column("time", "time", unit, first, last)
    bad = pl.any_horizontal(is_bad(pl.col("text")) for _, is_bad in column.faults)
    return int(texts.alias("text").to_frame().select((~bad).sum()).item())


def unit_name(unit: str) -> str:
    """A unit or format in words."""
    return "date-times" if unit == TYPED else NAMES.get(unit) or f"written {unit}"


def is_days(unit: str) -> bool:
    """Whether times of a unit or format are whole days."""
    clock = ("%H", "%I", "%T", "%R", "%s", "%c", "%X", "%k", "%l", "%r", "%+")
    return unit == "date" or ("%" in unit and not any(part in unit for part in clock))


def time_column(name: str, owner: str, unit: str, first: date, last: date) -> Column:
    """A moment in `unit` (of UNITS, TYPED or a format), from the day `first` to the day `last` (UTC) -> Int64,
    nanoseconds since 1970. Numbers may have a decimal fraction, down to nanoseconds."""
    if "%" in unit:
        return _formatted(name, owner, unit, first, last)
    unit, shown = ("ns" if unit == TYPED else unit), unit_name(unit)
    pattern = {"iso": DATE_TIME, "date": DATE}.get(unit, _number_pattern(unit))
    value: Test = {"iso": _date_time, "date": _day}.get(unit, lambda text: _number(text, unit))

    def out_of_range(text: pl.Expr) -> pl.Expr:
        low, high = (first - EARLIEST).days * DAY_NS, (last - EARLIEST).days * DAY_NS + DAY_NS - 1
        if unit not in NS:
            return ~value(text).is_between(low, high).fill_null(False)
        whole = text.str.extract("^([0-9]+)").cast(pl.Int64, strict=False)  # nanoseconds might overflow
        return ~whole.is_between(low // NS[unit], high // NS[unit]).fill_null(False)

    faults: tuple[tuple[str, Test], ...] = (
        (f"{owner} is no time in {shown}", lambda text: ~text.str.contains(pattern)),
        (f"{owner} is no time in {shown} from {first} to {last}", out_of_range),
    )
    return Column(name, owner, value, faults)


def _formatted(name: str, owner: str, form: str, first: date, last: date) -> Column:
    """A moment that is written in a format of strptime, UTC where that names no zone."""

    def value(text: pl.Expr) -> pl.Expr:
        form_of_polars = form.replace(".%f", "%.f")  # Python's fraction of a second
        return text.str.to_datetime(form_of_polars, strict=False, time_unit="ns").cast(pl.Int64)

    low, high = (first - EARLIEST).days * DAY_NS, (last - EARLIEST).days * DAY_NS + DAY_NS - 1
    faults: tuple[tuple[str, Test], ...] = (
        (f"{owner} is no time written {form}", lambda text: value(text).is_null()),
        (
            f"{owner} is no time written {form} from {first} to {last}",
            lambda text: ~value(text).is_between(low, high).fill_null(False),
        ),
    )
    return Column(name, owner, value, faults)


def shown_range(time_ns: pl.Series, unit: str) -> str:
    """The unit, and the first and last day of some times (nanoseconds since 1970), for people."""
    days = [
        (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(ns) // 1000)).date().isoformat()  # type: ignore[arg-type, call-overload]
        for ns in (time_ns.min(), time_ns.max())
    ]
    return f"{unit_name(unit)}: {days[0]} to {days[1]}"


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
