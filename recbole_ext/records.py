"""record.json of a run: one home for writing and reading it, with a sum over all that it says.

A record that was cut or changed is refused, whatever key a changed bit is in; one of an older version, FORMAT 1, has no
sum and is read as it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_ext.errors import UsageError
from recbole_ext.files import write_text

RECORD = "record.json"
FORMAT = 2
SUM = "sum"  # SHA-256 of the rest, so that a file may be laid out anew


def write(folder: Path, record: Mapping[str, Any]) -> None:
    """Write a run's record into its folder, whole or not at all.

    Raises OSError as writing does, ValueError for a number that JSON does not have.
    """
    rest = {"format": FORMAT, **record} | {"format": FORMAT}
    rest.pop(SUM, None)  # of a record that somebody has read as plain JSON
    said = json.dumps({**rest, SUM: _sum(rest)}, indent=1, allow_nan=False)
    write_text(folder / RECORD, said + "\n")


def check_folder(folder: str | Path) -> None:
    """UsageError where there is no such folder: before anything is imported that takes seconds."""
    if not Path(folder).is_dir():
        raise UsageError(
            f"there is no folder {folder}{beneath(folder)}: name a run, as in runs/<dataset>/<model>-<seed>-<time>"
        )


def beneath(path: str | Path) -> str:
    """Where a path that does not begin at the root was looked for; empty for one that does."""
    return "" if Path(path).is_absolute() else f" in {Path.cwd()}"


def check_finished_run(folder: Path) -> None:
    """UsageError where a folder holds no record."""
    if not (folder / RECORD).is_file():
        raise UsageError(f"{folder} is not the folder of a finished run, as it has no {RECORD}")


def read(folder: Path) -> dict[str, Any]:
    """A run's record as it was written.

    Raises FileNotFoundError where there is none, and UsageError where it cannot be read or was cut or changed.
    """
    file = folder / RECORD
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _harmed(file) from error
    if not isinstance(record, dict):
        raise _harmed(file)
    known = record.pop(SUM, None)
    if known is None and record.get("format", 1) == 1:
        return record
    if known != _sum(record):
        raise _harmed(file)
    return record


def run_name(folder: Path) -> str:
    """What a run is called by its folder: EXPERIMENT/DATASET/MODEL/seed-1 of a cell, as many are called seed-1."""
    parts = folder.resolve().parts
    is_cell = re.fullmatch(r"seed-[0-9]+", parts[-1]) is not None
    return "/".join(part for part in parts[-4:] if part != folder.anchor) if is_cell else parts[-1]


def best_epochs(record: Mapping[str, Any] | None) -> int | None:
    """The number of epochs that was best on validation, or that were made where none is known to be."""
    if record is None:
        return None
    best = record.get("best_epoch")
    return record["epochs_run"] if best is None else best + 1


def _sum(rest: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(rest))  # as it is read back: keys are text
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def _harmed(file: Path) -> UsageError:
    return UsageError(
        f"{file} was cut or changed since it was written: put back a copy, or run its model again"
    )
