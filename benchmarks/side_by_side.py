"""Measures functions side by side: each run in a process of its own, the sides in turn, medians reported.

Time is the wall time of the call inside its process, so neither the interpreter's start nor imports count. Peak memory
is the largest resident set of that process: all of it, imports too. The process that compares does no work itself.

    sides = [Side("ours", "recbole_ext.convert:convert", {"source": "retailrocket", …}), Side("theirs", …)]
    ours, theirs = alternate(sides, threads=2)
    print(ours.seconds, theirs.seconds / ours.seconds, ours.peak_mb)
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MB = 1_000_000
THREADS = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Side:
    """One thing to measure: `function` is "module:name", called with `arguments`, and returns what JSON can carry.

    `data_limit`: bytes of private memory (RLIMIT_DATA: heap and anonymous maps, touched or not) the process may have.
    `root`: the checkout whose packages it imports, another than this one to compare with an older commit.
    """

    name: str
    function: str
    arguments: Mapping[str, Any]
    repeats: int = 3
    data_limit: int | None = None
    root: Path = ROOT


@dataclass
class Measured:
    """All runs of one side."""

    name: str
    runs: list[float] = field(default_factory=list)  # seconds
    peaks: list[float] = field(default_factory=list)  # MB
    result: Any = None  # what the last run returned
    cpus: list[float] = field(default_factory=list)  # seconds of all threads

    @property
    def seconds(self) -> float:
        """Median wall time."""
        return statistics.median(self.runs)

    @property
    def cpu_seconds(self) -> float:
        """Median CPU time of all threads."""
        return statistics.median(self.cpus)

    @property
    def peak_mb(self) -> float:
        """Median peak memory, in MB (10^6 bytes)."""
        return statistics.median(self.peaks)

    def times(self) -> str:
        """The median, and where there are several runs the least and the most: 5.31 (5.20–6.02)."""
        spread = f" ({min(self.runs):.2f}–{max(self.runs):.2f})" if len(self.runs) > 1 else ""
        return f"{self.seconds:.2f}{spread}"


class SideFailed(Exception):
    """A run ended without a result; the message has the end of what it wrote."""


def alternate(sides: Sequence[Side], threads: int = 2) -> list[Measured]:
    """Measure the sides in turn: A B C, A B C, …; one with fewer repeats joins rounds in the middle."""
    measured = [Measured(side.name) for side in sides]
    for number in range(max(side.repeats for side in sides)):
        for side, record in zip(sides, measured):
            if number in _rounds(side.repeats, max(other.repeats for other in sides)):
                _progress(f"{side.name}, run {len(record.runs) + 1} of {side.repeats}")
                run = run_once(side, threads)
                record.runs.append(run["seconds"])
                record.cpus.append(run["cpu_seconds"])
                record.peaks.append(run["peak_bytes"] / MB)
                record.result = run["result"]
    _progress("")
    return measured


def _rounds(repeats: int, rounds: int) -> set[int]:
    """Which of the rounds have a run: all of them, or as many as there are repeats, evenly spread."""
    return {(2 * run + 1) * rounds // (2 * repeats) for run in range(repeats)}


def run_once(side: Side, threads: int = 2) -> dict[str, Any]:
    """One run in a process of its own: `seconds`, `cpu_seconds`, `peak_bytes` and the `result` of the function.

    Raises SideFailed where the process does not end well.
    """
    environment = {**os.environ, **dict.fromkeys(THREADS, str(threads))}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(side.root), environment.get("PYTHONPATH")]))
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        order = {"function": side.function, "arguments": dict(side.arguments), "data_limit": side.data_limit}
        command = [sys.executable, str(Path(__file__).resolve()), json.dumps(order), str(report)]
        child = subprocess.run(command, env=environment, capture_output=True, text=True)
        if child.returncode != 0 or not report.is_file():
            end = (child.stderr or child.stdout).strip()[-2000:]
            raise SideFailed(f"{side.name} ended with status {child.returncode}: {end}")
        run: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return run


def _run_here(order: Mapping[str, Any], report: Path) -> None:
    """What the process of one run does."""
    if order["data_limit"] is not None:
        import resource  # not on Windows, where a side with such a limit fails and says so

        resource.setrlimit(resource.RLIMIT_DATA, (order["data_limit"], order["data_limit"]))
    module, _, name = order["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    began, used = time.perf_counter(), time.process_time()
    result = function(**order["arguments"])
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    run = {"seconds": seconds, "cpu_seconds": cpu, "peak_bytes": peak_bytes(), "result": result}
    report.write_text(json.dumps(run), encoding="utf-8")


def peak_bytes() -> int:
    """The largest resident set of this process so far.

    Linux keeps it by program (VmHWM); what getrusage says there starts from the size of the process that started this
    one.
    """
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def read_once(paths: Iterable[Path]) -> None:
    """Read files through, so that no side pays for a cold disk."""
    for path in paths:
        with path.open("rb") as stream:
            while stream.read(1 << 24):
                pass


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of text as a Markdown table whose columns line up."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    padded = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines
    ]
    return "\n".join([padded[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *padded[1:]])


def conditions(threads: int, packages: Sequence[str]) -> str:
    """One line on machine, versions, commit and day."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{platform.machine()}, {cores} cores, {memory:.0f} GB memory; {threads} threads; "
        f"Python {platform.python_version()}, {versions}; commit {_commit()}; {datetime.now(UTC):%Y-%m-%d}"
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """The commit of the tree, marked where the code differs from it."""
    try:
        commit, changes = (
            subprocess.run(
                ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit} with changes" if changes else commit


def _progress(text: str) -> None:
    """What is under way, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    _run_here(json.loads(sys.argv[1]), Path(sys.argv[2]))
