"""A shop's own log of events, a table with a header line, to atomic files: name its columns, or let them be guessed.

Times may be unix seconds, milliseconds, microseconds or nanoseconds, ISO 8601 date-times or days; the unit is guessed
from an excerpt and shown, and a time of another unit is a bad row. Whatever is guessed is printed and kept in the
manifest. There has to be a session column, or a user column, whose events are then cut by idle time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator

from recbole_ext.convert.atomic import Conversion, FileRecords, RowReport
from recbole_ext.convert.columns import Column
from recbole_ext.convert.delimited import QuotedSource, read_quoted_rows
from recbole_ext.convert.engine import pl
from recbole_ext.convert.guesses import (
    NONE,
    SEPARATORS,
    find_columns,
    guess_separator,
    guess_time_unit,
    item_names,
)
from recbole_ext.convert.item_table import FORBIDDEN, MISSING, TYPES, read_item_table
from recbole_ext.convert.options import (
    GIVEN,
    LEFT_OUT,
    DatedOptions,
    Day,
    Flag,
    Number,
    Word,
    day,
    file,
    option,
)
from recbole_ext.convert.raw_files import Source, find_source, read_header
from recbole_ext.convert.rows import BadRows
from recbole_ext.convert.sessions import in_session_order, number_sessions, with_session_users, with_timestamp
from recbole_ext.convert.times import EARLIEST, LATEST, shown_range, time_column
from recbole_ext.errors import ConvertError

SHARED_SESSIONS = 0.1  # beyond this share of ids with two users, ids hardly are those of sessions
MS_NS = 10**6
# How the manifest begins, whether there are item features or not
RECORDED = (
    *("events_file", "columns", "time_unit", "separator", "session_per_user", "gap_minutes"),
    *("items_file", "item_types"),
)
DAY_MS = 86_400_000
PARTS = ("train", "valid", "test")


def _column(of: str, more: str = "") -> Any:
    sentence = f"column of {of} (guessed from its name; {NONE} for none){more}"
    return option(None, sentence, metavar="COLUMN", recorded=False, says="the name of a column")


def _item_types(given: Any) -> Any:
    """NAME:TYPE pairs, as a mapping, in a list or with commas between -> a mapping."""
    texts = given.split(",") if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return given
    pairs = [text.strip().partition(":") for text in texts if text.strip()]
    if not all(name and kind in TYPES for name, _, kind in pairs):
        raise ValueError(f"write NAME:TYPE, such as price:float, TYPE one of {', '.join(TYPES)}")
    return {name: kind for name, _, kind in pairs}


def _mark(text: Any) -> Any:
    if isinstance(text, str) and (not text.strip() or '"' in text):
        raise ValueError("write a mark such as | or ;")
    return text


class Options(DatedOptions):
    """The options of this source."""

    raw: ClassVar[tuple[str, str]] = ("EVENTS", "the table of events (.csv, .csv.gz, .zip)")
    out: ClassVar[str] = "atomic_data/{name}"
    within: ClassVar[tuple[date, date]] = (EARLIEST, LATEST)

    events: Path | None = file("the table of events in the folder", recorded="events_file", door="python")
    item: Word | None = _column("items")
    time: Word | None = _column("times")
    session: Word | None = _column("sessions", "; without one a visitor's events are cut by --gap-minutes")
    user: Word | None = _column("visitors")
    event: Word | None = _column("kinds of events (view, purchase …)")
    split: Word | None = _column("parts, one a session: train, valid or test")
    time_unit: Literal["s", "ms", "us", "ns", "iso", "date"] | None = option(
        None, "unit of the times: since 1970, ISO 8601 or whole days (guessed from an excerpt)"
    )
    separator: Literal[",", ";", "\t", "|"] | None = option(
        None,
        "between fields (guessed from the header line)",
        metavar="MARK",
        says="a comma, a semicolon, a tab or |",
    )
    session_per_user: Flag = option(
        False, "session ids count anew for each visitor, so a session is one of a visitor and an id"
    )
    gap_minutes: Number = option(
        30,
        "a longer idle time ends a session",
        gt=0,
        needs={"session": [None, NONE], "session_per_user": LEFT_OUT},
    )
    items: Path | None = file("table of item features, one row an item", recorded="items_file")
    item_types: Annotated[
        dict[str, Literal["token", "token_seq", "float", "float_seq"]] | None, BeforeValidator(_item_types)
    ] = option(
        None,
        f"types of item features, each of {', '.join(TYPES)} (guessed)",
        metavar="NAME:TYPE,…",
        says=f"NAME:TYPE, TYPE one of {', '.join(TYPES)}",
        needs={"items": GIVEN},
    )
    list_separator: Annotated[Word | None, BeforeValidator(_mark)] = option(
        None,
        "between the values of token_seq features (blanks, where none is named)",
        metavar="MARK",
        needs={"items": GIVEN},
    )
    all_items: Flag = option(False, "keep items without events in the .item file", needs={"items": GIVEN})
    first_date: Day = day(date(1990, 1, 1), "earliest day of the log")
    last_date: Day = day(date(2099, 12, 31), "latest day of the log")

    def named(self) -> dict[str, str | None]:
        """The columns that the user names."""
        return {what: getattr(self, what) for what in ("item", "time", "session", "user", "event", "split")}


@dataclass(frozen=True)
class Layout:
    """What is known of the files before they are read: which, their columns by meaning, the unit of times."""

    events: QuotedSource
    items: Source | None
    columns: Mapping[str, str]
    unit: str


def read(raw: Path, options: Options) -> Conversion:
    """The events in the file `raw`, or in the named one of the folder `raw`. Raises ConvertError for whatever the user
    can mend.
    """
    allowed = BadRows(options.max_bad_rows, options.strict)
    guessed: dict[str, str] = {}
    layout = _layout(raw, options, guessed)
    files = [source.path for source in (layout.events, layout.items) if source is not None]
    records = FileRecords(files)
    log, report = _read_events(layout, options, allowed)
    if options.time_unit is None:
        shown = shown_range(log["time_ns"], layout.unit)
        guessed["time"] = f"column {layout.columns['time']!r}, {shown}"
    notes: dict[str, int] = {}
    log = _sessions(_in_time_units(log), layout, options, notes, guessed)
    inter, origin = _inter(log, notes)
    item, types, reports = _items(layout, inter, options, allowed, notes, guessed)
    return Conversion(
        inter=inter,
        item=item,
        sources=records,
        reports=[report, *reports],
        options=_recorded(layout, options, types),
        notes=notes,
        counts=_counts(inter, layout.columns),
        time_origin=float(origin),
        types=types,
        more={"guessed": guessed, "unread": _unread(layout)},
    )


def _unread(layout: Layout) -> list[str]:
    """Columns of the events that nothing is taken from."""
    header = read_header(layout.events, layout.events.separator)
    return [name for name in header if name not in layout.columns.values()]


def _recorded(layout: Layout, options: Options, types: Mapping[str, str]) -> dict[str, Any]:
    """The options with what was found out in place of what was left open."""
    return {
        **dict.fromkeys(RECORDED),  # in this order
        **options.recorded(),
        "events_file": layout.events.path.name,
        "columns": layout.columns,
        "time_unit": layout.unit,
        "separator": layout.events.separator,
        "gap_minutes": None if "session" in layout.columns else options.gap_minutes,
        "item_types": types,
    }


def _layout(raw: Path, options: Options, guessed: dict[str, str]) -> Layout:
    source = _find_events(raw, options.events)
    separator = options.separator or guess_separator(source, guessed)
    events = QuotedSource(source.path, source.member, separator)
    columns = find_columns(events, separator, options.named(), guessed)
    if options.session_per_user and not {"session", "user"} <= set(columns):
        raise ConvertError("--session-per-user needs a column of sessions and one of users: name both.")
    if "split" in columns and "session" not in columns:
        if options.split is not None:
            raise ConvertError(
                f"--split {options.split} needs a column of sessions, whose parts it says: name it too."
            )
        guessed["split"] = f"column {columns.pop('split')!r} is not read, as no column names sessions"
    if options.given("gap_minutes") and "session" in columns:
        raise ConvertError(
            f"--gap-minutes is read only where no column names sessions, and {columns['session']} does: leave it out, "
            f"or give --session {NONE}."
        )
    unit = options.time_unit or guess_time_unit(events, columns["time"], options.days)
    if unit == "date" and "session" not in columns:
        raise ConvertError(
            f"{source.path}: the times in column {columns['time']} are days, which no idle time can cut into sessions: "
            "name a column of sessions with --session."
        )
    items = None if options.items is None else _find_items(source.path.parent, options.items)
    if items is not None and items.label == source.label:  # the manifest's accounts are by name
        raise ConvertError(
            f"{source.path} and {items.path} are two tables of one name, or one table: rename one of them."
        )
    return Layout(events, items, columns, unit)


def _sessions(
    log: pl.DataFrame,
    layout: Layout,
    options: Options,
    notes: dict[str, int],
    guessed: dict[str, str],
) -> pl.DataFrame:
    """The events in order of their sessions: those of the log, of a user and an id, or of a user and idle time."""
    columns, gap_minutes = layout.columns, options.gap_minutes
    if "session" not in columns:
        guessed["session"] = f"no column, so over {gap_minutes:g} idle minutes of a visitor end one"
        return _number_sessions(log, gap_minutes)
    if options.session_per_user:
        log = _number_sessions(log, None)
        if "split" in columns:
            _check_parts(log, layout.events)
        return log
    log = in_session_order(log)
    if "split" in columns:
        _check_parts(log, layout.events)
    if "user" in columns:
        _check_shared_sessions(log, layout.events)
        log, user_notes = with_session_users(log)
        notes |= user_notes
    return log


def _items(
    layout: Layout,
    inter: pl.DataFrame,
    options: Options,
    allowed: BadRows,
    notes: dict[str, int],
    guessed: dict[str, str],
) -> tuple[pl.DataFrame | None, dict[str, str], list[RowReport]]:
    """The .item table, the types of its features and the report of its file, where the user names one."""
    if layout.items is None:
        return None, {}, []
    separator = max(SEPARATORS, key=read_header(layout.items, None)[0].count)
    table, types, report, item_notes = read_item_table(
        layout.items,
        _id_column,
        inter.select("item_id").unique(),
        allowed,
        separator=separator,
        all_items=options.all_items,
        names=item_names(layout.columns["item"], read_header(layout.items, separator)),
        types=options.item_types,
        guess=True,
        list_separator=options.list_separator,
    )
    notes |= item_notes
    guessed["item features"] = ", ".join(f"{name} {kind}" for name, kind in types.items())
    return table, types, [report]


def _counts(inter: pl.DataFrame, columns: Mapping[str, str]) -> dict[str, Any]:
    events: dict[str, int] = {"events": inter.height}
    if "event" in columns:
        kinds = inter["event"].value_counts(sort=True)
        events = dict(kinds.head(20).iter_rows())
        if kinds.height > 20:
            events["of other kinds"] = int(kinds["count"][20:].sum())
    return {
        "sessions": inter["session_id"].n_unique(),
        "users": inter["user_id"].drop_nulls().n_unique() if "user" in columns else 0,
        "items": inter["item_id"].n_unique(),
        "events": events,
    }


# --- files


def _find_events(raw: Path, events: Path | None) -> Source:
    if events is not None and raw.is_file():
        raise ConvertError(f"events names a table in a folder, and {raw} is a file: leave one of them out.")
    if events is not None:
        source = find_source(raw, "events.csv", events)
        assert source is not None  # find_source raises for a chosen file that is not there
        return source
    if raw.is_file():
        return Source(raw)
    if raw.is_dir():
        raise ConvertError(f"{raw} is a folder: name the table of events in it.")
    raise ConvertError(f"There is no file {raw}: name the table of events.")


def _find_items(folder: Path, items: Path) -> Source:
    for path in (Path(items), folder / items):
        if path.is_file():
            return Source(path)
    raise ConvertError(f"There is no file {items}: name the table of item features with --items.")


# --- tables


def _id_column(name: str, owner: str, may_miss: bool = False) -> Column:
    """Any token that RecBole can carry -> String; what it takes for a missing value is null or a fault."""
    missing = (f"{owner} is missing", lambda text: text.is_in(list(MISSING)))
    broken = (
        f"{owner} holds a quotation mark or control character",
        lambda text: text.str.contains(FORBIDDEN),
    )
    faults = (broken,) if may_miss else (missing, broken)
    return Column(name, owner, lambda text: text, faults, MISSING if may_miss else ())


def _read_events(layout: Layout, options: Options, allowed: BadRows) -> tuple[pl.DataFrame, RowReport]:
    """item_id, time_ns, and session_id, user_id, event where they are, in file order.

    A user may be missing where there is a session that does without.
    """
    columns = layout.columns
    wanted = [
        _id_column("item_id", columns["item"]),
        time_column("time_ns", columns["time"], layout.unit, *options.days),
    ]
    if "session" in columns:
        wanted.append(_id_column("session_id", columns["session"]))
    if "user" in columns:
        may_miss = "session" in columns and not options.session_per_user
        wanted.append(_id_column("user_id", columns["user"], may_miss))
    if "event" in columns:
        wanted.append(_id_column("event", columns["event"]))
    if "split" in columns:
        known = (f"{columns['split']} is not train, valid or test", lambda text: ~text.is_in(PARTS))
        wanted.append(Column("split", columns["split"], lambda text: text, (known,)))
    log, report = read_quoted_rows(layout.events, wanted, allowed)
    if log.is_empty():
        raise ConvertError(f"{layout.events.path} holds no usable row: check that it is the table of events.")
    return log, report


def _in_time_units(log: pl.DataFrame) -> pl.DataFrame:
    """The log with `time_ms` for `time_ns`; where times are finer than that, in order of time, which steps that sort by
    milliseconds keep."""
    if (log["time_ns"] % MS_NS != 0).any():
        log = log.sort("time_ns", maintain_order=True)
    return log.with_columns(time_ms=pl.col("time_ns") // MS_NS).drop("time_ns")


def _number_sessions(log: pl.DataFrame, gap_minutes: float | None) -> pl.DataFrame:
    """Numbered sessions of each user: cut by idle time, or with None by the users' own `session_id`."""
    code = pl.col("user_id").rank("dense").cast(pl.Int64)
    if gap_minutes is None:
        code = code * pl.col("session_id").n_unique() + pl.col("session_id").rank("dense").cast(pl.Int64)
    coded = log.with_columns(code.alias("user_id"), pl.col("user_id").alias("_user"))
    numbered = number_sessions(coded.drop("session_id", strict=False), gap_minutes)
    return numbered.with_columns(user_id=pl.col("_user")).drop("_user")


