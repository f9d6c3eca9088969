"""Retail Rocket: events, category tree and the log of item properties to atomic files.

Reference: https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset. A visitor's events are cut into sessions
where over 30 minutes lie between two of them; `user_id` is the visitor. Item features are those that were known when
the test period starts (`--as-of split`); what is usual elsewhere, the last value of the whole log, is `--as-of latest`
and lets models see the future. Only events must be there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from recbole_ext.convert.atomic import Conversion, FileRecords, RowReport
from recbole_ext.convert.categories import CategoryTree
from recbole_ext.convert.columns import choice_column, epoch_ms_column, id_column, text_column
from recbole_ext.convert.engine import np, pl
from recbole_ext.convert.options import (
    LEFT_OUT,
    NOT_EMPTY,
    DatedOptions,
    Day,
    Files,
    Flag,
    Number,
    Whole,
    Words,
    day,
    file,
    flag,
    option,
)
from recbole_ext.convert.properties import AVAILABLE, CATEGORY, History, chosen_features, read_properties
from recbole_ext.convert.raw_files import Source, find_source, members
from recbole_ext.convert.rows import BadRows, narrow, read_blocks, read_rows, without_duplicates
from recbole_ext.convert.sessions import number_sessions, with_timestamp, without_repeats
from recbole_ext.convert.vocabulary import TextColumn
from recbole_ext.errors import ConvertError

EVENTS, TREE, PART = "events.csv", "category_tree.csv", "item_properties_part1.csv"
PARTS = re.compile(r"item_properties_part([1-9][0-9]*)\.(?:csv|csv\.gz|csv\.zip|zip)")
BUNDLES = ("archive.zip", "ecommerce-dataset.zip")  # the owner's download by browser, and by Kaggle's command
OWNER = "Retail Rocket, https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset"
KINDS = ("view", "addtocart", "transaction")  # of one moment, in this order
DAY = timedelta(days=1)
MOST_DAYS = 36_500
# What is said of items, and so read only where their properties are
OF_ITEMS = ("tree", "as_of", "features", "all_items")


class Options(DatedOptions):
    """The options of this source."""

    events: Path | None = file(f"read FILE in place of {EVENTS}", recorded="events_file")
    tree: Path | None = file(
        f"read FILE in place of {TREE}", recorded="tree_file", needs={"properties": NOT_EMPTY}
    )
    properties: Files | None = file(f"in place of {PART} …", recorded="properties_files")
    session: Literal["idle", "visitor"] = option(
        "idle", "idle: cut by --gap-minutes; visitor: a visitor's whole history"
    )
    gap_minutes: Number = option(30, "a longer idle time ends a session", gt=0, needs={"session": ["idle"]})
    drop_repeats: Flag = option(False, "leave out an event like the one before it in its session")
    drop_transactions: Flag = option(False, "leave out events of kind transaction")
    as_of: Literal["split", "event", "latest"] = option(
        "split",
        "item features as known when the test period starts (split); also as in force at each event, in the .inter "
        "file (event); the latest, which know the future (latest)",
        needs={"properties": NOT_EMPTY},
    )
    test_days: Whole = option(
        7,
        "the test period: last days that sessions start on, UTC",
        ge=1,
        le=MOST_DAYS,
        metavar="DAYS",
        needs={"test_start": LEFT_OUT, "as_of": ["split", "event"], "properties": NOT_EMPTY},
    )
    test_start: Day | None = day(
        None,
        "the test period's first day, in place of --test-days",
        needs={"as_of": ["split", "event"], "properties": NOT_EMPTY},
    )
    features: Words = option(
        [],
        "hashed properties to keep as property_NAME; TYPE is token, token_seq (without one) or float",
        metavar="NAME[:TYPE]",
        needs={"properties": NOT_EMPTY},
    )
    all_items: Flag = option(
        False, "keep items without events in the .item file", needs={"properties": NOT_EMPTY}
    )
    first_date: Day = day(date(2015, 1, 1), "earliest day of the log")
    last_date: Day = day(date(2015, 12, 31), "latest day of the log")

    @field_validator("features")
    @classmethod
    def _can_be_read(cls, names: list[str]) -> list[str]:
        chosen_features(names)
        return names


@dataclass(frozen=True)
class Sources:
    """The owner's files that are there."""

    events: Source
    tree: Source | None
    properties: list[Source]

    def all(self) -> list[Source]:
        """Each of them."""
        return [self.events, *([self.tree] if self.tree else []), *self.properties]


