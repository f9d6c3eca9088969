"""Finished runs, read from their folders and brought to the same targets in one order: what can be compared at all."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_ext import records
from recbole_ext.errors import UsageError
from recbole_ext.evaluate.facts import OF_ITEMS
from recbole_ext.files import whole_zip
from recbole_ext.progress import progress
from recbole_ext.settings import roles

RANKS = "ranks.npz"
MOST_KEYS = 3  # in the name of a run


@dataclass
class Run:
    """A finished run. record: record.json. arrays: ranks.npz, by name. label: what its model is called."""

    folder: Path
    record: dict[str, Any]
    arrays: dict[str, np.ndarray]
    label: str


def load(folders: Sequence[str | Path], labels: Sequence[str] | None) -> list[Run]:
    """The runs in `folders`, under `labels` where there are any, else as `_label` calls them.

    Raises UsageError for a folder that is none of a run.
    """
    if not folders:
        raise UsageError("there is no run to compare: name the folders of some, as in runs/<dataset>/<run>")
    if labels is not None and len(labels) != len(folders):
        raise UsageError(f"labels are {len(labels)} for {len(folders)} folders: give one a folder")
    _check_there([Path(folder) for folder in folders])
    runs = []
    with progress("reading ranks", len(folders)) as advance:
        for folder in folders:
            runs.append(_read(Path(folder)))
            advance(1)
    if labels is None:
        _label(runs)
    for run, label in zip(runs, labels or ()):
        run.label = str(label)
    return runs


def _label(runs: Sequence[Run]) -> None:
    """Call the runs of one model that nobody gave a label by the settings in which they differ.

    `HRNNFeat user_state=none`, `HRNNFeat user_state=init`. Runs that differ in their seed only keep one name, and a
    number tells apart those whose names would be too long to be read.
    """
    by_model: dict[str, list[Run]] = {}
    for run in runs:
        if not run.record.get("label"):
            by_model.setdefault(run.label, []).append(run)
    for group in by_model.values():
        settings = [roles.of_one_model(run.record.get("config", {})) for run in group]
        shared = set(settings[0]).intersection(*settings) - set(
            roles.measures()
        )  # not what only one version knew
        differ = _differing(settings, shared)
        names = [" ".join(f"{key}={_short(own[key])}" for key in differ[:MOST_KEYS]) for own in settings]
        kinds = list(dict.fromkeys(repr([own[key] for key in differ]) for own in settings))
        for run, own, name in zip(group, settings, names):
            number = 1 + kinds.index(repr([own[key] for key in differ]))
            more = f" ({number})" if len(set(names)) < len(kinds) or len(differ) > MOST_KEYS else ""
            run.label = f"{run.label} {name}{more}".strip()


def _differing(settings: Sequence[Mapping[str, Any]], keys: Collection[str]) -> list[str]:
    """Of `keys` those in which the settings of runs differ, but for what a refit has found by itself."""
    if all(own.get("refit") for own in settings):
        keys = set(keys) - set(roles.FOUND_BY_REFIT)
    return sorted(key for key in keys if any(own.get(key) != settings[0].get(key) for own in settings))


def _short(value: Any) -> str:
    text = str(value).replace(" ", "")
    return text if len(text) <= 24 else f"{text[:23]}…"


def _check_there(folders: Sequence[Path]) -> None:
    """Raise UsageError that names the folders that are none of a run, and what each of them lacks."""
    lacks = {}
    for folder in folders:
        here = folder.absolute()
        missing = [here / name for name in (records.RECORD, RANKS) if not (here / name).is_file()]
        if missing:
            lacks[folder] = f"file {missing[0]}" if here.is_dir() else f"folder {here}"
    if lacks:
        which = " and ".join(map(str, lacks)) + (" is no run" if len(lacks) == 1 else " are no runs")
        raise UsageError(
            f"{which}, as there is no {' and no '.join(lacks.values())}: name the folder of a run that ranked its test "
            "targets"
        )


def _read(folder: Path) -> Run:
    try:
        record = records.read(folder)
        if not whole_zip(folder / RANKS):
            raise ValueError("ranks.npz was cut or changed since it was written")
        with np.load(folder / RANKS, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        label = str(record.get("label") or record["model"])
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UsageError(f"{folder} is not the folder of a run that can be read: {error}") from error
    for name in ("rank", "item", "item_token", "top", "session_token"):
        if name not in arrays:
            raise UsageError(
                f"ranks.npz of {folder} has no {name}, without which targets cannot be joined: run it again"
            )
    return Run(folder, record, arrays, label)


def aligned(runs: list[Run]) -> np.ndarray:
    """Bring the targets of all runs into one order, and return the session of each, (T,) int64.

    Pairs that were cut from one visit are of one session, where a run knows it: to count them as drawn by themselves
    would make intervals too narrow.
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
    visit = next((run.arrays["visit"] for run in runs if "visit" in run.arrays), None)
    if visit is not None:
        return np.unique(visit, return_inverse=True)[1].reshape(-1)
    return np.searchsorted(names[0], session)


