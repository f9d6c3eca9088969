"""Every reading of a test part by an experiment, a line of test_readings.csv, and every call that ran something.

Lines are added and never changed: each has a sum, and one that was cut or changed is told and left out. Files that
were begun before there were sums have lines without.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recbole_ext.files import commit

FILE, CALLS = "test_readings.csv", "calls.jsonl"
COLUMNS = ("time", "dataset", "label", "seed", "settings", "commit", "metrics")
SUM = "sum"


def append(file: Path, label: str, settings: str, record: Mapping[str, Any]) -> None:
    """Add the reading that `record` reports, with a sum; `settings` is the hash of what was run.

    One write of one line, so that processes side by side do not mix theirs. Raises OSError as writing does.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    metrics = " ".join(f"{name}={value:.6f}" for name, value in record["test"].items())
    row: tuple[Any, ...] = (
        now,
        record["dataset"],
        label,
        record["seed"],
        settings,
        record["commit"] or "",
        metrics,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    if not _has_no_sums(file):
        row = (*row, _sum(_line(row)))
    _add(file, _line(row), head=_line((*COLUMNS, SUM)), torn=",torn")


def _has_no_sums(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.readline() == _line(COLUMNS).encode()


def _sum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _add(file: Path, line: str, head: str = "", torn: str = "") -> None:
    """Add a line, after `head` where it is the first; what an interruption or a full disk left of another is ended
    by `torn` and stays. OSError where the disk takes less than the line."""
    how = os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
    try:  # who makes the file writes its head
        handle = os.open(file, how | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        handle = os.open(file, how)
        head = "" if _last_byte(handle) in (b"", b"\n") else f"{torn}\n"
    try:
        content = f"{head}{line}".encode()
        if os.write(handle, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
    finally:
        os.close(handle)


def _last_byte(handle: int) -> bytes:
    """The last byte of an open file; none of an empty one."""
    if os.fstat(handle).st_size == 0:
        return b""
    os.lseek(handle, -1, os.SEEK_END)
    return os.read(handle, 1)


def _line(row: tuple[Any, ...]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue()


def readings(file: Path) -> list[dict[str, Any]]:
    """All readings, oldest first: the columns as text, `seed` a number and `metrics` a dict of numbers.

    Torn lines, see `torn`, are left out.
    """
    return [row for line in _lines(file) if (row := _reading(line)) is not None]


def _lines(file: Path) -> list[str]:
    """The lines of a file with their ends, empty ones and the head of readings aside; none where it is not there."""
    if not file.is_file():
        return []
    text = file.read_bytes().decode("utf-8", "replace")  # a cut may go through a letter
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return [line for line in lines if line.strip() and line not in (_line(COLUMNS), _line((*COLUMNS, SUM)))]


def _reading(line: str) -> dict[str, Any] | None:
    """The reading of a line; None where it is torn, as it is without its end: a number may lack its last digits."""
    try:
        values = next(csv.reader([line.rstrip("\n")]), [])
    except csv.Error:
        return None
    if len(values) == len(COLUMNS) + 1 and values.pop() != _sum(_line(tuple(values))):
        return None
    if not line.endswith("\n") or len(values) != len(COLUMNS):
        return None
    row: dict[str, Any] = dict(zip(COLUMNS, values))
    try:
        pairs = (pair.partition("=") for pair in row["metrics"].split())
        return {**row, "seed": int(row["seed"]), "metrics": {name: float(value) for name, _, value in pairs}}
    except ValueError:
        return None


def append_call(file: Path, command: str, runs: int) -> None:
    """Add a call of the experiment that has ended `runs` runs, searches included."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    call = {"time": now, "commit": commit(), "runs": runs, "command": command}
    _add(file, json.dumps({**call, SUM: _sum(json.dumps(call))}) + "\n")


def calls(file: Path) -> list[dict[str, Any]]:
    """The calls that ran something, oldest first: time they ended, commit, number of runs, command.

    Torn lines are left out.
    """
    return [call for line in _lines(file) if (call := _call(line)) is not None]


def _call(line: str) -> dict[str, Any] | None:
    try:
        call = json.loads(line)
    except ValueError:
        return None
    if not isinstance(call, dict) or not {"time", "commit", "runs", "command"} <= set(call):
        return None
    known = call.pop(SUM, None)
    return call if known in (None, _sum(json.dumps(call))) else None


def torn(file: Path, kind: str = FILE) -> str:
    """What to say of lines that were cut, by an interruption or a full disk, or changed; empty where all are whole.

    kind: FILE or CALLS, what the file holds.
    """
    parse: Callable[[str], dict[str, Any] | None] = _reading if kind == FILE else _call
    bad = [line for line in _lines(file) if parse(line) is None]
    if not bad:
        return ""
    of = f"{len(bad)} lines" if len(bad) > 1 else "a line"
    return f"{file} holds {of} that was cut or changed: left out ({bad[-1].strip()[:60]!r})"
