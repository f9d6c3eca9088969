"""Every reading of a test part by an experiment, a line of test_readings.csv, and every call that ran something.

Lines are added and never changed.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE, CALLS = "test_readings.csv", "calls.jsonl"
COLUMNS = ("time", "dataset", "label", "seed", "settings", "commit", "metrics")


def append(file: Path, label: str, settings: str, record: Mapping[str, Any]) -> None:
    """Add the reading that `record` reports; `settings` is the hash of what was run.

    One write of one line, so that processes side by side do not mix theirs.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    metrics = " ".join(f"{name}={value:.6f}" for name, value in record["test"].items())
    row = (now, record["dataset"], label, record["seed"], settings, record["commit"] or "", metrics)
    file.parent.mkdir(parents=True, exist_ok=True)
    try:  # who makes the file writes its head
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        lines = _line(COLUMNS) + _line(row)
    except FileExistsError:
        handle = os.open(file, os.O_WRONLY | os.O_APPEND)
        lines = _line(row)
    try:
        os.write(handle, lines.encode())
    finally:
        os.close(handle)


def _line(row: tuple[Any, ...]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue()


def readings(file: Path) -> list[dict[str, Any]]:
    """All readings, oldest first: the columns as text, `seed` a number and `metrics` a dict of numbers."""
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        rows: list[dict[str, Any]] = list(csv.DictReader(stream))
    for row in rows:
        row["seed"] = int(row["seed"])
        pairs = (pair.partition("=") for pair in row["metrics"].split())
        row["metrics"] = {name: float(value) for name, _, value in pairs}
    return rows


def append_call(file: Path, command: str, runs: int) -> None:
    """Add a call of the experiment that has ended `runs` runs, searches included."""
    from recbole_ext.run.record import _commit

    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({"time": now, "commit": _commit(), "runs": runs, "command": command})
    with file.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")


def calls(file: Path) -> list[dict[str, Any]]:
    """The calls that ran something, oldest first: time they ended, commit, number of runs, command."""
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
