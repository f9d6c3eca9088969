"""A log of wide daily parts converts in memory that grows with what is kept of it, not with the parts.

Writes rows of generated events (GA4's nested form, with page views, parameters and item details that are not read) as
daily parquet parts, converts folder and a tenth of it each in a process of its own, and prints its largest resident set
beside what one reading of all parts at once takes.

    python benchmarks/any_log.py --rows 2000000 --parts 20
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from side_by_side import peak_bytes

ITEMS = 50_000
EVENTS_OF_VISITOR = 8


def write_part(path: Path, rows: int, day: int, seed: int) -> None:
    """One day of events, of which a third are page views without an item."""
    draw = np.random.default_rng([seed, day])
    visitor = draw.integers(0, rows // EVENTS_OF_VISITOR, rows)
    item = draw.integers(0, ITEMS, rows)
    time_us = 1_700_000_000_000_000 + day * 86_400_000_000 + np.sort(draw.integers(0, 86_400_000_000, rows))
    frame = pl.DataFrame({"event_timestamp": time_us, "v": visitor, "i": item, "n": np.arange(rows)})
    view = pl.col("n") % 3 != 0
    name, number = pl.format("item-{}", "i"), pl.lit(1_700_000_000 + day) + pl.col("v")
    address = pl.format(
        "https://shop.example/category/{}/item/{}?utm_source=mail&click={}", pl.col("i") % 97, "i", "n"
    )
    nothing = pl.lit(None, dtype=pl.String)

    def parameter(key: str, text: pl.Expr, whole: pl.Expr) -> pl.Expr:
        value = pl.struct(string_value=text, int_value=whole)
        return pl.struct(key=pl.lit(key), value=value)

    details = pl.struct(
        item_id=name, item_name=pl.format("The long name of {}", "i"), price=pl.col("i") / 100
    )
    frame.select(
        "event_timestamp",
        event_name=pl.when(view).then(pl.lit("view_item")).otherwise(pl.lit("page_view")),
        user_pseudo_id=pl.format("{}.{}", "v", pl.lit(day)),
        event_params=pl.concat_list(
            parameter("page_location", address, pl.lit(None, dtype=pl.Int64)),
            parameter("ga_session_id", nothing, number),
        ),
        items=pl.when(view).then(pl.concat_list(details)).otherwise(pl.lit([], dtype=pl.List(pl.Struct({
            "item_id": pl.String, "item_name": pl.String, "price": pl.Float64}))))
    ).write_parquet(path, row_group_size=100_000)  # fmt: skip


def peak_mib() -> float:
    """The largest resident set of this process."""
    return peak_bytes() / 2**20


def work(how: str, folder: Path, *more: str) -> None:
    """In a process of its own, as one inherits the peak of its parent: "write", "nothing", "convert", "at once"."""
    began, done = time.perf_counter(), ""
    if how == "write":
        parts, rows, seed = (int(number) for number in more)
        folder.mkdir()
        for day in range(parts):
            write_part(folder / f"day-{day:03}.parquet", rows, day, seed)
        return
    if how == "convert":
        from recbole_ext.convert import convert

        manifest = convert("events", folder, folder.with_name("out") / folder.name)
        done = f"{sum(manifest['counts']['events'].values()):,} events kept, "
    elif how == "at once":
        done = f"{pl.read_parquet(folder / '*.parquet').height:,} rows, "
    else:
        import recbole_ext.convert.sources.events  # noqa: F401

        pl.DataFrame({"a": [1]})
    print(
        f"{how:8} {folder.name}: {done}{time.perf_counter() - began:.1f} s, {peak_mib():,.0f} MiB", flush=True
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a job."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--parts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.work:
        return work(given.work[0], Path(given.work[1]), *given.work[2:])
    with tempfile.TemporaryDirectory() as place:
        for name, parts in (("tenth", max(given.parts // 10, 1)), ("whole", given.parts)):
            folder = Path(place) / name
            made = [str(number) for number in (parts, given.rows // given.parts, given.seed)]
            subprocess.run([sys.executable, __file__, "--work", "write", str(folder), *made], check=True)
            size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
            print(f"{name}: {parts} parts, {size:,.0f} MiB on disk", flush=True)
            for how in ("nothing", "convert", "at once"):
                subprocess.run([sys.executable, __file__, "--work", how, str(folder)], check=True)
    return None


if __name__ == "__main__":
    main()
