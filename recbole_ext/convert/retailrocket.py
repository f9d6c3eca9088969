"""Retail Rocket: events, category tree and the log of item properties to atomic files.

Reference: https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset. A visitor's events are cut into sessions
where over 30 minutes lie between two of them; `user_id` is the visitor. Item features are those that were known when
the test period starts (`--as-of split`); what is usual elsewhere, the last value of the whole log, is `--as-of latest`
and lets models see the future.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recbole_ext.convert.atomic import FileRecords, RowReport, make_manifest, write_dataset
from recbole_ext.convert.categories import CategoryTree
from recbole_ext.convert.columns import as_day, choice_column, epoch_ms_column, id_column, text_column
from recbole_ext.convert.properties import AVAILABLE, CATEGORY, History, named_feature, read_properties
from recbole_ext.convert.rows import BadRows, Source, find_source, members, read_rows
from recbole_ext.convert.sessions import number_sessions, with_timestamp, without_repeats
from recbole_ext.errors import ConvertError

EVENTS, TREE = "events.csv", "category_tree.csv"
PARTS = re.compile(r"item_properties_part([1-9][0-9]*)\.(?:csv|csv\.gz|csv\.zip|zip)")
BUNDLES = ("archive.zip", "ecommerce-dataset.zip")  # the owner's download by browser, and by Kaggle's command
OWNER = "Retail Rocket, https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset"
KINDS = ("view", "addtocart", "transaction")  # of one moment, in this order
DAY = timedelta(days=1)
MOST_DAYS = 36_500
AS_OF = ("split", "event", "latest")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line: RAW, --out and the options of `convert`."""
    add = parser.add_argument
    add("raw", type=Path, metavar="RAW", help="folder that holds the owner's files")
    add("--out", type=Path, default=Path("atomic_data/retailrocket"), help="(default %(default)s)")
    add("--events", type=Path, metavar="FILE", help=f"read FILE in place of {EVENTS}")
    add("--tree", type=Path, metavar="FILE", help=f"read FILE in place of {TREE}")
    add("--properties", type=Path, nargs="+", metavar="FILE", help="in place of item_properties_part1.csv …")
    session = "idle: cut by --gap-minutes (default); visitor: a visitor's whole history"
    add("--session", choices=("idle", "visitor"), default="idle", help=session)
    add(
        "--gap-minutes",
        type=float,
        default=30,
        help="a longer idle time ends a session (default %(default)s)",
    )
    add(
        "--drop-repeats", action="store_true", help="leave out an event like the one before it in its session"
    )
    add("--drop-transactions", action="store_true", help="leave out events of kind transaction")
    as_of = (
        "item features as known when the test period starts (split, default); also as in force at each event, in the "
        ".inter file (event); the latest, which know the future (latest)"
    )
    add("--as-of", choices=AS_OF, default="split", help=as_of)
    add(
        "--test-days",
        type=int,
        default=7,
        metavar="DAYS",
        help="the test period: last days (default %(default)s)",
    )
    add("--test-start", metavar="DAY", help="the test period's first day, in place of --test-days")
    features = "hashed properties to keep as property_NAME; TYPE is token, token_seq (default) or float"
    add("--features", nargs="+", default=(), metavar="NAME[:TYPE]", help=features)
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
        default="2015-01-01",
        metavar="DAY",
        help="earliest day of the log (default %(default)s)",
    )
    add(
        "--last-date", default="2015-12-31", metavar="DAY", help="latest day of the log (default %(default)s)"
    )


@dataclass(frozen=True)
class Sources:
    """The owner's files that are there."""

    events: Source
    tree: Source | None
    properties: list[Source]

    def paths(self) -> list[Path]:
        """All files, each once."""
        sources = [self.events, *([self.tree] if self.tree else []), *self.properties]
        return list(dict.fromkeys(source.path for source in sources))


