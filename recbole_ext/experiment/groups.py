"""What there is to do in an experiment: a group for every model on every data set, of its search and its cells."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_ext.errors import UsageError
from recbole_ext.experiment import cells, ledger
from recbole_ext.experiment.cells import Job
from recbole_ext.experiment.checked import Asked, asked_of, check_sampling, refuse_unread
from recbole_ext.experiment.names import name_of
from recbole_ext.experiment.optuna_study import Way
from recbole_ext.experiment.plan import Entry, Experiment
from recbole_ext.experiment.search import Listed, Sampled, Search
from recbole_ext.experiment.space import combinations

if TYPE_CHECKING:
    from recbole_ext.run.trackers import Wanted


@dataclass
class Group:
    """A model on a data set: its search on the first seed, then its cells.

    lower_is_better: of the validation metric. unusable: why its data cannot be had. parts: the groups that a blend is
    made of, cell by cell. to_do, doing: the cells that are left. told: the trackers of its runs.
    """

    dataset: str
    entry: Entry
    search: Search
    cells: list[Job]
    lower_is_better: bool = False
    unusable: str | None = None
    parts: list[Group] = field(default_factory=list)
    to_do: deque[Job] = field(default_factory=deque)
    doing: int = 0
    seconds: list[float] = field(default_factory=list)  # of the jobs done now
    passed_over: list[str] = field(default_factory=list)  # common keys that the model does not read
    told: Wanted | None = None

    @property
    def left(self) -> int:
        """Jobs that have not ended."""
        return self.search.left + len(self.to_do) + self.doing

    def chosen(self, job: Job) -> Job:
        """A cell with what the search has chosen; as it is without a search."""
        best = self.search.best() if self.search else None
        if best is None or best.tries is None:
            return job
        here = job.seed == best.seed and cells.record_of(best) is not None
        return job.with_choice(best.tries, best.folder if here else None)


def groups_of(experiment: Experiment) -> list[Group]:
    """Every model on every data set; raises UsageError for names, keys and values that cannot be used."""
    groups = []
    for dataset in experiment.datasets:
        data: str | None = None
        unusable: str | None = None
        asked = [asked_of(experiment, dataset, entry) for entry in experiment.models]
        refuse_unread(experiment, dataset, asked)
        check_sampling(experiment, asked)
        for one in asked:
            config = one.configured({}, None)
            if data is None and unusable is None:
                data, unusable = _data(config, experiment.quiet)
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


def _data(config: Any, told: bool) -> tuple[str | None, str | None]:
    """The identity of the data set's files, which are converted where they are missing, or why there are none."""
    from recbole_ext.bridge.prepare import prepare_for_run

    try:
        prepare_for_run(config, told)
        return cells.data_identity(config["data_path"], config["dataset"]), None
    except UsageError as error:
        return None, str(error)


def _group(experiment: Experiment, wanted: Asked, config: Any, data: str, unusable: str | None) -> Group:
    from recbole_ext.run.tracking import wanted as trackers_of

    entry = wanted.entry
    seeds = experiment.seeds or (config["seed"],)
    place = Path(config["runs_dir"]) / "experiments" / experiment.name
    report = place / experiment.report if experiment.report == Path("report") else experiment.report
    common: dict[str, Any] = {
        "dataset": wanted.dataset,
        "experiment": experiment.name,
        "label": entry.label,
        "model": entry.model,
        "files": (),
        "notes": wanted.notes,
        "metrics": tuple(config["metrics"]),
        "topk": tuple(config["topk"] or ()),
        "ledger": report / ledger.FILE,
    }
    own = place / wanted.dataset / entry.folder
    bigger = bool(config["valid_metric_bigger"])
    jobs = _cells(experiment, wanted, data, seeds, own, common)
    return Group(
        wanted.dataset,
        entry,
        _search(experiment, wanted, data, jobs[0], own, common, lower_is_better=not bigger),
        jobs,
        lower_is_better=not bigger,
        unusable=unusable,
        passed_over=sorted(wanted.unread),
        told=trackers_of(config),
    )


def _search(
    experiment: Experiment,
    wanted: Asked,
    data: str,
    first: Job,
    own: Path,
    common: Mapping[str, Any],
    lower_is_better: bool,
) -> Search:
    """What is tried on the seed of the first cell, in folders of the model's `own`."""
    seed = first.seed

    def make(tries: Mapping[str, Any]) -> Job:
        identity = cells.identity_of(wanted.configured(tries, seed), data)
        folder = own / "search" / cells.digest(identity)
        settings = wanted.of_job(tries)
        return _called(
            Job(seed=seed, settings=settings, folder=folder, identity=identity, tries=tries, **common)
        )

    sampling = experiment.sampling
    if not (sampling.sampled and wanted.space):
        listed = combinations(wanted.space, experiment.search_trials, experiment.search_seed)
        return Listed([make(one) for one in listed], lower_is_better)
    pruner = "none" if wanted.validates_once else sampling.pruner
    way = Way(sampling.sampler, pruner, experiment.search_seed, wanted.epochs, experiment.search_trials)
    rest = [first.identity["config"], first.identity["data"]]
    one = cells.digest([*rest, _space(wanted), way.sampler, way.pruner, way.seed])
    name = f"{wanted.dataset}/{wanted.entry.folder}/{one}"
    return Sampled(sampling, way, wanted.space, make, name, own.parents[1], lower_is_better)


def _space(wanted: Asked) -> dict[str, Any]:
    return {key: knob.plain() for key, knob in wanted.space.items()}


def _searched(experiment: Experiment, wanted: Asked) -> Any:
    """What is searched, as part of what a cell is."""
    sampling = experiment.sampling
    if not (sampling.sampled and wanted.space):
        return combinations(wanted.space, experiment.search_trials, experiment.search_seed)
    limits = {"trials": experiment.search_trials, "minutes": sampling.search_minutes}
    how = {"sampler": sampling.sampler, "pruner": sampling.pruner, "seed": experiment.search_seed}
    return {"space": _space(wanted), **how, **limits}


def _cells(
    experiment: Experiment,
    wanted: Asked,
    data: str,
    seeds: Sequence[int],
    own: Path,
    common: Mapping[str, Any],
) -> list[Job]:
    """A cell a seed; what is searched is part of what it is."""
    asked = _searched(experiment, wanted)
    search = {
        "search": asked,
        "search on seed": seeds[0] if asked else None,
        "refit": experiment.refit,
    }
    return [
        _called(
            Job(
                seed=seed,
                settings=wanted.of_job({}),
                folder=own / f"seed-{seed}",
                identity=cells.identity_of(wanted.configured({}, seed), data) | search,
                refit=experiment.refit,
                test=experiment.test,
                **common,
            )
        )
        for seed in seeds
    ]


def _called(job: Job) -> Job:
    return replace(job, called=name_of(job))
