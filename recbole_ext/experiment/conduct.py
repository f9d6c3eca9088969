"""An experiment from its plan to its report: checks, the lock on its folder, workers, results."""

from __future__ import annotations

import csv
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from recbole_ext.bridge.early import check_settings_early
from recbole_ext.errors import UsageError
from recbole_ext.experiment import ledger
from recbole_ext.experiment.grid import Grid
from recbole_ext.experiment.names import CELLS
from recbole_ext.experiment.plan import Experiment, from_command_line
from recbole_ext.experiment.workers import end_where_imported, one_by_one, side_by_side
from recbole_ext.files import cannot_write, check_writable, cleared
from recbole_ext.interrupts import reason
from recbole_ext.settings.base import flag
from recbole_ext.settings.files import merge


def main(
    settings: Mapping[str, Any], files: Sequence[str], arguments: Sequence[str], strangers: bool = False
) -> int:
    """Run the experiment of a parsed command line; the exit code, 1 where a cell has failed.

    strangers: there are models of the user's among those of the settings, whose files say what they read.
    """
    experiment = from_command_line(settings, files)
    if not strangers and not any(
        ".py:" in f"{entry.model} {entry.settings.get('blend_models')}" for entry in experiment.models
    ):
        check_settings_early(experiment.overrides, experiment.settings)
    command = shlex.join(["python", "run.py", *arguments])
    try:
        return run_experiment(experiment, command, tables="experiment" not in settings)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(reason(stop) or "the same command goes on") from stop


def run_experiment(experiment: Experiment, command: str = "", tables: bool = False) -> int:
    """Do what is left of an experiment and write its report; 1 where a cell or a comparison has failed, else 0.

    `tables` prints each cell's results as a single run does. Raises UsageError, before anything runs, for a setting
    that is wrong whatever the data are, and where a script without `if __name__ == "__main__":` calls it with workers.
    """
    end_where_imported()
    with _cluster(experiment) as ray:
        return _conducted(experiment, ray, command, tables)


def _conducted(experiment: Experiment, ray: Any, command: str, tables: bool) -> int:
    """As run_experiment; ray: connected to the cluster where the cells run, None: on this machine."""
    from recbole_ext.experiment.results import write_results

    grid = Grid(experiment, tables)
    report = grid.groups[0].cells[0].ledger.parent
    _check_writable(grid.place, report)
    with alone(grid.place), cleared(grid.place, "**/"), cleared(report):
        _tell_torn(grid)
        _tell_replaced(grid)
        try:
            grid.begin()
            _check_trackers(grid, experiment.name)
            _do_jobs(experiment, grid, ray)
        except KeyboardInterrupt as stop:
            said = f"{grid.done} of {grid.total} cells are finished; the same command goes on"
            raise KeyboardInterrupt(said) from stop
        finally:
            if grid.ran:
                _note_call(grid, command)
        compared = write_results(grid, command)
    return 1 if grid.failed or not compared else 0


def _cluster(experiment: Experiment) -> AbstractContextManager[Any]:
    """Ray, connected to the cluster of an experiment, if it names one."""
    if experiment.ray is None:
        return nullcontext()
    gpu = merge(experiment.settings, experiment.overrides).get("gpu_id")
    if gpu is not None:
        gpu = ",".join(map(str, gpu)) if isinstance(gpu, list | tuple) else gpu
        raise UsageError(
            f"gpu_id is {gpu}, and Ray says which GPU each cell has: leave gpu_id out (gpus_per_cell: 0 takes none)"
        )
    from recbole_ext.experiment.over_machines import connected

    return connected(experiment.ray)


def _do_jobs(experiment: Experiment, grid: Grid, ray: Any) -> None:
    """What is left to do: on a Ray cluster, in this process, or in several of this machine."""
    if ray is not None:
        _on_cluster(experiment, grid, ray)
    elif grid.at_once == 1 and experiment.threads is None:
        one_by_one(grid.take, grid.ended)
    else:
        side_by_side(grid.take, grid.ended, grid.at_once, _threads(experiment), _gpus(experiment))


def _on_cluster(experiment: Experiment, grid: Grid, ray: Any) -> None:
    from recbole_ext.experiment.over_machines import needs_of, over_machines

    use_gpu = flag(merge(experiment.settings, experiment.overrides).get("use_gpu", True))
    needs, room = needs_of(ray, experiment.gpus_per_cell, experiment.threads or 1, use_gpu)
    grid.at_once = min(room, experiment.workers or room)
    over_machines(grid.take, grid.ended, ray, needs, experiment.workers, grid.place)


def _check_writable(*folders: Path) -> None:
    """UsageError where the report could not be written: before anything runs and a test part is read."""
    for folder in folders:
        try:
            check_writable(folder)
        except OSError as error:
            raise UsageError(f"nothing can be written into {folder}: {error.strerror}") from error


def _check_trackers(grid: Grid, name: str) -> None:
    """UsageError where there is something to do, and a tracker that is to be told of it does not answer."""
    from recbole_ext.run.tracking import check_reached

    for asked in {group.told for group in grid.groups if group.told and group.left}:
        check_reached(asked, name)


def _note_call(grid: Grid, command: str) -> None:
    file = grid.place / ledger.CALLS
    try:
        ledger.append_call(file, command, grid.ran)
    except OSError as error:
        print(f"error: {cannot_write(error, file)}", file=sys.stderr)


def _tell_torn(grid: Grid) -> None:
    for file in (grid.groups[0].cells[0].ledger, grid.place / ledger.CALLS):
        if said := ledger.torn(file, file.name):
            print(said, file=sys.stderr)


def _tell_replaced(grid: Grid) -> None:
    """Say of which other cells the report's folder has a page, which this call's takes the place of."""
    folder = grid.groups[0].cells[0].ledger.parent
    try:
        with (folder / CELLS).open(encoding="utf-8", newline="") as stream:
            before = [(row["dataset"], row["label"], row["seed"]) for row in csv.DictReader(stream)]
    except (OSError, UnicodeError, KeyError, csv.Error):
        return
    now = {(job.dataset, job.label, str(job.seed)) for group in grid.groups for job in group.cells}
    lost = [cell for cell in before if cell not in now]
    if lost:
        dataset, label, seed = lost[0]
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        print(
            f"the page in {folder} is of {dataset} {label} seed {seed}{more} too: this call's will take its place, "
            "--name=NAME keeps both",
            file=sys.stderr,
        )


@contextmanager
def alone(place: Path, or_else: str = "choose another --name") -> Iterator[None]:
    """Hold a folder that one process at a time works in; UsageError while another one does.

    The lock goes with its process. or_else: what who does not want to wait may do.
    """
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / "lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise UsageError(f"another process is at work in {place}: wait for it, or {or_else}") from error
    try:
        yield
    finally:
        lock.release()


def _threads(experiment: Experiment) -> int:
    import torch

    return experiment.threads or max(1, torch.get_num_threads() // (experiment.workers or 1))


def _gpus(experiment: Experiment) -> list[str]:
    """The GPUs that gpu_id names where these are several: the workers share them out."""
    named = merge(experiment.settings, experiment.overrides).get("gpu_id")
    gpus = named.split(",") if isinstance(named, str) else named
    return [str(gpu).strip() for gpu in gpus] if isinstance(gpus, list | tuple) and len(gpus) > 1 else []
