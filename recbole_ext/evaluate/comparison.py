"""Several runs on the same targets side by side: means with intervals, seeds' spread, paired tests, slices.

All of it comes from the runs' folders (record.json, ranks.npz); nothing is trained or scored again, and numpy is all
that is needed. docs/evaluation.md says what the numbers mean.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_ext.errors import UsageError
from recbole_ext.evaluate.beyond import TOP, beyond
from recbole_ext.evaluate.intervals import FLIPS, bootstrap_means, holm, pair_tests
from recbole_ext.evaluate.runs import Run, aligned, by_label, differences, load, mode_of
from recbole_ext.evaluate.slices import DIMENSIONS, is_small, slices
from recbole_ext.evaluate.target_metrics import category_hits, gains, parse_metric
from recbole_ext.progress import progress
from recbole_ext.rewards import target_rewards

METRICS = ("ndcg@10", "hit@20", "mrr@20")
ALSO_TESTED = "hit@20"  # beside the first metric
FLIPS_A_PAIR = 200
CATEGORY_METRICS = {"category@1": 1, "category_hit@10": 10, "category_hit@20": TOP}
REWARDS = {"reward@10": 10, "reward@20": 20}
Values = dict[str, np.ndarray]  # by metric, (T,) float64


@dataclass
class _Model:
    """The runs of one label, in order of their seeds, and what their targets add to each metric, mean over runs."""

    label: str
    runs: list[Run]
    values: Values
    seed_values: dict[str, list[float]]
    category: Values  # NaN where the target's category is not known


def compare(
    folders: Sequence[str | Path],
    metrics: Sequence[str] = METRICS,
    baseline: str | None = None,
    labels: Sequence[str] | None = None,
) -> dict[str, Any]:
    """What the runs in `folders` say of their models, as plain data for JSON; models with the best first metric first.

    Args:
        metrics: `name@k` of evaluate.target_metrics.
        baseline: label that every other one is tested against; None: every pair is tested.
        labels: what each folder's model is called, one a folder; runs with one label are seeds of one model. None:
            the record's `label`, or its model.

    Returns:
        dataset, targets, sessions, items; metrics; notes: sentences on how the runs differ.
        models: model (its label), name, seeds, folders; metrics, by metric: mean, low, high, seed_std (None for one
            seed), seed_values; beyond: None where a record does not allow it; category_hit, by metric: mean, low, high,
            and targets, those with a known category; reward, by metric, of a target, and its `sum`; category_hit and
            reward are absent where records do not allow them; seconds, epochs, parameters: None where not known.
        tests: of the first metric and hit@20: a, b, metric, difference (a - b), low, high, p, and p_holm, adjusted for
            all pairs of that metric.
        slices: by dimension, those that hold a target: slice, targets, sessions, small, metrics by label and metric,
            and category_hit by label where it is known.
        low and high are None where the targets are of one session: nothing then says how sessions differ.

    Raises:
        UsageError: a folder is no run, two runs cannot be compared, a metric or label does not exist.
    """
    names = list(dict.fromkeys("@".join(map(str, parse_metric(metric))) for metric in metrics))
    if not names:
        raise UsageError(f"metrics is empty: name one at least, as in {METRICS[0]}")
    runs = load(folders, labels)
    session = aligned(runs)
    tested = list(dict.fromkeys((names[0], ALSO_TESTED)))
    models = _models(runs, list(dict.fromkeys([*names, *tested])))
    pairs = _pairs(models, baseline)
    first = runs[0].record
    return {
        "dataset": first["dataset"],
        "targets": len(session),
        "sessions": len(np.unique(session)),
        "items": first["counts"]["items"],
        "metrics": names,
        "models": _describe(models, names, session),
        "tests": _tests(pairs, tested, session),
        "slices": _slices(runs, models, names, session),
        "notes": differences(runs),
    }


# --- what the targets add to each metric --------------------------------------------------------------------


def _models(runs: list[Run], metrics: list[str]) -> list[_Model]:
    """The best by the first metric first."""
    reward = _rewards(runs)
    models = [_model(group, metrics, reward) for group in by_label(runs)]
    return sorted(models, key=lambda model: (-model.values[metrics[0]].mean(), model.label))


def _model(runs: list[Run], metrics: list[str], reward: np.ndarray | None) -> _Model:
    found = {}
    for metric in metrics:
        name, k = parse_metric(metric)
        found[metric] = np.stack([gains(run.arrays["rank"], name, k) for run in runs])  # (runs, T)
    if reward is not None:
        for metric, k in REWARDS.items():
            found[metric] = np.stack([reward * (run.arrays["rank"] <= k) for run in runs])
    category = {}
    if all("item_category" in run.arrays and mode_of(run) == "full" for run in runs):
        for metric, k in CATEGORY_METRICS.items():
            category[metric] = np.mean([category_hits(run.arrays, k) for run in runs], axis=0)
    return _Model(
        runs[0].label,
        runs,
        {metric: values.mean(axis=0) for metric, values in found.items()},
        {metric: values.mean(axis=1).tolist() for metric, values in found.items()},
        category,
    )


def _rewards(runs: list[Run]) -> np.ndarray | None:
    """(T,) rewards of the targets by their events, None where no run says them."""
    for run in runs:
        rewards = run.record.get("config", {}).get("rewards")
        if rewards and "event" in run.arrays:
            return target_rewards(run.arrays["event"], rewards)
    return None


def _intervals(
    found: dict[str, Values], session: np.ndarray
) -> dict[str, dict[str, dict[str, float | None]]]:
    """mean, low and high of every label and metric, values (T,), from the same drawn sessions."""
    keys = [(label, metric) for label, values in found.items() for metric in values]
    if not keys:
        return {label: {} for label in found}
    interval = bootstrap_means(np.stack([found[label][metric] for label, metric in keys], axis=1), session)
    plain: dict[str, dict[str, dict[str, float | None]]] = {label: {} for label in found}
    for (label, metric), *values in zip(keys, *interval):
        plain[label][metric] = dict(zip(interval._fields, map(_plain, values)))
    return plain


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


# --- the parts of the answer --------------------------------------------------------------------------------


def _describe(models: list[_Model], metrics: list[str], session: np.ndarray) -> list[dict[str, Any]]:
    intervals = _intervals({model.label: model.values for model in models}, session)
    categories = _category_hits(models, session, np.ones(len(session), dtype=bool))
    described = []
    for model in models:
        records = [run.record for run in model.runs]
        summary = {
            metric: {**interval, **_spread(model.seed_values[metric])}
            for metric, interval in intervals[model.label].items()
        }
        entry = {
            "model": model.label,
            "name": records[0]["model"],
            "seeds": [record["seed"] for record in records],
            "folders": [str(run.folder) for run in model.runs],
            "metrics": {metric: summary[metric] for metric in metrics},
            "beyond": _beyond(model),
            "seconds": {
                key: _mean(record["seconds"].get(key) for record in records)
                for key in ("train", "test", "prepare")
            },
            "epochs": _mean(record.get("epochs_run") for record in records),
            "parameters": records[0].get("parameters"),
        }
        if model.label in categories:
            entry["category_hit"] = categories[model.label]
        if "reward@10" in summary:
            entry["reward"] = {
                metric: {**summary[metric], "sum": summary[metric]["mean"] * len(session)}
                for metric in REWARDS
            }
        described.append(entry)
    return described


def _spread(values: list[float]) -> dict[str, Any]:
    return {"seed_std": statistics.stdev(values) if len(values) > 1 else None, "seed_values": values}


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _beyond(model: _Model) -> dict[str, float | None]:
    """Means over the seeds; None where ranks are among a few candidates, whose best say nothing of all items."""
    found = [beyond(run.arrays, run.record["counts"]["items"]) for run in model.runs]
    full = all(mode_of(run) == "full" for run in model.runs)
    return {key: _mean(values[key] for values in found) if full else None for key in found[0]}


def _category_hits(models: list[_Model], session: np.ndarray, mask: np.ndarray) -> dict[str, dict[str, Any]]:
    """By label: each category metric over the targets of `mask` whose category is known, and how many these are."""
    found = {model.label: model.category for model in models if model.category}
    known = mask.copy()
    for values in found.values():
        known &= ~np.isnan(values["category@1"])
    if not found or not known.any():
        return {}
    counts = {"targets": int(known.sum()), "unknown": int(mask.sum() - known.sum())}
    kept = {
        label: {name: column[known] for name, column in values.items()} for label, values in found.items()
    }
    return {label: {**metrics, **counts} for label, metrics in _intervals(kept, session[known]).items()}


def _pairs(models: list[_Model], baseline: str | None) -> list[tuple[_Model, _Model]]:
    """Who is tested against whom: every pair, the better one first, or all against the baseline."""
    if baseline is None:
        return list(itertools.combinations(models, 2))
    chosen = next((model for model in models if model.label == baseline), None)
    if chosen is None:
        labels = ", ".join(model.label for model in models)
        raise UsageError(f"baseline {baseline} is none of the models: choose one of {labels}")
    return [(model, chosen) for model in models if model is not chosen]


def _tests(
    pairs: list[tuple[_Model, _Model]], metrics: list[str], session: np.ndarray
) -> list[dict[str, Any]]:
    tests = []
    models = {model.label: model for pair in pairs for model in pair}
    place_of = {label: place for place, label in enumerate(models)}
    a, b = (np.array([place_of[pair[side].label] for pair in pairs]) for side in (0, 1))
    # so many that the least p can still be below .005 when it is adjusted for all pairs
    draws = max(FLIPS, FLIPS_A_PAIR * len(pairs))
    for metric in metrics if pairs else ():
        values = np.stack([model.values[metric] for model in models.values()], axis=1)
        found = pair_tests(values, a, b, session, draws)
        columns = {**found, "p_holm": holm(found["p"])}
        for place, (one, other) in enumerate(pairs):
            numbers = {name: _plain(column[place]) for name, column in columns.items()}
            tests.append({"a": one.label, "b": other.label, "metric": metric, **numbers})
    return tests


def _slices(
    runs: list[Run], models: list[_Model], metrics: list[str], session: np.ndarray
) -> dict[str, list[dict[str, Any]]]:
    """By the facts of the run that knows most: all runs have the same targets."""
    knows_most = max(runs, key=lambda run: sum(set(d.needs) <= set(run.arrays) for d in DIMENSIONS.values()))
    by_dimension = slices(knows_most.arrays)
    found: dict[str, list[dict[str, Any]]] = {dimension: [] for dimension in by_dimension}
    with progress("comparing slices", sum(map(len, by_dimension.values()))) as advance:
        for dimension, masks in by_dimension.items():
            for name, mask in masks.items():
                if mask.any():
                    found[dimension].append(_slice(name, mask, models, metrics, session))
                advance(1)
    return found


def _slice(
    name: str, mask: np.ndarray, models: list[_Model], metrics: list[str], session: np.ndarray
) -> dict[str, Any]:
    values = {model.label: {metric: model.values[metric][mask] for metric in metrics} for model in models}
    found = {
        "slice": name,
        "targets": int(mask.sum()),
        "sessions": len(np.unique(session[mask])),
        "small": is_small(mask.sum()),
        "metrics": _intervals(values, session[mask]),
    }
    categories = _category_hits(models, session, mask)
    if categories:
        found["category_hit"] = categories
    return found
