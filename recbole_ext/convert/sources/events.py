"""A shop's own log of events, in any form, to atomic files: name its columns, or let them be guessed.

Read are delimited text with or without a header line, JSON lines, parquet and Arrow files, folders and globs of them,
several files together, and frames of polars, pandas and Arrow; nested columns are named by their paths. Times may be
unix seconds, milliseconds, microseconds or nanoseconds, ISO 8601 date-times, days, or of any format; the unit is
guessed from an excerpt and shown, and a time of another unit is a bad row. Whatever is guessed is printed and kept in
the manifest. There has to be a session column, or a user column, whose events are then cut by idle time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, InstanceOf

from recbole_ext.convert.atomic import Conversion, FileRecords, RowReport
from recbole_ext.convert.columns import Column
from recbole_ext.convert.engine import pl
from recbole_ext.convert.forms.find import Frame, Part, find_parts, one_table
from recbole_ext.convert.forms.table import ConstantTable, Table
from recbole_ext.convert.forms.text import TextTable
from recbole_ext.convert.forms.typed import is_frame
from recbole_ext.convert.guesses import (
    KIND,
    NONE,
    check_format,
    find_columns,
    guess_time_unit,
    is_numbered,
    item_names,
    no_session_column,
)
from recbole_ext.convert.item_table import CONTROL, MISSING, TYPES, read_item_table
from recbole_ext.convert.options import (
    GIVEN,
    LEFT_OUT,
    DatedOptions,
    Day,
    Flag,
    Number,
    Word,
    Words,
    day,
    file,
    option,
)
from recbole_ext.convert.rows import DUPLICATE, BadRows
from recbole_ext.convert.sessions import in_session_order, number_sessions, with_session_users, with_timestamp
from recbole_ext.convert.times import EARLIEST, LATEST, is_days, shown_range, time_column
from recbole_ext.convert.vocabulary import TextColumn
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
NO_ITEM = "no item"  # page views, searches …: no events of sessions of items, and no faults
EMPTY = ("", "\\N", "(not set)")  # how a log says that there is no item; NA and null may be one
OTHER_KIND = "of a kind that --events does not name"
TEXTS = ("item_id", "session_id", "user_id", "event", "split")
ALIKE = 3  # tables of one layout whose excerpts guesses are made from


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


def _file_or_frame(given: Any) -> Any:
    """A frame as what options hold: without a truth of its own."""
    return Frame(given) if is_frame(given) else given


def _words_of(given: Any) -> Any:
    """Words in a list, or with commas between."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return given
    return [word.strip() for text in texts for word in text.split(",") if word.strip()]


