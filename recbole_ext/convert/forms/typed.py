"""Parquet and Arrow files, and frames of polars, pandas or Arrow: columns with types, read block by block."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from recbole_ext.convert.atomic import RowReport
from recbole_ext.convert.columns import Column
from recbole_ext.convert.engine import pl
from recbole_ext.convert.forms.table import (
    BLANK,
    BLOCK_ROWS,
    SEVERAL,
    Leaf,
    NestedTable,
    as_text,
    first_list,
    judged,
    with_singles,
)
from recbole_ext.convert.rows import BadRows
from recbole_ext.errors import ConvertError
from recbole_ext.progress import progress

EXCERPT_ROWS, EXCERPT_PLACES = 2_000, 5
KEYED = {"key", "value"}  # fields of a list that is a mapping, as in GA4's export


class TypedTable(NestedTable):
    """A table that polars can scan: (N rows) of columns with types, nested ones told by their paths."""

    def __init__(self, scan: pl.LazyFrame, label: str, path: Path | None = None) -> None:
        self._scan, self.label, self.path = scan, label, path
        self._seen: dict[str, pl.DataFrame] = {}

    @cached_property
    def _schema(self) -> Mapping[str, Any]:
        return self._read(lambda: self._scan.collect_schema())

    @cached_property
    def height(self) -> int:
        """The number of its rows."""
        return int(self._read(lambda: self._scan.select(pl.len()).collect().item()))

    def _some(self, top: str) -> pl.DataFrame:
        """A column of some rows from all over the table."""
        if top not in self._seen:
            step = max(self.height // EXCERPT_PLACES, EXCERPT_ROWS)
            places, column = range(0, max(self.height, 1), step), self._scan.select(top)
            self._seen[top] = self._read(
                lambda: pl.concat([column.slice(place, EXCERPT_ROWS).collect() for place in places])
            )
        return self._seen[top]

    @property
    def schema(self) -> Mapping[str, Any]:
        """Types of its columns."""
        return self._schema

    @cached_property
    def _leaves(self) -> dict[str, Leaf]:
        found: dict[str, Leaf] = {}
        for name, dtype in self._schema.items():
            for leaf in self._walk((name,), dtype):
                found.setdefault(leaf.name, leaf)
        return with_singles(found)

    def _walk(self, outer: tuple[str, ...], dtype: Any) -> Iterator[Leaf]:
        if isinstance(dtype, pl.Struct):
            for field in dtype.fields:
                yield from self._walk((*outer, field.name), field.dtype)
        elif not isinstance(dtype, pl.List | pl.Array):
            yield Leaf(outer)
        elif isinstance(dtype.inner, pl.Struct) and {field.name for field in dtype.inner.fields} == KEYED:
            keys = (
                self._some(outer[0])
                .select(_at(outer).alias("each"))
                .explode("each")["each"]
                .struct.field("key")
            )
            for key in keys.drop_nulls().cast(pl.String).unique(maintain_order=True):
                yield Leaf(outer, key=key)
        else:
            yield from (Leaf(outer, inner=inner) for inner in _inner((), dtype.inner))

    def kind(self, name: str) -> str | None:
        leaf = self._leaves[name]
        if leaf.inner is not None:
            return "list" if leaf.inner == () else None
        dtype = None if leaf.key is not None else _dtype(self._schema, leaf.outer)
        if dtype is None:
            return None
        if isinstance(dtype, pl.Datetime) or dtype == pl.Date:
            return "date" if dtype == pl.Date else "datetime"
        return "float" if dtype.is_float() else None

    def excerpt(self, name: str) -> pl.Series:
        leaf = self._leaves[name]
        rows = self._some(leaf.outer[0])
        if leaf.inner is not None:
            rows = rows.with_columns(_at(leaf.outer).list.first().alias("_each"))
        return self._texts(rows, leaf).alias(name)

    def _texts(self, rows: pl.DataFrame, leaf: Leaf) -> pl.Series:
        """A column as text; the list that makes rows is taken apart already, as `_each`."""
        if leaf.key is not None:
            return rows.select(_keyed(leaf, _dtype(self._schema, leaf.outer))).to_series()
        outer = leaf.outer if leaf.inner is None else ("_each", *leaf.inner)
        text = as_text(_at(outer), _dtype(rows.schema, outer))
        if leaf.single is not None:
            text = pl.coalesce(text, as_text(_at(leaf.single), _dtype(rows.schema, leaf.single)))
        return rows.select(text).to_series()

    def blocks(
        self, columns: Sequence[Column], allowed: BadRows, report: RowReport
    ) -> Iterator[pl.DataFrame]:
        leaves = {column.owner: self._leaves[column.owner] for column in columns}
        each = first_list(leaves, columns)
        top = list(dict.fromkeys(leaf.outer[0] for leaf in leaves.values()))
        with progress(f"reading {self.label}", self.height) as advance:
            for first in range(0, self.height, BLOCK_ROWS):
                rows = self._read(
                    lambda first=first: self._scan.select(top).slice(first, BLOCK_ROWS).collect()
                )
                rows = rows.with_row_index("line", offset=first + 1)
                if each is not None:
                    length = _at(each).list.len()
                    report.note(SEVERAL, int(rows.select((length > 1).sum()).item() or 0))
                    nothing = pl.lit([None], dtype=_dtype(rows.schema, each))  # so that the row stays
                    parts = pl.when(length > 0).then(_at(each)).otherwise(nothing)
                    rows = rows.with_columns(parts.alias("_each")).explode("_each")
                texts = [
                    self._texts(rows, leaves[column.owner]).alias(f"_{column.name}") for column in columns
                ]
                yield judged(pl.DataFrame([rows["line"], *texts]), columns, report)
                if allowed.strict:
                    allowed.check(report)
                advance(BLOCK_ROWS)

    def lists(self, name: str) -> Iterator[pl.DataFrame]:
        leaf = self._leaves[name]
        for first in range(0, self.height, BLOCK_ROWS):
            rows = self._read(
                lambda first=first: self._scan.select(leaf.outer[0]).slice(first, BLOCK_ROWS).collect()
            )
            values = _at(leaf.outer)
            inner = _dtype(rows.schema, leaf.outer).inner
            text = values.list.eval(as_text(pl.element(), inner).str.replace_all(r"\s+", BLANK))
            yield rows.with_row_index("line", offset=first + 1).select(
                "line", text.list.drop_nulls().list.join(" ").alias("values")
            )

    def _read(self, take: Any) -> Any:
        try:
            return take()
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ConvertError(
                f"{self.place} cannot be read ({reason}): it is damaged or cut off, fetch it again."
            ) from error


def file_table(path: Path, label: str, kind: str) -> TypedTable:
    """A file that is "parquet" or "arrow"."""
    if kind == "arrow":
        return TypedTable(pl.scan_ipc(path, glob=False, hive_partitioning=False), label, path)
    return TypedTable(pl.scan_parquet(path, glob=False, hive_partitioning=False), label, path)


def frame_table(frame: Any, label: str) -> TypedTable:
    """A polars, pandas or Arrow frame, or what else offers Arrow's stream; ConvertError for anything else."""
    return TypedTable(_polars(frame, label).lazy(), label)


