"""What an experiment asks for: its yaml file or command line, read and checked. See docs/experiments.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recbole_ext.errors import UsageError, did_you_mean
from recbole_ext.experiment.cluster import Cluster
from recbole_ext.experiment.sampling import Sampling
from recbole_ext.experiment.space import Knob, Space, read_space
from recbole_ext.settings.base import flag
from recbole_ext.settings.files import config_files, configs_dir, load_yaml
from recbole_ext.settings.place import one_line

KEYS = (
    "name",
    "title",
    "datasets",
    "seeds",
    "settings",
    "models",
    "search",
    "search_trials",
    "search_seed",
    *Sampling.model_fields,
    "refit",
    "test",
    "baseline",
    "workers",
    "threads",
    "ray",
    "gpus_per_cell",
)
AS_GIVEN = ("search_seed", "refit", "test", "workers", "threads", "ray", "gpus_per_cell")
TRIALS = 6  # of a search, where nothing says how many
MODEL_KEYS = ("label", "model", "settings", "search", "of")
BLEND = "Blend"
# what the experiment itself says, and no setting of a run may
OWN_KEYS = {
    "model": "name it in models",
    "dataset": "name it in datasets",
    "seed": "write seeds",
    "refit": "write it beside settings",
    "resume_from": "an interrupted experiment goes on by itself",
    "checkpoint_dir": "checkpoints lie in runs_dir/experiments/<name>",
    "label": "write it beside model, in models",
    "config_files": "write its keys into settings",
}


@dataclass(frozen=True)
class Entry:
    """A model of an experiment: its name in tables, RecBole's name, its settings, its search (None: the common one).

    of: labels of the two models of the experiment that a blend is made of; empty: not such a blend.
    """

    label: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Knob] | None = None
    of: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The label as a name of a folder."""
        return re.sub(r"[^\w.+-]+", "-", self.label)


@dataclass(frozen=True)
class Experiment:
    """One grid: every model on every data set with every seed.

    seeds: None: the configured seed. search_trials: None: search_minutes alone says how many. overrides: settings of
    the command line, over all others. files: those of --config_files, under all others. report: folder of page, ledger
    and chosen settings. text: the yaml file's. narrowed: the command line names some of the file's models only.
    quiet: only the ends of runs and the tables are said, as it is a part of something that speaks for itself.
    workers: None: one, or on a cluster as many as it has room for. ray, gpus_per_cell: see Cluster.
    """

    name: str
    datasets: tuple[str, ...]
    models: tuple[Entry, ...]
    report: Path
    title: str = ""
    seeds: tuple[int, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Knob] = field(default_factory=dict)
    search_trials: int | None = TRIALS
    search_seed: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    refit: bool = False
    test: bool = True
    baseline: str | None = None
    workers: int | None = None
    threads: int | None = None
    ray: str | None = None
    gpus_per_cell: float | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    text: str | None = None
    narrowed: bool = False
    quiet: bool = False


def read_experiment(file: str | Path) -> Experiment:
    """The experiment of a yaml file, or of configs/experiment/<file>.yaml; UsageError names what is wrong in it."""
    path = _find(str(file))
    content = load_yaml(path)
    unknown = [str(key) for key in content if key not in KEYS]
    if unknown:
        raise UsageError(
            f"{path}: unknown key {unknown[0]}{did_you_mean(unknown[0], KEYS) or _may_hold(KEYS)}"
        )
    for key in ("datasets", "models"):
        if not content.get(key):
            raise UsageError(f"{path} names no {key}: write {key}: with at least one")
    given = {key: value for key, value in content.items() if value is not None}
    name = str(given.pop("name", path.stem))
    models = given.pop("models")
    if not isinstance(models, list):
        raise UsageError(f"{path}: models is {models!r}: write a list of names or mappings")
    try:
        entries = tuple(_entry(item) for item in models)
        return _checked(
            {"seeds": [1, 2, 3], **given}, entries, name, Path("results") / name, path.read_text("utf-8")
        )
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _find(file: str) -> Path:
    if Path(file).is_file():
        return Path(file)
    found = config_files(f"experiment/{file}.yaml")
    if found:
        return found[-1]
    folders = (configs_dir() / "experiment", Path("configs") / "experiment")
    known = {known_file.stem for folder in folders for known_file in folder.glob("*.yaml")}
    raise UsageError(
        f"there is no experiment {file}{did_you_mean(file, known)} (neither a file nor configs/experiment/{file}.yaml)"
    )


def _may_hold(keys: Iterable[str]) -> str:
    return f": it may hold {', '.join(keys)}"


