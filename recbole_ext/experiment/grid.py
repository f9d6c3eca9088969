"""A whole experiment: everything checked first, then searches and cells in order, a line each, then the report."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recbole_ext.bridge.keys import unread_keys
from recbole_ext.errors import UsageError
from recbole_ext.experiment import cells, ledger
from recbole_ext.experiment.cells import Job, Outcome
from recbole_ext.experiment.plan import Entry, Experiment, combinations, space_of
from recbole_ext.report import formats
from recbole_ext.settings.files import load_files, merge
from recbole_ext.settings.run_settings import read_given
from recbole_ext.settings.training import OF_STEPS, SWITCHES, idle

QUIET = {"state": "ERROR", "show_progress": False}


# --- what there is to do ------------------------------------------------------------------------------------


@dataclass
class Group:
    """A model on a data set: the runs of its search on the first seed, then its cells.

    lower_is_better: of the validation metric. unusable: why its data cannot be had. parts: the groups that a blend is
    made of, cell by cell. to_try, trying, to_do, doing: what is left.
    """

    dataset: str
    entry: Entry
    tries: list[Job]
    cells: list[Job]
    lower_is_better: bool = False
    unusable: str | None = None
    parts: list[Group] = field(default_factory=list)
    to_try: deque[Job] = field(default_factory=deque)
    trying: int = 0
    to_do: deque[Job] = field(default_factory=deque)
    doing: int = 0
    seconds: list[float] = field(default_factory=list)  # of the jobs done now
    reasons: dict[Path, str] = field(default_factory=dict)  # of tries that failed
    passed_over: list[str] = field(default_factory=list)  # common keys that the model does not read

    @property
    def all_jobs(self) -> list[Job]:
        """Tries and cells."""
        return [*self.tries, *self.cells]

    @property
    def left(self) -> int:
        """Jobs that have not ended."""
        return len(self.to_try) + self.trying + len(self.to_do) + self.doing

    def scored(self) -> list[tuple[Job, dict[str, Any]]]:
        """Finished runs of the search with their records, in the order of its grid."""
        records = ((job, cells.record_of(job)) for job in self.tries)
        return [(job, record) for job, record in records if record is not None]

    def best(self) -> Job | None:
        """The run of the search with the best validation score, the first of equal ones; None without one."""
        sign = -1 if self.lower_is_better else 1
        return max(self.scored(), key=lambda pair: sign * pair[1]["best_valid_score"], default=(None,))[0]

    def chosen(self, job: Job) -> Job:
        """A cell with what the search has chosen; as it is without a search."""
        best = self.best()
        if best is None or best.tries is None:
            return job
        return job.with_choice(best.tries, best.folder if job.seed == best.seed else None)


def groups_of(experiment: Experiment) -> list[Group]:
    """Every model on every data set; raises UsageError for names, keys and values that cannot be used."""
    groups = []
    for dataset in experiment.datasets:
        data: str | None = None
        unusable: str | None = None
        asked = [_asked(experiment, dataset, entry) for entry in experiment.models]
        _refuse_unread(experiment, dataset, asked)
        for one in asked:
            config = _configured(one, {}, None)
            if data is None and unusable is None:
                data, unusable = _data(config)
            groups.append(_group(experiment, one, config, data or "", unusable))
        _join_blends(groups[-len(experiment.models) :])
    return groups


def _join_blends(groups: Sequence[Group]) -> None:
    """Let the blends of a data set know the groups that they are made of, and their cells what these are."""
    by_label = {group.entry.label: group for group in groups}
    for group in groups:
        group.parts = [by_label[label] for label in group.entry.of]
        for part in group.parts:
            part.cells = [replace(job, kept=True) for job in part.cells]
    for group in groups:
        if group.parts:
            cells_of_parts = zip(*(part.cells for part in group.parts))
            group.cells = [
                replace(job, identity={**job.identity, "of": [cells.digest(own.identity) for own in parts]})
                for job, parts in zip(group.cells, cells_of_parts)
            ]


def _data(config: Any) -> tuple[str | None, str | None]:
    """The identity of the data set's files, which are converted where they are missing, or why there are none."""
    from recbole_ext.bridge.prepare import prepare_atomic_files

    try:
        prepare_atomic_files(config)
        return cells.data_identity(config["data_path"], config["dataset"]), None
    except UsageError as error:
        return None, str(error)


@dataclass(frozen=True)
class Asked:
    """A model on a data set as an experiment asks for it.

    common: settings of all models, the command line's among them, that this one reads. unread: those it does not, each
    with a sentence. space: of its search. over: of the command line, over all others.
    at_once: it learns in one pass.
    """

    dataset: str
    entry: Entry
    common: Mapping[str, Any]
    over: Mapping[str, Any]
    unread: Mapping[str, str]
    space: Mapping[str, Sequence[Any]]
    at_once: bool

    def settings(self, tries: Mapping[str, Any]) -> dict[str, Any]:
        """All keys of a run of it, the command line's last."""
        return merge(QUIET, self.common, self.entry.settings, tries, self.over)