class Options(DatedOptions):
    """The options of this source."""

    raw: ClassVar[tuple[str, str]] = (
        "EVENTS",
        "tables of events (csv, jsonl, parquet, arrow, plain or packed), folders or globs of them",
    )
    out: ClassVar[str] = "atomic_data/{name}"
    several: ClassVar[bool] = True
    within: ClassVar[tuple[date, date]] = (EARLIEST, LATEST)

    events: Annotated[Words, BeforeValidator(_words_of)] = option(
        [],
        "kinds of events to keep, such as view_item,purchase (all where none is named)",
        metavar="KIND,…",
        says="words",
    )
    item: Word | None = _column("items")
    time: Word | None = _column("times")
    session: Word | None = _column("sessions", "; without one a visitor's events are cut by --gap-minutes")
    user: Word | None = _column("visitors")
    event: Word | None = _column("kinds of events (view, purchase …)")
    split: Word | None = _column("parts, one a session: train, valid or test")
    time_unit: Literal["s", "ms", "us", "ns", "iso", "date"] | None = option(
        None, "unit of the times: since 1970, ISO 8601 or whole days (guessed from an excerpt)"
    )
    time_format: Word | None = option(
        None,
        "how times are written, as strptime has it, such as '%d.%m.%Y %H:%M' (guessed where only one fits)",
        metavar="FORMAT",
        says="text such as %d.%m.%Y %H:%M",
        needs={"time_unit": LEFT_OUT},
    )
    no_header: Flag = option(False, "the first line is a row; columns are named by their number, from 1")
    event_by_file: Flag = option(
        False,
        "each file holds one kind of event, and is called so (views.csv, orders.csv)",
        needs={"event": LEFT_OUT},
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
    items: Annotated[Path | InstanceOf[Frame] | None, BeforeValidator(_file_or_frame)] = file(
        "table of item features, one row an item or several", recorded="items_file"
    )
    item_columns: Annotated[Words, BeforeValidator(_words_of)] = option(
        [],
        "features to read of the table of items (all where none is named)",
        metavar="NAME,…",
        says="names of columns",
        needs={"items": GIVEN},
    )
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
    """What is known of the tables of one layout before they are read: columns by meaning, the unit of times."""

    tables: tuple[Table, ...]
    columns: Mapping[str, str]
    unit: str
    per_visitor: bool


@dataclass(frozen=True)
class Plan:
    """The tables in the order in which they are read, each with its layout; the features; files that are no tables."""

    tables: tuple[Table, ...]
    layouts: tuple[Layout, ...]  # one a table
    items: Table | None
    strange: tuple[str, ...]

    @property
    def different(self) -> list[Layout]:
        """Each layout once."""
        return list({id(layout): layout for layout in self.layouts}.values())

    @property
    def columns(self) -> Mapping[str, str]:
        """Columns by meaning: of the first layout, and of others what only they have."""
        found: dict[str, str] = {}
        for layout in reversed(self.different):
            found |= layout.columns
        return {what: found[what] for what in [*self.different[0].columns, *found]}

    @property
    def per_visitor(self) -> bool:
        """Whether a session is one of a visitor and an id."""
        return any(layout.per_visitor for layout in self.layouts)

    @property
    def place(self) -> str:
        """The log, for messages."""
        return str(self.tables[0].path or self.tables[0].label) + (" …" if len(self.tables) > 1 else "")


def read(raw: Any, options: Options) -> Conversion:
    """The events in the tables `raw`, a path or frame or a list of them. Raises ConvertError for whatever the user can
    mend.
    """
    allowed = BadRows(options.max_bad_rows, options.strict)
    guessed: dict[str, str] = {}
    plan = _plan(raw if isinstance(raw, list) else [raw], options, guessed)
    tables = [*plan.tables, *([plan.items] if plan.items is not None else [])]
    records = FileRecords({table.path: table.label for table in tables if table.path is not None})
    notes: dict[str, int] = {}
    log, reports = _read_events(plan, options, allowed, notes, guessed)
    if options.time_unit is None and options.time_format is None:
        shown = shown_range(log["time_ns"], plan.layouts[0].unit)
        guessed["time"] = f"column {plan.layouts[0].columns['time']!r}, {shown}"
    log = _sessions(_in_time_units(log), plan, options, notes, guessed)
    inter, origin = _inter(log, notes)
    item, types, item_reports = _items(plan, inter, options, allowed, notes, guessed)
    return Conversion(
        inter=inter,
        item=item,
        sources=records,
        reports=[*reports, *item_reports],
        options=_recorded(plan, options, types),
        notes=notes,
        counts=_counts(inter, plan.columns),
        time_origin=float(origin),
        types=types,
        more={"guessed": guessed, "unread": _unread(plan)},
    )


def _unread(plan: Plan) -> list[str]:
    """Columns of the events that nothing is taken from."""
    found = []
    for layout in plan.different:
        table, named = layout.tables[0], layout.columns.values()
        taken = {KIND, *named, *(table.read_with(name) for name in named)}
        found += [name for name in table.names() if name not in taken]
    return list(dict.fromkeys(found))


def _recorded(plan: Plan, options: Options, types: Mapping[str, str]) -> dict[str, Any]:
    """The options with what was found out in place of what was left open."""
    labels = [table.label for table in plan.tables]
    first = plan.tables[0]
    found = {
        **dict.fromkeys(RECORDED),  # in this order
        **options.recorded(),
        "events_file": labels[0] if len(labels) == 1 else labels,
        "columns": plan.columns,
        "time_unit": None if "%" in plan.layouts[0].unit else plan.layouts[0].unit,
        "time_format": plan.layouts[0].unit if "%" in plan.layouts[0].unit else None,
        "separator": first.separator,
        "session_per_user": plan.per_visitor,
        "gap_minutes": None if "session" in plan.columns else options.gap_minutes,
        "item_types": types,
    }
    return found


def _plan(raw: list[Any], options: Options, guessed: dict[str, str]) -> Plan:
    raw, kinds = _with_old_events(raw, options.events)
    folder = next((one if one.is_dir() else one.parent for one in raw if isinstance(one, Path)), None)
    items = None if options.items is None else one_table(options.items, folder, "--items")
    but = (
        [items.path]
        if items is not None and items.path is not None and any(_is_folder(one) for one in raw)
        else []
    )
    parts, strange = find_parts(raw, options.separator, not options.no_header, but)
    if options.no_header and not all(isinstance(part.table, TextTable) for part in parts):
        raise ConvertError(
            "--no-header is of delimited text, and other tables name their columns: leave it out."
        )
    parts = _numbered(parts, options, guessed)
    if options.separator is None and isinstance(parts[0].table, TextTable):
        guessed["separator"] = repr(parts[0].table.separator)
    if items is not None and items.label in [part.table.label for part in parts]:  # accounts are by name
        raise ConvertError(
            f"{parts[0].table.path or parts[0].table.label} and {items.path or items.label} are two tables of one "
            "name, or one table: rename one of them."
        )
    tables = _with_kinds(parts, options, guessed)
    layouts = _layouts(tables, options, guessed)
    plan = Plan(tuple(tables), layouts, items, tuple(strange))
    _check_plan(plan, options, guessed)
    if kinds and "event" not in plan.columns:
        raise ConvertError(
            f"--events names {', '.join(kinds)}, and no column of {plan.place} names the kinds of events: name it with "
            "--event."
        )
    if strange:
        guessed["files"] = (
            f"{', '.join(strange)[:200]} {'are' if len(strange) > 1 else 'is'} no table and not read"
        )
    return plan


def _with_old_events(raw: list[Any], events: Sequence[str]) -> tuple[list[Any], Sequence[str]]:
    """`events` named the table in the folder before it named kinds, and still does where there is such a file."""
    if len(events) == 1 and len(raw) == 1 and isinstance(raw[0], Path) and raw[0].is_dir():
        for path in (raw[0] / events[0], Path(events[0])):
            if path.is_file():
                return [path], []
    return raw, events


def _is_folder(one: Any) -> bool:
    return isinstance(one, Path) and not one.is_file()


def _numbered(parts: list[Part], options: Options, guessed: dict[str, str]) -> list[Part]:
    """The tables, without a header line where columns are named by number and the first line is a row."""
    if options.no_header:
        return parts
    made = []
    for part in parts:
        table = part.table
        if isinstance(table, TextTable) and is_numbered(table, options.named(), options.days):
            guessed["header"] = (
                "there is none, as columns are named by number and the first line holds a time"
            )
            table = table.without_header()
        made.append(Part(table, part.hive, part.found))
    return made


def _with_kinds(parts: list[Part], options: Options, guessed: dict[str, str]) -> list[Table]:
    """The tables, with what the names of folders and, where files stand apart by kind, of files say as columns."""
    several = len({tuple(part.table.names()) for part in parts}) > 1
    named = [part for part in parts if part.table.path is not None and not part.found]
    kinds = {part.table.label: _stem(part.table) for part in parts if part.table.path is not None}
    if options.event_by_file and len(kinds) < len(parts):
        raise ConvertError(
            "--event-by-file names kinds by files, and there is a frame: give files, or --event."
        )
    by_file = options.event_by_file or (
        several and options.event is None and len(named) == len(parts) == len(set(kinds.values()))
    )
    tables: list[Table] = []
    for part in parts:
        constants: dict[str, str | None] = dict(part.hive)
        if by_file:
            constants[KIND] = kinds[part.table.label]
        tables.append(ConstantTable(part.table, constants) if constants else part.table)
    return tables


def _stem(table: Table) -> str:
    assert table.path is not None
    return table.path.name.partition(".")[0]


def _layouts(tables: Sequence[Table], options: Options, guessed: dict[str, str]) -> tuple[Layout, ...]:
    """The layout of each table; tables with the same columns have one, guessed from some of them."""
    groups: dict[tuple[str, ...], list[Table]] = {}
    for table in tables:
        groups.setdefault(tuple(table.names()), []).append(table)
    made: dict[tuple[str, ...], Layout] = {}
    for header, alike in groups.items():
        step = max(len(alike) // ALIKE, 1)
        some = alike[::step][:ALIKE]
        said: dict[str, str] = {}
        others = {name for other in groups if other != header for name in other}
        elsewhere = {what for what, name in options.named().items() if name in others}
        chosen = options.named()
        if KIND in header and (options.event_by_file or not _names_kinds(some, chosen, elsewhere)):
            chosen["event"] = KIND
        found = find_columns(some, chosen, elsewhere, said)
        if chosen["event"] == KIND:
            said["event"] = "the name of the file"
        form = options.time_unit or options.time_format
        if options.time_format is not None:
            check_format(some, found.columns["time"], options.time_format, options.days)
        elif options.time_unit is not None and some[0].kind(found.columns["time"]) in ("datetime", "date"):
            raise ConvertError(
                f"--time-unit {options.time_unit}: column {found.columns['time']} of {some[0].label} holds date-times "
                "already: leave it out."
            )
        unit = form or guess_time_unit(some, found.columns["time"], options.days)
        made[header] = Layout(tuple(alike), found.columns, unit, found.per_visitor)
        for what, words in said.items():
            if what not in guessed:
                guessed[what] = words
            elif guessed[what] != words:
                guessed[f"{what} of {alike[0].label}"] = words
    return tuple(made[tuple(table.names())] for table in tables)


def _names_kinds(tables: Sequence[Table], chosen: Mapping[str, str | None], elsewhere: set[str]) -> bool:
    """Whether a column of the table itself names the kinds of its events."""
    return "event" in find_columns(tables, {**chosen}, elsewhere, {}).columns


def _check_plan(plan: Plan, options: Options, guessed: dict[str, str]) -> None:
    """ConvertError where the tables' columns and the options do not go together."""
    if options.session_per_user and not {"session", "user"} <= set(plan.columns):
        raise ConvertError("--session-per-user needs a column of sessions and one of users: name both.")
    for layout in plan.different:
        columns = layout.columns
        assert isinstance(columns, dict)
        if "split" in columns and "session" not in columns:
            if options.split is not None:
                raise ConvertError(
                    f"--split {options.split} needs a column of sessions, whose parts it says: name it too."
                )
            guessed["split"] = f"column {columns.pop('split')!r} is not read, as no column names sessions"
        first = layout.tables[0]
        if "session" in plan.columns and "session" not in columns:
            raise ConvertError(
                f"{first.place}: no column of sessions, which other tables have: name it, or cut all by idle time with "
                f"--session {NONE}."
            )
        if is_days(layout.unit) and "session" not in columns:
            raise ConvertError(
                f"{first.path or first.label}: the times in column {columns['time']} are days, which no idle time can "
                "cut into sessions: name a column of sessions with --session."
            )
    if options.given("gap_minutes") and "session" in plan.columns:
        raise ConvertError(
            f"--gap-minutes is read only where no column names sessions, and {plan.columns['session']} does: leave it "
            f"out, or give --session {NONE}."
        )
    if (options.session_per_user or plan.per_visitor) and any(
        "user" not in one.columns for one in plan.different
    ):
        raise ConvertError(
            "Sessions are counted anew for each visitor, and a table names none: name it with --user."
        )


def _sessions(
    log: pl.DataFrame,
    plan: Plan,
    options: Options,
    notes: dict[str, int],
    guessed: dict[str, str],
) -> pl.DataFrame:
    """The events in order of their sessions: those of the log, of a user and an id, or of a user and idle time."""
    columns, gap_minutes = plan.columns, options.gap_minutes
    if "session" not in columns:
        others = [] if options.session == NONE else _unread(plan)
        others = [name for name in others if repr(name) not in guessed.get("empty", "")]
        guessed["session"] = no_session_column(others, gap_minutes)
        return _number_sessions(log, gap_minutes)
    if options.session_per_user or plan.per_visitor:
        log = _number_sessions(log, None)
        if "split" in columns:
            _check_parts(log, plan.place)
        return log
    log = in_session_order(log)
    if "split" in columns:
        _check_parts(log, plan.place)
    if "user" in columns:
        _check_shared_sessions(log, plan.place)
        log, user_notes = with_session_users(log)
        notes |= user_notes
    return log


def _items(
    plan: Plan,
    inter: pl.DataFrame,
    options: Options,
    allowed: BadRows,
    notes: dict[str, int],
    guessed: dict[str, str],
) -> tuple[pl.DataFrame | None, dict[str, str], list[RowReport]]:
    """The .item table, the types of its features and the report of its file, where the user names one."""
    if plan.items is None:
        return None, {}, []
    said: dict[str, str] = {}
    table, types, report, item_notes = read_item_table(
        plan.items,
        _id_column,
        inter.select(pl.col("item_id").cast(pl.String)).unique(),
        allowed,
        all_items=options.all_items,
        names=item_names(plan.columns["item"], plan.items.names()),
        types=options.item_types,
        guessed=said,
        list_separator=options.list_separator,
        only=options.item_columns,
    )
    notes |= item_notes
    guessed["item features"] = ", ".join(f"{name} {kind}" for name, kind in types.items())
    guessed |= said
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


# --- tables


def _id_column(name: str, owner: str, may_miss: bool = False) -> Column:
    """Any token -> String; what usually says that there is none is null or a fault, but for an item only nothing is."""
    broken = (f"{owner} holds a control character", lambda text: text.str.contains(CONTROL))
    if may_miss:
        return Column(name, owner, lambda text: text, (broken,), MISSING)
    if name == "item_id":
        return Column(name, owner, lambda text: text, ((NO_ITEM, lambda text: text.is_in(EMPTY)), broken))
    missing = (f"{owner} is missing", lambda text: text.is_in(list(MISSING)))
    return Column(name, owner, lambda text: text, (missing, broken))


def _wanted(layout: Layout, options: Options, kinds: Sequence[str]) -> list[Column]:
    """item_id, time_ns, and session_id, user_id, event, split where they are; first what a row may be left out for.

    A user may be missing where there is a session that does without.
    """
    columns = layout.columns
    wanted = [
        _id_column("item_id", columns["item"]),
        time_column("time_ns", columns["time"], layout.unit, *options.days),
    ]
    per_visitor = options.session_per_user or layout.per_visitor
    if "session" in columns:
        wanted.append(_id_column("session_id", columns["session"]))
    if "user" in columns:
        wanted.append(_id_column("user_id", columns["user"], "session" in columns and not per_visitor))
    if "event" in columns:
        column = _id_column("event", columns["event"])
        wanted.append(column)
        if kinds:
            other = (OTHER_KIND, lambda text: ~text.is_in(list(kinds)))
            wanted.remove(column)
            wanted.insert(0, Column("event", column.owner, column.value, (other, *column.faults)))
    if "split" in columns:
        known = (f"{columns['split']} is not train, valid or test", lambda text: ~text.is_in(PARTS))
        wanted.append(Column("split", columns["split"], lambda text: text, (known,)))
    return wanted


def _read_events(
    plan: Plan, options: Options, allowed: BadRows, notes: dict[str, int], guessed: dict[str, str]
) -> tuple[pl.DataFrame, list[RowReport]]:
    """item_id, time_ns, and session_id, user_id, event where they are, in the order of tables and rows.

    Texts are Enums in the order of the texts, so that what sorts by them sorts as before.
    """
    kinds = [] if "event" not in plan.columns else _kinds(plan, options)
    names = ["item_id", "time_ns", *(f"{what}_id" for what in ("session", "user") if what in plan.columns)]
    names += [what for what in ("event", "split") if what in plan.columns]
    texts = {name: TextColumn() for name in names if name in TEXTS}
    rest: list[pl.DataFrame] = []
    reports = []
    one = BadRows(allowed.share if len(plan.tables) == 1 else 1.0, allowed.strict)
    for number, (table, layout) in enumerate(zip(plan.tables, plan.layouts)):
        report = RowReport(table.label, harmless=(NO_ITEM, OTHER_KIND))
        reports.append(report)
        for block in table.blocks(_wanted(layout, options, kinds), one, report):
            for name, column in texts.items():
                column.add(block[name] if name in block.columns else _nothing(name, block.height))
            rest.append(block.select("line", "time_ns", pl.lit(number, dtype=pl.UInt32).alias("table")))
        for what, count in report.notes.items():
            notes[what] = notes.get(what, 0) + count
    _check_all(reports, allowed)
    numbers = pl.concat(rest) if rest else pl.DataFrame({"line": [], "time_ns": [], "table": []})
    del rest
    log = numbers.with_columns(column.column(name) for name, column in texts.items())
    if log.is_empty():
        raise ConvertError(_no_rows(plan, kinds, reports))
    log = _without_repeated_rows(log.select("line", "table", *names), reports)
    _tell_kinds(log, kinds, guessed)
    named = log["item_id"].is_in(
        pl.Series(MISSING).cast(log.schema["item_id"], strict=False).drop_nulls().unique()
    )
    notes["event of an item that is called NA, null or the like (an item like others)"] = int(named.sum())
    return log.drop("line", "table"), reports


def _kinds(plan: Plan, options: Options) -> Sequence[str]:
    """The kinds to keep; none where `events` is the name of a table."""
    return [kind for kind in options.events if kind not in [table.label for table in plan.tables]]


def _nothing(name: str, height: int) -> pl.Series:
    return pl.Series(name, [None], dtype=pl.String).new_from_index(0, height)


def _check_all(reports: Sequence[RowReport], allowed: BadRows) -> None:
    """ConvertError where too many rows of all tables are bad, with the first one of the first table that has one."""
    if len(reports) == 1:
        allowed.check(reports[0])
        return
    whole = RowReport(f"{len(reports)} tables")
    whole.read, whole.bad = sum(report.read for report in reports), sum(report.bad for report in reports)
    for report in reports:
        if report.first_bad is not None:
            line, reason, text = report.first_bad
            whole.first_bad = (line, f"of {report.file}, {reason}", text)
            break
    allowed.check(whole)


def _no_rows(plan: Plan, kinds: Sequence[str], reports: Sequence[RowReport]) -> str:
    dropped = [report.dropped for report in reports]
    if any(OTHER_KIND in found for found in dropped):
        layout = plan.layouts[0]
        there = layout.tables[0].excerpt(layout.columns["event"]).drop_nulls().unique(maintain_order=True)
        return (
            f"{plan.place} holds no event with an item of the kinds {', '.join(kinds)}: there are such as "
            f"{', '.join(there.head(10))}."
        )
    if any(NO_ITEM in found for found in dropped):
        return f"{plan.place}: no row has an item in column {plan.columns['item']}: name another one with --item."
    return f"{plan.place} holds no usable row: check that it is the table of events."


def _tell_kinds(log: pl.DataFrame, kinds: Sequence[str], guessed: dict[str, str]) -> None:
    """Name the kinds that were asked for and are not there."""
    absent = set(kinds) - set(log["event"].unique().cast(pl.String)) if kinds else set()
    if absent:
        guessed["events"] = f"none is a {', '.join(sorted(absent))}"


def _without_repeated_rows(log: pl.DataFrame, reports: Sequence[RowReport]) -> pl.DataFrame:
    """The first of every set of events that are equal in all columns, of one table or several."""
    values = log.select(pl.exclude("line", "table"))
    if values.hash_rows().n_unique() == log.height:  # the usual case; equal rows have equal hashes
        return log
    first = values.select(pl.struct(pl.all()).is_first_distinct()).to_series()
    for (number,), rows in log.filter(~first).group_by("table", maintain_order=True):
        reports[int(str(number))].drop_rows(rows.drop("table"), DUPLICATE)
    return log.filter(first)


def _in_time_units(log: pl.DataFrame) -> pl.DataFrame:
    """The log with `time_ms` for `time_ns`; where times are finer than that, in order of time, which steps that sort by
    milliseconds keep."""
    if (log["time_ns"] % MS_NS != 0).any():
        log = log.sort("time_ns", maintain_order=True)
    return log.with_columns(time_ms=pl.col("time_ns") // MS_NS).drop("time_ns")


def _number_sessions(log: pl.DataFrame, gap_minutes: float | None) -> pl.DataFrame:
    """Numbered sessions of each user: cut by idle time, or with None by the users' own `session_id`."""
    code = pl.col("user_id").to_physical().rank("dense").cast(pl.Int64)
    if gap_minutes is None:
        session = pl.col("session_id").to_physical().rank("dense").cast(pl.Int64)
        code = code * pl.col("session_id").n_unique() + session
    coded = log.with_columns(code.alias("user_id"), pl.col("user_id").alias("_user"))
    numbered = number_sessions(coded.drop("session_id", strict=False), gap_minutes)
    return numbered.with_columns(user_id=pl.col("_user")).drop("_user")


def _check_shared_sessions(log: pl.DataFrame, place: str) -> None:
    """ConvertError where so many sessions name two users that their ids must be counted for each user."""
    users = log.drop_nulls("user_id").group_by("session_id").agg(pl.col("user_id").n_unique())["user_id"]
    shared = int((users > 1).sum())
    if shared > SHARED_SESSIONS * len(users):
        raise ConvertError(
            f"{place}: {shared:,} of {len(users):,} session ids name two users or more: give --session-per-user "
            f"if ids count anew for each user, or leave users out with --user {NONE}."
        )


def _check_parts(log: pl.DataFrame, place: str) -> None:
    """ConvertError where events of one session are of two parts."""
    parts = log.group_by("session_id", maintain_order=True).agg(pl.col("split").n_unique())
    mixed = parts.filter(pl.col("split") > 1)["session_id"]
    if len(mixed):
        raise ConvertError(
            f"{place}: {len(mixed):,} sessions, the first of them {mixed[0]}, are of two parts: give each one, "
            f"or leave the parts out with --split {NONE}."
        )


def _inter(log: pl.DataFrame, notes: dict[str, int]) -> tuple[pl.DataFrame, int]:
    """Ordered events -> (.inter table, `timestamp` in seconds since the first event; its unix second)."""
    spans = log.group_by("session_id").agg(span=pl.col("time_ms").max() - pl.col("time_ms").min())
    notes["session of more than a day"] = spans.filter(pl.col("span") > DAY_MS).height
    inter, origin = with_timestamp(log, notes)
    order = ("session_id", "user_id", "item_id", "timestamp", "event", "split")
    return inter.select([column for column in order if column in inter.columns]), origin
