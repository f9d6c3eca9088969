"""What there is to do in an experiment: a group for every model on every data set, of its search and its cells."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recbole_ext.errors import UsageError
from recbole_ext.experiment import cells, ledger
from recbole_ext.experiment.cells import Job
from recbole_ext.experiment.checked import Asked, asked_of, refuse_unread
from recbole_ext.experiment.plan import Entry, Experiment, combinations


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

    @property
    def has_lost_tries(self) -> bool:
        """Whether of the search's runs that began one has neither record nor failure: it may have been the best."""
        return any(
            job.folder.is_dir() and not (job.folder / cells.FAILED).is_file() and cells.record_of(job) is None
            for job in self.tries
        )

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
        asked = [asked_of(experiment, dataset, entry) for entry in experiment.models]
        refuse_unread(experiment, dataset, asked)
        for one in asked:
            config = one.configured({}, None)
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


def _group(experiment: Experiment, wanted: Asked, config: Any, data: str, unusable: str | None) -> Group:
    entry = wanted.entry
    seeds = experiment.seeds or (config["seed"],)
    place = Path(config["runs_dir"]) / "experiments" / experiment.name
    report = place / experiment.report if experiment.report == Path("report") else experiment.report
    common: dict[str, Any] = {
        "dataset": wanted.dataset,
        "label": entry.label,
        "model": entry.model,
        "files": (),
        "notes": wanted.notes,
        "metrics": tuple(config["metrics"]),
        "topk": tuple(config["topk"] or ()),
        "ledger": report / ledger.FILE,
    }
    own = place / wanted.dataset / entry.folder
    return Group(
        wanted.dataset,
        entry,
        _tries(experiment, wanted, data, seeds[0], own, common),
        _cells(experiment, wanted, data, seeds, own, common),
        lower_is_better=not config["valid_metric_bigger"],
        unusable=unusable,
        passed_over=sorted(wanted.unread),
    )


def _tries(
    experiment: Experiment, wanted: Asked, data: str, seed: int, own: Path, common: Mapping[str, Any]
) -> list[Job]:
    """The runs of the search, in the model's `own` folder."""
    tries = []
    for one in combinations(wanted.space, experiment.search_trials, experiment.search_seed):
        identity = cells.identity_of(wanted.configured(one, seed), data)
        folder = own / "search" / cells.digest(identity)
        settings = wanted.of_job(one)
        tries.append(Job(seed=seed, settings=settings, folder=folder, identity=identity, tries=one, **common))
    return tries


def _cells(
    experiment: Experiment,
    wanted: Asked,
    data: str,
    seeds: Sequence[int],
    own: Path,
    common: Mapping[str, Any],
) -> list[Job]:
    """A cell a seed; what is searched is part of what it is."""
    asked = combinations(wanted.space, experiment.search_trials, experiment.search_seed)
    search = {
        "search": asked,
        "search on seed": seeds[0] if asked else None,
        "refit": experiment.refit,
    }
    return [
        Job(
            seed=seed,
            settings=wanted.of_job({}),
            folder=own / f"seed-{seed}",
            identity=cells.identity_of(wanted.configured({}, seed), data) | search,
            refit=experiment.refit,
            test=experiment.test,
            **common,
        )
        for seed in seeds
    ]
