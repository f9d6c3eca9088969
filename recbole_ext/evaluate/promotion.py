"""Whether a new model may take the place of the one that runs: is it worse on the same targets, by enough to matter?

The margin is the smallest fall of the metric that matters, as a share of the old model's. New is *as good* where a
one-sided test says that it has more than (1 - margin) of the old value, *fallen* where it says that it has less;
anything else is not known yet. So a model that is worse by the margin is promoted in at most ALPHA of cases
(benchmarks/promote.py counts them). Slices that the user names have to be as good too, each by a test of its own, which
needs no correction as all have to pass. Of the other slices none may have fallen, by Holm's correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_ext.errors import UsageError, did_you_mean
from recbole_ext.evaluate.intervals import FLIPS, changes, holm
from recbole_ext.evaluate.runs import Run, aligned, differences, load
from recbole_ext.evaluate.slices import DIMENSIONS, is_small, slices
from recbole_ext.evaluate.target_metrics import gains, parse_metric

ALPHA = 0.05
MARGIN, SLICE_MARGIN = 0.02, 0.05
ALL = "all"  # the row of all targets
AS_GOOD, FALLEN, UNKNOWN = "as good", "fallen", "not known"
PROMOTE, WORSE, OPEN = "promote", "worse", "not known"


def promotion(
    new: str | Path,
    old: str | Path,
    metric: str = "ndcg@10",
    margin: float = MARGIN,
    guarded: Sequence[str] = (),
    slice_margin: float = SLICE_MARGIN,
    draws: int = FLIPS,
) -> dict[str, Any]:
    """What two runs' folders say, as plain data for JSON.

    Args:
        metric: `name@k` of evaluate.target_metrics.
        margin: the smallest fall that matters, a share of the old value, from 0 to below 1. 0: new has to be better.
        slice_margin: the same of a slice.
        guarded: slices that must not fall, `dimension=slice` or a `dimension` for all of its slices.

    Returns:
        verdict: `promote`, `worse`, or `not known` where the targets are too few to tell. reasons: sentences.
        new, old, dataset, metric, margin, slice_margin, targets, sessions; notes: sentences on how the runs differ.
        rows: all targets first, then slices: dimension, slice, targets, small, sessions, new, old, change (a share of
            the old value), low, high, p_kept, p_fallen (of slices that are not guarded: adjusted), guarded, state (`as
            good`, `fallen`, `not known`). None where a number is not known.

    Raises:
        UsageError: a folder is no run, the two did not rank the same targets, a metric or slice does not exist, a
            margin is no share.
    """
    for name, value in (("margin", margin), ("slice_margin", slice_margin)):
        if not 0 <= value < 1:
            raise UsageError(
                f"{name} is {value:g}: write a share of the old value from 0 to below 1, such as 0.02"
            )
    name, k = parse_metric(metric)
    runs = load([new, old], ["new", "old"])
    places = min(
        int(run.record.get("places", k)) for run in runs
    )  # of a parent's lists, see recommend/parent_ranks.py
    if k > places:
        raise UsageError(
            f"metric is {metric}, and ranks below {places} are not told apart: write @{places} or less"
        )
    session = aligned(runs)
    masks = _masks(runs)
    chosen = _guarded(guarded, masks)
    new_values, old_values = (gains(run.arrays["rank"], name, k) for run in runs)
    rows = decided(new_values, old_values, session, masks, chosen, margin, slice_margin, draws)
    return {
        "verdict": verdict(rows),
        "reasons": _reasons(rows, f"{name}@{k}", margin, slice_margin),
        "new": str(runs[0].folder),
        "old": str(runs[1].folder),
        "dataset": runs[0].record["dataset"],
        "metric": f"{name}@{k}",
        "margin": margin,
        "slice_margin": slice_margin,
        "targets": len(session),
        "sessions": len(np.unique(session)),
        "rows": rows,
        "notes": [note for note in differences(runs) if "different events" not in note],
    }


Masks = dict[tuple[str, str], np.ndarray]


def _masks(runs: list[Run]) -> Masks:
    """(T,) bool by dimension and slice, those that hold a target; what was trained on counts as the old run has it."""
    knows_most = max(
        reversed(runs), key=lambda run: sum(set(d.needs) <= set(run.arrays) for d in DIMENSIONS.values())
    )
    return {
        (dimension, name): mask
        for dimension, found in slices(knows_most.arrays).items()
        for name, mask in found.items()
        if mask.any()
    }


def _guarded(wanted: Sequence[str], masks: Masks) -> set[tuple[str, str]]:
    found = set()
    dimensions = list(dict.fromkeys(dimension for dimension, _ in masks))
    for text in wanted:
        dimension, _, name = (part.strip() for part in text.partition("="))
        if dimension not in dimensions:
            hint = (
                did_you_mean(dimension, dimensions) or f": these runs know {', '.join(dimensions) or 'none'}"
            )
            raise UsageError(f"slice {text} is of no dimension of these runs{hint}")
        own = [slice_ for one, slice_ in masks if one == dimension]
        if name and name not in own:
            hint = did_you_mean(name, own) or f": {dimension} has {', '.join(own)}"
            raise UsageError(f"slice {text} holds no target{hint}")
        found |= {(dimension, slice_) for slice_ in ([name] if name else own)}
    return found


def decided(
    new: np.ndarray,
    old: np.ndarray,
    session: np.ndarray,
    masks: Masks,
    guarded: set[tuple[str, str]],
    margin: float,
    slice_margin: float,
    draws: int = FLIPS,
) -> list[dict[str, Any]]:
    """The `rows` of `promotion`; new, old: (T,) what each target adds to the metric."""
    every = np.ones(len(session), dtype=bool)
    columns = {(ALL, ALL): every, **masks}
    stacked = np.stack(list(columns.values()), axis=1)
    margins = np.full(len(columns), slice_margin)
    margins[0] = margin
    found = changes(new[:, None] * stacked, old[:, None] * stacked, session, margins, draws)
    p_fallen = found.p_fallen.copy()
    free = [place for place, key in enumerate(columns) if place and key not in guarded]
    p_fallen[free] = holm(found.p_fallen[free])
    rows = []
    for place, ((dimension, name), mask) in enumerate(columns.items()):
        must = place == 0 or (dimension, name) in guarded
        state = UNKNOWN
        if found.p_kept[place] < ALPHA:
            state = AS_GOOD
        elif p_fallen[place] < ALPHA:
            state = FALLEN
        rows.append(
            {
                "dimension": dimension,
                "slice": name,
                "targets": int(mask.sum()),
                "small": is_small(mask.sum()),
                "sessions": len(np.unique(session[mask])),
                "new": float(new[mask].mean()),
                "old": float(old[mask].mean()),
                "change": _plain(found.change[place]),
                "low": _plain(found.low[place]),
                "high": _plain(found.high[place]),
                "p_kept": float(found.p_kept[place]),
                "p_fallen": float(p_fallen[place]),
                "guarded": must,
                "state": state,
            }
        )
    return rows


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def verdict(rows: list[dict[str, Any]]) -> str:
    """PROMOTE, WORSE or OPEN, from the `rows` of `decided`."""
    if any(row["state"] == FALLEN for row in rows):
        return WORSE
    return OPEN if any(row["guarded"] and row["state"] == UNKNOWN for row in rows) else PROMOTE


def _reasons(rows: list[dict[str, Any]], metric: str, margin: float, slice_margin: float) -> list[str]:
    found = verdict(rows)
    if found == PROMOTE:
        return [
            f"{metric} keeps more than {100 * (1 - margin):g} % of the old value, and no slice has fallen"
        ]
    limits = [margin if row["dimension"] == ALL else slice_margin for row in rows]
    if found == WORSE:
        return [
            f"{metric} of {_called(row)} has fallen by more than {100 * limit:g} %"
            for row, limit in zip(rows, limits)
            if row["state"] == FALLEN
        ]
    return [
        f"{row['sessions']:,} sessions do not show that {metric} of {_called(row)} keeps more than "
        f"{100 * (1 - limit):g} % of the old value: rank more, or allow a larger "
        f"{'margin' if row['dimension'] == ALL else 'slice margin'}"
        for row, limit in zip(rows, limits)
        if row["guarded"] and row["state"] == UNKNOWN
    ]


def _called(row: dict[str, Any]) -> str:
    return "all targets" if row["dimension"] == ALL else f"{row['dimension']}={row['slice']}"
