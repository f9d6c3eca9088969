"""Several runs on the same targets side by side: means with intervals, seeds' spread, paired tests, slices.

All of it comes from the runs' folders (record.json, ranks.npz); nothing is trained or scored again, and numpy is all
that is needed. docs/evaluation.md says what the numbers mean.
"""

from __future__ import annotations

import itertools
import json
import statistics
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_ext.errors import UsageError
from recbole_ext.evaluate.beyond import TOP, beyond
from recbole_ext.evaluate.facts import OF_ITEMS
from recbole_ext.evaluate.intervals import FLIPS, bootstrap_means, holm, paired_tests
from recbole_ext.evaluate.slices import DIMENSIONS, is_small, slices
from recbole_ext.evaluate.target_metrics import category_hits, gains, parse_metric
from recbole_ext.rewards import target_rewards

METRICS = ("ndcg@10", "hit@20", "mrr@20")
ALSO_TESTED = "hit@20"  # beside the first metric
FLIPS_A_PAIR = 200
CATEGORY_METRICS = {"category@1": 1, "category_hit@10": 10, "category_hit@20": TOP}
REWARDS = {"reward@10": 10, "reward@20": 20}
# settings in which two runs of one model may differ and still be one model
_NOT_THE_MODEL = {
    *("seed", "runs_dir", "checkpoint_dir", "data_path", "raw_path", "resume_from", "gpu_id", "use_gpu"),
    *("show_progress", "state", "worker", "log_wandb", "data_cache", "trust_pickle", "saved", "label"),
}
# what each seed's own validation finds for its refit
_OF_A_REFIT = ("epochs", "blend_weight", "blend_temperatures", "blend_from", "blend_settings")

Values = dict[str, np.ndarray]  # by metric, (T,) float64


@dataclass
class _Run:
    folder: Path
    record: dict[str, Any]
    arrays: dict[str, np.ndarray]
    label: str


@dataclass
class _Model:
    """The runs of one label, in order of their seeds, and what their targets add to each metric, mean over runs."""

    label: str
    runs: list[_Run]
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
    runs = _load(folders, labels)
    session = _align(runs)
    notes = _notes(runs)
    tested = list(dict.fromkeys((names[0], ALSO_TESTED)))
    reward = _rewards(runs)
    models = [_model(group, list(dict.fromkeys([*names, *tested])), reward) for group in _grouped(runs)]
    models.sort(key=lambda model: (-model.values[names[0]].mean(), model.label))
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
        "notes": notes,
    }


# --- runs that can be compared ------------------------------------------------------------------------------


def _load(folders: Sequence[str | Path], labels: Sequence[str] | None) -> list[_Run]:
    if not folders:
        raise UsageError("there is no run to compare: name the folders of some, as in runs/<dataset>/<run>")
    if labels is not None and len(labels) != len(folders):
        raise UsageError(f"labels are {len(labels)} for {len(folders)} folders: give one a folder")
    runs = [_read(Path(folder)) for folder in folders]
    for run, label in zip(runs, labels or ()):
        run.label = str(label)
    return runs


