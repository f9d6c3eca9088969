"""The events of a shop's tables, one after the other, with every row accounted for."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_ext.convert.atomic import RowReport
from recbole_ext.convert.columns import Column
from recbole_ext.convert.engine import pl
from recbole_ext.convert.item_table import CONTROL, MISSING
from recbole_ext.convert.rows import DUPLICATE, BadRows, left_out, repeated
from recbole_ext.convert.shop_log.options import Options
from recbole_ext.convert.shop_log.plan import Layout, Plan, chosen_kinds
from recbole_ext.convert.times import time_column
from recbole_ext.convert.vocabulary import TextColumn
from recbole_ext.errors import ConvertError

PARTS = ("train", "valid", "test")
NO_ITEM = "no item"  # page views, searches …: no events of sessions of items, and no faults
EMPTY = ("", "\\N", "(not set)")  # how a log says that there is no item; NA and null may be one
OTHER_KIND = "of a kind that --events does not name"
TEXTS = ("item_id", "session_id", "user_id", "event", "split")


def read_events(
    plan: Plan, options: Options, allowed: BadRows, notes: dict[str, int], guessed: dict[str, str]
) -> tuple[pl.DataFrame, list[RowReport]]:
    """item_id, time_ns, and session_id, user_id, event where they are, in the order of tables and rows.

    Texts are Enums in the order of the texts, so that what sorts by them sorts as before.
    """
    kinds = [] if "event" not in plan.columns else chosen_kinds(plan, options)
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


def _wanted(layout: Layout, options: Options, kinds: Sequence[str]) -> list[Column]:
    """item_id, time_ns, and session_id, user_id, event, split where they are; first what a row may be left out for.

    A user may be missing where there is a session that does without.
    """
    columns = layout.columns
    wanted = [
        token_column("item_id", columns["item"]),
        time_column("time_ns", columns["time"], layout.unit, *options.days),
    ]
    per_visitor = options.session_per_user or layout.per_visitor
    if "session" in columns:
        wanted.append(token_column("session_id", columns["session"]))
    if "user" in columns:
        wanted.append(token_column("user_id", columns["user"], "session" in columns and not per_visitor))
    if "event" in columns:
        column = token_column("event", columns["event"])
        wanted.append(column)
        if kinds:
            other = (OTHER_KIND, lambda text: ~text.is_in(list(kinds)))
            wanted.remove(column)
            wanted.insert(0, Column("event", column.owner, column.value, (other, *column.faults)))
    if "split" in columns:
        known = (f"{columns['split']} is not train, valid or test", lambda text: ~text.is_in(PARTS))
        wanted.append(Column("split", columns["split"], lambda text: text, (known,)))
    return wanted


def token_column(name: str, owner: str, may_miss: bool = False) -> Column:
    """Any token -> String; what usually says that there is none is null or a fault, but for an item only nothing is."""
    broken = (f"{owner} holds a control character", lambda text: text.str.contains(CONTROL))
    if may_miss:
        return Column(name, owner, lambda text: text, (broken,), MISSING)
    if name == "item_id":
        return Column(name, owner, lambda text: text, ((NO_ITEM, lambda text: text.is_in(EMPTY)), broken))
    missing = (f"{owner} is missing", lambda text: text.is_in(list(MISSING)))
    return Column(name, owner, lambda text: text, (missing, broken))


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
    again = repeated(log.select(pl.exclude("line", "table")))
    if not len(again):
        return log
    for (number,), rows in log[again].group_by("table", maintain_order=True):
        reports[int(str(number))].drop_rows(rows.drop("table"), DUPLICATE)
    return left_out(log, again)
