"""An `.inter` file, text or parquet, as flat columns, block by block: codes of tokens and float64 numbers.

What the blocks cannot be taken for exactly as pandas would read them is an OddFileError: data/atomic.py reads the file
then, or says with file and line what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recbole_ext.data.codes import Codes, Column
from recbole_ext.errors import UsageError
from recbole_ext.files import PARQUET
from recbole_ext.progress import stage

_BLOCK = 2**25  # bytes of text that are read together
_ROWS = 2**20  # rows of a parquet file that are
SEPARATORS = ("\t", ",", ";", "|")
_MARK = b"\xef\xbb\xbf"
_Block = tuple[pl.DataFrame, float]  # and how much of the file has been read with it
_LINE, _BLANK, _PLUS, _MINUS, _ZERO, _NINE = b"\n +-09"


class OddFileError(Exception):
    """A file that blocks are not read from, and why."""


def read(
    file: Path, names: list[str], kinds: Mapping[str, str], separator: str
) -> tuple[dict[str, np.ndarray], dict[str, Codes]]:
    """Columns (E,) by name, and what the codes of each one of tokens are.

    names: all columns of the file. kinds: "token" or "float" of those that are wanted. Raises OddFileError.
    """
    blocks = _of_parquet(file, kinds) if file.suffix == PARQUET else _of_text(file, names, kinds, separator)
    codes = {name: Codes() for name, kind in kinds.items() if kind == "token"}
    numbers = {name: Column(np.float64) for name, kind in kinds.items() if kind == "float"}
    for block, share in _ahead(blocks):
        for name, tokens in codes.items():
            tokens.add(block[name])
        for name, column in numbers.items():
            column.add(block[name].fill_null(float("nan")).to_numpy())
        stage("events", share)
    return {name: codes[name].taken() if name in codes else numbers[name].taken() for name in kinds}, codes


def _ahead(blocks: Iterator[_Block]) -> Iterator[_Block]:
    """The blocks, the next one read while this one is numbered."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reader.submit(next, blocks, None)
            yield block


def _of_text(file: Path, names: list[str], kinds: Mapping[str, str], separator: str) -> Iterator[_Block]:
    schema = {name: pl.Float64 if kinds.get(name) == "float" else pl.String for name in names}
    wanted = sorted({0, *(place for place, name in enumerate(names) if name in kinds)})
    whole = {
        names[place] for place in wanted if schema[names[place]] == pl.String
    }  # columns of whole numbers, as yet

    def parsed(block: bytes, numbers: set[str]) -> pl.DataFrame:
        return pl.read_csv(
            block,
            separator=separator,
            has_header=False,
            schema={**schema, **dict.fromkeys(numbers, pl.Int32)},
            columns=wanted,
            quote_char=None,
        )

    size = file.stat().st_size
    with open(file, "rb") as stream:
        stream.readline()
        while block := stream.read(_BLOCK) + stream.readline():
            block = block.replace(b"\r\n", b"\n") if b"\r" in block else block
            if b"\r" in block or b"\0" in block:
                raise OddFileError("it has carriage returns within lines, or zero bytes")
            table = None
            if whole and not _other_numbers(block, ord(separator)):
                with suppress(pl.exceptions.PolarsError):
                    table = parsed(block, whole)
            if table is None:
                try:
                    table = parsed(block, set())
                except pl.exceptions.PolarsError as error:
                    raise OddFileError(str(error).splitlines()[0]) from error
                whole = {name for name in whole if _may_be_whole(table[name])}
            if table[names[0]].null_count() and (block.startswith(b"\n") or b"\n\n" in block):
                raise OddFileError("it has empty lines")  # which pandas passes over
            yield table, stream.tell() / size


def _other_numbers(block: bytes, separator: int) -> bool:
    """Whether a cell begins with a sign, a blank or a zero before another digit: a number that polars would read, and
    Python would write otherwise."""
    text = np.frombuffer(b"\n" + block + b"\n\n", dtype=np.uint8)
    ends = (text == separator) | (text == _LINE)
    after = np.flatnonzero(ends[:-2] & (text[1:-1] <= _ZERO)) + 1
    first, second = text[after], text[after + 1]
    odd = (first != separator) & (first != _LINE) & ((first <= _BLANK) | (first == _PLUS) | (first == _MINUS))
    return bool((odd | ((first == _ZERO) & (second >= _ZERO) & (second <= _NINE))).any())


def _may_be_whole(column: pl.Series) -> bool:
    return column.cast(pl.Int32, strict=False).null_count() == column.null_count()


def head_of_parquet(file: Path) -> list[tuple[str, str]]:
    """Name and type of each column, as the columns' names have them; UsageError where they are no head."""
    try:
        columns = pl.read_parquet_schema(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UsageError(f"{file} is not a parquet file that can be read: {error}") from error
    head = []
    for column, dtype in columns.items():
        name, _, kind = column.partition(":")
        fits = dtype.is_numeric() if kind == "float" else _is_text(dtype) or dtype.is_integer()
        if kind not in ("token", "token_seq", "float", "float_seq") or not fits:
            raise UsageError(
                f"{file}: column {column!r} holds {dtype}: a column is called name:token and holds texts or whole "
                "numbers, or name:float and holds numbers"
            )
        head.append((name, kind))
    return head


def _is_text(dtype: Any) -> bool:
    return isinstance(dtype, pl.Categorical | pl.Enum) or dtype == pl.String


def _of_parquet(file: Path, kinds: Mapping[str, str]) -> Iterator[_Block]:
    schema = pl.read_parquet_schema(file)
    log = pl.scan_parquet(file).select(
        _column_of_parquet(name, kind, schema[f"{name}:{kind}"]) for name, kind in kinds.items()
    )
    rows = log.select(pl.len()).collect().item()
    for start in range(0, rows, _ROWS):
        yield log.slice(start, _ROWS).collect(), min((start + _ROWS) / rows, 1.0)


def _column_of_parquet(name: str, kind: str, dtype: pl.DataType) -> pl.Expr:
    if kind == "float":
        return pl.col(f"{name}:float").cast(pl.Float64).alias(name)
    column = pl.col(f"{name}:token").alias(name)
    return column if dtype.is_integer() else column.cast(pl.String).replace("", None)
