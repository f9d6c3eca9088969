"""The heart of the Retail Rocket conversion in polars and in duckdb: no row is counted or checked, no file written."""

from __future__ import annotations

from pathlib import Path

GAP_MS = 30 * 60_000


def polars_properties(raw: Path, before_ms: int) -> int:
    """The last category and availability of each item before a moment; returns how many there are."""
    import polars as pl

    parts = sorted(Path(raw).glob("item_properties_part*.csv"))
    rows = pl.scan_csv(parts).filter(
        pl.col("property").is_in(["categoryid", "available"]), pl.col("timestamp") < before_ms
    )
    last = rows.group_by("itemid", "property").agg(pl.col("value").sort_by("timestamp").last())
    return last.collect(engine="streaming").height


def duckdb_properties(raw: Path, before_ms: int, threads: int) -> int:
    """As `polars_properties`."""
    import duckdb

    connection = duckdb.connect(config={"threads": threads})
    parts = [str(path) for path in sorted(Path(raw).glob("item_properties_part*.csv"))]
    columns = "{'timestamp': 'BIGINT', 'itemid': 'BIGINT', 'property': 'VARCHAR', 'value': 'VARCHAR'}"
    query = f"""
        select count(*) from (
            select itemid, property, arg_max(value, timestamp) from read_csv({parts}, header=true, columns={columns})
            where property in ('categoryid', 'available') and timestamp < {before_ms} group by itemid, property)
    """
    return int(connection.execute(query).fetchall()[0][0])


def polars_sessions(raw: Path) -> int:
    """Sort all events by visitor and time and number the sessions; returns how many there are."""
    import polars as pl

    events = pl.read_csv(Path(raw) / "events.csv", columns=["timestamp", "visitorid", "event", "itemid"])
    events = events.sort("visitorid", "timestamp")
    opens = (pl.col("visitorid") != pl.col("visitorid").shift(1)) | (pl.col("timestamp").diff() > GAP_MS)
    return int(events.select(session=opens.fill_null(True).cum_sum())["session"].max())  # type: ignore[arg-type]


def duckdb_sessions(raw: Path, threads: int) -> int:
    """As `polars_sessions`."""
    import duckdb

    connection = duckdb.connect(config={"threads": threads})
    query = f"""
        create table numbered as
        select *, sum(opens) over (order by visitorid, timestamp rows unbounded preceding) as session
        from (select timestamp, visitorid, event, itemid,
              case when timestamp - lag(timestamp) over (partition by visitorid order by timestamp) <= {GAP_MS}
                   then 0 else 1 end as opens
              from read_csv('{Path(raw) / "events.csv"}', header=true))
    """
    connection.execute(query)
    return int(connection.execute("select max(session) from numbered").fetchall()[0][0])
