"""Metrics that a finished run was not asked for, worked out from the ranks that it has kept.

So that one more metric, or one more k, neither trains a model again nor reads its test part again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from recbole_ext import records
from recbole_ext.evaluate.slices import by_kind, reward_at, slice_means
from recbole_ext.evaluate.target_metrics import NAMES, gains, parse_metric
from recbole_ext.files import whole_zip

ONE_RANKING = "one ranking per (prefix, target) row"  # how the protocol of records begins whose ranks say all


def measured(
    record: dict[str, Any], folder: Path, metrics: Sequence[str], topk: Sequence[int]
) -> dict[str, Any] | None:
    """The record with `metrics` at `topk` in its test results, written to the folder where any was missing.

    None where the ranks cannot say one of them: the run has to be done again.
    """
    test = record.get("test") or {}
    missing = [f"{name.lower()}@{k}" for name in metrics for k in topk if f"{name.lower()}@{k}" not in test]
    if not missing:
        return record
    file = folder / "ranks.npz"
    known = all(name.partition("@")[0] in NAMES for name in missing)
    if (
        not known
        or not record["protocol"].startswith(ONE_RANKING)
        or not file.is_file()
        or not whole_zip(file)
    ):
        return None
    with np.load(file) as arrays:
        found = _again(record, dict(arrays), missing, sorted(topk))
    with suppress(OSError):  # the next call works it out again
        records.write(folder, found)
    return found


def _again(
    record: Mapping[str, Any], arrays: Mapping[str, np.ndarray], missing: Sequence[str], topk: list[int]
) -> dict[str, Any]:
    rank, config = arrays["rank"], record.get("config") or {}
    places = config.get("metric_decimal_place", 4)
    values = {name: round(float(gains(rank, *parse_metric(name)).mean()), places) for name in missing}
    found = {**record, "test": {**record["test"], **values}}
    if "test_by_event" in record:
        found["test_by_event"] = by_kind(rank, arrays["event"], topk)
    if "test_reward" in record:
        found["test_reward"] = reward_at(rank, arrays["event"], config["rewards"], topk)
    if "test_slices" in record:
        found["test_slices"] = slice_means(arrays, topk)
    said = f"{', '.join(missing)}: worked out afterwards from the ranks that were kept"
    return {**found, "notes": [*record.get("notes", []), said]}