def _entry(item: Any) -> Entry:
    if isinstance(item, str):
        return Entry(item, item)
    if not isinstance(item, Mapping) or not isinstance(item.get("model"), str):
        raise UsageError(
            f"models has {item!r}: write a name, or a mapping of {', '.join(MODEL_KEYS)} with a model"
        )
    for key in item:
        if key not in MODEL_KEYS:
            hint = did_you_mean(str(key), MODEL_KEYS) or _may_hold(MODEL_KEYS)
            raise UsageError(f"model {item['model']} has the unknown key {key}{hint}")
    label = item.get("label", item["model"])
    try:
        label = one_line(label)
    except ValueError as error:
        raise UsageError(f"model {item['model']} has the label {label!r}: {error}") from error
    if not re.search(r"\w", label) or label.startswith("."):
        raise UsageError(f"model {item['model']} has the label {label!r}: write a name, not a path")
    search = item.get("search")
    where = f"search of {label}"
    settings = _settings(item.get("settings"), f"settings of {label}")
    entry = Entry(label, item["model"], settings, None if search is None else _space(search, where))
    _refuse_both(settings, entry.search or {}, f"model {label} gives")
    return entry if item.get("of") is None else _blend_of(entry, item["of"])


def _blend_of(entry: Entry, of: Any) -> Entry:
    """The blend of two models of the experiment, which is neither trained nor searched itself."""
    if entry.model != BLEND:
        raise UsageError(f"{entry.label} has of, which is for the model {BLEND}: leave it out")
    if not isinstance(of, list | tuple) or len(of) != 2 or len(set(map(str, of))) != 2:
        raise UsageError(
            f"of {entry.label} is {of!r}: write the labels of two models, as in [HRNNFeat, VSTAN]"
        )
    if entry.search:
        raise UsageError(
            f"{entry.label} is a blend of finished models, which are searched: leave its search out"
        )
    for key in ("blend_models", "blend_from", "blend_settings"):
        if key in entry.settings:
            raise UsageError(f"settings of {entry.label} give {key}: of says which two models are blended")
    return replace(entry, of=tuple(of), search={})


def _checked(
    given: Mapping[str, Any], models: tuple[Entry, ...], name: str, report: Path, text: str | None
) -> Experiment:
    """An experiment of these keys; raises UsageError for a value that cannot be used."""
    if not re.fullmatch(r"[\w+.-]+", name) or set(name) == {"."}:
        raise UsageError(f"name is {name!r}: write the name of a folder (letters, digits and + . _ -)")
    names = [entry.folder.lower() for entry in models]
    for entry in models:
        if names.count(entry.folder.lower()) > 1:
            raise UsageError(f"models has {entry.label} twice: give each a label of its own")
    _check_blends(models)
    for key in ("search_trials", "search_seed", "workers", "threads"):
        _whole(given, key, 0 if key == "search_seed" else 1)
    given = {**given, **{key: flag(given[key]) for key in ("refit", "test") if key in given}}
    for key in ("refit", "test"):
        if not isinstance(given.get(key, True), bool):
            raise UsageError(f"{key} is {given[key]!r}: write True or False")
    cluster = Cluster.read({key: given[key] for key in ("ray", "gpus_per_cell") if key in given})
    if cluster.gpus_per_cell is not None and cluster.ray is None:
        raise UsageError(
            f"gpus_per_cell is {cluster.gpus_per_cell:g}, which is for cells on a Ray cluster: name one by ray, or "
            "leave it out"
        )
    given = {**given, **cluster.model_dump()}
    sampling = Sampling.read({key: given[key] for key in Sampling.model_fields if given.get(key) is not None})
    baseline = given.get("baseline")
    labels = [entry.label for entry in models]
    if baseline is not None and baseline not in labels:
        hint = did_you_mean(str(baseline), labels) or _may_hold(labels)
        raise UsageError(f"baseline is {baseline!r}, which is no label of models{hint}")
    settings, search = _settings(given.get("settings"), "settings"), _space(given.get("search"), "search")
    _refuse_both(settings, search, "the experiment gives")
    sampling.check([search, *(entry.search or {} for entry in models)])
    return Experiment(
        name=name,
        title=str(given.get("title") or name),
        datasets=_several(given["datasets"], "datasets", str),
        models=models,
        seeds=_several(given["seeds"], "seeds", int) if given.get("seeds") is not None else None,
        settings=settings,
        search=search,
        search_trials=given.get("search_trials") or (None if sampling.search_minutes else TRIALS),
        sampling=sampling,
        report=report,
        text=text,
        baseline=baseline,
        **{key: given[key] for key in AS_GIVEN if given.get(key) is not None},
    )


def _check_blends(models: Sequence[Entry]) -> None:
    labels = [entry.label for entry in models if not entry.of]
    for entry in models:
        for label in entry.of:
            if label not in labels:
                hint = did_you_mean(str(label), labels) or (
                    ": name it too" + (f" ({', '.join(labels)} are there)" if labels else "")
                )
                raise UsageError(
                    f"{entry.label} is a blend of {label}, which is no other model of this grid{hint}"
                )


def _settings(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} is {value!r}: write a mapping of keys and values")
    for key in value:
        if key in OWN_KEYS:
            raise UsageError(f"{where} gives {key}: {OWN_KEYS[key]}")
    return dict(value)