@dataclass(frozen=True)
class Features:
    """What is known of the items: the .item table, columns beside the events, types of both, reports of the files."""

    item: pl.DataFrame | None = None
    at_events: pl.DataFrame | None = None
    types: dict[str, str] = field(default_factory=dict)
    reports: list[RowReport] = field(default_factory=list)


def read(raw: Path, options: Options) -> Conversion:
    """The logs in the folder `raw`. Raises ConvertError for whatever the user can mend."""
    allowed = BadRows(options.max_bad_rows, options.strict)
    sources = _find_sources(raw, options)
    records = FileRecords(source.path for source in sources.all())
    notes = {f"no {TREE}": int(sources.tree is None), f"no {PART}": int(not sources.properties)}
    log, report = _read_sessions(sources.events, allowed, options, notes)
    if log.is_empty():
        raise ConvertError(f"{sources.events.path} holds no usable row: check that it is the owner's file.")
    test_ms = _test_ms(log, options)
    found = _features(sources, log, test_ms, allowed, options, notes) if sources.properties else Features()
    inter, origin = with_timestamp(log, notes)
    inter = inter.select("session_id", "user_id", "item_id", "timestamp", "event")
    known: float | str | None = "latest" if options.as_of == "latest" else test_ms / 1000
    return Conversion(
        inter=inter if found.at_events is None else inter.hstack(found.at_events),
        item=found.item,
        sources=records,
        reports=[report, *found.reports],
        options=options.recorded(),
        notes=notes,
        counts={
            "sessions": int(log["session_id"].max()),  # type: ignore[arg-type]
            "users": log["user_id"].n_unique(),
            "items": log["item_id"].n_unique(),
            "events": {kind: int((log["event"] == kind).sum()) for kind in KINDS},
        },
        time_origin=float(origin),
        types=found.types,
        more={"features_as_of": None if found.item is None else known},
    )


def _read_sessions(
    source: Source, allowed: BadRows, options: Options, notes: dict[str, int]
) -> tuple[pl.DataFrame, RowReport]:
    """The events that are kept, in sessions: session_id, user_id, item_id, time_ms, event; and their file's report."""
    log, report = _read_events(source, allowed, options.days)
    sold = pl.col("event") == "transaction"
    notes["transaction without transactionid"] = log.filter(sold & pl.col("transaction").is_null()).height
    if options.drop_transactions:
        report.drop_rows(log.filter(sold), "transaction (--drop-transactions)")
        log = log.filter(~sold)
    log = log.select("user_id", "item_id", "time_ms", "event")
    log = number_sessions(log, options.gap_minutes if options.session == "idle" else None, ties="event")
    if options.drop_repeats:
        height = log.height
        log = without_repeats(log)
        report.drop("repeats the event before it (--drop-repeats)", height - log.height)
    return log, report


def _features(
    sources: Sources,
    log: pl.DataFrame,
    test_ms: int,
    allowed: BadRows,
    options: Options,
    notes: dict[str, int],
) -> Features:
    """What the property log says of the items, as of the moment that the options name."""
    as_of, occurring = options.as_of, log["item_id"].unique().sort().cast(pl.Int64)
    chosen = chosen_features(options.features)
    history, reports = read_properties(
        sources.properties,
        chosen,
        allowed,
        options.days,
        items=None if options.all_items else occurring,
        before_ms=test_ms if as_of == "split" else None,
        whole_history=as_of == "event",
        notes=notes,
    )
    _note_unknown_features(history, notes)
    notes["test period starts before the first event"] = int(test_ms <= int(log["time_ms"][0]))
    tree, tree_reports = _read_tree(sources.tree, allowed, notes)
    before = None if as_of == "latest" else test_ms
    item = _item_table(history, occurring, before, tree, options.all_items, notes)
    at_events = None
    if as_of == "event":
        values = history.values_at(log["item_id"].cast(pl.Int64).to_numpy(), log["time_ms"].to_numpy())
        at_events = _with_path(values, tree).rename(lambda column: f"event_{column}")
    types = {feature.column: feature.type for feature in chosen} | {"category_path": "token_seq"}
    types |= {f"event_{column}": kind for column, kind in types.items()}
    return Features(item, at_events, types, [*reports, *tree_reports])


