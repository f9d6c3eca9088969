"""Atomic files as the tables of a RecBole data set.

What differs from RecBole's reading: the format knows no quoting, so a quotation mark is a character like any other;
only an empty cell is a missing token, so an item may be called NA; a byte-order mark is none of the first column's
name; history lists that `seq_len` cuts keep their newest events; what cannot be read is said with file and line.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from recbole.utils import FeatureSource, FeatureType

from recbole_ext.data import blocks
from recbole_ext.errors import UsageError
from recbole_ext.files import PARQUET, events_file
from recbole_ext.progress import stage
from recbole_ext.segments import pieces
from recbole_ext.wording import several

MISSING = frozenset(  # numbers only: pandas' own list
    (
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
        *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    )
)
_BLOCK = 2**24  # bytes that are looked at together
_SHOWN = 60  # characters of a cell in a message


def encoding_of(config: Any) -> str:
    """The encoding of the atomic files, a byte-order mark of UTF-8 passed over."""
    encoding = str(config["encoding"] or "utf-8")
    return "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding


def inter_file(folder: str | Path, name: str) -> Path:
    """The events of a data set, see `events_file`; where there are none the `.inter` file that is missing."""
    return events_file(folder, name) or Path(folder, f"{name}.inter")


def head_of(file: str | Path, encoding: str, separator: str) -> list[tuple[str, str]]:
    """Name and type of each column, as the first line has them; UsageError where it is no head of an atomic file."""
    if Path(file).suffix == PARQUET:
        return blocks.head_of_parquet(Path(file))
    try:
        with open(file, encoding=encoding) as stream:
            line = stream.readline().rstrip("\r\n")
    except (UnicodeError, LookupError) as error:
        raise UsageError(f"encoding is {encoding}, which {file} is not written in") from error
    columns = line.split(separator)
    if not all(column.count(":") == 1 for column in columns):
        raise UsageError(
            f"{file}, line 1: a head is name:type columns parted by field_separator, which is {separator!r}, and this "
            f"one is {line[:_SHOWN]!r}"
        )
    found = [(name, kind) for name, _, kind in (column.partition(":") for column in columns)]
    for name, kind in found:
        if kind not in [known.value for known in FeatureType]:
            raise UsageError(
                f"{file}, line 1: column {name} is of type {kind!r}: write token, token_seq, float or float_seq"
            )
    names = [name for name, _ in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{file}, line 1: there are two columns {twice}: leave one out")
    return found


def load_feat(dataset: Any, filepath: str, source: Any) -> pd.DataFrame | None:
    """`Dataset._load_feat` (dataset.py:421-520): the table of one file, its columns' types, sources and lengths noted.

    Raises UsageError for what cannot be read.
    """
    if dataset._get_load_and_unload_col(source)[0] == set():
        return None
    stage("events" if source == FeatureSource.INTERACTION else "features")
    config = dataset.config
    encoding, separator = encoding_of(config), config["field_separator"]
    head = head_of(filepath, encoding, separator)
    kept = {name: FeatureType(kind) for name, kind in kept_columns(dataset, head, source).items()}
    if not kept:
        dataset.logger.warning(f"No columns has been loaded from [{source}]")
        return None
    note_columns(dataset, kept, source)
    if Path(filepath).suffix == PARQUET:
        table = _table_of_parquet(filepath, kept)
    else:
        table = _table(filepath, encoding, separator, [name for name, _ in head], kept)
    for name in kept:
        kind = dataset.field2type[name]
        if kind.value.endswith("seq"):
            texts = table[name].fillna("").tolist()
            history = source == FeatureSource.INTERACTION and _is_history(dataset, name)
            table[name] = _sequences(dataset, filepath, name, kind, texts, history)
    return table


def kept_columns(dataset: Any, head: Sequence[tuple[str, str]], source: Any) -> dict[str, str]:
    """Those of a head (name, type) that `load_col` and `unload_col` leave, by name."""
    wanted, unwanted = dataset._get_load_and_unload_col(source)
    return {
        name: kind
        for name, kind in head
        if (wanted is None or name in wanted) and not (unwanted and name in unwanted)
    }


def note_columns(dataset: Any, kept: dict[str, FeatureType], source: Any) -> None:
    """Types, sources and lengths of the columns of a file, as RecBole notes them."""
    if not isinstance(source, FeatureSource) and source == "link":
        return
    for name, kind in kept.items():
        dataset.field2source[name], dataset.field2type[name] = source, kind
        if not kind.value.endswith("seq"):
            dataset.field2seqlen[name] = 1
        if "float" in kind.value:
            dataset.field2bucketnum[name] = 2


def _table_of_parquet(file: str, kept: dict[str, FeatureType]) -> pd.DataFrame:
    """As of a text: an empty cell is a missing one."""
    columns = {}
    for name, kind in kept.items():
        column = pl.read_parquet(file, columns=[f"{name}:{kind.value}"]).to_series()
        if kind == FeatureType.FLOAT:
            columns[name] = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        else:
            texts = column.cast(pl.String).replace("", None).to_list()
            columns[name] = pd.Series([np.nan if text is None else text for text in texts], dtype=object)
    return pd.DataFrame(columns)


def _table(
    file: str, encoding: str, separator: str, names: Sequence[str], kept: dict[str, FeatureType]
) -> pd.DataFrame:
    options: dict[str, Any] = {
        "sep": separator,
        "names": list(names),
        "header": None,
        "skiprows": 1,
        "index_col": False,
        "encoding": encoding,
        "quoting": csv.QUOTE_NONE,
        "keep_default_na": False,
        "engine": "python" if len(separator) > 1 else "c",
    }
    numbers = [name for name, kind in kept.items() if kind == FeatureType.FLOAT]
    reads: dict[str, Any] = {
        "usecols": list(kept),
        "dtype": {name: np.float64 if name in numbers else object for name in kept},
        "na_values": {name: list(MISSING) if name in numbers else [""] for name in kept},
    }
    if options["engine"] == "c":
        # round_trip is Python's float()
        reads.update(float_precision="round_trip", low_memory=False)
    if not encoding.lower().startswith(
        ("utf-16", "utf16", "utf-32", "utf32")
    ):  # of several bytes a character
        _check_width(file, separator, len(names))
    try:
        return pd.read_csv(file, **options, **reads)[list(kept)]
    except UnicodeError as error:
        raise UsageError(f"encoding is {encoding}, which {file} is not written in") from error
    except ValueError as error:  # pandas' ParserError among them
        raise UsageError(_fault(file, options, numbers) or f"{file} cannot be read: {error}") from error


def _check_width(file: str, separator: str, columns: int) -> None:
    """UsageError for a row with more cells than the head has columns, which pandas would cut off."""
    mark, number = separator.encode(), 0
    with open(file, "rb") as stream:
        while block := stream.read(_BLOCK) + stream.readline():
            lines = block.count(b"\n")
            if _widest(block, mark) >= columns:
                for line, text in enumerate(block.split(b"\n"), number + 1):
                    cells = text.rstrip(b"\r" + mark).count(mark) + 1
                    if cells > columns:
                        raise UsageError(
                            f"{file}, line {line}: {cells} cells under a head of {several(columns, 'column')}"
                        )
            number += lines


def _widest(block: bytes, mark: bytes) -> int:
    """The most separators in a line."""
    if len(mark) > 1:
        return max(line.count(mark) for line in block.split(b"\n"))
    found = np.frombuffer(block, dtype=np.uint8)
    ends = np.append(np.flatnonzero(found == ord("\n")), len(found))
    marks = np.searchsorted(np.flatnonzero(found == ord(mark)), ends)
    return int(np.diff(marks, prepend=0).max())


def _texts(file: str, options: dict[str, Any], column: str) -> pd.Series:
    """A column's cells by line of the file, the head left out; "" where a line has none."""
    lines = pd.read_csv(file, **options, usecols=[column], dtype=object, skip_blank_lines=False)
    return lines[column].fillna("")


