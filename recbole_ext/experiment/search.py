"""The search of one model on one data set: a list of combinations, or trials that are asked of a study one by one.

Both hand out jobs on the first seed, which never read the test part, and say which was best. A study is of one space,
data set and set of other settings, so that a longer search goes on with it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from recbole_ext.errors import UsageError
from recbole_ext.experiment import cells
from recbole_ext.experiment.cells import Job, Outcome
from recbole_ext.experiment.names import shown, valid_score
from recbole_ext.experiment.optuna_study import Study, Tried, Way, check, mend, this_owner
from recbole_ext.experiment.sampling import Sampling
from recbole_ext.experiment.space import Space, combinations
from recbole_ext.records import best_epochs
from recbole_ext.report import formats
from recbole_ext.wording import several

JOURNAL = "search.journal"
REPEATS = 10  # known settings in a row that a sampler draws before its space is taken to be exhausted


class Listed:
    """The combinations of lists, all known at the start; none: there is nothing to search."""

    def __init__(self, tries: Sequence[Job], lower_is_better: bool):
        self.tries = list(tries)
        self.lower_is_better = lower_is_better
        self.trying = 0  # handed out and not ended
        self._to_try: deque[Job] = deque()
        self._reasons: dict[Path, str] = {}  # of those that failed

    def __bool__(self) -> bool:
        return bool(self.tries)

    def begin(self, wanted: bool) -> list[Job]:
        """Find what is left to try, `wanted` or lost since it was; the jobs that are handed out, as far as known."""
        if wanted or self._has_lost:
            self._to_try.extend(job for job in self.tries if cells.record_of(job) is None)
        return list(self._to_try)

    def take(self) -> Job | None:
        """The next trial; None if there is none now."""
        if not self._to_try:
            return None
        self.trying += 1
        return self._to_try.popleft()

    def ended(self, job: Job, outcome: Outcome) -> str:
        """Note how a trial has ended; in words, where it has not failed."""
        self.trying -= 1
        if outcome.failed is not None:
            self._reasons[job.folder] = outcome.failed
        return valid_score(job.folder)

    @property
    def left(self) -> int:
        """Trials that have not ended."""
        return len(self._to_try) + self.trying

    @property
    def reason(self) -> str:
        """Why the first failed trial failed."""
        return next(iter(self._reasons.values()), "none of them has a score")

    def scored(self) -> list[tuple[Job, dict[str, Any]]]:
        """Finished trials with their records, in the order of the grid."""
        records = ((job, cells.record_of(job)) for job in self.tries)
        return [(job, record) for job, record in records if record is not None]

    @property
    def _has_lost(self) -> bool:
        """Whether of the trials that began one has neither record nor failure: it may have been the best."""
        return any(
            job.folder.is_dir() and not (job.folder / cells.FAILED).is_file() and cells.record_of(job) is None
            for job in self.tries
        )

    def best(self) -> Job | None:
        """The trial with the best validation score, the first of equal ones; None without one."""
        sign = -1 if self.lower_is_better else 1
        return max(self.scored(), key=lambda pair: sign * pair[1]["best_valid_score"], default=(None,))[0]

    def drop_checkpoints(self, best_too: bool) -> None:
        """Remove the trials' checkpoints."""
        best = None if best_too else self.best()
        for job in self.tries:
            if job is not best:
                cells.drop_checkpoints(job.folder)

    def told(self) -> dict[str, Any]:
        """For the page: each combination with its score, None and a reason where it failed."""
        trials = []
        for job in self.tries:
            record = cells.record_of(job)
            failed = (cells.read_json(job.folder / cells.FAILED) or {}) if record is None else {}
            trials.append(
                {
                    "settings": dict(job.tries or {}),
                    "valid_score": record and record["best_valid_score"],
                    "epochs": best_epochs(record),
                    "seconds": record and record["seconds"]["train"],
                    **failed,
                }
            )
        return {"trials": trials, "sampler": "grid", "limit": several(len(trials), "combination")}


