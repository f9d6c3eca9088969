"""What the manifest beside the atomic files says of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from recbole_ext.errors import UsageError
from recbole_ext.files import UNFINISHED, changed_outputs


def time_origin(folder: str) -> float:
    """Unix time of timestamp 0, from manifest.json beside the atomic files; 0 (unix times) without one."""
    known = manifest(folder)
    if not known:
        return 0.0
    origin = known.get("time_origin")
    if isinstance(origin, bool) or not isinstance(origin, int | float) or not math.isfinite(origin):
        raise UsageError(
            f"{Path(folder) / 'manifest.json'} has no time_origin, so the log has no days: write shares, as "
            "{session_time: [0.8, 0.1, 0.1]}, or use split given"
        )
    return float(origin)


def has_times(folder: str) -> bool:
    """Whether timestamps are times; session lists have running numbers there, and no time_origin."""
    known = manifest(folder)
    return not known or known.get("time_origin") is not None


def check_finished(folder: str) -> None:
    """UsageError where a conversion to `folder` was killed while it moved its files there."""
    if (Path(folder) / UNFINISHED).exists():
        raise UsageError(
            f"a conversion to {folder} was interrupted, so its files do not belong together: convert again"
        )


def edited_note(folder: str) -> str | None:
    """Which atomic files are not those that the manifest beside them tells of; None: all are, or there is none."""
    outputs = manifest(folder).get("outputs") or []
    try:
        changed = changed_outputs(Path(folder), outputs) if outputs else []
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"{Path(folder) / 'manifest.json'} is not a manifest: convert the raw logs again"
        ) from error
    if not changed:
        return None
    return (
        f"{', '.join(changed)} changed since the conversion that manifest.json tells of: its sums, times and split may "
        "not hold"
    )


def manifest(folder: str) -> dict[str, Any]:
    """The converter's manifest, {} without one."""
    file = Path(folder) / "manifest.json"
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{file} is not a manifest ({error}): convert the raw logs again") from error
