"""A shop's own log of events, a table with a header line, to atomic files: name its columns, or let them be guessed.

Times may be unix seconds, milliseconds, microseconds or nanoseconds, or ISO 8601; the unit is guessed from the first
rows and shown, and a time of another unit is a bad row. Whatever is guessed is printed and kept in the manifest.
"""

from __future__ import annotations

import argparse
import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from recbole_ext.convert.atomic import FileRecords, RowReport, make_manifest, write_dataset
from recbole_ext.convert.columns import Column, Test, as_day, text_column
from recbole_ext.convert.errors import ConvertError
from recbole_ext.convert.item_table import read_item_table
from recbole_ext.convert.rows import UNREADABLE, BadRows, Source, find_source, read_header, read_rows
from recbole_ext.convert.sessions import in_session_order, number_sessions, with_session_users, with_timestamp

SEPARATORS = (",", ";", "\t", "|")
UNKNOWN = ("", "NA", "N/A", "NULL", "null", "None", "nan", "NaN")
SAMPLE_BYTES = 1 << 20
DAY_MS = 86_400_000

# How columns are usually called, without case, blanks, `_`, `-` and `.`
NAMES = {
    "item": ("itemid", "item", "productid", "product", "sku", "articleid", "article", "asin", "movieid"),
    "session": ("sessionid", "session", "sid", "visitid"),
    "user": ("userid", "user", "visitorid", "visitor", "customerid", "customer", "clientid"),
    "time": ("timestamp", "time", "ts", "datetime", "eventtime", "createdat", "date"),
    "event": ("event", "eventtype", "action", "behavior", "behaviour", "behaviortype", "type"),
}
UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}  # since 1970
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?"
    r"( ?(Z|UTC|[+-][0-9]{2}:?[0-9]{2}))?$"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line: EVENTS, --out and the options of `convert`."""
    add = parser.add_argument
    add("raw", type=Path, metavar="EVENTS", help="the table of events (.csv, .csv.gz, .zip)")
    add("--out", type=Path, help="(default atomic_data/NAME, NAME that of EVENTS)")
    for name, what in (
        ("item", "items"),
        ("time", "times"),
        ("session", "sessions; without one a visitor's events are cut by --gap-minutes"),
        ("user", "visitors"),
        ("event", "kinds of events (view, purchase …)"),
    ):
        add(f"--{name}", metavar="COLUMN", help=f"column of {what} (guessed from its name)")
    add("--time-unit", choices=(*UNITS, "iso"), help="unit of the times (guessed from the first rows)")
    add(
        "--gap-minutes",
        type=float,
        default=30,
        help="a longer idle time ends a session (default %(default)s)",
    )
    add("--items", type=Path, metavar="FILE", help="table of item features, one row an item")
    add(
        "--item-types",
        metavar="NAME:TYPE,…",
        help="types of item features: token, token_seq, float, float_seq",
    )
    add("--separator", choices=SEPARATORS, help="between fields (guessed from the header line)")
    add("--all-items", action="store_true", help="keep items without events in the .item file")
    add("--strict", action="store_true", help="any bad row stops the conversion")
    add(
        "--max-bad-rows",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="bad rows skipped (default %(default)s)",
    )
    add(
        "--first-date",
        default="1990-01-01",
        metavar="DAY",
        help="earliest day of the log (default %(default)s)",
    )
    add(
        "--last-date", default="2099-12-31", metavar="DAY", help="latest day of the log (default %(default)s)"
    )


def convert(
    raw: Path | str,
    out: Path | str | None = None,
    *,
    events: Path | str | None = None,
    item: str | None = None,
    time: str | None = None,
    session: str | None = None,
    user: str | None = None,
    event: str | None = None,
    time_unit: str | None = None,
    gap_minutes: float = 30,
    items: Path | str | None = None,
    item_types: Mapping[str, str] | str | None = None,
    separator: str | None = None,
    all_items: bool = False,
    strict: bool = False,
    max_bad_rows: float = 0.01,
    first_date: date | str = "1990-01-01",
    last_date: date | str = "2099-12-31",
) -> dict[str, Any]:
    """Convert the events in `raw`, or in the file `events` of the folder `raw`, to atomic files; return the manifest.

    `item`, `time`, `session`, `user`, `event` name columns; those left out are guessed from usual names. There
    has to be a session column or a user column, whose events are then cut where over `gap_minutes` lie between two.
    `time_unit` is s, ms, us, ns (since 1970) or iso. `items` is a table of item features with types as `NAME:TYPE` in
    its header or in `item_types`. Raises ConvertError for whatever the user can mend.
    """
    source = _find_events(Path(raw), events)
    out = default_out(source.path) if out is None else Path(out)
    if not 0 < gap_minutes < float("inf"):
        raise ConvertError(f"--gap-minutes is {gap_minutes}: write a number of minutes above 0.")
    if time_unit not in (None, "iso", *UNITS):
        raise ConvertError(f"--time-unit is {time_unit!r}: write one of {', '.join(UNITS)}, iso.")
    if separator not in (None, *SEPARATORS):
        raise ConvertError(
            f"--separator is {separator!r}: it may be one of {' '.join(map(repr, SEPARATORS))}."
        )
    days = as_day("--first-date", first_date), as_day("--last-date", last_date)
    allowed = BadRows(max_bad_rows, strict)
    guessed: dict[str, str] = {}
    chosen = {"item": item, "time": time, "session": session, "user": user, "event": event}
    separator = separator or _guess_separator(source, guessed)
    columns = _find_columns(source, separator, chosen, guessed)
    unit = time_unit or _guess_unit(source, separator, columns["time"], days)
    feature_file = None if items is None else _find_items(source.path.parent, items)
    records = FileRecords([source.path, *([] if feature_file is None else [feature_file.path])])

    log, report = _read_events(source, separator, columns, unit, days, allowed)
    notes: dict[str, int] = {}
    if time_unit is None:
        guessed["time"] = _describe_times(columns["time"], unit, log["time_ms"])
    if "session" in columns:
        log = in_session_order(log)
        if "user" in columns:
            log, notes = with_session_users(log)
    else:
        names = log["user_id"]
        codes = names.rank("dense").cast(pl.Int64).alias("user_id")
        log = number_sessions(log.with_columns(codes, names.alias("_user")), gap_minutes)
        log = log.with_columns(pl.col("_user").alias("user_id"))
        guessed["session"] = f"no column, so over {gap_minutes:g} idle minutes of a visitor end one"
    inter, origin = _inter(log, notes)

    reports, table = [report], None
    types: dict[str, str] = {}
    if feature_file is not None:
        head = read_header(feature_file, None)[0]
        item_separator = max(SEPARATORS, key=head.count)
        table, types, item_report, item_notes = read_item_table(
            feature_file,
            text_column,
            inter.select("item_id").unique(),
            allowed,
            separator=item_separator,
            all_items=all_items,
            names=_item_names(columns["item"], read_header(feature_file, item_separator)),
            types=_types(item_types),
            guess=True,
        )
        reports.append(item_report)
        notes |= item_notes
        guessed["item features"] = ", ".join(f"{name} {kind}" for name, kind in types.items())
    elif item_types is not None or all_items:
        raise ConvertError(
            "--item-types and --all-items need the table of item features: name it with --items."
        )

    counts: dict[str, Any] = {
        "sessions": inter["session_id"].n_unique(),
        "users": inter["user_id"].drop_nulls().n_unique() if "user" in columns else 0,
        "items": inter["item_id"].n_unique(),
        "events": {"events": inter.height},
    }
    if "event" in columns:
        kinds = inter["event"].value_counts(sort=True)
        counts["events"] = dict(kinds.head(20).iter_rows())
        if kinds.height > 20:
            counts["events"]["of other kinds"] = int(kinds["count"][20:].sum())
    manifest = make_manifest(
        "csv",
        sources=records,
        reports=reports,
        options={
            "events_file": source.path.name,
            "columns": columns,
            "time_unit": unit,
            "separator": separator,
            "gap_minutes": None if "session" in columns else gap_minutes,
            "items_file": items,
            "item_types": types,
            "all_items": all_items,
            "strict": strict,
            "max_bad_rows": max_bad_rows,
            "first_date": days[0].isoformat(),
            "last_date": days[1].isoformat(),
        },
        notes=notes,
        counts=counts,
        time_origin=float(origin),
    )
    return write_dataset(out, inter, table, {**manifest, "guessed": guessed}, types)


def default_out(raw: Path) -> Path:
    """Where the atomic files of a table go that is given no other place."""
    return Path("atomic_data") / raw.name.partition(".")[0]


# --- files and columns


def _find_events(raw: Path, events: Path | str | None) -> Source:
    if events is not None:
        source = find_source(raw, "events.csv", events)
        assert source is not None  # find_source raises for a chosen file that is not there
        return source
    if raw.is_file():
        return Source(raw)
    if raw.is_dir():
        raise ConvertError(f"{raw} is a folder: name the table of events in it.")
    raise ConvertError(f"There is no file {raw}: name the table of events.")


def _find_items(folder: Path, items: Path | str) -> Source:
    for path in (Path(items), folder / items):
        if path.is_file():
            return Source(path)
    raise ConvertError(f"There is no file {items}: name the table of item features with --items.")


def _guess_separator(source: Source, guessed: dict[str, str]) -> str:
    head = read_header(source, None)[0]
    counts = {separator: head.count(separator) for separator in SEPARATORS}
    best = max(counts, key=lambda separator: counts[separator])
    if not counts[best]:
        raise ConvertError(
            f"{source.path}, line 1: {head[:200]!r} is no header of several columns separated by comma, semicolon, tab "
            "or |: the first line has to name the columns."
        )
    guessed["separator"] = repr(best)
    return best


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter not in " _-.")


def _find_columns(
    source: Source, separator: str, chosen: Mapping[str, str | None], guessed: dict[str, str]
) -> dict[str, str]:
    """The name in the file of each column that is there: those chosen, and guesses for the others."""
    header = read_header(source, separator)
    there = ", ".join(header)[:300]
    columns: dict[str, str] = {}
    for what, name in chosen.items():
        if name is None:
            continue
        matches = [owner for owner in header if _plain(owner) == _plain(name)]
        exact = [owner for owner in header if owner == name]
        if not matches:
            near = difflib.get_close_matches(name, header, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {there}."
            raise ConvertError(f"{source.path}, line 1: no column {name} for --{what}: {hint}")
        columns[what] = (exact or matches)[0]
    taken = set(columns.values())
    for what, usual in NAMES.items():
        if what in columns:
            continue
        by_rank = [
            owner for name in usual for owner in header if _plain(owner) == name and owner not in taken
        ]
        if by_rank:
            columns[what] = by_rank[0]
            taken.add(by_rank[0])
            guessed[what] = f"column {by_rank[0]!r}"
    twice = [name for name, count in Counter(columns.values()).items() if count > 1]
    if twice:
        raise ConvertError(f"Column {twice[0]} is named for two things: name another one for one of them.")
    for what in ("item", "time"):
        if what not in columns:
            raise ConvertError(
                f"{source.path}, line 1: no column looks like --{what}: name it, it has {there}."
            )
    if "session" not in columns and "user" not in columns:
        raise ConvertError(
            f"{source.path}, line 1: no column looks like --session or --user, and sessions come from one of them: "
            f"name it, it has {there}."
        )
    return columns


def _item_names(of_events: str, header: Sequence[str]) -> tuple[str, ...]:
    """How the item column of the table of features may be called: as in the events, or else one of the usual names."""
    names = [owner.partition(":")[0] for owner in header]
    same = [name for name in names if _plain(name) == _plain(of_events)]
    usual = [name for wanted in NAMES["item"] for name in names if _plain(name) == wanted]
    return tuple(name.lower() for name in (same or usual)[:1]) or (of_events.lower(),)


def _types(given: Mapping[str, str] | str | None) -> dict[str, str]:
    if not isinstance(given, str):
        return dict(given or {})
    pairs = [pair.strip().partition(":") for pair in given.split(",") if pair.strip()]
    return {name: kind for name, _, kind in pairs}


# --- times


def _unit_of(text: str, days: tuple[date, date]) -> str | None:
    """The unit that a text is a time in; no text is a time in two, since years differ by factors of ten at most."""
    whole, point, fraction = text.partition(".")
    if (
        whole.isascii()
        and whole.isdigit()
        and (not point or fraction.isdigit())
        and not whole.startswith("0")
    ):
        low, high = (datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() for day in days)
        for unit, per_second in PER_SECOND.items():
            if (not point or unit == "s") and low <= int(whole) / per_second < high + 86_400:
                return unit
        return None
    matches = pl.select(pl.lit(text).str.contains(ISO)).item()
    return "iso" if matches else None


def _guess_unit(source: Source, separator: str, column: str, days: tuple[date, date]) -> str:
    """What most times of the first rows are written in."""
    place = read_header(source, separator).index(column)
    try:
        with source.open() as stream:
            stream.readline()
            lines = stream.read(SAMPLE_BYTES).decode("utf-8", errors="replace").splitlines()[:5000]
    except UNREADABLE as error:
        raise ConvertError(
            f"{source.path} cannot be read ({error}): it is damaged or cut off, fetch it again."
        ) from error
    fields = [fields[place].strip(' \t"') for line in lines if len(fields := line.split(separator)) > place]
    units = Counter(unit for text in fields if (unit := _unit_of(text, days)) is not None)
    if not units:
        shown = f"such as {fields[0][:40]!r}" if fields else "of which there are none"
        raise ConvertError(
            f"{source.path}: the times in column {column}, {shown}, are neither unix times (s, ms, us, ns) nor ISO "
            f"8601 date-times from {days[0]} to {days[1]}: rewrite them, or widen --first-date and --last-date."
        )
    return units.most_common(1)[0][0]


def _describe_times(column: str, unit: str, times: pl.Series) -> str:
    first, last = (datetime.fromtimestamp(int(ms) / 1000, UTC).date() for ms in (times.min(), times.max()))  # type: ignore[arg-type]
    kind = "ISO 8601 date-times, UTC where no zone is named" if unit == "iso" else f"{UNITS[unit]} since 1970"
    return f"column {column!r}, {kind}: {first} to {last}"


def _time_column(owner: str, unit: str, days: tuple[date, date]) -> Column:
    """A moment in `unit` -> Int64, unix ms (parts of a millisecond are cut off)."""
    low, high = (int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000 for day in days)
    high += DAY_MS - 1

    if unit == "iso":
        pattern, what = ISO, "is no ISO 8601 date-time"

        def moment(text: pl.Expr) -> pl.Expr:
            plain = text.str.replace(" ?(Z|UTC)$", "").str.replace(" ", "T", literal=True)
            zone = plain.str.extract(r"([+-][0-9]{2}:?[0-9]{2})$")
            bare = plain.str.replace(r"[+-][0-9]{2}:?[0-9]{2}$", "").str.replace(r"^(.{16})$", "${1}:00")
            minutes = zone.str.slice(1, 2).cast(pl.Int64) * 60 + zone.str.slice(-2).cast(pl.Int64)
            ahead = pl.when(zone.str.starts_with("-")).then(-minutes).otherwise(minutes).fill_null(0)
            local = bare.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False).dt.epoch("ms")
            return local - ahead * 60_000

    elif unit == "s":
        pattern, what = r"^[1-9][0-9]{0,11}([.][0-9]{1,9})?$", "is no time in seconds"

        def moment(text: pl.Expr) -> pl.Expr:
            whole = text.str.extract(r"^([0-9]+)").cast(pl.Int64, strict=False)
            rest = text.str.extract(r"[.]([0-9]+)$").fill_null("").str.pad_end(3, "0").str.slice(0, 3)
            return whole * 1000 + rest.cast(pl.Int64, strict=False)

    else:
        pattern, what = r"^[1-9][0-9]{0,18}$", f"is no time in {UNITS[unit]}"

        def moment(text: pl.Expr) -> pl.Expr:
            return text.cast(pl.Int64, strict=False) // (PER_SECOND[unit] // 1000)

    faults: tuple[tuple[str, Test], ...] = (
        (f"{owner} {what}", lambda text: ~text.str.contains(pattern) | moment(text).is_null()),
        (
            f"{owner} is out of range as {unit}",
            lambda text: ~moment(text).is_between(low, high).fill_null(False),
        ),
    )
    return Column("time_ms", owner, moment, faults)


# --- tables


def _read_events(
    source: Source,
    separator: str,
    columns: Mapping[str, str],
    unit: str,
    days: tuple[date, date],
    allowed: BadRows,
) -> tuple[pl.DataFrame, RowReport]:
    """item_id, time_ms, and session_id, user_id, event where they are, in file order."""
    wanted = [text_column("item_id", columns["item"]), _time_column(columns["time"], unit, days)]
    if "session" in columns:
        wanted.append(text_column("session_id", columns["session"]))
    if "user" in columns:  # who has no session needs a user
        wanted.append(
            text_column("user_id", columns["user"], unknown=UNKNOWN if "session" in columns else ())
        )
    if "event" in columns:
        wanted.append(text_column("event", columns["event"]))
    log, report = read_rows(source, wanted, allowed, separator=separator)
    if log.is_empty():
        raise ConvertError(f"{source.path} holds no usable row: check that it is the table of events.")
    return log, report


def _inter(log: pl.DataFrame, notes: dict[str, int]) -> tuple[pl.DataFrame, int]:
    """Ordered events -> (.inter table, `timestamp` in seconds since the first event; its unix second)."""
    spans = log.group_by("session_id").agg(span=pl.col("time_ms").max() - pl.col("time_ms").min())
    notes["session of more than a day"] = spans.filter(pl.col("span") > DAY_MS).height
    inter, origin = with_timestamp(log, notes)
    order = ("session_id", "user_id", "item_id", "timestamp", "event")
    return inter.select([column for column in order if column in inter.columns]), origin
