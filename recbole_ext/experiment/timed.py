"""An experiment within a time: its models one after the other, each searched wholly or left out by name.

In the first half of the time each model may take an equal share of what is left of that half, so that nobody keeps
another from its turn. The second half is for those that were stopped, one to its end after the other, those first that
have finished most of their runs: with equal shares to the end all of them might be stopped just before theirs. To stop
is what Ctrl-C does, so a model goes on where it was, in a later call too. The test parts are not read here: whoever was
finished in time is tested by an experiment of all of them.
"""

from __future__ import annotations

import _thread
import csv
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from recbole_ext.experiment import cells
from recbole_ext.experiment.conduct import run_experiment
from recbole_ext.experiment.groups import groups_of
from recbole_ext.experiment.names import CELLS
from recbole_ext.experiment.plan import Entry, Experiment
from recbole_ext.records import RECORD
from recbole_ext.report.formats import duration, several

SHARED = 0.5  # of the time, which is shared out
AGAIN = 5.0  # seconds after which an interruption that nobody heeded is tried again


@dataclass
class Chosen:
    """How it went. finished: models whose settings validation has chosen, in the experiment's order; failed: labels
    and why; late: labels of those that the time did not suffice for."""

    finished: list[Entry] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)


def chosen_in_time(
    experiment: Experiment, seconds: float, folder: Path, spent: Callable[[float], None]
) -> Chosen:
    """Search and train the models of an experiment of one data set on validation for about so long.

    What is finished already takes no time and is not done again.

    Args:
        seconds: what is left of the time; with 0 only what is finished already is found.
        folder: of what each has chosen, a folder a model.
        spent: called with the seconds that each try of a model has taken, an interrupted one too.

    Raises UsageError, before anything runs, as `run_experiment` does, and KeyboardInterrupt where somebody else than
    the clock stops it.
    """
    groups_of(experiment)  # every setting is checked before the first model runs
    began = time.monotonic()
    end, shared = began + seconds, began + SHARED * seconds
    found = Chosen()
    waiting = []
    for entry in experiment.models:
        if _is_chosen(_alone(experiment, entry, folder)):
            print(f"{entry.label}: finished before", flush=True)
            found.finished.append(entry)
        else:
            waiting.append(entry)

    def tried(entry: Entry, share: float) -> bool:
        """Whether the model has ended, well or not."""
        if share <= 0 or not _in_time(experiment, entry, share, folder, spent):
            return False
        reason = _failure(folder / entry.folder)
        if reason is None:
            found.finished.append(entry)
        else:
            found.failed[entry.label] = reason
        return True

    stopped = []
    for place, entry in enumerate(waiting):
        if not tried(entry, (shared - time.monotonic()) / (len(waiting) - place)):
            stopped.append(entry)
    stopped.sort(key=lambda entry: -_runs_ended(_alone(experiment, entry, folder)))
    late = [entry for entry in stopped if not tried(entry, end - time.monotonic())]
    order = [entry.label for entry in experiment.models]
    found.finished.sort(key=lambda entry: order.index(entry.label))
    found.late = sorted((entry.label for entry in late), key=order.index)
    return found


def of_models(experiment: Experiment, entries: list[Entry]) -> Experiment:
    """The experiment of some of its models."""
    return replace(experiment, models=tuple(entries), narrowed=True)


def _alone(experiment: Experiment, entry: Entry, folder: Path) -> Experiment:
    """Of one model, which leaves the test part alone."""
    return replace(of_models(experiment, [entry]), report=folder / entry.folder, test=False, baseline=None)


def _is_chosen(alone: Experiment) -> bool:
    return all(
        cells.record_of(job) is not None and not cells.harmed(job)
        for group in groups_of(alone)
        for job in group.cells
    )


def _runs_ended(alone: Experiment) -> int:
    """How many runs of a model, those of its search included, have come to their end."""
    return sum(len(list(group.cells[0].folder.parent.rglob(RECORD))) for group in groups_of(alone))


def _in_time(
    experiment: Experiment, entry: Entry, seconds: float, folder: Path, spent: Callable[[float], None]
) -> bool:
    """Whether the model was searched and trained in so many seconds; the test part is left alone."""
    seeds = len(experiment.seeds or (0,))
    with_seeds = f" with {several(seeds, 'seed')}" if seeds > 1 else ""
    print(f"{entry.label}{with_seeds}, for at most {duration(seconds)}:", flush=True)
    finished = False
    began = time.monotonic()
    try:
        with stopped_after(seconds):
            run_experiment(_alone(experiment, entry, folder))
            finished = True
    finally:
        spent(time.monotonic() - began)
    if not finished:
        print(f"{entry.label}: stopped, its share of the time is over", flush=True)
    return finished


def _failure(folder: Path) -> str | None:
    """Why a cell of a finished call has failed; None where none has."""
    with (folder / CELLS).open(encoding="utf-8", newline="") as stream:
        return next((row["reason"] for row in csv.DictReader(stream) if row["status"] == "failed"), None)


@contextmanager
def stopped_after(seconds: float) -> Iterator[None]:
    """Leave the block after so many seconds as Ctrl-C would, and go on behind it; somebody's own Ctrl-C is raised.

    In the main thread alone, where signals are handled. A shell's background job ignores Ctrl-C, and is stopped too.
    """
    late, over = threading.Event(), threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> Any:
        if late.is_set():
            if not over.is_set():
                raise KeyboardInterrupt
        elif callable(before):
            return before(number, frame)
        elif before is not signal.SIG_IGN:
            raise KeyboardInterrupt

    def watch() -> None:
        waits = max(seconds, 0.0)
        while not over.wait(waits):
            late.set()
            _thread.interrupt_main()
            waits = AGAIN

    clock = threading.Thread(target=watch, daemon=True)
    signal.signal(signal.SIGINT, handle)
    try:
        clock.start()
        yield
    except KeyboardInterrupt:
        if not late.is_set():
            raise
    finally:
        over.set()
        clock.join()
        time.sleep(
            0
        )  # an interruption that came with the end is heeded by `handle`, which does nothing any more
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
