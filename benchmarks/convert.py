"""How fast raw logs become atomic files, and in how much memory, beside a converter that works row by row.

python benchmarks/convert.py                  Retail Rocket and Diginetica at full size, generated where missing
python benchmarks/convert.py --engines        and why polars: the heart of the job in polars and in duckdb
python benchmarks/convert.py --property-rows 10   only: ten times the property log, once, in 4 GiB

Times are inside the process, without the start of Python; both sides of a pair write the same bytes, which is checked.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from side_by_side import ROOT, Measured, Side, alternate, commit, machine, table

sys.path.insert(0, str(ROOT))

TARGETS = {"retailrocket": (10.0, 1200), "diginetica": (2.5, 600)}  # seconds, MB
TIMES_FASTER, SCALING = 5.0, 2.2


def logs(schema: str, scale: float, folder: Path, property_scale: float | None = None) -> Path:
    """The generated logs in `folder`, made there if it does not exist."""
    from recbole_ext.convert.synthetic import generate

    if not folder.exists():
        print(f"generating {folder}", file=sys.stderr)
        options = {} if property_scale is None else {"property_scale": property_scale}
        generate(schema, folder, scale=scale, **options)
    return folder


def ours(schema: str, raw: Path, out: Path, name: str = "recbole_ext", limit_mib: int | None = None) -> Side:
    """Our converter, as its command line calls it; its import is not timed."""
    setup = f"from recbole_ext.convert import convert, source_module; source_module({schema!r})"
    return Side(name, setup, f"convert({schema!r}, {str(raw)!r}, {str(out)!r})", limit_mib)


def peer(schema: str, raw: Path, out: Path) -> Side:
    """The row-by-row converter."""
    return Side("row by row", "import row_by_row", f"row_by_row.{schema}({str(raw)!r}, {str(out)!r})")


def conversion(
    schema: str, raw: Path, scratch: Path, repeats: dict[str, int], threads: int
) -> list[list[str]]:
    """Rows of the table: our conversion, the peer's, and how they compare."""
    print(f"{schema}: {raw}", file=sys.stderr)
    a, b = scratch / "ours" / schema, scratch / "peer" / schema
    found = alternate([ours(schema, raw, a), peer(schema, raw, b)], repeats, threads)
    for suffix in ("inter", "item"):
        if not filecmp.cmp(a / f"{schema}.{suffix}", b / f"{schema}.{suffix}", shallow=False):
            raise SystemExit(
                f"{schema}.{suffix} differs between the two converters: the comparison means nothing."
            )
    seconds, peak = TARGETS[schema]
    mine, other = found["recbole_ext"], found["row by row"]
    return [
        line(f"{schema}, recbole_ext", mine, f"{seconds:g} s, {peak:,} MB"),
        line(f"{schema}, row by row", other, ""),
        [f"{schema}, times faster", f"{other.time / mine.time:.1f}", "", f"{TIMES_FASTER:g} or more"],
    ]


def line(what: str, measured: Measured, target: str) -> list[str]:
    """One row of the table; MB are millions of bytes."""
    runs = " ".join(f"{seconds:.2f}" for seconds in measured.seconds)
    return [what, f"{measured.time:.2f} s ({runs})", f"{measured.peak * 1.048576:,.0f} MB", target]


def scaling(
    schema: str, full: Path, half: Path, scratch: Path, repeats: int, threads: int
) -> list[list[str]]:
    """How the time of a conversion grows with twice the rows."""
    print(f"{schema}: {half} and {full}", file=sys.stderr)
    sides = [
        ours(schema, half, scratch / "half" / schema, "half"),
        ours(schema, full, scratch / "full" / schema, "full"),
    ]
    found = alternate(sides, repeats, threads)
    ratio = found["full"].time / found["half"].time
    return [
        line(f"{schema}, half of the rows", found["half"], ""),
        line(f"{schema}, all rows", found["full"], ""),
        [f"{schema}, time of twice the rows", f"{ratio:.2f}", "", f"{SCALING:g} or less"],
    ]


def engines(raw: Path, repeats: int, threads: int) -> list[list[str]]:
    """polars and duckdb at the heart of the job; both find the same."""
    before = int(datetime(2015, 9, 12, tzinfo=UTC).timestamp()) * 1000
    path = repr(str(raw))
    pairs = {
        "properties": (
            f"polars_properties({path}, {before})",
            f"duckdb_properties({path}, {before}, {threads})",
        ),
        "sessions": (f"polars_sessions({path})", f"duckdb_sessions({path}, {threads})"),
    }
    rows = []
    for job, calls in pairs.items():
        sides = [
            Side(engine, f"import engines, {engine}", f"print(engines.{call})")
            for engine, call in zip(("polars", "duckdb"), calls)
        ]
        found = alternate(sides, repeats, threads)
        rows += [line(f"{job}, {engine}", found[engine], "") for engine in ("polars", "duckdb")]
    return rows


def main() -> None:
    """Measure what the command line asks for and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--scale", type=float, default=1.0, help="size of the generated logs, 1 = the owners' (default 1)")
    add("--repeats", type=int, default=3, help="runs a side (default 3)")
    add("--peer-repeats", type=int, help="runs of the row-by-row side (default as --repeats)")
    add("--raw", type=Path, default=Path("raw_data"), help="folder of the generated logs (default raw_data)")
    add("--threads", type=int, default=2, help="threads of polars and duckdb (default 2)")
    add("--engines", action="store_true", help="also polars beside duckdb")
    add(
        "--property-rows",
        type=float,
        metavar="TIMES",
        help="only this: so many times the property rows, in 4 GiB",
    )
    args = parser.parse_args()
    size = "" if args.scale == 1 else f"-{args.scale:g}"
    scratch = Path(tempfile.mkdtemp(prefix="convert-", dir="."))
    rows = [["what", "median (runs)", "peak memory", "target"]]
    try:
        if args.property_rows is not None:
            name = f"retailrocket-synthetic{size}-properties-{args.property_rows:g}"
            raw = logs("retailrocket", args.scale, args.raw / name, args.property_rows)
            side = ours("retailrocket", raw, scratch / "retailrocket", limit_mib=4096)
            found = alternate([side], 1, args.threads)["recbole_ext"]
            count = json.loads((raw / "generator.json").read_text())["counts"]["property_rows"]
            rows.append(line(f"retailrocket, {count:,} property rows, data limited to 4 GiB", found, "4 GiB"))
        else:
            repeats = {"recbole_ext": args.repeats, "row by row": args.peer_repeats or args.repeats}
            for schema in ("retailrocket", "diginetica"):
                raw = logs(schema, args.scale, args.raw / f"{schema}-synthetic{size}")
                rows += conversion(schema, raw, scratch, repeats, args.threads)
                half = logs(schema, args.scale / 2, args.raw / f"{schema}-synthetic-{args.scale / 2:g}")
                rows += scaling(schema, raw, half, scratch, args.repeats, args.threads)
            if args.engines:
                raw = args.raw / f"retailrocket-synthetic{size}"
                rows += engines(raw, args.repeats, args.threads)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"commit {commit()}, {machine(args.threads)}, {datetime.now(UTC).date()}\n")
    print(table(rows))


if __name__ == "__main__":
    main()