class Sampled:
    """Trials asked of a study, as many as the experiment gives each model, or for as long.

    make: the job of settings, as a trial; it raises UsageError for settings that cannot be used together.
    place: the experiment's folder.
    """

    def __init__(
        self,
        sampling: Sampling,
        way: Way,
        space: Space,
        make: Callable[[Mapping[str, Any]], Job],
        name: str,
        place: Path,
        lower_is_better: bool,
    ):
        check(way)
        self.sampling, self.way, self.space, self.make = sampling, way, space, make
        self.name, self.lower_is_better = name, lower_is_better
        self.trying = 0
        # Optuna waits for ever for the lock of a killed process beside a journal whose path is relative
        self._storage = sampling.search_storage or str((place / JOURNAL).absolute())
        self._owner = this_owner(place)
        self._study: Study | None = None
        self._wanted = False
        self._left: deque[Tried] = deque()  # trials of an earlier call that were interrupted
        self._again: deque[dict[str, Any]] = deque()  # settings of trials that failed in one
        self._failed_before: set[int] = set()
        self._best: tuple[Tried, Job] | None = None

    def __bool__(self) -> bool:
        return True

    @property
    def study(self) -> Study:
        """Opened when it is first asked for: by then no other process works on the experiment's folder."""
        if self._study is None:
            if self.sampling.search_storage is None:
                mend(Path(self._storage))
            self._study = Study(self._storage, self.name, self.way, self.lower_is_better)
        return self._study

    def begin(self, wanted: bool) -> list[Job]:
        """Find what an earlier call has left; more is asked for where it is `wanted`, or no trial is known any more."""
        trials = self.study.trials()
        self._wanted = wanted or not any(one.state == "complete" for one in trials)
        if not self._wanted:
            return []
        mine = [one for one in trials if self._is_mine(one)]
        for one in mine:
            if one.settings is None and one.state == "running":  # ended between two lines of the study
                self.study.give_up(one.number)
        self._left.extend(one for one in mine if one.state == "running" and one.settings is not None)
        failed = [one for one in trials if one.state == "failed"]
        self._failed_before = {one.number for one in failed}
        known = [one.settings for one in self._counted()]
        self._again.extend(one.settings for one in failed if one.settings and one.settings not in known)
        return [
            replace(self.make(one.settings or {}), trial=self.study.place(one.number)) for one in self._left
        ]

    def _is_mine(self, one: Tried) -> bool:
        """A journal is of this folder alone; a database holds other machines' trials too."""
        return self.sampling.search_storage is None or one.owner == self._owner

    def take(self) -> Job | None:
        """The next trial: one that was interrupted, or one that the study draws; None where all are handed out."""
        while self._wanted:
            if self._left:
                one = self._left.popleft()
                number, settings = one.number, one.settings or {}
            elif self._is_spent():
                return None
            else:
                asked = self._ask()
                if asked is None:
                    return None
                number, settings = asked
            if (job := self._ready(number, settings)) is not None:
                self.trying += 1
                return job
        return None

    def _ask(self) -> tuple[int, dict[str, Any]] | None:
        if self._again:
            return self.study.ask(self.space, self._again.popleft())
        if self.way.sampler != "grid":
            return self.study.ask(self.space)
        known = [one.settings for one in self._counted()]
        listed = combinations(self.space, self.way.trials, self.way.seed)
        fixed = next((one for one in listed if one not in known), None)
        return None if fixed is None else self.study.ask(self.space, fixed)

    def _ready(self, number: int, settings: dict[str, Any]) -> Job | None:
        """The job of a trial; None where its end is known already."""
        if any(one.settings == settings and one.number != number for one in self._counted()):
            self.study.give_up(number)
            return None
        try:
            job = replace(self.make(settings), trial=self.study.place(number))
        except UsageError as error:
            self.study.fail(number, str(error))
            print(f"search {shown(settings)}: failed: {error}", flush=True)
            return None
        self.study.note(number, folder=str(job.folder), owner=self._owner)
        record = cells.record_of(job)
        if record is None:
            return job
        self._complete(number, record)  # the study was lost, or an interruption came between the two
        return None

    def _complete(self, number: int, record: Mapping[str, Any]) -> None:
        self.study.note(number, epochs=best_epochs(record), seconds=record["seconds"]["train"])
        self.study.complete(number, record["best_valid_score"])

    def _counted(self) -> list[Tried]:
        """Trials that the model has had: a failed one counts in the call in which it failed."""
        return [one for one in self.study.trials() if one.state and one.number not in self._failed_before]

    def _is_spent(self) -> bool:
        counted, minutes = self._counted(), self.sampling.search_minutes
        if self.way.trials is not None and len(counted) >= self.way.trials:
            return True
        if minutes is not None and sum(one.seconds for one in counted) >= 60 * minutes:
            return True
        latest = self.study.trials()[-REPEATS:]
        return len(latest) == REPEATS and not any(one.state for one in latest)

    def ended(self, job: Job, outcome: Outcome) -> str:
        """Note how a trial has ended, where its process has not; in words, where it has not failed."""
        self.trying -= 1
        number = job.trial.number if job.trial is not None else -1
        if self._tried(number).state == "running":
            record = None if outcome.failed is not None else cells.record_of(job)
            if record is not None:
                self._complete(number, record)
            else:
                self.study.fail(number, outcome.failed or "it has left no record")
        one = self._tried(number)
        self._keep_one_checkpoint(one)
        if one.state != "pruned":
            return valid_score(job.folder)
        metric = job.identity["config"]["valid_metric"]
        score = "none" if one.score is None else formats.score(one.score)
        return f"pruned after epoch {one.epochs}, validation {metric} {score}"

    def _tried(self, number: int) -> Tried:
        return next(one for one in self.study.trials() if one.number == number)

    def _keep_one_checkpoint(self, ended: Tried) -> None:
        """Of the best trial so far: a long search would fill a disk."""
        best = self._best_tried()
        for one in self.study.trials():
            worse = one.state == "complete" and (best is None or one.number != best.number)
            if worse and self._is_mine(one) and one.folder:
                cells.drop_checkpoints(Path(one.folder))

    @property
    def left(self) -> int:
        """Trials that have not ended, as far as that is known."""
        if not self._wanted:
            return 0
        counted = self._counted()
        planned = math.inf if self.way.trials is None else self.way.trials - len(counted)
        seconds = [one.seconds for one in counted if one.state in ("complete", "pruned") and one.seconds]
        if self.sampling.search_minutes is not None and seconds:
            rest = 60 * self.sampling.search_minutes - sum(one.seconds for one in counted)
            planned = min(planned, math.ceil(rest / (sum(seconds) / len(seconds))))
        return self.trying + len(self._left) + (0 if planned == math.inf else max(0, int(planned)))

    @property
    def reason(self) -> str:
        """Why the first failed trial failed."""
        return next((one.reason for one in self.study.trials() if one.reason), "none of them has a score")

    def _best_tried(self) -> Tried | None:
        sign = -1 if self.lower_is_better else 1
        whole = [one for one in self.study.trials() if one.state == "complete" and one.score is not None]
        return max(whole, key=lambda one: sign * (one.score or 0.0), default=None)

    def best(self) -> Job | None:
        """The trial with the best validation score of those that ran to their end; None without one."""
        best = self._best_tried()
        if best is None:
            return None
        if self._best is None or self._best[0].number != best.number:
            self._best = best, self.make(best.settings or {})
        return self._best[1]

    def drop_checkpoints(self, best_too: bool) -> None:
        """Remove the trials' checkpoints."""
        best = None if best_too else self._best_tried()
        for one in self._here():
            if best is None or one.number != best.number:
                cells.drop_checkpoints(Path(one.folder))

    def _here(self) -> Iterator[Tried]:
        return (one for one in self.study.trials() if one.folder and self._is_mine(one))

    def told(self) -> dict[str, Any]:
        """For the page: every trial, and what is to be said of the search as a whole."""
        trials = []
        for one in self.study.trials():
            if one.state not in ("complete", "pruned", "failed"):
                continue
            trial = {
                "settings": one.settings or {},
                "valid_score": one.score,
                "epochs": one.epochs,
                "seconds": one.seconds,
            }
            trial |= {"pruned": True} if one.state == "pruned" else {}
            trials.append(trial | ({"reason": one.reason} if one.state == "failed" else {}))
        minutes = self.sampling.search_minutes
        limits = [] if self.way.trials is None else [several(self.way.trials, "trial")]
        limits += [] if minutes is None else [f"{minutes:g} minutes"]
        return {
            "trials": trials,
            "sampler": self.way.sampler,
            "pruner": self.way.pruner,
            "limit": " or ".join(limits),
            "importance": self.study.importance(),
        }


Search = Listed | Sampled
