"""How long it takes to make and to convert long logs, and in how much memory.

python benchmarks/long_log.py --events 1000000 2000000 --folder FOLDER     events alone, beside pandas
python benchmarks/long_log.py --events 100000000 --folder FOLDER --whole   with item properties, ours alone

Logs are generated in FOLDER where they are missing. Prints a Markdown table. Every run is a process of its own, the
sides take turns; side_by_side.py says what counts as time and memory. CPU seconds are of all threads, and those to go
by where others use the machine. Ours and pandas' .inter files have to be the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from side_by_side import Measured, Side, SideFailed, alternate, conditions, read_once, table

HEAD = ("what", "events", "time, s", "CPU, s", "peak memory, MB")
Row = tuple[str, str, str, str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0, or 2 after one sentence on stderr."""
    given = _parser().parse_args(arguments)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    print(f"{conditions(given.threads, ['polars', 'numpy', 'pandas'])}; load before {load:.1f}\n", flush=True)
    rows: list[Row] = []
    try:
        with tempfile.TemporaryDirectory(prefix="long-log-", dir=given.folder) as scratch:
            for events in given.events:
                rows += measured(events, Path(scratch), given)
                print(f"{table(HEAD, rows)}\n", flush=True)
    except SideFailed as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--events", type=int, nargs="+", default=[1_000_000, 2_000_000], help="(default %(default)s)")
    add("--folder", type=Path, required=True, help="where logs lie and are converted to")
    add("--whole", action="store_true", help="with item properties, and without pandas")
    add("--inter", default="text", help="form of the events: text, parquet or both (default %(default)s)")
    add("--pandas-most", type=int, default=10_000_000, help="events that pandas gets (default %(default)s)")
    add("--repeats", type=int, default=1, help="runs a side (default %(default)s)")
    add("--threads", type=int, default=2, help="of polars and numpy (default %(default)s)")
    return parser


def measured(events: int, scratch: Path, given: argparse.Namespace) -> list[Row]:
    """The lines of one size; what was converted is removed again."""
    raw = given.folder / f"events-{events}{'-whole' if given.whole else ''}"
    lines = []
    if not (raw / "generator.json").is_file():
        more = {} if given.whole else {"property_scale": 0.001}
        order = {"source": "retailrocket", "out": str(raw), "events": events, **more}
        made = alternate(
            [Side("generated", "recbole_ext.convert.synthetic:generate", order, 1)], given.threads
        )[0]
        lines.append(_line(made, events))
    counts = json.loads((raw / "generator.json").read_text(encoding="utf-8"))["counts"]
    read_once([raw / "events.csv"])
    options: dict[str, Any] = {"inter": given.inter} | ({} if given.whole else {"properties": []})
    order = {"source": "retailrocket", "raw": str(raw), "out": str(scratch / "ours" / "log"), **options}
    name = f"ours, with {counts['property_rows']:,} property rows" if given.whole else "ours"
    sides = [Side(name, "recbole_ext.convert:convert", order, given.repeats)]
    if not given.whole and given.inter == "text" and events <= given.pandas_most:
        plain = {"raw": str(raw), "out": str(scratch / "pandas" / "log")}
        sides.append(Side("pandas", "plain_pandas:events", plain, given.repeats))
    found = alternate(sides, given.threads)
    sums = {one.result["outputs"][0]["sha256"] for one in found}
    if len(sums) > 1:
        raise SideFailed("log.inter differs between the two: the comparison means nothing")
    for folder in scratch.iterdir():
        shutil.rmtree(folder)
    return [*lines, *(_line(one, events) for one in found)]


def _line(one: Measured, events: int) -> Row:
    return one.name, f"{events:,}", one.times(), f"{one.cpu_seconds:.1f}", f"{one.peak_mb:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
