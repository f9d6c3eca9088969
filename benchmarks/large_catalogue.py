"""A training step with sampled softmax over millions of items: only the rows that were read, or the whole table.

    python benchmarks/large_catalogue.py --beside CHECKOUT   # another commit, unpacked there, as the peer

SASRec, 64 wide, 2,048 targets a step and 2,048 negatives. The log is generated: every item once, the rest by Zipf's
law, sessions of eight events. Every run is a process of its own and the sides take turns. The last line is the same
step over 20,000 items: what it costs but for the table.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import write_section
from side_by_side import ROOT, Side, conditions, run_once, table

SESSION = 8
FEW = 20_000
MORE = 1_000_000  # events beside one of each item
SETTINGS = {
    "train_targets": "all_positions",
    "train_loss": "sampled_softmax",
    "negatives": 2048,
    "hidden_size": 64,
    "inner_size": 256,
}


@dataclass
class Line:
    """One line of the table, and of its runs the milliseconds a step, by the clock and of CPU, and peaks of memory."""

    label: str
    items: int
    settings: dict[str, Any]
    batches: int
    root: Path = ROOT
    steps: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)


def generated(folder: Path, items: int) -> Path:
    """Atomic files of a log in which each of so many items is clicked at least once; made where they are missing."""
    out = folder / f"catalogue-{items}"
    file = out / f"{out.name}.inter"
    if file.is_file():
        return out
    out.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    often = np.minimum(random.zipf(1.2, MORE), items) - 1
    item = random.permutation(np.concatenate((np.arange(items), often)))
    item = item[: len(item) // SESSION * SESSION]
    event = np.arange(len(item))
    lines = np.char.add(
        np.char.add(np.char.add((event // SESSION).astype(str), "\t"), item.astype(str)),
        np.char.add("\t", event.astype(str)),
    )
    partial = file.with_suffix(".partial")
    partial.write_text(
        "session_id:token\titem_id:token\ttimestamp:float\n" + "\n".join(lines) + "\n", encoding="utf-8"
    )
    partial.rename(file)
    return out


def lines_of(items: int, batches: int, beside: Path | None) -> list[Line]:
    """The sides, the peer first."""
    few = max(2, batches // 5)
    lines = [
        Line("here, the whole table", items, {"row_updates": False}, few),
        Line("here, the rows that were read", items, {"row_updates": True}, batches),
        Line(f"the same over {FEW:,} items", FEW, {"row_updates": True}, batches),
    ]
    if beside is None:
        return lines
    said = subprocess.run(
        ["git", "log", "-1", "--format=%h", "--", "."], cwd=beside, capture_output=True, text=True
    )
    return [Line(f"peer, {said.stdout.strip() or beside.name}", items, {}, few, beside), *lines]


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=2_000_000)
    parser.add_argument("--model", default="SASRec")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="another commit, unpacked there")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batches", type=int, default=30, help="timed steps of a run by rows")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "atomic_data", help="where the logs are made")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "speed.md")
    options = parser.parse_args(argv)
    beside = options.beside.resolve() if options.beside else None
    lines = lines_of(options.items, options.batches, beside)
    for number in range(options.repeats):
        for line in lines:
            arguments = {
                "ours": True,
                "data": str(generated(options.folder.resolve(), line.items)),
                "model": options.model,
                "settings": {**SETTINGS, **line.settings},
                "batches": line.batches,
            }
            side = Side(line.label, "recbole_runs:train_steps", arguments, root=line.root)
            run = run_once(side, options.threads)
            line.steps.append(run["result"]["seconds"] / line.batches * 1e3)
            line.cpu.append(run["result"]["cpu_seconds"] / line.batches * 1e3)
            line.peaks.append(run["peak_bytes"] / 1e9)
            print(
                f"{line.label}, run {number + 1}: {line.steps[-1]:.1f} ms a step, {line.cpu[-1]:.1f} of CPU",
                flush=True,
            )
    base, base_cpu = statistics.median(lines[0].steps), statistics.median(lines[0].cpu)
    rows = []
    for line in lines:
        middle = statistics.median(line.steps)
        spread = f"{middle:.1f} ({min(line.steps):.1f}–{max(line.steps):.1f})"
        cpu, peak = statistics.median(line.cpu), statistics.median(line.peaks)
        rows.append(
            (
                line.label,
                spread,
                f"{base / middle:.1f}×",
                f"{cpu:.1f}",
                f"{base_cpu / cpu:.1f}×",
                f"{peak:.1f}",
            )
        )
    head = (
        "what",
        "ms a step, median (least–most)",
        "ratio",
        "CPU ms a step, both threads",
        "ratio",
        "peak GB of the process",
    )
    command = "`python benchmarks/large_catalogue.py" + (" --beside CHECKOUT`" if beside else "`")
    where = conditions(options.threads, ("torch", "numpy", "recbole"))
    text = f"{command}; {options.model}, {options.items:,} items; {where}\n\n{table(head, rows)}\n"
    write_section(options.out, f"Sampled softmax over {options.items:,} items", text)
    print(text)


if __name__ == "__main__":
    main()
