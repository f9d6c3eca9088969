"""What every form of a table answers, and how its texts become typed rows.

A table shows the names of its columns, nested ones by their path (`items.item_id`), an excerpt of a column as text, and
its rows in blocks that fit into memory: `line` and one typed column for each that is asked for, the rest of the row
left where it is. A row with a list (the items of a purchase) is as many rows as the list is long, at least one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recbole_ext.convert.atomic import RowReport
from recbole_ext.convert.columns import Column
from recbole_ext.convert.engine import pl
from recbole_ext.convert.rows import BadRows, value_and_faults

BLOCK_ROWS = 1 << 18  # of tables without lines
LISTS = ("products", "items")
BLANK = "\u00a0"  # a blank within a value of a list: RecBole takes lists apart at plain ones
SEVERAL = "row with a list of several values, each an event"


class Table(ABC):
    """A table of one file, or of a frame."""

    path: Path | None  # None: a frame
    label: str  # in messages and in the manifest
    separator: str | None = None  # between the fields of text

    @property
    def place(self) -> str:
        """Where the names of its columns stand, for messages."""
        return str(self.path or self.label)

    @abstractmethod
    def names(self) -> list[str]:
        """The columns, nested ones by their path."""

    @abstractmethod
    def excerpt(self, name: str) -> pl.Series:
        """Texts of a column from all over the table, or from its beginning; empty or null where there is none."""

    @abstractmethod
    def blocks(
        self, columns: Sequence[Column], allowed: BadRows, report: RowReport
    ) -> Iterator[pl.DataFrame]:
        """The good rows as `line` and the columns, block by block; all rows are counted in the report.

        Raises ConvertError for what cannot be read, and with `allowed.strict` for the first block with a bad row.
        """

    def lists(self, name: str) -> Iterator[pl.DataFrame]:
        """Of a column whose kind is a list, `line` and `values`: as text with one blank between values, whose own
        blanks are BLANK; null where there is none."""
        raise NotImplementedError(f"{self.label} has no lists")

    def kind(self, name: str) -> str | None:
        """What a column's type says beside its text: datetime, date, float, list; None: nothing."""
        return None

    def read_with(self, name: str) -> str | None:
        """The column that takes its place where it is an empty list; None: there is none."""
        return None

    def list_of(self, name: str) -> str | None:
        """The list whose values make rows of their own and that the column is part of; None: it stands once a row."""
        return None


class ConstantTable(Table):
    """A table with more columns, of which each holds one text: what the name of a file or of its folders says."""

    def __init__(self, table: Table, constants: Mapping[str, str | None]) -> None:
        self._table, self.path, self.label, self.separator = table, table.path, table.label, table.separator
        own = set(table.names())
        self._constants = {name: text for name, text in constants.items() if name not in own}

    @property
    def place(self) -> str:
        return self._table.place

    def names(self) -> list[str]:
        return [*self._table.names(), *self._constants]

    def kind(self, name: str) -> str | None:
        return None if name in self._constants else self._table.kind(name)

    def list_of(self, name: str) -> str | None:
        return None if name in self._constants else self._table.list_of(name)

    def read_with(self, name: str) -> str | None:
        return None if name in self._constants else self._table.read_with(name)

    def excerpt(self, name: str) -> pl.Series:
        if name in self._constants:
            return pl.Series(name, [self._constants[name]], dtype=pl.String)
        return self._table.excerpt(name)

    def blocks(
        self, columns: Sequence[Column], allowed: BadRows, report: RowReport
    ) -> Iterator[pl.DataFrame]:
        own = [column for column in columns if column.owner not in self._constants]
        if len(own) == len(columns):
            yield from self._table.blocks(columns, allowed, report)
            return
        texts = {f"_{column.name}": self._constants.get(column.owner) for column in columns}
        aside = RowReport(self.label)
        line = pl.DataFrame(
            {"line": [1], **texts}, schema={"line": pl.UInt32, **dict.fromkeys(texts, pl.String)}
        )
        said = judged(line, [column for column in columns if column not in own], aside)
        names = [column.name for column in columns if column not in own]
        said = said if said.height else said.clear(1)  # the rows go, the types stay
        constants = [pl.lit(said[name][0], dtype=said.schema[name]).alias(name) for name in names]
        for block in self._table.blocks(own, allowed, report):
            for reason in aside.dropped:
                shown = zip(block["line"].head(5), [self.label] * 5)
                report.drop_bad(reason, block.height, shown)
                block = block.clear()
            yield block.with_columns(constants).select("line", *(column.name for column in columns))


