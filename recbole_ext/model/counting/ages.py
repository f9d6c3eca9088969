"""How old training sessions are: in days, or in percent of the sessions that are newer."""

from __future__ import annotations

import numpy as np

from recbole_ext.data import splits
from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.errors import UsageError

DAY = 86400.0


def unit_of_age(chosen: str, dataset: SessionDataset) -> str:
    """ "days" or "share" of `age` auto, days or share; UsageError where days are asked of a log without times."""
    known = splits.manifest(dataset.dataset_path)
    timed = (
        not known or known.get("time_origin") is not None
    )  # without a manifest times are taken for seconds
    if chosen == "days" and not timed:
        raise UsageError(
            f"age is days, but {dataset.dataset_name} has the order of events and no times (time_origin in its "
            "manifest.json): set age: share"
        )
    return ("days" if timed else "share") if chosen == "auto" else chosen


def note_of(unit: str) -> str:
    """What a reader of the result has to know of the unit."""
    words = {"days": "days", "share": "percent of the training sessions"}
    return f"ages of sessions are in {words[unit]}"


def ages(last_time: np.ndarray, unit: str | None) -> np.ndarray:
    """(S,) float64 ages of sessions that ended at `last_time` (S,), ascending seconds; 0 for the newest."""
    if unit == "days":
        return (last_time.max(initial=0) - last_time) / DAY
    newer = len(last_time) - np.searchsorted(last_time, last_time, side="right")
    return 100.0 * newer / max(len(last_time), 1)
