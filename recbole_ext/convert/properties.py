"""The log of item properties of Retail Rocket, read as of a moment: values in force, never later ones.

A row (timestamp, itemid, property, value) is in force from its timestamp to that of the item's next row of the same
property. Where two rows of one moment differ, the greater text counts, so that the order of a file does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from recbole_ext.convert.atomic import RowReport
from recbole_ext.convert.columns import WHOLE, epoch_ms_column, id_column, text_column
from recbole_ext.convert.engine import np, pl
from recbole_ext.convert.raw_files import Source
from recbole_ext.convert.rows import BadRows, compact, read_blocks
from recbole_ext.convert.sessions import sort_order

if TYPE_CHECKING:
    import numpy.typing as npt

COMPACT_ROWS = 4_000_000  # kept rows after which superseded ones are let go
NUMBER = r"^n-?[0-9]+(\.[0-9]+)?$"
TYPES = ("token", "token_seq", "float")


@dataclass(frozen=True)
class Feature:
    """A property that becomes a column: its name in the log, ours, and RecBole's type of it."""

    property: str
    column: str
    type: str

    def fault(self, text: pl.Expr) -> tuple[str, pl.Expr]:
        """Why a value cannot be used, and which ones."""
        if self.column == "category":
            return f"{self.property} is not a whole number", ~text.str.contains(WHOLE)
        if self.column == "available":
            return f"{self.property} is not 0 or 1", ~text.is_in(["0", "1"])
        if self.type == "float":
            endless = text.str.slice(1).cast(pl.Float64, strict=False).is_infinite().fill_null(False)
            bad = ~text.str.contains(NUMBER) | endless
            return f"property {self.property} is not one number such as n277.200", bad
        return f"property {self.property} is empty", text == ""

    def value(self, text: pl.Expr) -> pl.Expr:
        """The text as the column's value: numbers without their n, tokens separated by single blanks."""
        if self.column in ("category", "available"):
            return text.cast(pl.Int64)
        if self.type == "float":
            return text.str.slice(1).cast(pl.Float64)
        plain = text.str.replace_all(r"(^|\s)n(-?[0-9]+(?:\.[0-9]+)?)\b", "${1}${2}")
        return plain.str.replace_all(r"\s+", " ")


CATEGORY = Feature("categoryid", "category", "token")
AVAILABLE = Feature("available", "available", "token")


def named_feature(text: str) -> Feature:
    """`NAME` or `NAME:TYPE` of a hashed property -> the feature `property_NAME`; token_seq without a type.

    Raises ValueError for what is neither, and for a property that is read anyhow.
    """
    name, _, kind = text.partition(":")
    kind = kind or "token_seq"
    if not name or kind not in TYPES or not name.replace("_", "").isalnum():
        raise ValueError(f"{text!r} is not NAME or NAME:TYPE, type one of {', '.join(TYPES)}")
    if name in (CATEGORY.property, AVAILABLE.property):
        raise ValueError(f"{name} is always read: leave it out")
    return Feature(name, f"property_{name}", kind)


def chosen_features(names: Sequence[str]) -> list[Feature]:
    """Category and availability, then the named ones, each once. ValueError where one has two types."""
    chosen = [CATEGORY, AVAILABLE, *(named_feature(text) for text in dict.fromkeys(names))]
    if len({feature.column for feature in chosen}) < len(chosen):
        raise ValueError("it names one property twice: keep one of them")
    return chosen


@dataclass(frozen=True)
class History:
    """The rows kept, by item, feature and time: what was said of an item, when.

    item: (H,) int64. feature: (H,) which of `features`. time_ms: (H,) unix ms. value: (H,) text.
    """

    features: Sequence[Feature]
    item: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]
    time_ms: npt.NDArray[np.int64]
    value: pl.Series

    def last_values(self, items: pl.Series) -> pl.DataFrame:
        """`item_id` and a column a feature: the last value of each item, null where none was ever said."""
        table = items.to_frame("item_id")
        last = np.ones(len(self.item), dtype=bool)
        last[:-1] = (self.item[1:] != self.item[:-1]) | (self.feature[1:] != self.feature[:-1])
        for number, feature in enumerate(self.features):
            rows = np.flatnonzero(last & (self.feature == number))
            values = pl.DataFrame({"item_id": self.item[rows], feature.column: self.value[rows]})
            table = table.join(values, on="item_id", how="left", maintain_order="left")
        return table.with_columns(f.value(pl.col(f.column)).alias(f.column) for f in self.features)

    def values_at(self, item: npt.NDArray[np.int64], time_ms: npt.NDArray[np.int64]) -> pl.DataFrame:
        """A column a feature: the value in force for each (item, moment) (N,); null before an item's first row."""
        columns = []
        order = sort_order([item, time_ms])  # neighbours in the log are looked up one after the other
        for number, feature in enumerate(self.features):
            rows = np.flatnonzero(self.feature == number)
            before = _last_before(self.item[rows], self.time_ms[rows], item[order], time_ms[order])
            found = np.empty(len(item), dtype=np.int64)
            found[order] = np.where(before < 0, -1, rows[before]) if len(rows) else -1
            place = (
                pl.Series(found)
                .to_frame("place")
                .select(pl.when(pl.col("place") >= 0).then("place"))
                .to_series()
            )
            values = self.value.gather(place).to_frame(feature.column)
            columns.append(
                values.select(feature.value(pl.col(feature.column)).alias(feature.column)).to_series()
            )
        return pl.DataFrame(columns)

    def before(self, time_ms: int) -> History:
        """The rows before a moment."""
        rows = np.flatnonzero(self.time_ms < time_ms)
        return History(
            self.features, self.item[rows], self.feature[rows], self.time_ms[rows], self.value[rows]
        )


