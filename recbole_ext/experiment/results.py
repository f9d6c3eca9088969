"""What an experiment leaves: chosen.yaml, cells.csv, the tables on the terminal, and its page."""

from __future__ import annotations

import csv
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from recbole_ext.errors import UsageError
from recbole_ext.experiment import cells, ledger
from recbole_ext.experiment.cells import Job
from recbole_ext.experiment.grid import Grid
from recbole_ext.experiment.names import CELLS
from recbole_ext.files import cannot_write, commit, sha256, write_beside, write_text
from recbole_ext.kept import Kept
from recbole_ext.records import best_epochs
from recbole_ext.report.text import comparison_table

CHOSEN = "chosen.yaml"
STATUS = ("dataset", "label", "seed", "status", "reason", "settings")


def write_results(grid: Grid, command: str) -> bool:
    """Print the tables and write the files into the report's folder; only finished cells are in them.

    Returns whether the runs of every data set could be compared, and every file could be written.
    """
    experiment = grid.experiment
    jobs = [(job, _with_cost_of_parts(grid, job, cells.record_of(job))) for _, job in grid.jobs()]
    folder = jobs[0][0].ledger.parent
    records = _tested(jobs)
    if experiment.test:
        for dataset in experiment.datasets:
            own = [record for record in records if record["dataset"] == dataset]
            if len(own) > 1:
                print(comparison_table(own))
    written = _write(folder / CHOSEN, lambda file: write_text(file, _choices(grid, command)))
    written &= _write(folder / CELLS, lambda file: _write_cells(file, grid, jobs))
    if not experiment.test and not experiment.quiet:
        print(f"chosen on validation, the test parts were not read: {folder / CHOSEN}")
    if not experiment.test or not records:
        return written
    said = about(grid, command, folder, records)
    files, complete = _report(folder, said, records, searches(grid), grid.kept)
    grid.kept.drop_others()
    for file in files[:1] if experiment.quiet else files:
        print(f"  {file}")
    return complete and written


def tested(grid: Grid) -> list[dict[str, Any]]:
    """Records of the cells whose test part was read, as the page has them."""
    return _tested([(job, _with_cost_of_parts(grid, job, cells.record_of(job))) for _, job in grid.jobs()])


def _tested(jobs: Sequence[tuple[Job, dict[str, Any] | None]]) -> list[dict[str, Any]]:
    return [_with_course(job, record) for job, record in jobs if record is not None and "test" in record]


def _write(file: Path, write: Callable[[Path], None]) -> bool:
    """Write a file; where that cannot be, say so and go on."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file)
    except OSError as error:
        print(f"error: {cannot_write(error, file)}", file=sys.stderr)
        return False
    return True


def _with_cost_of_parts(grid: Grid, job: Job, record: dict[str, Any] | None) -> dict[str, Any] | None:
    """The record; of a blend of other cells, with the seconds of their training added to its own."""
    parts = [cells.record_of(part) for part in grid.parts_of(job)]
    if record is None or not parts:
        return record
    seconds = {**record["seconds"]}
    seconds["train"] += sum(part["seconds"]["train"] for part in parts if part is not None)
    return {**record, "seconds": seconds}


def _with_course(job: Job, record: dict[str, Any]) -> dict[str, Any]:
    """The record; of a refit, which knows no validation score, with the epochs of the run that found their number."""
    found = cells.read_record(cells.choosing_folder(job)) if job.refit else None
    if found is None:
        return record
    return {**record, **{key: found[key] for key in ("epochs", "best_valid_score", "best_epoch")}}


def about(grid: Grid, command: str, folder: Path, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The experiment as its report is told of it; of a reading's metrics the one that chose, the file has all."""
    experiment = grid.experiment
    metric = str(records[0]["valid_metric"]).lower()
    readings = ledger.readings(folder / ledger.FILE)
    for row in readings:
        row[metric] = row.pop("metrics").get(metric)
    return {
        "name": experiment.name,
        "title": experiment.title,
        "command": command,
        "calls": ledger.calls(grid.place / ledger.CALLS),
        "file": experiment.text,
        "datasets": list(experiment.datasets),
        "seeds": sorted({job.seed for _, job in grid.jobs()}),
        "refit": experiment.refit,
        "baseline": experiment.baseline,
        "commit": commit(),
        "started": grid.started,
        "failed": grid.failed,
        "readings": readings,
    }