def _fault(file: str, options: dict[str, Any], numbers: Sequence[str]) -> str | None:
    """The first cell of a column of numbers that is none, in words; None: no cell is to blame."""
    for name in numbers:
        try:
            texts = _texts(file, options, name)
        except ValueError:
            return None
        for place, text in enumerate(texts):
            try:
                _number(text.strip())
            except ValueError:
                return f"{file}, line {place + 2}: {name} is {text[:_SHOWN]!r}, and its column holds numbers (float)"
    return None


def _number(text: str) -> float:
    return float("nan") if text in MISSING else float(text)


def _is_history(dataset: Any, name: str) -> bool:
    return dataset.benchmark_filename_list is not None and name.endswith(
        dataset.config["LIST_SUFFIX"] or "_list"
    )


def _sequences(
    dataset: Any, file: str, name: str, kind: FeatureType, texts: list[str], history: bool
) -> list[np.ndarray]:
    """The column's cells as arrays, cut to `seq_len`, the newest events of a history; their length is noted."""
    separator = dataset.config["seq_separator"]
    cells = [list(filter(None, text.split(separator))) for text in texts]
    if kind == FeatureType.FLOAT_SEQ:
        rows: list[Any] = [_numbers(file, name, place, cell) for place, cell in enumerate(cells)]
        flat = np.array([*chain.from_iterable(rows)], dtype=float)
    else:
        rows = cells
        flat = np.array([*chain.from_iterable(rows)], dtype=str)
    values = pieces(flat, np.array([*map(len, rows)], dtype=np.int64))
    longest = max(map(len, values), default=0)
    limits = dict(dataset.config["seq_len"] or {})
    if history and name not in limits:
        limits[name] = dataset.config["MAX_ITEM_LIST_LENGTH"]
    limit = limits.get(name)
    if limit:
        values = [value[-limit:] if history else value[:limit] for value in values]
        longest = min(limit, longest)
    dataset.field2seqlen[name] = longest
    return values


def _numbers(file: str, name: str, place: int, cell: list[str]) -> list[float]:
    if len(cell) == 1 and cell[0] in MISSING:
        return []  # nothing is known, of no place in the sequence
    try:
        return [_number(text) for text in cell]
    except ValueError as error:
        raise UsageError(
            f"{file}, row {place + 1}: {name} holds {' '.join(cell)[:_SHOWN]!r}, "
            "and its column holds numbers (float_seq)"
        ) from error
