"""The heart of converting in polars and in duckdb: two jobs, the same files written, byte for byte.

Why the converters use what they use; docs/convert.md says what came of it. Neither engine checks or counts a row here,
which the converters do besides: `values_ours` and `sessions_ours` read as they do, every field looked at and every row
accounted for. Each function writes the table to `out` and returns its SHA-256. Both engines are imported by every side,
so that the memory of each holds the other's code, some 15 MB.
"""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from recbole_ext.convert.columns import choice_column, epoch_ms_column, id_column, text_column
from recbole_ext.convert.properties import AVAILABLE, CATEGORY, read_properties
from recbole_ext.convert.rows import BadRows, Source, compact, read_rows
from recbole_ext.convert.sessions import number_sessions

NAMES = ("categoryid", "available")
KINDS = ("view", "addtocart", "transaction")
PROPERTY_COLUMNS: dict[str, Any] = {
    "timestamp": pl.Int64,
    "itemid": pl.Int64,
    "property": pl.String,
    "value": pl.String,
}
EVENT_COLUMNS: dict[str, Any] = {
    "timestamp": pl.Int64,
    "visitorid": pl.Int64,
    "event": pl.Enum(KINDS),
    "itemid": pl.Int64,
    "transactionid": pl.String,
}
BLOCK_BYTES = 1 << 24
GAP_MS = 30 * 60_000
DAYS = (date(2015, 1, 1), date(2015, 12, 31))


def _parts(raw: str) -> list[str]:
    return [str(path) for path in sorted(Path(raw).glob("item_properties_part*.csv"))]


def _write(table: pl.DataFrame, out: str) -> str:
    table.write_csv(out, separator="\t")
    return _digest(out)