def _last_before(
    items: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64],
    item: npt.NDArray[np.int64],
    at: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """(N,) for each (item, at) the place of the last row of the item with time <= at; -1: none. Rows are sorted."""
    if not len(items):
        return np.full(len(item), -1)
    low = min(int(times.min()), int(at.min(initial=times.min())))
    bits = (max(int(times.max()), int(at.max(initial=0))) - low).bit_length()
    if int(max(items.max(), item.max(initial=0))).bit_length() + bits > 63:
        codes = np.unique(np.concatenate((items, item)), return_inverse=True)[1]
        items, item = codes[: len(items)], codes[len(items) :]
    place = np.searchsorted((items << bits) | (times - low), (item << bits) | (at - low), side="right") - 1
    return np.where((place >= 0) & (items[place] == item), place, -1)


def read_properties(
    sources: Sequence[Source],
    features: Sequence[Feature],
    allowed: BadRows,
    days: tuple[date, date],
    *,
    items: pl.Series | None,
    before_ms: int | None,
    whole_history: bool,
    notes: dict[str, int],
) -> tuple[History, list[RowReport]]:
    """Read the parts of the property log, in any order of rows, and keep what is asked for.

    `items`: only theirs (None: all). `before_ms`: only rows before that moment. Without `whole_history` the last
    value of each (item, feature) is enough, so memory does not grow with the log. `days`: (first, last) day of a row.
    """
    names = [feature.property for feature in features]
    columns = [
        epoch_ms_column("time_ms", "timestamp", *days),
        id_column("item_id", "itemid"),
        text_column("property", "property"),
        text_column("value", "value"),
    ]
    reports: list[RowReport] = []
    kept: list[pl.DataFrame] = []
    pending = limit = repeats = 0
    for source in sources:
        report = RowReport(source.label)
        reports.append(report)
        for block in read_blocks(source, columns, allowed, report, separator=","):
            rows = _used(block, names, items, before_ms, report)
            rows = _without_faults(rows, features, report)
            kept.append(compact(rows.drop("line")))
            pending += rows.height
            if pending > max(COMPACT_ROWS, limit) and not whole_history:
                table, repeated = _sorted(pl.concat(kept), last_only=True)
                kept, pending, repeats = [table], table.height, repeats + repeated
                limit = 2 * table.height
    table, repeated = _sorted(pl.concat(kept), last_only=not whole_history)
    notes["property row that repeats another or is outdone by one of the same moment"] = repeats + repeated
    history = History(
        features,
        table["item_id"].to_numpy(),
        table["feature"].to_numpy().astype(np.int64),
        table["time_ms"].to_numpy(),
        table["value"],
    )
    return history, reports


def _used(
    block: pl.DataFrame,
    names: Sequence[str],
    items: pl.Series | None,
    before_ms: int | None,
    report: RowReport,
) -> pl.DataFrame:
    """The rows of a block that matter, with the number of their feature; the others are counted."""
    rows = block.filter(pl.col("property").is_in(names))
    report.drop("property not asked for", block.height - rows.height)
    if items is not None:
        height = rows.height
        rows = rows.filter(pl.col("item_id").is_in(items.implode()))
        report.drop("item without events", height - rows.height)
    if before_ms is not None:
        height = rows.height
        rows = rows.filter(pl.col("time_ms") < before_ms)
        report.drop("not yet known before the test period", height - rows.height)
    number = pl.col("property").replace_strict(names, list(range(len(names))), return_dtype=pl.UInt16)
    return rows.select("line", "item_id", "time_ms", "value", number.alias("feature"))


def _without_faults(rows: pl.DataFrame, features: Sequence[Feature], report: RowReport) -> pl.DataFrame:
    """The rows whose value fits its feature; the others are bad rows."""
    for number, feature in enumerate(features):
        reason, is_bad = feature.fault(pl.col("value"))
        bad = (pl.col("feature") == number) & is_bad
        wrong = rows.filter(bad)
        if wrong.height:
            first = wrong.head(5).select("line", pl.format("{},{},{}", "time_ms", "item_id", "value"))
            report.drop_bad(reason, wrong.height, first.iter_rows())
            rows = rows.filter(~bad)
    return rows


def _sorted(rows: pl.DataFrame, last_only: bool) -> tuple[pl.DataFrame, int]:
    """Rows by item, feature, time, one of each; `last_only`: the last one of each (item, feature). And how many of
    one (item, feature, time) went.
    """
    keys = [rows["item_id"].to_numpy(), rows["feature"].to_numpy(), rows["time_ms"].to_numpy()]
    order = sort_order(keys)
    item, feature, time = (key[order] for key in keys)
    same = np.zeros(len(order), dtype=bool)
    same[:-1] = (item[1:] == item[:-1]) & (feature[1:] == feature[:-1])
    tied = same.copy()
    tied[:-1] &= time[1:] == time[:-1]
    if tied.any():  # the greater text comes last
        group = np.cumsum(~np.concatenate(([False], tied[:-1])))
        place = np.flatnonzero(tied | np.concatenate(([False], tied[:-1])))
        texts = rows["value"].gather(order[place])
        ranked = pl.DataFrame({"group": group[place], "text": texts, "row": order[place]}).sort(
            "group", "text"
        )
        order[place] = ranked["row"].to_numpy()
    keep = ~same if last_only else ~tied
    return rows[order[keep]], int(tied.sum())