def _asked(experiment: Experiment, dataset: str, entry: Entry) -> Asked:
    """What one model is asked for; raises UsageError for a value that it cannot use, in any setting or search."""
    from recbole_ext.bridge.choice import path_of

    files = load_files(experiment.files)
    common = merge(files, experiment.settings)
    everything = merge(QUIET, common, entry.settings, experiment.overrides)
    config = _built(dataset, entry, _as_blend(experiment, entry, everything))
    mine = {**entry.settings, **dict.fromkeys(entry.search or ())}
    shared = {key: value for key, value in {**common, **experiment.overrides}.items() if key not in mine}
    tried = {key: values[0] for key, values in experiment.search.items() if key not in mine}
    try:
        once = path_of(config).at_once
        unread = {**unread_keys(config, shared), **unread_keys(config, tried, searched=True)}
        for sentence in unread_keys(config, entry.settings).values():
            if entry.search is None:
                raise UsageError(sentence)
    except UsageError as error:
        raise UsageError(f"{entry.label} on {dataset}: {error}") from error
    kept = {key: value for key, value in common.items() if key not in unread}
    over = {key: value for key, value in experiment.overrides.items() if key not in unread}
    space = space_of(experiment, entry, set(experiment.search) - set(unread))
    asked = Asked(dataset, entry, _as_blend(experiment, entry, kept), over, unread, space, once)
    _check_search(asked, config)
    return asked