def _read(folder: Path) -> _Run:
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        with np.load(folder / "ranks.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        label = str(record.get("label") or record["model"])
    except FileNotFoundError as error:
        raise UsageError(
            f"{folder} has no {Path(error.filename).name}: name the folder of a run that ranked its test targets"
        ) from error
    except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{folder} is not the folder of a run that can be read: {error}") from error
    for name in ("rank", "item", "item_token", "top", "session_token"):
        if name not in arrays:
            raise UsageError(
                f"ranks.npz of {folder} has no {name}, without which targets cannot be joined: run it again"
            )
    return _Run(folder, record, arrays, label)


def _align(runs: list[_Run]) -> np.ndarray:
    """Bring the targets of all runs into one order, and return the session of each, (T,) int64.

    Raises UsageError naming two runs that did not rank the same targets, or not among the same candidates.
    """
    first = runs[0]
    for run in runs[1:]:
        _check_setting(first, run)
    place = next(
        (key for key in ("event_index", "item_length") if all(key in run.arrays for run in runs)), None
    )
    names = [np.unique(run.arrays["session_token"]) for run in runs]
    for run, own in zip(runs, names):
        if len(own) != len(names[0]) or (own != names[0]).any():
            raise _differ(first, run, "sessions")
        _reorder(run, place, own)
    session, item = first.arrays["session_token"], _item_tokens(first)
    for run in runs[1:]:
        if (run.arrays["session_token"] != session).any() or (_item_tokens(run) != item).any():
            raise _differ(first, run, "targets")
    return np.searchsorted(names[0], session)


def _check_setting(first: _Run, other: _Run) -> None:
    """Raise UsageError where the two runs differ in what makes their ranks comparable at all."""
    settings = {
        "data sets": [run.record["dataset"] for run in (first, other)],
        # what is said after ; is of one model
        "protocols": [run.record["protocol"].partition(";")[0] for run in (first, other)],
        "kinds of candidates": [_mode(run) for run in (first, other)],
        "numbers of ranked items": [f"{run.record['counts']['items']:,}" for run in (first, other)],
        "numbers of test targets": [f"{len(run.arrays['rank']):,}" for run in (first, other)],
    }
    for what, (one, two) in settings.items():
        if one != two:
            raise UsageError(
                f"{first.folder} and {other.folder} cannot be compared, as their {what} differ ({one} and {two}): "
                "compare runs of one data set, split and eval_targets"
            )


def _mode(run: _Run) -> str:
    """What the test targets are ranked among: full, uni100, …"""
    mode = run.record.get("config", {}).get("eval_args", {}).get("mode", "full")
    return str(mode.get("test", "full") if isinstance(mode, Mapping) else mode)


def _differ(one: _Run, other: _Run, what: str) -> UsageError:
    return UsageError(
        f"{one.folder} and {other.folder} cannot be compared, as their test {what} are not the same: compare runs of "
        "one data set, split and eval_targets"
    )


def _reorder(run: _Run, place: str | None, sessions: np.ndarray) -> None:
    """Sort the (T,) and (T, k) arrays of a run by session, then place, then item."""
    arrays = run.arrays
    session = np.searchsorted(sessions, arrays["session_token"])
    _, item = np.unique(_item_tokens(run), return_inverse=True)
    keys = [item.reshape(-1), *([arrays[place]] if place else []), session]
    order = np.lexsort(keys)
    for name in set(arrays) - set(OF_ITEMS):
        if len(arrays[name]) == len(order):
            arrays[name] = arrays[name][order]


def _item_tokens(run: _Run) -> np.ndarray:
    """(T,) the targets' items as they are called in the log, whatever numbers the run gave them."""
    return run.arrays["item_token"][run.arrays["item"]]


def _grouped(runs: list[_Run]) -> list[list[_Run]]:
    """Runs by label, each in order of its seeds; UsageError where two runs of a label have one seed."""
    groups: dict[str, list[_Run]] = {}
    for run in runs:
        groups.setdefault(run.label, []).append(run)
    for label, group in groups.items():
        group.sort(key=lambda run: run.record["seed"])
        for one, two in itertools.pairwise(group):
            if one.record["seed"] == two.record["seed"]:
                raise UsageError(
                    f"{one.folder} and {two.folder} are both {label} with seed {one.record['seed']}: leave one out, or "
                    "give them labels"
                )
    return list(groups.values())


def _notes(runs: list[_Run]) -> list[str]:
    """What the reader has to know of runs that can be compared and yet differ."""
    notes = []
    if runs[0].record["protocol"].startswith("RecBole user-wise"):
        notes.append(
            "every target is one ranking here, so metrics differ from the user-wise ones of the records"
        )
    for group in _grouped(runs):
        settings = [run.record.get("config", {}) for run in group]
        keys = sorted(set().union(*settings) - _NOT_THE_MODEL)
        if all(config.get("refit") for config in settings):
            keys = [key for key in keys if key not in _OF_A_REFIT]
        differ = [key for key in keys if any(config.get(key) != settings[0].get(key) for config in settings)]
        if differ:
            notes.append(f"{group[0].label}: its runs differ in {', '.join(differ)}, not in their seed only")
    splits = list(dict.fromkeys(run.record["split"] for run in runs))
    if len(splits) > 1:
        notes.append(f"the runs' splits differ, though their test targets do not: {' / '.join(splits)}")
    known = [run for run in runs if "item_count" in run.arrays]
    counts = {run.folder: run.arrays["item_count"][run.arrays["item"]] for run in known}
    for run in known[1:]:
        if (counts[run.folder] != counts[known[0].folder]).any():
            notes.append(
                f"{known[0].label} and {run.label} were trained on different events ({known[0].folder}, {run.folder})"
            )
            break
    given = [run.record["config"]["rewards"] for run in runs if run.record.get("config", {}).get("rewards")]
    if any(rewards != given[0] for rewards in given):
        notes.append(f"the runs' rewards differ: those of the first that has any are used, {given[0]}")
    return notes


# --- what the targets add to each metric --------------------------------------------------------------------


def _model(runs: list[_Run], metrics: list[str], reward: np.ndarray | None) -> _Model:
    found = {}
    for metric in metrics:
        name, k = parse_metric(metric)
        found[metric] = np.stack([gains(run.arrays["rank"], name, k) for run in runs])  # (runs, T)
    if reward is not None:
        for metric, k in REWARDS.items():
            found[metric] = np.stack([reward * (run.arrays["rank"] <= k) for run in runs])
    category = {}
    if all("item_category" in run.arrays and _mode(run) == "full" for run in runs):
        for metric, k in CATEGORY_METRICS.items():
            category[metric] = np.mean([category_hits(run.arrays, k) for run in runs], axis=0)
    return _Model(
        runs[0].label,
        runs,
        {metric: values.mean(axis=0) for metric, values in found.items()},
        {metric: values.mean(axis=1).tolist() for metric, values in found.items()},
        category,
    )


def _rewards(runs: list[_Run]) -> np.ndarray | None:
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
    full = all(_mode(run) == "full" for run in model.runs)
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
    for metric in metrics if pairs else ():
        differences = [a.values[metric] - b.values[metric] for a, b in pairs]
        # so many that the least p can still be below .005 when it is adjusted for all pairs
        found = paired_tests(np.stack(differences, axis=1), session, max(FLIPS, FLIPS_A_PAIR * len(pairs)))
        columns = {**found, "p_holm": holm(found["p"])}
        for place, (a, b) in enumerate(pairs):
            numbers = {name: _plain(column[place]) for name, column in columns.items()}
            tests.append({"a": a.label, "b": b.label, "metric": metric, **numbers})
    return tests


def _slices(
    runs: list[_Run], models: list[_Model], metrics: list[str], session: np.ndarray
) -> dict[str, list[dict[str, Any]]]:
    """By the facts of the run that knows most: all runs have the same targets."""
    knows_most = max(runs, key=lambda run: sum(set(d.needs) <= set(run.arrays) for d in DIMENSIONS.values()))
    return {
        dimension: [
            _slice(name, mask, models, metrics, session) for name, mask in masks.items() if mask.any()
        ]
        for dimension, masks in slices(knows_most.arrays).items()
    }


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