def _space(value: Any, where: str) -> dict[str, Knob]:
    return read_space(_settings(value, where), where)


def _refuse_both(settings: Mapping[str, Any], search: Mapping[str, Any], who: str) -> None:
    both = [key for key in search if key in settings]
    if both:
        raise UsageError(f"{who} {both[0]} in settings and in search: keep one of them")


def _whole(given: Mapping[str, Any], key: str, low: int) -> None:
    value = given.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < low):
        raise UsageError(f"{key} is {value!r}: write a whole number of {low} or more")


def _several(value: Any, key: str, kind: type) -> tuple[Any, ...]:
    """One value or several, parted by commas or as a list, each once."""
    parts: Any = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    values: list[Any] = list(parts) if isinstance(parts, list | tuple) else [parts]
    right = all(isinstance(item, kind) and not isinstance(item, bool) and item != "" for item in values)
    right = right and (kind is str or min(values, default=0) >= 0)
    if not values or not right or len(set(values)) < len(values):
        what = "names" if kind is str else "whole numbers of 0 or more"
        raise UsageError(f"{key} is {value!r}: write {what}, each once, parted by commas")
    return tuple(values)


# --- command line -------------------------------------------------------------------------------------------


def from_command_line(settings: Mapping[str, Any], files: Sequence[str]) -> Experiment:
    """The experiment of `--experiment=FILE` with what the command line changes, or of lists of models and the like.

    Args:
        settings: the parsed arguments; those that are no key of an experiment are settings of every run.
        files: of --config_files.
    """
    given = dict(settings)
    file = given.pop("experiment", None)
    own: dict[str, Any] = {key: given.pop(key) for key in ("model", "dataset", "seed") if key in given}
    keys = {key: given.pop(key) for key in KEYS if key in given and key not in ("settings", "models")}
    for key in given:
        if key in ("resume_from", "checkpoint_dir", "label"):
            raise UsageError(f"--{key} is for a single run: {OWN_KEYS[key]}")
    if file is not None:
        return replace(_changed(read_experiment(str(file)), own, keys), overrides=given, files=tuple(files))
    if not own.get("model") or not own.get("dataset"):
        raise UsageError("--model=NAMES and --dataset=NAMES are both needed, or --experiment=FILE")
    datasets = _several(own["dataset"], "--dataset", str)
    name = str(keys.pop("name", "+".join(datasets)))
    models = tuple(Entry(model, model) for model in _several(own["model"], "--model", str))
    report = Path("report")  # inside runs_dir/experiments/<name>: command lines leave results/ alone
    seeds = {"seeds": _several(own["seed"], "--seed", int)} if own.get("seed") is not None else {}
    asked = {**keys, **seeds, "datasets": list(datasets)}
    return replace(_checked(asked, models, name, report, None), overrides=given, files=tuple(files))


def _changed(experiment: Experiment, own: Mapping[str, Any], keys: Mapping[str, Any]) -> Experiment:
    """`experiment` with other data sets, seeds and keys, and with the models that the command line names only."""
    asked = {
        "settings": experiment.settings,
        "search": experiment.search,
        "title": experiment.title,
        "baseline": experiment.baseline,
        "datasets": list(experiment.datasets),
        "seeds": list(experiment.seeds or ()),
        **{key: getattr(experiment, key) for key in AS_GIVEN},
        "search_trials": experiment.search_trials,
        **experiment.sampling.model_dump(),
    }
    for key, other in (("search_trials", "search_minutes"), ("search_minutes", "search_trials")):
        if key in keys:  # one limit takes the place of the other
            asked[other] = None
    asked |= {key: value for key, value in keys.items() if key != "name"}
    for key in ("dataset", "seed"):
        if own.get(key) is not None:
            asked[f"{key}s"] = list(_several(own[key], f"--{key}", str if key == "dataset" else int))
    models = experiment.models
    if own.get("model") is not None:
        labels = [entry.label for entry in models]
        picked = _several(own["model"], "--model", str)
        for label in picked:
            if label not in labels:
                raise UsageError(
                    f"--model names {label}, which is no label of the experiment{did_you_mean(label, labels)}"
                )
        models = tuple(entry for entry in models if entry.label in picked)
        if asked["baseline"] not in picked and "baseline" not in keys:
            asked["baseline"] = None
    name = str(keys.get("name", experiment.name))
    changed = _checked(asked, models, name, Path("results") / name, experiment.text)
    return replace(changed, narrowed=len(models) < len(experiment.models))


# --- the search ---------------------------------------------------------------------------------------------


def space_of(experiment: Experiment, entry: Entry, knobs: Iterable[str]) -> dict[str, Knob]:
    """The search space of a model: its own, or what of the common one it has a knob for and leaves open.

    What the command line sets is not searched.
    """
    if entry.search is not None:
        space: Space = entry.search
    else:
        known = set(knobs) - set(entry.settings)
        space = {name: knob for name, knob in experiment.search.items() if name in known}
    return {name: knob for name, knob in space.items() if name not in experiment.overrides}