def _digest(out: str) -> str:
    with open(out, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# --- job 1: the last value of two properties before a moment, by item; of one moment the greater text counts


def values_polars(raw: str, out: str, before_ms: int) -> str:
    """polars, one lazy query over the files."""
    rows = pl.scan_csv(_parts(raw), schema=PROPERTY_COLUMNS, quote_char=None).filter(_asked_for(before_ms))
    return _write(_by_item(rows).collect(), out)


def values_blocks(raw: str, out: str, before_ms: int) -> str:
    """polars, block by block: what is not asked for never gathers, so memory does not grow with the log."""
    kept = []
    for part in _parts(raw):
        with open(part, "rb") as stream:
            stream.readline()
            while block := stream.read(BLOCK_BYTES):
                block += stream.readline()
                rows = pl.read_csv(block, has_header=False, schema=PROPERTY_COLUMNS, quote_char=None)
                rows = rows.filter(_asked_for(before_ms))
                kept.append(compact(rows.with_columns(pl.col("property").cast(pl.Enum(NAMES)))))
    return _write(_by_item(pl.concat(kept).lazy()).collect(), out)


def _asked_for(before_ms: int) -> pl.Expr:
    return pl.col("property").is_in(NAMES) & (pl.col("timestamp") < before_ms)


def _by_item(rows: pl.LazyFrame) -> pl.LazyFrame:
    last = rows.sort("timestamp", "value").group_by("itemid", "property").agg(pl.col("value").last())
    values = (pl.col("value").filter(pl.col("property") == name).first().alias(name) for name in NAMES)
    return last.group_by("itemid").agg(*values).sort("itemid")


def values_duckdb(raw: str, out: str, before_ms: int, threads: int) -> str:
    """duckdb; of three ways to say it that were tried none was clearly faster."""
    columns = {"timestamp": "BIGINT", "itemid": "BIGINT", "property": "VARCHAR", "value": "VARCHAR"}
    values = ", ".join(
        f"arg_max(value, (timestamp, value)) FILTER (property = '{name}') AS {name}" for name in NAMES
    )
    query = f"""
        SELECT itemid, {values} FROM {_csv(_parts(raw), columns)}
        WHERE property IN {NAMES} AND timestamp < {before_ms} GROUP BY itemid ORDER BY itemid"""
    return _copy(query, out, threads, keep_order=False)


def values_ours(raw: str, out: str, before_ms: int) -> str:
    """The converter's own reading: the same, and every field checked, every row counted."""
    sources = [Source(Path(part)) for part in _parts(raw)]
    history, _ = read_properties(
        sources,
        [CATEGORY, AVAILABLE],
        BadRows(),
        DAYS,
        items=None,
        before_ms=before_ms,
        whole_history=False,
        notes={},
    )
    table = history.last_values(pl.Series(history.item).unique().sort())
    return _write(table.select(itemid="item_id", categoryid="category", available="available"), out)


# --- job 2: events to sessions, cut where over 30 minutes lie between two of a visitor, numbered by their start


def sessions_polars(raw: str, out: str) -> str:
    """polars, one lazy query."""
    events = pl.scan_csv(str(Path(raw) / "events.csv"), schema=EVENT_COLUMNS, quote_char=None)
    events = events.select("timestamp", "visitorid", "event", "itemid")
    events = events.sort("visitorid", "timestamp", "event", maintain_order=True)
    opens = (pl.col("visitorid") != pl.col("visitorid").shift(1)) | (pl.col("timestamp").diff() > GAP_MS)
    events = events.with_columns(start=pl.when(opens.fill_null(True)).then("timestamp").forward_fill())
    events = events.sort("start", "visitorid", maintain_order=True)
    number = pl.struct("start", "visitorid").rle_id().cast(pl.Int64) + 1
    columns = number.alias("session_id"), "visitorid", "itemid", (pl.col("timestamp") // 1000).alias("second")
    return _write(events.select(*columns).collect(), out)


def sessions_duckdb(raw: str, out: str, threads: int) -> str:
    """duckdb; the fastest of three ways to say it that were tried."""
    names = ("timestamp", "visitorid", "event", "itemid", "transactionid")
    texts = ("event", "transactionid")
    columns = {name: "VARCHAR" if name in texts else "BIGINT" for name in names}
    visit = "PARTITION BY visitorid ORDER BY timestamp, kind, line"
    query = f"""
        WITH events AS (
            SELECT timestamp, visitorid, itemid, list_position({list(KINDS)}, event) AS kind,
                row_number() OVER () AS line
            FROM {_csv([str(Path(raw) / "events.csv")], columns)}),
        opened AS (
            SELECT *, CASE WHEN coalesce(timestamp - lag(timestamp) OVER visit > {GAP_MS}, true) THEN timestamp END
                AS opens
            FROM events WINDOW visit AS ({visit})),
        started AS (SELECT *, max(opens) OVER ({visit} ROWS UNBOUNDED PRECEDING) AS start FROM opened)
        SELECT dense_rank() OVER (ORDER BY start, visitorid) AS session_id, visitorid, itemid,
            timestamp // 1000 AS second
        FROM started ORDER BY session_id, timestamp, kind, line"""
    return _copy(query, out, threads, keep_order=True)


def sessions_ours(raw: str, out: str) -> str:
    """The converter's own: the same, and every field checked, every row counted, repeated rows dropped."""
    columns = [
        epoch_ms_column("time_ms", "timestamp", *DAYS),
        id_column("user_id", "visitorid"),
        choice_column("event", "event", KINDS),
        id_column("item_id", "itemid"),
        text_column("transaction", "transactionid", unknown=("",)),
    ]
    events, _ = read_rows(Source(Path(raw) / "events.csv"), columns, BadRows(), separator=",")
    events = number_sessions(events.select("user_id", "item_id", "time_ms", "event"), 30, ties="event")
    second = pl.col("time_ms") // 1000
    return _write(events.select("session_id", visitorid="user_id", itemid="item_id", second=second), out)


# --- duckdb


def _csv(files: list[str], columns: dict[str, str]) -> str:
    """A table function that reads plain CSV files without guessing."""
    return (
        f"read_csv({files}, header = true, auto_detect = false, delim = ',', quote = '', columns = {columns})"
    )


def _copy(query: str, out: str, threads: int, keep_order: bool) -> str:
    connection: Any = duckdb.connect()
    connection.execute(f"SET threads = {threads}")
    connection.execute(f"SET preserve_insertion_order = {str(keep_order).lower()}")
    connection.execute(f"COPY ({query}) TO '{out}' (HEADER, DELIMITER '\t')")
    return _digest(out)
