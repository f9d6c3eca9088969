"""A shop's own log of events, in any form, to atomic files: name its columns, or let them be guessed.

Read are delimited text with or without a header line, JSON lines, parquet and Arrow files, folders and globs of them,
several files together, and frames of polars, pandas and Arrow; nested columns are named by their paths. Times may be
unix seconds, milliseconds, microseconds or nanoseconds, ISO 8601 date-times, days, or of any format; the unit is
guessed from an excerpt and shown, and a time of another unit is a bad row. Whatever is guessed is printed and kept in
the manifest. There has to be a session column, or a user column, whose events are then cut by idle time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_ext.convert.atomic import Conversion, FileRecords, RowReport
from recbole_ext.convert.engine import pl
from recbole_ext.convert.guesses import item_names
from recbole_ext.convert.item_table import read_item_table
from recbole_ext.convert.rows import BadRows
from recbole_ext.convert.sessions import with_timestamp
from recbole_ext.convert.shop_log.in_sessions import in_sessions, in_time_units
from recbole_ext.convert.shop_log.options import Options
from recbole_ext.convert.shop_log.plan import Plan, find_plan, unread
from recbole_ext.convert.shop_log.reading import read_events, token_column
from recbole_ext.convert.times import shown_range

__all__ = ["Options", "read"]

# How the manifest begins, whether there are item features or not
RECORDED = (
    *("events_file", "columns", "time_unit", "separator", "session_per_user", "gap_minutes"),
    *("items_file", "item_types"),
)
DAY_MS = 86_400_000


def read(raw: Any, options: Options) -> Conversion:
    """The events in the tables `raw`, a path or frame or a list of them. Raises ConvertError for whatever the user can
    mend.
    """
    allowed = BadRows(options.max_bad_rows, options.strict)
    guessed: dict[str, str] = {}
    plan = find_plan(raw if isinstance(raw, list) else [raw], options, guessed)
    tables = [*plan.tables, *([plan.items] if plan.items is not None else [])]
    records = FileRecords({table.path: table.label for table in tables if table.path is not None})
    notes: dict[str, int] = {}
    log, reports = read_events(plan, options, allowed, notes, guessed)
    if options.time_unit is None and options.time_format is None:
        shown = shown_range(log["time_ns"], plan.layouts[0].unit)
        guessed["time"] = f"column {plan.layouts[0].columns['time']!r}, {shown}"
    log = in_sessions(in_time_units(log), plan, options, notes, guessed)
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
        more={"guessed": guessed, "unread": unread(plan)},
    )


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
        token_column,
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


def _inter(log: pl.DataFrame, notes: dict[str, int]) -> tuple[pl.DataFrame, int]:
    """Ordered events -> (.inter table, `timestamp` in seconds since the first event; its unix second)."""
    spans = log.group_by("session_id").agg(span=pl.col("time_ms").max() - pl.col("time_ms").min())
    notes["session of more than a day"] = spans.filter(pl.col("span") > DAY_MS).height
    inter, origin = with_timestamp(log, notes)
    order = ("session_id", "user_id", "item_id", "timestamp", "event", "split")
    return inter.select([column for column in order if column in inter.columns]), origin
