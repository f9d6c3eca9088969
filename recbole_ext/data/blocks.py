"""An `.inter` file, text or parquet, as flat columns, block by block: codes of tokens and float64 numbers.

What the blocks cannot be taken for exactly as pandas would read them is an OddFileError: data/atomic.py reads the file
then, or says with file and line what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recbole_ext.data.codes import Codes, Column
from recbole_ext.errors import UsageError
from recbole_ext.files import PARQUET

_BLOCK = 2**25  # bytes of text that are read together
_ROWS = 2**20  # rows of a parquet file that are
SEPARATORS = ("\t", ",", ";", "|")
_MARK = b"\xef\xbb\xbf"


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
    for block in _ahead(blocks):
        for name, tokens in codes.items():
            tokens.add(block[name])
        for name, column in numbers.items():
            column.add(block[name].fill_null(float("nan")).to_numpy())
    return {name: codes[name].taken() if name in codes else numbers[name].taken() for name in kinds}, codes


def _ahead(blocks: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The blocks, the next one read while this one is numbered."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reader.submit(next, blocks, None)
            yield block


def _of_text(
    file: Path, names: list[str], kinds: Mapping[str, str], separator: str
) -> Iterator[pl.DataFrame]:
    schema = {name: pl.Float64 if kinds.get(name) == "float" else pl.String for name in names}
    wanted = sorted({0, *(place for place, name in enumerate(names) if name in kinds)})
    with open(file, "rb") as stream:
        stream.readline()
        while block := stream.read(_BLOCK) + stream.readline():
            block = block.replace(b"\r\n", b"\n") if b"\r" in block else block
            if b"\r" in block or b"\0" in block:
                raise OddFileError("it has carriage returns within lines, or zero bytes")
            try:
                table = pl.read_csv(
                    block,
                    separator=separator,
                    has_header=False,
                    schema=schema,
                    columns=wanted,
                    quote_char=None,
                )
            except pl.exceptions.PolarsError as error:
                raise OddFileError(str(error).splitlines()[0]) from error
            if table[names[0]].null_count() and (block.startswith(b"\n") or b"\n\n" in block):
                raise OddFileError("it has empty lines")  # which pandas passes over
            yield table


def head_of_parquet(file: Path) -> list[tuple[str, str]]:
    """Name and type of each column, as the columns' names have them; UsageError where they are no head."""
    try:
        columns = pl.read_parquet_schema(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UsageError(f"{file} is not a parquet file that can be read: {error}") from error
    head = []
    for column, dtype in columns.items():
        name, _, kind = column.partition(":")
        fits = dtype.is_numeric() if kind == "float" else _is_text(dtype)
        if kind not in ("token", "token_seq", "float", "float_seq") or not fits:
            raise UsageError(
                f"{file}: column {column!r} holds {dtype}: a column is called name:token and holds texts, or "
                "name:float and holds numbers"
            )
        head.append((name, kind))
    return head


def _is_text(dtype: Any) -> bool:
    return isinstance(dtype, pl.Categorical | pl.Enum) or dtype == pl.String


def _of_parquet(file: Path, kinds: Mapping[str, str]) -> Iterator[pl.DataFrame]:
    log = pl.scan_parquet(file).select(
        pl.col(f"{name}:float").cast(pl.Float64).alias(name)
        if kind == "float"
        else pl.col(f"{name}:token").cast(pl.String).replace("", None).alias(name)
        for name, kind in kinds.items()
    )
    rows = log.select(pl.len()).collect().item()
    for start in range(0, rows, _ROWS):
        yield log.slice(start, _ROWS).collect()