# --- files


def _find_sources(raw: Path, options: Options) -> Sources:
    bundle = next((name for name in BUNDLES if (raw / name).is_file()), None)
    log = find_source(raw, EVENTS, options.events, bundle)
    if log is None:
        raise ConvertError(
            f"No {EVENTS} (or .csv.gz, .zip) in {raw}: put the owner's files there ({OWNER}), or try generated logs "
            "with --dataset=retailrocket-demo."
        )
    tree = find_source(raw, TREE, options.tree, bundle)
    found = Sources(log, tree, _find_parts(raw, options.properties, bundle))
    labels = [source.label for source in found.all()]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:  # the manifest's accounts are by name
        raise ConvertError(
            f"Two of the files to read are named {twice[0]}: rename one, or name it only once."
        )
    idle = [flag(name) for name in OF_ITEMS if options.given(name)]
    if idle and not found.properties:
        raise ConvertError(
            f"{idle[0]} is read only with item properties, and {PART} is not in {raw}: leave it out."
        )
    return found


def _find_parts(raw: Path, chosen: Sequence[Path] | None, bundle: str | None) -> list[Source]:
    """The property log: the chosen files, or all numbered parts; ConvertError where one of these is missing."""
    if chosen is not None:
        return [source for file in chosen if (source := find_source(raw, PART, file))]
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
    """line, user_id, item_id (UInt32, or Int64 where ids are so long), time_ms (unix ms), event (Enum of KINDS),
    transaction (Enum), in file order.
    """
    columns = [
        epoch_ms_column("time_ms", "timestamp", *days),
        id_column("user_id", "visitorid"),
        choice_column("event", "event", KINDS),
        id_column("item_id", "itemid"),
        text_column("transaction", "transactionid", unknown=("", "NA")),  # some copies write 13556.0
    ]
    report, transactions = RowReport(source.label), TextColumn()
    blocks = []
    for block in read_blocks(source, columns, allowed, report, separator=","):
        transactions.add(block["transaction"])
        blocks.append(narrow(block.drop("transaction"), ["user_id", "item_id"]))
    events = pl.concat(blocks, how="vertical_relaxed").with_columns(transactions.column("transaction"))
    if events.is_empty():
        raise ConvertError(f"{source.path} holds no usable row: check that it is the owner's file.")
    return without_duplicates(events, report), report


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
) -> tuple[CategoryTree | None, list[RowReport]]:
    """The tree and its file's report, where there is the file."""
    if source is None:
        return None, []
    columns = [id_column("category", "categoryid"), id_column("parent", "parentid", unknown=("", "NA"))]
    rows, report = read_rows(source, columns, allowed, separator=",")
    # The greatest parent counts, so that the order of the file does not matter.
    rows = rows.sort("category", "parent", descending=[False, True], nulls_last=True)
    first = rows["category"].is_first_distinct()
    report.drop_rows(rows.filter(~first).sort("line"), "category has another parent already")
    tree = CategoryTree(rows.filter(first).select("category", "parent").iter_rows())
    notes |= tree.notes
    return tree, [report]


# --- tables


def _unix_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def _test_ms(log: pl.DataFrame, options: Options) -> int:
    """00:00 UTC of the test period's first day: as named, or the first of the last `test_days` days, counted back from
    the last day that a session starts on.
    """
    if options.test_start is None:
        # sessions stand in order of their start
        start = log.filter(pl.col("session_id") == log["session_id"][-1])["time_ms"][0]
        return _unix_ms(_day_of(start) - (options.test_days - 1) * DAY)
    last = _day_of(log["time_ms"].max())  # type: ignore[arg-type]
    if options.test_start > last + DAY:  # the day after is fine: a log that is all training
        raise ConvertError(
            f"--test-start is {options.test_start}, but the last event is of {last}: name a day of the log."
        )
    return _unix_ms(options.test_start)


def _day_of(time_ms: int) -> date:
    return datetime.fromtimestamp(int(time_ms) / 1000, UTC).date()


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
        used = table["category"].drop_nulls().value_counts()
        strange = (count for category, count in used.iter_rows() if category not in tree)
        notes["item whose category is not in the tree"] = sum(strange)
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
