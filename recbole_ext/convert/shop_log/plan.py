"""What is known of a shop's tables before they are read: which they are, and what their columns mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_ext.convert.forms.find import Part, find_parts, one_table
from recbole_ext.convert.forms.table import ConstantTable, Table
from recbole_ext.convert.forms.text import TextTable
from recbole_ext.convert.guesses import KIND, NONE, check_format, find_columns, guess_time_unit, is_numbered
from recbole_ext.convert.shop_log.options import Options
from recbole_ext.convert.times import is_days
from recbole_ext.errors import ConvertError

ALIKE = 3  # tables of one layout whose excerpts guesses are made from


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


def find_plan(raw: list[Any], options: Options, guessed: dict[str, str]) -> Plan:
    """How the tables are read: their columns, named or guessed, and units. guessed: what was found out is added to it.

    Raises ConvertError where a column is missing or is not clear.
    """
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


def chosen_kinds(plan: Plan, options: Options) -> Sequence[str]:
    """The kinds to keep; none where `events` is the name of a table."""
    return [kind for kind in options.events if kind not in [table.label for table in plan.tables]]


def unread(plan: Plan) -> list[str]:
    """Columns of the events that nothing is taken from."""
    found = []
    for layout in plan.different:
        table, named = layout.tables[0], layout.columns.values()
        taken = {KIND, *named, *(table.read_with(name) for name in named)}
        found += [name for name in table.names() if name not in taken]
    return list(dict.fromkeys(found))
