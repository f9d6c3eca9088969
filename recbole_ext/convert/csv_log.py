"""A shop's own log of events, a table with a header line, to atomic files: name its columns, or let them be guessed.

Times may be unix seconds, milliseconds, microseconds or nanoseconds, ISO 8601 date-times or days; the unit is guessed
from an excerpt and shown, and a time of another unit is a bad row. Whatever is guessed is printed and kept in the
manifest.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from recbole_ext.convert.atomic import FileRecords, RowReport, make_manifest, write_dataset
from recbole_ext.convert.columns import Column, as_day
from recbole_ext.convert.delimited import QuotedSource, excerpt, read_quoted_rows
from recbole_ext.convert.item_table import FORBIDDEN, MISSING, read_item_table
from recbole_ext.convert.rows import BadRows, Source, find_source, read_header
from recbole_ext.convert.sessions import in_session_order, number_sessions, with_session_users, with_timestamp
from recbole_ext.convert.times import UNITS, check_days, guess_unit, shown_range, time_column
from recbole_ext.errors import ConvertError, did_you_mean

SEPARATORS = (",", ";", "\t", "|")
NONE = "-"  # in place of a column's name: there is none, and none is to be guessed
SHARED_SESSIONS = 0.1  # beyond this share of ids with two users, ids hardly are those of sessions
MS_NS = 10**6
DAY_MS = 86_400_000

# How columns are usually called, without case, blanks, `_`, `-` and `.`
NAMES = {
    "item": ("itemid", "item", "productid", "product", "sku", "articleid", "article", "asin", "movieid"),
    "session": ("sessionid", "session", "sid", "visitid"),
    "user": ("userid", "user", "visitorid", "visitor", "customerid", "customer", "clientid"),
    "time": ("timestamp", "time", "ts", "datetime", "eventtime", "createdat", "date"),
    "event": ("event", "eventtype", "action", "behavior", "behaviour", "behaviortype", "type"),
}


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
        add(f"--{name}", metavar="COLUMN", help=f"column of {what} (guessed from its name; {NONE} for none)")
    add("--time-unit", choices=UNITS, help="unit of the times (guessed from an excerpt)")
    per_user = "session ids count anew for each visitor, so a session is one of a visitor and an id"
    add("--session-per-user", action="store_true", help=per_user)
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
    add("--list-separator", metavar="MARK", help="between the values of token_seq features (default: blanks)")
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
    session_per_user: bool = False,
    gap_minutes: float = 30,
    items: Path | str | None = None,
    item_types: Mapping[str, str] | Sequence[str] | str | None = None,
    list_separator: str | None = None,
    separator: str | None = None,
    all_items: bool = False,
    strict: bool = False,
    max_bad_rows: float = 0.01,
    first_date: date | str = "1990-01-01",
    last_date: date | str = "2099-12-31",
) -> dict[str, Any]:
    """Convert the events in `raw`, or in the file `events` of the folder `raw`, to atomic files; return the manifest.

    `item`, `time`, `session`, `user`, `event` name columns; those left out are guessed from usual names, "-" is for no
    column. There has to be a session column or a user column, whose events are then cut where over `gap_minutes` lie
    between two; with `session_per_user` a session is one of a user and an id, and gets a number. `time_unit` is s, ms,
    us, ns (since 1970), iso or date (whole days, which cannot be cut). `items` is a table of item features with types
    as `NAME:TYPE` in its header or in `item_types`, lists with the `list_separator`. Raises ConvertError for whatever
    the user can mend.
    """
    source = _find_events(Path(raw), events)
    out = default_out(source.path) if out is None else Path(out)
    if not isinstance(gap_minutes, int | float) or not 0 < gap_minutes < float("inf"):
        raise ConvertError(f"--gap-minutes is {gap_minutes}: write a number of minutes above 0.")
    if time_unit not in (None, *UNITS):
        raise ConvertError(f"--time-unit is {time_unit!r}: write one of {', '.join(UNITS)}.")
    if separator not in (None, *SEPARATORS):
        raise ConvertError(
            f"--separator is {separator!r}: it may be one of {' '.join(map(repr, SEPARATORS))}."
        )
    if list_separator is not None and (not list_separator.strip() or '"' in list_separator):
        raise ConvertError(f"--list-separator is {list_separator!r}: write a mark such as | or ;.")
    feature_types = _types(item_types)
    days = as_day("--first-date", first_date), as_day("--last-date", last_date)
    check_days(*days)
    allowed = BadRows(max_bad_rows, strict)
    guessed: dict[str, str] = {}
    named = {"item": item, "time": time, "session": session, "user": user, "event": event}
    chosen = {what: None if name is None else str(name) for what, name in named.items()}  # yaml has numbers
    separator = separator or _guess_separator(source, guessed)
    log_source = QuotedSource(source.path, source.member, separator)
    columns = _find_columns(log_source, separator, chosen, guessed)
    if session_per_user and not {"session", "user"} <= set(columns):
        raise ConvertError("--session-per-user needs a column of sessions and one of users: name both.")
    unit = time_unit or _guess_unit(log_source, columns["time"], days)
    if unit == "date" and "session" not in columns:
        raise ConvertError(
            f"{source.path}: the times in column {columns['time']} are days, which no idle time can cut into sessions: "
            "name a column of sessions with --session."
        )
    feature_file = None if items is None else _find_items(source.path.parent, items)
    if feature_file is not None and feature_file.label == source.label:  # the manifest's accounts are by name
        raise ConvertError(
            f"{source.path} and {feature_file.path} are two tables of one name, or one table: rename one of them."
        )
    records = FileRecords([source.path, *([] if feature_file is None else [feature_file.path])])

    log, report = _read_events(log_source, columns, unit, days, allowed, not session_per_user)
    notes: dict[str, int] = {}
    if time_unit is None:
        guessed["time"] = f"column {columns['time']!r}, {shown_range(log['time_ns'], unit)}"
    log = _in_time_units(log)
    if "session" not in columns or session_per_user:
        log = _number_sessions(log, None if session_per_user else gap_minutes)
        if "session" not in columns:
            guessed["session"] = f"no column, so over {gap_minutes:g} idle minutes of a visitor end one"
    else:
        log = in_session_order(log)
        if "user" in columns:
            _check_shared_sessions(log, source)
            log, notes = with_session_users(log)
    inter, origin = _inter(log, notes)

    reports, table = [report], None
    types: dict[str, str] = {}
    if feature_file is not None:
        head = read_header(feature_file, None)[0]
        item_separator = max(SEPARATORS, key=head.count)
        table, types, item_report, item_notes = read_item_table(
            feature_file,
            _id_column,
            inter.select("item_id").unique(),
            allowed,
            separator=item_separator,
            all_items=all_items,
            names=_item_names(columns["item"], read_header(feature_file, item_separator)),
            types=feature_types,
            guess=True,
            list_separator=list_separator,
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
            "session_per_user": session_per_user,
            "gap_minutes": None if "session" in columns else gap_minutes,
            "items_file": items,
            "item_types": types,
            "list_separator": list_separator,
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
    if "\0" in head:
        raise ConvertError(f"{source.path} holds no text, or it is UTF-16: save it as UTF-8.")
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
        if name is None or (name == NONE and name not in header):
            continue
        matches = [owner for owner in header if _plain(owner) == _plain(name)]
        exact = [owner for owner in header if owner == name]
        if not matches:
            hint = did_you_mean(name, header) or f": it has {there}."
            raise ConvertError(f"{source.path}, line 1: no column {name} for --{what}{hint}")
        columns[what] = (exact or matches)[0]
    taken = set(columns.values())
    for what, usual in NAMES.items():
        if what in columns or chosen[what] == NONE:
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


def _types(given: Mapping[str, str] | Sequence[str] | str | None) -> dict[str, str]:
    """NAME:TYPE pairs, from the command line with commas between."""
    if isinstance(given, Mapping):
        return dict(given)
    texts = given.split(",") if isinstance(given, str) else given or ()
    pairs = [text.strip().partition(":") for text in texts if text.strip()]
    for name, _, kind in pairs:
        if not name or not kind:
            raise ConvertError(f"--item-types has {name + kind!r}: write NAME:TYPE, such as price:float.")
    return {name: kind for name, _, kind in pairs}


def _guess_unit(source: QuotedSource, column: str, days: tuple[date, date]) -> str:
    """What most times of an excerpt are written in."""
    texts = excerpt(source, column)
    unit = guess_unit(texts, *days)
    if unit is None:
        shown = f"such as {texts[0][:40]!r}" if len(texts) else "of which there are none"
        raise ConvertError(
            f"{source.path}: the times in column {column}, {shown}, are neither unix times (s, ms, us, ns) nor ISO "
            f"8601 date-times from {days[0]} to {days[1]}: rewrite them, or widen --first-date and --last-date."
        )
    return unit


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


def _read_events(
    source: QuotedSource,
    columns: Mapping[str, str],
    unit: str,
    days: tuple[date, date],
    allowed: BadRows,
    session_names_user: bool,
) -> tuple[pl.DataFrame, RowReport]:
    """item_id, time_ns, and session_id, user_id, event where they are, in file order.

    A user may be missing where there is a session that does without.
    """
    wanted = [
        _id_column("item_id", columns["item"]),
        time_column("time_ns", columns["time"], unit, *days),
    ]
    if "session" in columns:
        wanted.append(_id_column("session_id", columns["session"]))
    if "user" in columns:
        may_miss = "session" in columns and session_names_user
        wanted.append(_id_column("user_id", columns["user"], may_miss))
    if "event" in columns:
        wanted.append(_id_column("event", columns["event"]))
    log, report = read_quoted_rows(source, wanted, allowed)
    if log.is_empty():
        raise ConvertError(f"{source.path} holds no usable row: check that it is the table of events.")
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


def _inter(log: pl.DataFrame, notes: dict[str, int]) -> tuple[pl.DataFrame, int]:
    """Ordered events -> (.inter table, `timestamp` in seconds since the first event; its unix second)."""
    spans = log.group_by("session_id").agg(span=pl.col("time_ms").max() - pl.col("time_ms").min())
    notes["session of more than a day"] = spans.filter(pl.col("span") > DAY_MS).height
    inter, origin = with_timestamp(log, notes)
    order = ("session_id", "user_id", "item_id", "timestamp", "event")
    return inter.select([column for column in order if column in inter.columns]), origin