def searches(grid: Grid) -> list[dict[str, Any]]:
    """The searches: every trial with its validation score (None and a reason where it failed), and the choice."""
    found = []
    for group in grid.groups:
        if not group.search or group.unusable is not None:
            continue
        best = group.search.best()
        found.append(
            {
                "dataset": group.dataset,
                "label": group.entry.label,
                "chosen": dict(best.tries or {}) if best is not None else {},
                "lower_is_better": group.lower_is_better,
                **group.search.told(),
            }
        )
    return found


def _report(
    folder: Path,
    about: dict[str, Any],
    records: Sequence[dict[str, Any]],
    searches: list[dict[str, Any]],
    kept: Kept,
) -> tuple[list[Path], bool]:
    """Compare the records of each data set and write the page; also says whether all could be compared."""
    from recbole_ext.report.experiment_report import write_report

    comparisons, complete = [], True
    for dataset in about["datasets"]:
        own = [record for record in records if record["dataset"] == dataset]
        if not own:
            continue
        try:
            comparisons.append(compared(dataset, own, kept))
        except UsageError as error:
            print(f"error: the runs on {dataset} cannot be compared: {error}", file=sys.stderr)
            complete = False
    try:
        return list(write_report(folder, about, comparisons, list(records), searches, kept)), complete
    except UsageError as error:  # the tables are out
        print(f"error: {error}", file=sys.stderr)
        return [], False


def compared(dataset: str, own: Sequence[dict[str, Any]], kept: Kept) -> dict[str, Any]:
    """The comparison of the records of one data set, as `tested` has them, as it was kept or made now.

    Raises UsageError where they cannot be compared.
    """
    from recbole_ext.evaluate.comparison import compare
    from recbole_ext.report.sections.findings import slug

    labels = [record["label"] for record in own]
    folders = [Path(record["folder"]) for record in own]
    # every pair is tested, the baseline only marks the ranking: the best model may be another one
    found: dict[str, Any] = kept.get(
        slug(f"compared {dataset}"),
        [own, *map(_sum_of_ranks, folders)],
        partial(compare, folders, labels=labels),
    )
    for model in found.get("models", ()):  # a blend's records here know what its models cost
        train = [one["seconds"]["train"] for one in own if one["label"] == model["model"]]
        model["seconds"] = {**model["seconds"], "train": statistics.mean(train)}
    return {"dataset": dataset, **found}


def _sum_of_ranks(folder: Path) -> str | None:
    """The sum of a run's ranks; None where they are not there, of which the comparison speaks."""
    file = folder / cells.RANKS
    return sha256(file) if file.is_file() else None


def _choices(grid: Grid, command: str) -> str:
    """The settings and numbers of epochs that validation has chosen, as yaml."""
    chosen: dict[str, Any] = {}
    for group, job in grid.jobs():
        record = cells.read_record(cells.choosing_folder(job))
        if record is None:
            continue
        best = group.search.best() if group.search else None
        entry = chosen.setdefault(job.dataset, {}).setdefault(
            job.label,
            {"model": job.model, "settings": dict((best.tries if best else None) or {}), "epochs": {}},
        )
        entry["epochs"][job.seed] = best_epochs(record)
        if group.entry.of:
            entry["of"] = list(group.entry.of)
            entry.setdefault("blend_weight", {})[job.seed] = record["blend"]["weight"]
    head = f"# Chosen on validation by `{command}`; epochs by seed.\n"
    return head + yaml.safe_dump(chosen, sort_keys=False)


def _write_cells(file: Path, grid: Grid, jobs: Sequence[tuple[Job, dict[str, Any] | None]]) -> None:
    failed = {(one["dataset"], one["label"], one["seed"]): one["reason"] for one in grid.failed}
    with write_beside(file) as waiting, waiting.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(STATUS)
        for job, record in jobs:
            reason = failed.get((job.dataset, job.label, job.seed))
            status = (
                "failed" if reason is not None else "finished" if record and "test" in record else "chosen"
            )
            table.writerow(
                (job.dataset, job.label, job.seed, status, reason or "", cells.digest(job.identity))
            )