def is_frame(value: Any) -> bool:
    """Whether it is a table in memory."""
    return any(hasattr(value, name) for name in ("__arrow_c_stream__", "collect_schema", "columns"))


def _polars(frame: Any, label: str) -> pl.DataFrame:
    if type(frame).__module__.startswith("polars"):
        return frame.collect() if hasattr(frame, "collect") else frame
    if type(frame).__module__.startswith("pandas"):
        names = [str(name) for name in frame.columns]
        if len(set(names)) < len(names):
            raise ConvertError(f"{label} has two columns of one name: rename one.")
        return pl.DataFrame([_series(name, frame.iloc[:, place]) for place, name in enumerate(names)])
    if hasattr(frame, "__arrow_c_stream__"):
        return pl.DataFrame(frame)
    raise ConvertError(
        f"{label} is a {type(frame).__name__}: give a file, or a frame of polars, pandas or Arrow."
    )


def _series(name: str, column: Any) -> pl.Series:
    """A column of pandas; without pyarrow polars takes numpy's types only."""
    kind = column.dtype.kind if hasattr(column.dtype, "kind") else "O"
    if hasattr(column.dtype, "tz") and column.dtype.tz is not None:
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        kind = "M"
    if kind in "iufb" and type(column.dtype).__module__.startswith("numpy"):
        return pl.Series(name, column.to_numpy())
    if kind == "M":
        whole = column.astype("datetime64[ns]").astype("int64").to_numpy()
        missing = column.isna().to_numpy()
        values = pl.Series(name, whole).cast(pl.Datetime("ns"))
        return (
            values.to_frame().select(pl.when(~pl.Series(missing)).then(pl.col(name)).alias(name)).to_series()
        )
    missing = column.isna().to_numpy()
    objects = [None if gone else value for value, gone in zip(column.astype(object).tolist(), missing)]
    if any(
        isinstance(value, datetime.date | list | tuple | dict) or hasattr(value, "tolist")
        for value in objects
    ):
        plain: list[Any] = [getattr(value, "tolist", lambda value=value: value)() for value in objects]
        return pl.Series(name, plain, strict=False)
    return pl.Series(name, [None if value is None else str(value) for value in objects], dtype=pl.String)


def _at(steps: Sequence[str]) -> pl.Expr:
    expression = pl.col(steps[0])
    for step in steps[1:]:
        expression = expression.struct.field(step)
    return expression


def _dtype(schema: Mapping[str, Any], steps: Sequence[str]) -> Any:
    dtype = schema[steps[0]]
    for step in steps[1:]:
        dtype = next(field.dtype for field in dtype.fields if field.name == step)
    return dtype


def _inner(steps: tuple[str, ...], dtype: Any) -> Iterator[tuple[str, ...]]:
    """Paths to the values within one value of a list; lists within it are not read."""
    if isinstance(dtype, pl.Struct):
        for field in dtype.fields:
            yield from _inner((*steps, field.name), field.dtype)
    elif not isinstance(dtype, pl.List | pl.Array):
        yield steps


def _keyed(leaf: Leaf, dtype: Any) -> pl.Expr:
    """The value of a key in a list of {key, value} as text; of GA4's values the one that is there."""
    value = next(field.dtype for field in dtype.inner.fields if field.name == "value")
    entry = _at(leaf.outer).list.eval(
        pl.element()
        .filter(pl.element().struct.field("key").cast(pl.String) == leaf.key)
        .struct.field("value")
    )
    first = entry.list.first()
    if not isinstance(value, pl.Struct):
        return as_text(first, value)
    return pl.coalesce(as_text(first.struct.field(field.name), field.dtype) for field in value.fields)