@dataclass(frozen=True)
class Leaf:
    """A column of a nested table: fields from the top down to a value, a keyed list or a list of rows.

    key: of the entry of a list of {key, value}. inner: within each value of the list at `outer`, () for the value
    itself; None: `outer` is the value. single: where a value stands that takes the place of an empty list.
    """

    outer: tuple[str, ...]
    key: str | None = None
    inner: tuple[str, ...] | None = None
    single: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The path."""
        key = () if self.key is None else (self.key,)
        return ".".join((*self.outer, *key, *(self.inner or ())))

    @property
    def each(self) -> str | None:
        """Path of the list that makes rows."""
        return None if self.inner is None else ".".join(self.outer)


class NestedTable(Table):
    """A table whose columns lie at paths."""

    @property
    @abstractmethod
    def _leaves(self) -> dict[str, Leaf]:
        """Its columns by name, or those of several tables alike, of which what this one does not have is missing; a
        cached property."""

    def leaves(self) -> dict[str, Leaf]:
        """The columns by name."""
        return self._leaves

    def take_leaves(self, leaves: dict[str, Leaf]) -> None:
        """Take the columns of tables like this one for its own."""
        self.__dict__["_leaves"] = leaves  # in the place of the form's cached property

    def names(self) -> list[str]:
        return list(self._leaves)

    def list_of(self, name: str) -> str | None:
        return self._leaves[name].each

    def read_with(self, name: str) -> str | None:
        single = self._leaves[name].single
        return None if single is None else ".".join(single)


def with_singles(leaves: Mapping[str, Leaf]) -> dict[str, Leaf]:
    """The columns, those of lists of products with the one that a row without a list names beside it: Segment's orders
    have `properties.products`, its views `properties.product_id`."""
    made = dict(leaves)
    for name, leaf in leaves.items():
        if leaf.inner and len(leaf.outer) > 1 and leaf.outer[-1] in LISTS:
            beside = leaves.get(".".join((*leaf.outer[:-1], *leaf.inner)))
            if beside is not None and beside.inner is None and beside.key is None:
                made[name] = replace(leaf, single=beside.outer)
    return made


def first_list(leaves: Mapping[str, Leaf], columns: Sequence[Column]) -> tuple[str, ...] | None:
    """Where the list stands that the asked columns are part of."""
    for column in columns:
        leaf = leaves[column.owner]
        if leaf.inner is not None:
            return leaf.outer
    return None


def judged(texts: pl.DataFrame, columns: Sequence[Column], report: RowReport) -> pl.DataFrame:
    """Rows as text -> `line` and the typed columns of the good ones; all are counted in the report.

    texts: (N, 1 + len(columns)) `line` and a String column `_NAME` for each column, null or "" where there is nothing.
    """
    values: list[pl.Expr] = []
    reasons: list[pl.Expr] = []
    for column in columns:
        value, faults = value_and_faults(column)
        values.append(value)
        reasons += faults
    filled = texts.with_columns(pl.exclude("line").fill_null("").str.strip_chars(" \t"))
    marked = filled.with_columns(pl.coalesce(reasons).alias("reason"))
    report.read += marked.height
    bad = marked.filter(pl.col("reason").is_not_null())
    for (reason,), rows in bad.group_by("reason", maintain_order=True):
        shown = rows.head(5).select("line", pl.concat_str(pl.exclude("line", "reason"), separator=";"))
        report.drop_bad(str(reason), rows.height, shown.iter_rows())
    return marked.filter(pl.col("reason").is_null()).select(pl.col("line").cast(pl.UInt32), *values)


def as_text(expression: pl.Expr, dtype: Any) -> pl.Expr:
    """Values of a type as the text that a log would have: whole numbers without a point, times as nanoseconds."""
    if dtype == pl.String:
        return expression
    if dtype.is_float():
        finite = pl.when(expression.is_finite()).then(expression)
        whole = (finite == finite.floor()) & (finite.abs() < 2**53)
        return (
            pl.when(whole)
            .then(finite.cast(pl.Int64, strict=False).cast(pl.String))
            .otherwise(finite.cast(pl.String))
        )
    if isinstance(dtype, pl.Datetime):
        return expression.dt.cast_time_unit("ns").cast(pl.Int64).cast(pl.String)
    if dtype == pl.Date:
        return expression.dt.strftime("%Y-%m-%d")
    if dtype == pl.Binary:
        return expression.map_batches(_decoded, return_dtype=pl.String)
    return expression.cast(pl.String)


def _decoded(values: pl.Series) -> pl.Series:
    """Bytes as the text that they are, what is none in hexadecimal digits (Matomo's visitors)."""
    try:
        return values.cast(pl.String)
    except pl.exceptions.PolarsError:
        return pl.Series(values.name, [_text(value) for value in values], dtype=pl.String)


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value.hex() if value is not None else None