def _check_setting(first: Run, other: Run) -> None:
    """Raise UsageError where the two runs differ in what makes their ranks comparable at all."""
    settings = {
        "data sets": [run.record["dataset"] for run in (first, other)],
        # what is said after ; is of one model
        "protocols": [run.record["protocol"].partition(";")[0] for run in (first, other)],
        "kinds of candidates": [mode_of(run) for run in (first, other)],
        "numbers of ranked items": [f"{run.record['counts']['items']:,}" for run in (first, other)],
        "numbers of test targets": [f"{len(run.arrays['rank']):,}" for run in (first, other)],
    }
    for what, (one, two) in settings.items():
        if one != two:
            raise UsageError(
                f"{first.folder} and {other.folder} cannot be compared, as their {what} differ ({one} and {two}): "
                "compare runs of one data set, split and eval_targets"
            )


def mode_of(run: Run) -> str:
    """What the test targets are ranked among: full, uni100, …"""
    mode = run.record.get("config", {}).get("eval_args", {}).get("mode", "full")
    return str(mode.get("test", "full") if isinstance(mode, Mapping) else mode)


def _differ(one: Run, other: Run, what: str) -> UsageError:
    return UsageError(
        f"{one.folder} and {other.folder} cannot be compared, as their test {what} are not the same: compare runs of "
        "one data set, split and eval_targets"
    )


def _reorder(run: Run, place: str | None, sessions: np.ndarray) -> None:
    """Sort the (T,) and (T, k) arrays of a run by session, then place, then item."""
    arrays = run.arrays
    session = np.searchsorted(sessions, arrays["session_token"])
    _, item = np.unique(_item_tokens(run), return_inverse=True)
    keys = [item.reshape(-1), *([arrays[place]] if place else []), session]
    order = np.lexsort(keys)
    for name in set(arrays) - set(OF_ITEMS):
        if len(arrays[name]) == len(order):
            arrays[name] = arrays[name][order]


def _item_tokens(run: Run) -> np.ndarray:
    """(T,) the targets' items as they are called in the log, whatever numbers the run gave them."""
    return run.arrays["item_token"][run.arrays["item"]]


def by_label(runs: list[Run]) -> list[list[Run]]:
    """Runs by label, each in order of its seeds; UsageError where two runs of a label have one seed."""
    groups: dict[str, list[Run]] = {}
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


def differences(runs: list[Run]) -> list[str]:
    """What the reader has to know of runs that can be compared and yet differ."""
    notes = []
    if runs[0].record["protocol"].startswith("RecBole user-wise"):
        notes.append(
            "every target is one ranking here, so metrics differ from the user-wise ones of the records"
        )
    for group in by_label(runs):
        settings = [roles.of_one_model(run.record.get("config", {})) for run in group]
        differ = _differing(settings, set().union(*settings))
        if differ:
            notes.append(f"{group[0].label}: its runs differ in {', '.join(differ)}, not in their seed only")
    splits = list(dict.fromkeys(run.record["split"] for run in runs))
    if len(splits) > 1:
        notes.append(f"the runs' splits differ, though their test targets do not: {' / '.join(splits)}")
    visit = next((run.arrays["visit"] for run in runs if "visit" in run.arrays), None)
    if visit is not None and len(visit) > 1 and len(np.unique(visit)) == len(visit):
        notes.append(
            "the test pairs could not be put together into visits, so intervals are too narrow if some are of one visit"
        )
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
