"""An experiment under way: hands out searches and cells in order, notes how they end, a line each."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recbole_ext.experiment import cells
from recbole_ext.experiment.cells import Job, Outcome
from recbole_ext.experiment.groups import Group, groups_of
from recbole_ext.experiment.names import name_of, result
from recbole_ext.experiment.plan import Experiment
from recbole_ext.kept import Kept
from recbole_ext.report import formats

PAGE = ".page"  # in the folder of the runs: what of the page need not be made again


class Grid:
    """An experiment under way: hands out jobs, notes how they end, and says so."""

    def __init__(self, experiment: Experiment, tables: bool):
        self.experiment = experiment
        self.tables = tables
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.groups = groups_of(experiment)
        self.place = self.groups[0].cells[0].folder.parents[2]  # <place>/<data set>/<label>/seed-N
        self.kept = Kept(self.place / PAGE)
        self.total = sum(len(group.cells) for group in self.groups)
        self.done = 0
        self.ran = 0  # jobs that ended in this call
        self.at_once = experiment.workers or 1  # jobs side by side
        self.failed: list[dict[str, Any]] = []
        self.finished: set[Path] = set()  # folders of cells that ended well
        self._group_of = {job.folder: group for group in self.groups for job in group.cells}

    def begin(self) -> None:
        """Pass over finished cells whose files are whole; a group without any other has nothing to search either."""
        self._give_up_unusable()
        for group in self.groups:
            if group.passed_over and not self.experiment.quiet:
                keys = ", ".join(group.passed_over)
                print(f"{group.dataset} {group.entry.label} does not read {keys}: left out", flush=True)
            if group.unusable is not None:
                continue
            for job in group.cells:
                record = cells.record_of(job)
                if record is None or cells.harmed(job, self.kept):
                    group.to_do.append(job)
                    continue
                cells.list_reading(job, record)
                self._cell_ended(job, record, f"{result(job, record)}, finished before")
            for job in [*group.search.begin(wanted=bool(group.to_do)), *group.to_do]:
                if why := cells.standing(job):
                    print(f"{name_of(job)} {why}", flush=True)

    def take(self) -> Job | None:
        """The next job, in order, that waits for no other; None if there is none now."""
        for group in self.groups:
            if (trial := group.search.take()) is not None:
                self._group_of[trial.folder] = group
                return trial
            if group.to_do and not group.search.trying and self._has_choice(group):
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
                    self._give_up([job], f"{name_of(part)} failed, which it is made of")
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
        if not group.search:
            return True
        if group.search.best() is None:
            left = list(group.to_do)
            group.to_do.clear()
            reason = group.search.reason
            self._give_up(left, f"every run of the search failed, the first one: {reason}")
            return False
        group.search.drop_checkpoints(best_too=self.experiment.refit and not group.cells[0].kept)
        return True

    def _give_up(self, jobs: Sequence[Job], reason: str) -> None:
        for job in jobs:
            self._cell_failed(job, reason, "")

    def _give_up_unusable(self) -> None:
        """Fail the cells whose data cannot be had; what is wrong with a log is said once, for all that it is of."""
        found: dict[tuple[str, str], list[Job]] = {}
        for group in self.groups:
            if group.unusable is not None:
                found.setdefault((group.dataset, group.unusable), []).extend(group.cells)
        for (dataset, reason), jobs in found.items():
            if len(jobs) == 1:
                self._give_up(jobs, reason)
                continue
            for job in jobs:
                self._note_failed(job, reason)
            print(f"[{self.done}/{self.total}] {dataset}: all {len(jobs)} cells failed: {reason}", flush=True)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Note and print how a job has ended."""
        group = self._group_of[job.folder]
        self.ran += 1
        group.seconds.append(outcome.seconds)
        took = f" in {formats.duration(outcome.seconds)}"
        if job.tries is not None:
            said = group.search.ended(job, outcome)
            if outcome.failed is not None:
                print(f"{name_of(job)}: failed{took}: {outcome.failed}", flush=True)
                return
            print(f"{name_of(job)}: {said}{took}{self._left()}", flush=True)
            return
        group.doing -= 1
        if outcome.failed is not None:
            self._cell_failed(job, outcome.failed, took)
            return
        record = cells.record_of(job) or {}
        self._cell_ended(job, record, f"{result(job, record)}{took}{self._left()}")

    def _cell_failed(self, job: Job, reason: str, took: str) -> None:
        self._note_failed(job, reason)
        print(f"[{self.done}/{self.total}] {name_of(job)}: failed{took}: {reason}", flush=True)

    def _note_failed(self, job: Job, reason: str) -> None:
        self.done += 1
        self.failed.append({"dataset": job.dataset, "label": job.label, "seed": job.seed, "reason": reason})

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
        return f" (ETA {formats.duration(rest / self.at_once)})" if rest else ""

    def jobs(self) -> Iterator[tuple[Group, Job]]:
        """Every cell with what was chosen for it, in order."""
        for group in self.groups:
            for job in group.cells:
                yield group, group.chosen(job)