def _check_shared_sessions(log: pl.DataFrame, source: Source) -> None:
    """ConvertError where so many sessions name two users that their ids must be counted for each user."""
    users = log.drop_nulls("user_id").group_by("session_id").agg(pl.col("user_id").n_unique())["user_id"]
    shared = int((users > 1).sum())
    if shared > SHARED_SESSIONS * len(users):
        raise ConvertError(
            f"{source.path}: {shared:,} of {len(users):,} session ids name two users or more: give --session-per-user "
            f"if ids count anew for each user, or leave users out with --user {NONE}."
        )


def _check_parts(log: pl.DataFrame, source: Source) -> None:
    """ConvertError where events of one session are of two parts."""
    parts = log.group_by("session_id", maintain_order=True).agg(pl.col("split").n_unique())
    mixed = parts.filter(pl.col("split") > 1)["session_id"]
    if len(mixed):
        raise ConvertError(
            f"{source.path}: {len(mixed):,} sessions, the first of them {mixed[0]}, are of two parts: give each one, "
            f"or leave the parts out with --split {NONE}."
        )


def _inter(log: pl.DataFrame, notes: dict[str, int]) -> tuple[pl.DataFrame, int]:
    """Ordered events -> (.inter table, `timestamp` in seconds since the first event; its unix second)."""
    spans = log.group_by("session_id").agg(span=pl.col("time_ms").max() - pl.col("time_ms").min())
    notes["session of more than a day"] = spans.filter(pl.col("span") > DAY_MS).height
    inter, origin = with_timestamp(log, notes)
    order = ("session_id", "user_id", "item_id", "timestamp", "event", "split")
    return inter.select([column for column in order if column in inter.columns]), origin
