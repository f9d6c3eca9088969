"""How fast the converters are, and in how much memory, on generated logs of the owners' sizes.

python benchmarks/convert.py                      beside row-by-row converters, and with twice the rows
python benchmarks/convert.py --property-rows 10   only: ten times the property log, once, in 4 GiB (9 GB of disk)

Prints Markdown tables with the targets beside. Every run is a process of its own, the sides take turns, medians are
shown with the least and the most; side_by_side.py says what counts as time and memory. Where two sides should write the
same bytes, that is checked. Missing logs are generated first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from side_by_side import ROOT, Measured, Side, SideFailed, alternate, conditions, read_once, table

TARGETS = {"retailrocket": (10.0, 1200), "diginetica": (2.5, 600)}  # seconds, MB, at the owner's size
TIMES_FASTER, TWICE_ROWS = 5.0, 2.2
LIMIT_GIB = 4
HEAD = ("what", "time, s: median (least–most)", "peak memory, MB", "target")
Row = tuple[str, str, str, str]


class CannotMeasure(Exception):
    """One sentence: what is wrong and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0, or 2 after one sentence on stderr."""
    options = _parser().parse_args(arguments)
    try:
        if min(options.repeats, options.baseline_repeats, options.threads) < 1:
            raise CannotMeasure(
                "--repeats, --baseline-repeats and --threads are 1 or more: mend the command."
            )
        with tempfile.TemporaryDirectory(prefix="convert-") as scratch:
            if options.property_rows is not None:
                _print(many_properties(Path(scratch), options))
                return 0
            print(
                f"scale {options.scale:g}; {conditions(options.threads, ['polars', 'numpy'])}\n", flush=True
            )
            for source, raw in (("retailrocket", options.raw), ("diginetica", options.diginetica)):
                _print(conversion(source, raw, Path(scratch), options))
    except (CannotMeasure, SideFailed) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--scale", type=float, default=1.0, help="size of the generated logs, 1 = the owners' (default)")
    add("--repeats", type=int, default=3, help="runs a side (default %(default)s)")
    add("--baseline-repeats", type=int, default=1, help="runs of a row-by-row side (default %(default)s)")
    add("--raw", type=Path, default=Path("raw_data/retailrocket-synthetic"), help="(default %(default)s)")
    add(
        "--diginetica", type=Path, default=Path("raw_data/diginetica-synthetic"), help="(default %(default)s)"
    )
    add("--threads", type=int, default=2, help="of polars and numpy (default %(default)s)")
    add("--property-rows", type=float, metavar="TIMES", help="only this: so many times the property rows")
    return parser


def _print(rows: Sequence[Row]) -> None:
    print(f"{table(HEAD, rows)}\n", flush=True)


# --- logs


def generate(source: str, raw: Path, scale: float, property_scale: float = 1.0) -> dict[str, Any]:
    """Generate logs in `raw` where there are none; their counts. CannotMeasure where there are others."""
    record = raw / "generator.json"
    if not record.is_file():
        if raw.is_dir() and any(raw.iterdir()):
            raise CannotMeasure(f"{raw} holds files that were not generated: name another folder.")
        print(f"generating {raw}", file=sys.stderr, flush=True)
        words = ["synthetic", source, "--scale", str(scale), "--out", str(raw)]
        words += [] if property_scale == 1 else ["--property-scale", str(property_scale)]
        # Not in this process, which has to stay small: it starts those that are measured.
        child = subprocess.run(
            [sys.executable, "-m", "recbole_ext.convert", *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if child.returncode != 0:
            raise CannotMeasure(f"{raw} could not be generated: {child.stderr.strip()[-500:]}")
    there = json.loads(record.read_text(encoding="utf-8"))
    found = there["options"]["scale"], there["options"].get("property_scale", 1.0)
    if there["source"] != source or found != (scale, property_scale):
        raise CannotMeasure(
            f"{raw} holds {there['source']} logs of scale {found[0]:g} with {found[1]:g} times the property rows, not "
            f"{source} of {scale:g} with {property_scale:g}: name another folder, or remove this one."
        )
    counts: dict[str, Any] = there["counts"]
    return counts


def half_of(raw: Path, scale: float) -> Path:
    """Where the logs of half the size lie."""
    return raw.with_name(f"{raw.name}-{scale / 2:g}")


# --- what is measured


def ours(source: str, raw: Path, out: Path, name: str, repeats: int, limit_gib: int | None = None) -> Side:
    """Our converter; `out` is a folder of this side alone."""
    arguments = {"raw": str(raw), "out": str(out / source)}
    limit = None if limit_gib is None else limit_gib << 30
    return Side(name, "recbole_ext.convert:convert", {"source": source, **arguments}, repeats, limit)


def conversion(source: str, raw: Path, scratch: Path, options: argparse.Namespace) -> list[Row]:
    """Ours beside row by row, all rows beside half of them: the three sides in turn."""
    half = half_of(raw, options.scale)
    generate(source, raw, options.scale)
    generate(source, half, options.scale / 2)
    read_once(sorted(raw.glob("*.csv")) + sorted(half.glob("*.csv")))
    peer = {"raw": str(raw), "out": str(scratch / "peer" / source)}
    sides = [
        ours(source, half, scratch / "half", f"{source}, half of the rows", options.repeats),
        ours(source, raw, scratch / "ours", f"{source}", options.repeats),
        Side(f"{source}, row by row", f"row_by_row:{source}", peer, options.baseline_repeats),
    ]
    by_half, mine, other = alternate(sides, options.threads)
    for name, digest in _digests(mine).items():
        if digest != _digests(other)[name]:
            raise CannotMeasure(f"{name} differs between the two converters: the comparison means nothing.")
    seconds, peak = TARGETS[source]
    faster, twice = other.seconds / mine.seconds, mine.seconds / by_half.seconds
    return [
        _line(mine, f"at most {seconds:g} s, {peak:,} MB" + _at_scale(options.scale)),
        _line(other, "the same .inter and .item, byte for byte"),
        (f"{source}, times faster", f"{faster:.1f}", "", f"{TIMES_FASTER:g} or more"),
        _line(by_half, ""),
        (f"{source}, time of twice the rows", f"{twice:.2f} times", "", f"{TWICE_ROWS:g} or less"),
    ]


def _digests(converted: Measured) -> dict[str, str]:
    return {output["name"]: output["sha256"] for output in converted.result["outputs"]}


def _at_scale(scale: float) -> str:
    return "" if scale == 1 else " at scale 1"


def _line(measured: Measured, target: str) -> Row:
    return measured.name, measured.times(), f"{measured.peak_mb:,.0f}", target


def many_properties(scratch: Path, options: argparse.Namespace) -> list[Row]:
    """One conversion with a larger property log, in a process that may have LIMIT_GIB of private memory."""
    raw = options.raw.with_name(f"{options.raw.name}-properties-{options.property_rows:g}")
    count = generate("retailrocket", raw, options.scale, options.property_rows)["property_rows"]
    print(f"scale {options.scale:g}; {conditions(options.threads, ['polars', 'numpy'])}")
    print(f"RLIMIT_DATA {LIMIT_GIB} GiB: memory asked for past that is refused, whether it is used or not\n")
    side = ours("retailrocket", raw, scratch, f"retailrocket, {count:,} property rows", 1, LIMIT_GIB)
    return [_line(alternate([side], options.threads)[0], f"finishes in {LIMIT_GIB} GiB")]


if __name__ == "__main__":
    sys.exit(main())
