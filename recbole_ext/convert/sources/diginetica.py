"""Diginetica (CIKM Cup 2016 Track 2): item views, purchases, categories and products to atomic files.

Reference: https://competitions.codalab.org/competitions/11161. The time of an event is the day of its
session's first view plus `timeframe`, in UTC; the `eventdate` of a purchase is the purchase's own day, which
its timeframe counts already, so it is checked but not added. Within a session events stand by milliseconds,
written as whole seconds. Only views must be there.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

from recbole_ext.convert.atomic import Conversion, FileRecords, RowReport
from recbole_ext.convert.columns import (
    date_column,
    duration_column,
    id_column,
    number_column,
    tokens_column,
)
from recbole_ext.convert.engine import pl
from recbole_ext.convert.options import DatedOptions, Day, Flag, day, file, option
from recbole_ext.convert.raw_files import Source, find_source
from recbole_ext.convert.rows import BadRows, read_rows
from recbole_ext.convert.sessions import in_session_order, with_session_users, with_timestamp
from recbole_ext.errors import ConvertError

FILES = {
    "views": "train-item-views.csv",
    "purchases": "train-purchases.csv",
    "categories": "product-categories.csv",
    "products": "products.csv",
}
BUNDLE = "dataset-train-diginetica.zip"  # the owner's archive of all of them
OWNER = "CIKM Cup 2016 Track 2, Diginetica, https://competitions.codalab.org/competitions/11161"
UNKNOWN = ("", "NA")
DAY_MS = 86_400_000
# The owner's purchases reach 153 days past their session's start; only what surely is no timeframe is refused
LONGEST_MS = 366 * DAY_MS
WITHOUT_VIEWS = "purchase of a session without views"


class Options(DatedOptions):
    """The options of this source."""

    views: Path | None = file(f"read FILE in place of {FILES['views']}", recorded="views_file")
    purchases: Path | None = file(f"read FILE in place of {FILES['purchases']}", recorded="purchases_file")
    categories: Path | None = file(f"read FILE in place of {FILES['categories']}", recorded="categories_file")
    products: Path | None = file(f"read FILE in place of {FILES['products']}", recorded="products_file")
    all_items: Flag = option(False, "keep items without events in the .item file")
    first_date: Day = day(date(2016, 1, 1), "earliest day of the log")
    last_date: Day = day(date(2016, 12, 31), "latest day of the log")


def read(raw: Path, options: Options) -> Conversion:
    """The logs in the folder `raw`. Raises ConvertError for whatever the user can mend."""
    allowed = BadRows(options.max_bad_rows, options.strict)
    sources = _find_sources(raw, options)
    records = FileRecords(source.path for source in sources.values())
    notes = {f"no {name}": 1 for what, name in FILES.items() if what not in sources}

    events, reports = _read_events(sources, allowed, options.days, notes)
    events, user_notes = with_session_users(in_session_order(events))
    notes |= user_notes
    events, origin = with_timestamp(events, notes)
    inter = events.select("session_id", "user_id", "item_id", "timestamp", "event")
    occurring = inter.select("item_id").unique()
    item, item_reports = _items(sources, allowed, occurring, options.all_items, notes)
    return Conversion(
        inter=inter,
        item=item,
        sources=records,
        reports=[*reports, *item_reports],
        options=options.recorded(),
        notes=notes,
        counts={
            "sessions": inter["session_id"].n_unique(),
            "users": inter["user_id"].drop_nulls().n_unique(),
            "items": inter["item_id"].n_unique(),
            "events": {kind: inter.filter(pl.col("event") == kind).height for kind in ("view", "purchase")},
        },
        time_origin=float(origin),
    )


def _find_sources(raw: Path, options: Options) -> dict[str, Source]:
    """The files that there are, by option; the views are one."""
    found = {name: find_source(raw, usual, getattr(options, name), BUNDLE) for name, usual in FILES.items()}
    sources = {name: source for name, source in found.items() if source is not None}
    if "views" not in sources:
        raise ConvertError(
            f"No {FILES['views']} (or .csv.gz, .zip) in {raw}: put the owner's files there ({OWNER}), "
            "or try the generated demo logs with `make demo`."
        )
    if options.all_items and not {"categories", "products"} & set(sources):
        raise ConvertError(
            f"--all-items is read only with item features, and neither {FILES['categories']} nor {FILES['products']} "
            f"is in {raw}: leave it out."
        )
    return sources


def _read_events(
    sources: dict[str, Source], allowed: BadRows, days: tuple[date, date], notes: dict[str, int]
) -> tuple[pl.DataFrame, list[RowReport]]:
    """Views, then purchases, in file order: session_id, user_id, item_id, time_ms (unix ms), event."""
    session, user, item = (
        id_column("session_id", "sessionId"),
        id_column("user_id", "userId", unknown=UNKNOWN),
        id_column("item_id", "itemId"),
    )
    timeframe = duration_column("timeframe", "timeframe", LONGEST_MS)
    eventdate = date_column("eventdate", "eventdate", *days)
    columns = ["session_id", "user_id", "item_id", "timeframe"]

    views, report = read_rows(sources["views"], [session, user, item, timeframe, eventdate], allowed)
    if views.is_empty():
        raise ConvertError(f"{sources['views'].path} holds no usable row: check that it is the owner's file.")
    session_days = views.group_by("session_id").agg(
        pl.col("eventdate").min().alias("day"), pl.col("eventdate").n_unique().alias("days")
    )
    notes["session with views on two days (first day counts)"] = session_days.filter(
        pl.col("days") > 1
    ).height
    parts, reports = [views.select(*columns, pl.lit("view").alias("event"))], [report]
    if "purchases" in sources:
        order = id_column("order", "ordernumber", unknown=UNKNOWN)
        bought, report = read_rows(
            sources["purchases"], [session, user, timeframe, eventdate, order, item], allowed
        )
        report.drop_rows(
            bought.join(session_days, on="session_id", how="anti", maintain_order="left"), WITHOUT_VIEWS
        )
        bought = bought.join(session_days, on="session_id", how="semi", maintain_order="left")
        parts.append(bought.select(*columns, pl.lit("purchase").alias("event")))
        reports.append(report)
    start_ms = pl.col("day").cast(pl.Int64) * DAY_MS  # a Date counts days since 1970-01-01, in UTC
    events = (
        pl.concat(parts)
        .join(session_days, on="session_id", maintain_order="left")
        .select(
            "session_id", "user_id", "item_id", (start_ms + pl.col("timeframe")).alias("time_ms"), "event"
        )
    )
    return events, reports


def _items(
    sources: dict[str, Source],
    allowed: BadRows,
    occurring: pl.DataFrame,
    all_items: bool,
    notes: dict[str, int],
) -> tuple[pl.DataFrame, list[RowReport]]:
    """The .item table, by item id, with the features whose files are there, and these files' reports."""
    item = id_column("item_id", "itemId")
    items, tables, reports = occurring, [], []
    if "categories" in sources:
        columns = [item, id_column("category", "categoryId", unknown=UNKNOWN)]
        table, report = read_rows(sources["categories"], columns, allowed)
        tables.append(_one_row_an_item(table, report, "item has another category already"))
        reports.append(report)
    if "products" in sources:
        columns = [
            item,
            number_column("pricelog2", "pricelog2", -20, 40, unknown=UNKNOWN),
            tokens_column("name", "product.name.tokens", unknown=UNKNOWN),
        ]
        table, report = read_rows(sources["products"], columns, allowed)
        table = table.with_columns(price=(2.0 ** pl.col("pricelog2")).round(6)).drop("pricelog2")
        tables.append(
            _one_row_an_item(table, report, "item has another product row already").select(
                "line", "item_id", "price", "name"
            )
        )
        reports.append(report)

    for name, table in zip([name for name in ("categories", "products") if name in sources], tables):
        notes[f"item of {FILES[name]} without events"] = table.join(
            occurring, on="item_id", how="anti"
        ).height
        if all_items:
            items = pl.concat([items, table.select("item_id")]).unique()
    for table in tables:
        items = items.join(table.drop("line"), on="item_id", how="left")
    for feature in ("category", "price", "name"):
        if feature in items.columns:
            notes[f"item without {feature}"] = items[feature].null_count()
    return items.sort("item_id"), reports


def _one_row_an_item(table: pl.DataFrame, report: RowReport, reason: str) -> pl.DataFrame:
    """The first row of every item; later ones, which say something else, are counted as dropped."""
    first = table["item_id"].is_first_distinct()
    report.drop_rows(table.filter(~first), reason)
    return table.filter(first)