def _as_blend(experiment: Experiment, entry: Entry, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a blend of two models of the experiment, as one that trains them: their checkpoints are not there."""
    if not entry.of:
        return dict(settings)
    parts = [next(one for one in experiment.models if one.label == label) for label in entry.of]
    own = {
        "blend_models": [part.model for part in parts],
        "blend_settings": [dict(part.settings) for part in parts],
    }
    return {**settings, **own}


def _check_search(asked: Asked, config: Any) -> None:
    """Raise UsageError for a value of a search that the model cannot use, and for a key that it never reads."""
    for key, values in asked.space.items():
        for value in values:
            try:
                read_given({key: value}, config.model_class)
            except UsageError as error:
                raise UsageError(
                    f"{asked.entry.label} on {asked.dataset} with {key}={value}: {error}"
                ) from error
        sentence = unread_keys(config, {key: values[0]}, searched=True).get(key)
        switched = any(other != key for other in asked.space if other in SWITCHES)
        if sentence and not switched:
            raise UsageError(f"{asked.entry.label} on {asked.dataset}: {sentence}")


def _refuse_unread(experiment: Experiment, dataset: str, asked: Sequence[Asked]) -> None:
    """Raise UsageError for a common key that no model of the experiment reads.

    How a model is trained may be said to models that count alone, and what a file says holds for its other models
    where a call names some of them only.
    """
    for key in asked[0].unread:
        if experiment.narrowed and key not in experiment.overrides:
            continue
        if key in OF_STEPS and all(one.at_once for one in asked):
            continue
        if all(
            key in one.unread or key in one.entry.settings or key in (one.entry.search or ()) for one in asked
        ):
            raise UsageError(f"{asked[0].entry.label} on {dataset}: {asked[0].unread[key]}")


def _built(dataset: str, entry: Entry, settings: Mapping[str, Any]) -> Any:
    from recbole_ext.run.run import build_config, check_dataset

    try:
        config = build_config(entry.model, dataset, dict(settings))
        check_dataset(config)
        return config
    except UsageError as error:
        raise UsageError(f"{entry.label} on {dataset}: {error}") from error


def _configured(asked: Asked, tries: Mapping[str, Any], seed: int | None) -> Any:
    from recbole_ext.run.run import configure

    settings = _readable(asked, tries)
    if seed is not None:
        settings["seed"] = seed
    try:
        return configure(asked.entry.model, asked.dataset, settings)
    except UsageError as error:
        tried = f" with {shown(tries)}" if tries else ""
        raise UsageError(f"{asked.entry.label} on {asked.dataset}{tried}: {error}") from error


def _readable(asked: Asked, tries: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run, less what another key that is searched switches off in this combination."""
    settings = asked.settings(tries)
    if not set(asked.space) & set(SWITCHES):
        return settings
    off = idle(_built(asked.dataset, asked.entry, settings), settings)
    return {key: value for key, value in settings.items() if key not in off}


def _group(experiment: Experiment, wanted: Asked, config: Any, data: str, unusable: str | None) -> Group:
    entry, dataset = wanted.entry, wanted.dataset
    asked = combinations(wanted.space, experiment.search_trials, experiment.search_seed)
    seeds = experiment.seeds or (config["seed"],)
    place = Path(config["runs_dir"]) / "experiments" / experiment.name
    report = place / experiment.report if experiment.report == Path("report") else experiment.report
    common: dict[str, Any] = {
        "dataset": dataset,
        "label": entry.label,
        "model": entry.model,
        "files": (),
        "notes": _notes(wanted),
        "metrics": tuple(config["metrics"]),
        "topk": tuple(config["topk"] or ()),
        "ledger": report / ledger.FILE,
    }
    tries = []
    for one in asked:
        identity = cells.identity_of(_configured(wanted, one, seeds[0]), data)
        folder = place / dataset / entry.folder / "search" / cells.digest(identity)
        settings = _of_job(wanted, one)
        tries.append(
            Job(seed=seeds[0], settings=settings, folder=folder, identity=identity, tries=one, **common)
        )
    jobs = []
    for seed in seeds:
        identity = cells.identity_of(_configured(wanted, {}, seed), data)
        identity |= {
            "search": asked,
            "search on seed": seeds[0] if asked else None,
            "refit": experiment.refit,
        }
        folder = place / dataset / entry.folder / f"seed-{seed}"
        settings = _of_job(wanted, {})
        jobs.append(
            Job(
                seed=seed,
                settings=settings,
                folder=folder,
                identity=identity,
                refit=experiment.refit,
                test=experiment.test,
                **common,
            )
        )
    better = not config["valid_metric_bigger"]
    return Group(dataset, entry, tries, jobs, better, unusable, passed_over=sorted(wanted.unread))


def _of_job(asked: Asked, tries: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a job is run with: a blend of cells gets its parts from them."""
    settings = _readable(asked, tries)
    return {key: value for key, value in settings.items() if not asked.entry.of or key not in _OF_PARTS}


_OF_PARTS = ("blend_models", "blend_settings")


def _notes(asked: Asked) -> tuple[str, ...]:
    keys = sorted(asked.unread)
    return (
        (f"{asked.entry.label} does not read {', '.join(keys)} of the experiment's settings",) if keys else ()
    )


# --- doing it -----------------------------------------------------------------------------------------------


class Grid:
    """An experiment under way: hands out jobs, notes how they end, and says so."""

    def __init__(self, experiment: Experiment, tables: bool):
        self.experiment = experiment
        self.tables = tables
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.groups = groups_of(experiment)
        self.place = self.groups[0].cells[0].folder.parents[2]  # <place>/<data set>/<label>/seed-N
        self.total = sum(len(group.cells) for group in self.groups)
        self.done = 0
        self.ran = 0  # jobs that ended in this call
        self.failed: list[dict[str, Any]] = []
        self.finished: set[Path] = set()  # folders of cells that ended well
        self._group_of = {job.folder: group for group in self.groups for job in group.all_jobs}

    def begin(self) -> None:
        """Pass over finished cells; a group without any other has nothing to search either."""
        for group in self.groups:
            if group.passed_over:
                keys = ", ".join(group.passed_over)
                print(f"{group.dataset} {group.entry.label} does not read {keys}: left out", flush=True)
            if group.unusable is not None:
                self._give_up(group, group.cells, group.unusable)
                continue
            for job in group.cells:
                record = cells.record_of(job)
                if record is None:
                    group.to_do.append(job)
                    continue
                _list_reading(job, record)
                self._cell_ended(job, record, f"{_result(job, record)}, finished before")
            if group.to_do:
                group.to_try.extend(job for job in group.tries if cells.record_of(job) is None)
            for job in [*group.to_try, *group.to_do]:
                if why := cells.standing(job):
                    print(f"{name_of(job)} {why}", flush=True)

    def take(self) -> Job | None:
        """The next job, in order, that waits for no other; None if there is none now."""
        for group in self.groups:
            if group.to_try:
                group.trying += 1
                return group.to_try.popleft()
            if group.to_do and not group.trying and self._has_choice(group):
                job = self._ready(group)
                if job is not None:
                    group.to_do.remove(job)
                    group.doing += 1
                    return self._with_parts(group.chosen(job))
        return None

    def _ready(self, group: Group) -> Job | None:
        """The next cell of a group whose parts, if it has any, are finished; fails those whose parts have failed."""
        for job in list(group.to_do):
            parts = self.parts_of(job)
            if all(part.folder in self.finished for part in parts):
                return job
            for part in parts:
                if (part.dataset, part.label, part.seed) in self._failed:
                    group.to_do.remove(job)
                    self._give_up(group, [job], f"{name_of(part)} failed, which it is made of")
                    break
        return None

    def parts_of(self, job: Job) -> list[Job]:
        """The cells that a blend is made of; none for any other cell."""
        parts = self._group_of[job.folder].parts
        return [own for part in parts for own in part.cells if own.seed == job.seed]

    def _with_parts(self, job: Job) -> Job:
        parts = [self._group_of[part.folder].chosen(part) for part in self.parts_of(job)]
        return replace(job, parts=tuple(parts))

    @property
    def _failed(self) -> set[tuple[str, str, int]]:
        return {(one["dataset"], one["label"], one["seed"]) for one in self.failed}

    def _has_choice(self, group: Group) -> bool:
        if not group.tries:
            return True
        best = group.best()
        if best is None:
            reason = next(iter(group.reasons.values()), "none of them has a score")
            left = list(group.to_do)
            group.to_do.clear()
            self._give_up(group, left, f"every run of the search failed, the first one: {reason}")
            return False
        for job in group.tries:
            if job is not best or (self.experiment.refit and not group.cells[0].kept):
                cells.drop_checkpoints(job.folder)
        return True

    def _give_up(self, group: Group, jobs: Sequence[Job], reason: str) -> None:
        for job in jobs:
            self._cell_failed(job, reason, "")

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Note and print how a job has ended."""
        group = self._group_of[job.folder]
        self.ran += 1
        group.seconds.append(outcome.seconds)
        took = f" in {formats.duration(outcome.seconds)}"
        if job.tries is not None:
            group.trying -= 1
            if outcome.failed is not None:
                group.reasons[job.folder] = outcome.failed
                print(f"{name_of(job)}: failed{took}: {outcome.failed}", flush=True)
                return
            print(f"{name_of(job)}: {_valid_score(job.folder)}{took}{self._left()}", flush=True)
            return
        group.doing -= 1
        if outcome.failed is not None:
            self._cell_failed(job, outcome.failed, took)
            return
        record = cells.record_of(job) or {}
        self._cell_ended(job, record, f"{_result(job, record)}{took}{self._left()}")

    def _cell_failed(self, job: Job, reason: str, took: str) -> None:
        self.done += 1
        self.failed.append({"dataset": job.dataset, "label": job.label, "seed": job.seed, "reason": reason})
        print(f"[{self.done}/{self.total}] {name_of(job)}: failed{took}: {reason}", flush=True)

    def _cell_ended(self, job: Job, record: Mapping[str, Any], text: str) -> None:
        self.done += 1
        self.finished.add(job.folder)
        print(f"[{self.done}/{self.total}] {name_of(job)}: {text}", flush=True)
        if self.tables and "test" in record:
            from recbole_ext.report.text import result_table

            print(result_table(dict(record)), flush=True)

    def _left(self) -> str:
        """About how long the rest takes: a job of a group as long as those before it, or as those of all groups."""
        known = [seconds for group in self.groups for seconds in group.seconds]
        rest = sum(
            group.left * statistics.mean(group.seconds or known) for group in self.groups if group.left
        )
        return f" (ETA {formats.duration(rest / self.experiment.workers)})" if rest else ""

    def jobs(self) -> Iterator[tuple[Group, Job]]:
        """Every cell with what was chosen for it, in order."""
        for group in self.groups:
            for job in group.cells:
                yield group, group.chosen(job)


def _list_reading(job: Job, record: Mapping[str, Any]) -> None:
    """Put a finished cell on the list of readings, where an interruption came between the two."""
    settings = cells.digest(job.identity)
    known = {
        (row["dataset"], row["label"], row["seed"], row["settings"]) for row in ledger.readings(job.ledger)
    }
    if "test" in record and (job.dataset, job.label, job.seed, settings) not in known:
        ledger.append(job.ledger, job.label, settings, record)


# --- words --------------------------------------------------------------------------------------------------


def name_of(job: Job) -> str:
    """`diginetica SASRec seed 2`, or what of the search it is."""
    if job.tries is None:
        return f"{job.dataset} {job.label} seed {job.seed}"
    return f"{job.dataset} {job.label} search {shown(job.tries)}"


def shown(settings: Mapping[str, Any]) -> str:
    """`learning_rate=0.001 dropout=0.2`."""
    return " ".join(f"{key}={value}" for key, value in settings.items())


def _result(job: Job, record: Mapping[str, Any]) -> str:
    if "test" in record:
        metric = record["valid_metric"]
        return f"{metric} {formats.score(record['test'][metric.lower()])}"
    return f"{_valid_score(cells.choosing_folder(job))}, test not read"


def _valid_score(folder: Path) -> str:
    record = cells.read_json(folder / cells.RECORD) or {}
    score = record.get("best_valid_score")
    return f"validation {record.get('valid_metric')} {'none' if score is None else formats.score(score)}"