def convert(
    raw: Path,
    out: Path,
    *,
    events: Path | str | None = None,
    tree: Path | str | None = None,
    properties: Sequence[Path | str] | Path | str | None = None,
    session: str = "idle",
    gap_minutes: float = 30,
    drop_repeats: bool = False,
    drop_transactions: bool = False,
    as_of: str = "split",
    test_days: int = 7,
    test_start: date | str | None = None,
    features: Sequence[str] | str = (),
    all_items: bool = False,
    strict: bool = False,
    max_bad_rows: float = 0.01,
    first_date: date | str = "2015-01-01",
    last_date: date | str = "2015-12-31",
) -> dict[str, Any]:
    """Convert the logs in `raw` to atomic files in `out` and return the manifest.

    `events`, `tree`, `properties` name files to read in place of the owner's; only events must be there. `session`
    is idle (cut where over `gap_minutes` lie between two events of a visitor) or visitor (never cut). `as_of` is split
    (item features are the last values before the test period, which is the last `test_days` days, UTC, that sessions
    start on, or begins on the day `test_start`), event (the same, and beside each event the values in force then) or
    latest. `features` are hashed properties, NAME or NAME:TYPE. At most a share `max_bad_rows` of a file's rows is
    skipped as bad, none when `strict`; days lie from `first_date` to `last_date`. Raises ConvertError for whatever the
    user can mend.
    """
    raw, out = Path(raw), Path(out)
    parts = [properties] if isinstance(properties, str | Path) else properties
    _check_choices(session, gap_minutes, as_of, test_days)
    days = as_day("--first-date", first_date), as_day("--last-date", last_date)
    start = None if test_start is None else as_day("--test-start", test_start)
    # Of a yaml file: one name without a list, names that are numbers.
    features = [str(name) for name in ([features] if isinstance(features, str | int) else features or ())]
    chosen = [CATEGORY, AVAILABLE, *(named_feature(text) for text in dict.fromkeys(features))]
    if len({feature.column for feature in chosen}) < len(chosen):
        raise ConvertError("--features names one property twice: keep one of them.")
    allowed = BadRows(max_bad_rows, strict)
    sources = _find_sources(raw, events, tree, parts)
    records = FileRecords(sources.paths())

    log, report = _read_events(sources.events, allowed, days)
    notes: dict[str, int] = {f"no {TREE}": int(sources.tree is None)}
    notes["no item_properties_part1.csv"] = int(not sources.properties)
    notes["transaction without transactionid"] = log.filter(
        (pl.col("event") == "transaction") & pl.col("transaction").is_null()
    ).height
    if drop_transactions:
        report.drop_rows(log.filter(pl.col("event") == "transaction"), "transaction (--drop-transactions)")
        log = log.filter(pl.col("event") != "transaction")
    log = log.select("user_id", "item_id", "time_ms", "event")
    log = number_sessions(log, gap_minutes if session == "idle" else None, ties="event")
    if drop_repeats:
        height = log.height
        log = without_repeats(log)
        report.drop("repeats the event before it (--drop-repeats)", height - log.height)
    if log.is_empty():
        raise ConvertError(f"{sources.events.path} holds no usable row: check that it is the owner's file.")
    test_ms = _test_start_ms(log, test_days) if start is None else _unix_ms(start)
    last = datetime.fromtimestamp(int(log["time_ms"].max()) / 1000, UTC).date()  # type: ignore[arg-type]
    if test_ms > _unix_ms(last + DAY):  # the day after is fine: a log that is all training
        raise ConvertError(
            f"--test-start is {start}, but the last event is of {last}: name a day of the log."
        )

    reports = [report]
    item, at_events = None, None
    occurring = log["item_id"].unique().sort()
    path_types: dict[str, str] = {}
    if sources.properties:
        history, property_reports = read_properties(
            sources.properties,
            chosen,
            allowed,
            days,
            items=None if all_items else occurring,
            before_ms=test_ms if as_of == "split" else None,
            whole_history=as_of == "event",
            notes=notes,
        )
        reports += property_reports
        _note_unknown_features(history, notes)
        notes["test period starts before the first event"] = int(test_ms <= int(log["time_ms"][0]))
        categories, tree_report = _read_tree(sources.tree, allowed, notes)
        reports += [] if tree_report is None else [tree_report]
        item = _item_table(
            history, occurring, None if as_of == "latest" else test_ms, categories, all_items, notes
        )
        if as_of == "event":
            at_events = _with_path(
                history.values_at(log["item_id"].to_numpy(), log["time_ms"].to_numpy()), categories
            ).rename(lambda column: f"event_{column}")
        path_types = {feature.column: feature.type for feature in chosen} | {"category_path": "token_seq"}
        path_types |= {f"event_{column}": kind for column, kind in path_types.items()}

    inter, origin = with_timestamp(log, notes)
    inter = inter.select("session_id", "user_id", "item_id", "timestamp", "event")
    counts = {
        "sessions": int(log["session_id"].max()),  # type: ignore[arg-type]
        "users": log["user_id"].n_unique(),
        "items": len(occurring),
        "events": {kind: log.filter(pl.col("event") == kind).height for kind in KINDS},
    }
    files = {"events_file": events, "tree_file": tree}
    manifest = make_manifest(
        "retailrocket",
        sources=records,
        reports=reports,
        options={
            **{option: file for option, file in files.items() if file is not None},
            **({} if parts is None else {"properties_files": [str(part) for part in parts]}),
            "session": session,
            "gap_minutes": gap_minutes,
            "drop_repeats": drop_repeats,
            "drop_transactions": drop_transactions,
            "as_of": as_of,
            "test_days": test_days,
            "test_start": None if start is None else start.isoformat(),
            "features": features,
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
    known: float | str | None = None if item is None else "latest" if as_of == "latest" else test_ms / 1000
    table = inter if at_events is None else inter.hstack(at_events)
    return write_dataset(out, table, item, manifest | {"features_as_of": known}, path_types)


def _check_choices(session: str, gap_minutes: float, as_of: str, test_days: int) -> None:
    if session not in ("idle", "visitor"):
        raise ConvertError(f"--session is {session!r}: write idle or visitor.")
    if as_of not in AS_OF:
        raise ConvertError(f"--as-of is {as_of!r}: write one of {', '.join(AS_OF)}.")
    if not isinstance(gap_minutes, int | float) or not 0 < gap_minutes < float("inf"):
        raise ConvertError(f"--gap-minutes is {gap_minutes}: write a number of minutes above 0.")
    if isinstance(test_days, bool) or not isinstance(test_days, int) or not 1 <= test_days <= MOST_DAYS:
        raise ConvertError(f"--test-days is {test_days}: write a whole number of days from 1 to {MOST_DAYS}.")


# --- files


def _find_sources(
    raw: Path, events: Path | str | None, tree: Path | str | None, parts: Sequence[Path | str] | None
) -> Sources:
    bundle = next((name for name in BUNDLES if (raw / name).is_file()), None)
    log = find_source(raw, EVENTS, events, bundle)
    if log is None:
        raise ConvertError(
            f"No {EVENTS} (or .csv.gz, .zip) in {raw}: put the owner's files there ({OWNER}), or try generated logs "
            "with --dataset=retailrocket-demo."
        )
    found = Sources(log, find_source(raw, TREE, tree, bundle), _find_parts(raw, parts, bundle))
    labels = [source.label for source in (found.events, found.tree, *found.properties) if source is not None]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:  # the manifest's accounts are by name
        raise ConvertError(
            f"Two of the files to read are named {twice[0]}: rename one, or name it only once."
        )
    return found


def _find_parts(raw: Path, chosen: Sequence[Path | str] | None, bundle: str | None) -> list[Source]:
    """The property log: the chosen files, or all numbered parts; ConvertError where one of these is missing."""
    if chosen is not None:
        return [source for file in chosen if (source := find_source(raw, "item_properties_part1.csv", file))]
    names = [path.name for path in raw.iterdir() if path.is_file()] if raw.is_dir() else []
    names += members(raw / bundle) if bundle else []
    numbers = sorted({int(found[1]) for name in names if (found := PARTS.fullmatch(name))})
    if not numbers:
        return []
    missing = next(number for number in range(1, len(numbers) + 2) if number not in numbers)
    if missing < max(numbers[-1], 3):  # the owner has two
        raise ConvertError(
            f"item_properties_part{missing}.csv is not in {raw}, but part {numbers[0]} is: put it there, or name the "
            "parts that there are with --properties."
        )
    found_parts = (find_source(raw, f"item_properties_part{number}.csv", None, bundle) for number in numbers)
    return [source for source in found_parts if source is not None]


def _read_events(source: Source, allowed: BadRows, days: tuple[date, date]) -> tuple[pl.DataFrame, RowReport]:
    """user_id, item_id, time_ms (unix ms), event (Enum of KINDS), transaction, in file order."""
    columns = [
        epoch_ms_column("time_ms", "timestamp", *days),
        id_column("user_id", "visitorid"),
        choice_column("event", "event", KINDS),
        id_column("item_id", "itemid"),
        text_column("transaction", "transactionid", unknown=("", "NA")),  # some copies write 13556.0
    ]
    events, report = read_rows(source, columns, allowed, separator=",")
    if events.is_empty():
        raise ConvertError(f"{source.path} holds no usable row: check that it is the owner's file.")
    return events, report


def _note_unknown_features(history: History, notes: dict[str, int]) -> None:
    """Note the properties that the user names and of which nothing is known: the name may be wrong."""
    rows = np.bincount(history.feature, minlength=len(history.features))
    for feature, count in zip(history.features, rows):
        if feature not in (CATEGORY, AVAILABLE):
            notes[f"property {feature.property} of --features is not in the rows kept (check its name)"] = (
                int(not count)
            )


def _read_tree(
    source: Source | None, allowed: BadRows, notes: dict[str, int]
) -> tuple[CategoryTree | None, RowReport | None]:
    if source is None:
        return None, None
    columns = [id_column("category", "categoryid"), id_column("parent", "parentid", unknown=("", "NA"))]
    rows, report = read_rows(source, columns, allowed, separator=",")
    # The greatest parent counts, so that the order of the file does not matter.
    rows = rows.sort("category", "parent", descending=[False, True], nulls_last=True)
    first = rows["category"].is_first_distinct()
    report.drop_rows(rows.filter(~first).sort("line"), "category has another parent already")
    tree = CategoryTree(rows.filter(first).select("category", "parent").iter_rows())
    notes |= tree.notes
    return tree, report


# --- tables


def _unix_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def _test_start_ms(log: pl.DataFrame, test_days: int) -> int:
    """00:00 UTC of the first of the last `test_days` days, counted back from the last day that a session starts on."""
    last = log.filter(pl.col("session_id") == log["session_id"][-1])["time_ms"][
        0
    ]  # sessions stand in order of start
    day = datetime.fromtimestamp(last / 1000, UTC).date()
    return _unix_ms(day - (test_days - 1) * DAY)


def _item_table(
    history: History,
    occurring: pl.Series,
    before_ms: int | None,
    tree: CategoryTree | None,
    all_items: bool,
    notes: dict[str, int],
) -> pl.DataFrame:
    """The .item table by item id: the last values before a moment (None: of all)."""
    known = history if before_ms is None else history.before(before_ms)
    items = occurring
    if all_items:
        items = pl.concat([occurring, pl.Series(known.item, dtype=pl.Int64)]).unique().sort()
    table = known.last_values(items)
    if tree is not None:
        used = table["category"].drop_nulls()
        notes["item whose category is not in the tree"] = sum(category not in tree for category in used)
    for feature in history.features:
        notes[f"item without {feature.column}"] = table[feature.column].null_count()
    return _with_path(table, tree)


def _with_path(table: pl.DataFrame, tree: CategoryTree | None) -> pl.DataFrame:
    """The table with `category_path` after `category`: the category, its parent, … the root."""
    if tree is None:
        return table
    categories = table["category"].drop_nulls().unique().to_list()
    paths = [" ".join(map(str, tree.path(category))) for category in categories]
    path = pl.col("category").replace_strict(categories, paths, return_dtype=pl.String).alias("category_path")
    place = table.columns.index("category") + 1
    return table.select(*table.columns[:place], path, *table.columns[place:])
