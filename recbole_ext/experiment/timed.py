"""An experiment of one data set within a time: every model with one setting first, then the search of all of them.

First each model is trained with the first value of each searched key. Where what is left of the time is likely to
suffice for the rest of everybody's search, and for the other seeds, all are searched; else nobody is, so that none has
an advantage. What each has come to is told.

In the first half of a stage's time each model may take an equal share of what is left of that half, so that nobody
keeps another from its turn. The second half is for those that were stopped, one to its end after the other, those first
that have finished most of their runs: with equal shares to the end all of them might be stopped just before theirs. To
stop is what Ctrl-C does, so a model goes on where it was, in a later call too. The test parts are not read here.
"""

from __future__ import annotations

import _thread
import csv
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from recbole_ext.experiment import cells
from recbole_ext.experiment.cells import Job
from recbole_ext.experiment.checked import asked_of
from recbole_ext.experiment.conduct import run_experiment
from recbole_ext.experiment.groups import Group, groups_of
from recbole_ext.experiment.names import CELLS
from recbole_ext.experiment.plan import Entry, Experiment
from recbole_ext.records import RECORD
from recbole_ext.report.formats import duration
from recbole_ext.wording import several

SHARED = 0.5  # of a stage's time, which is shared out
CAUTION = 1.5  # a trial may take so many times as long as the one that was timed
AGAIN = 5.0  # seconds after which an interruption that nobody heeded is tried again
SOON = 0.1  # the same of one that came while a module was imported


@dataclass
class Chosen:
    """How it went.

    finished: models that validation has a score of, in the experiment's order, each with what of the search it had.
    failed: labels and why. late: labels of those that the time did not suffice for. unsearched: labels of those that
    had one setting alone, with the seconds that the rest of their search is likely to take. kept: seconds that the
    seeds beside the first one are likely to take, which no search gets.
    """

    finished: list[Entry] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)
    unsearched: dict[str, float] = field(default_factory=dict)
    kept: float = 0.0


def searched_in_time(
    experiment: Experiment, seconds: float, folder: Path, spent: Callable[[float], None]
) -> Chosen:
    """Search and train the models of an experiment on validation, for about so long.

    What is finished already takes no time and is not done again.

    Args:
        seconds: what is left of the time; with 0 only what is finished already is found.
        folder: of what each has chosen, a folder a model.
        spent: called with the seconds that each try of a model has taken, an interrupted one too.

    Raises UsageError, before anything runs, as `run_experiment` does, and KeyboardInterrupt where somebody else than
    the clock stops it.
    """
    groups_of(experiment)  # every setting is checked before the first model runs
    end = time.monotonic() + seconds
    one_seed = replace(experiment, seeds=experiment.seeds and experiment.seeds[:1])
    whole = {entry.label: _with_search(experiment, entry) for entry in experiment.models}
    first = {label: _with_first_values(experiment, entry) for label, entry in whole.items()}
    searched = {label for label, entry in whole.items() if _is_chosen(_alone(one_seed, entry, folder))}
    searched |= {label for label in whole if first[label] == whole[label]}  # there is nothing more to search

    def reached(label: str) -> Entry:
        return whole[label] if label in searched else first[label]

    found = chosen_in_time(of_models(one_seed, [reached(label) for label in whole]), seconds, folder, spent)
    done = [entry.label for entry in found.finished]
    rest = _rest_of_search(one_seed, whole, first, [label for label in done if label not in searched], folder)
    seeds = found.kept = _other_seeds(experiment, one_seed, found.finished, folder)
    if rest and not found.late and sum(rest.values()) + seeds <= end - time.monotonic():
        print("Every model has a score; now the rest of the search.", flush=True)
        now = of_models(one_seed, [whole[label] for label in rest])
        searched |= {
            entry.label
            for entry in chosen_in_time(now, end - time.monotonic() - seeds, folder, spent).finished
        }
    if len(experiment.seeds or ()) > 1:
        with_seeds = of_models(experiment, [reached(label) for label in done])
        told = chosen_in_time(with_seeds, max(end - time.monotonic(), 0.0), folder, spent)
        found.failed |= told.failed
        found.late += told.late
        done = [entry.label for entry in told.finished]
    found.finished = [reached(label) for label in done]
    found.unsearched = {
        label: seconds for label, seconds in rest.items() if label not in searched and label in done
    }
    return found


def _with_search(experiment: Experiment, entry: Entry) -> Entry:
    """The model with what it has a knob for of the experiment's search as its own."""
    return replace(entry, search=asked_of(experiment, experiment.datasets[0], entry).space)


def _with_first_values(experiment: Experiment, entry: Entry) -> Entry:
    """The model with the first value of each key of its search; a search that draws its trials has none, and stays."""
    if experiment.sampling.sampled:
        return entry
    search = {key: replace(knob, choices=knob.choices[:1]) for key, knob in (entry.search or {}).items()}
    return replace(entry, search=search)


def _seconds(alone: Experiment) -> float:
    """What the trial took that is the best so far, or without a search the run on the first seed."""
    (group,) = groups_of(alone)
    best = group.search.best() if group.search else None
    record = cells.read_record(cells.choosing_folder(group.cells[0]) if best is None else best.folder)
    known = (record or {}).get("seconds") or {}
    return float(known.get("prepare", 0.0)) + float(known.get("train", 0.0))


def _rest_of_search(
    experiment: Experiment,
    whole: Mapping[str, Entry],
    first: Mapping[str, Entry],
    labels: list[str],
    folder: Path,
) -> dict[str, float]:
    """Seconds by label that the other trials are likely to take, and once more the best run: it may be the first trial,
    whose checkpoint went to what was chosen then."""
    found = {}
    for label in labels:
        left = _runs_left(_alone(experiment, whole[label], folder))
        found[label] = CAUTION * (left + 1) * _seconds(_alone(experiment, first[label], folder))
    return found


def _runs_left(alone: Experiment) -> int:
    """Trials of a model's search that are left."""
    (group,) = groups_of(alone)
    return len(group.search.begin(wanted=True))


def _other_seeds(experiment: Experiment, one_seed: Experiment, entries: list[Entry], folder: Path) -> float:
    """Seconds that the seeds beside the first one are likely to take."""
    others = max(len(experiment.seeds or ()) - 1, 0)
    return (
        CAUTION * others * sum(_seconds(_alone(one_seed, entry, folder)) for entry in entries)
        if others
        else 0.0
    )


def chosen_in_time(
    experiment: Experiment, seconds: float, folder: Path, spent: Callable[[float], None]
) -> Chosen:
    """One stage: the models with the search and the seeds that they have here, wholly or not at all.

    Arguments and errors as of `searched_in_time`.
    """
    began = time.monotonic()
    end, shared = began + seconds, began + SHARED * seconds
    found = Chosen()
    waiting = []
    for entry in experiment.models:
        if _is_chosen(_alone(experiment, entry, folder)):
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
    return all(_was_chosen(group, job) for group in groups_of(alone) for job in group.cells)


def _was_chosen(group: Group, job: Job) -> bool:
    """Whether a cell has its validation score; of a refit only the run has one that found its number of epochs."""
    if cells.record_of(job) is not None:
        return not cells.harmed(job)
    begun = cells.same(cells.read_json(job.folder / cells.IDENTITY), job.identity)
    return job.refit and begun and cells.read_record(cells.choosing_folder(group.chosen(job))) is not None


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
    late, over, put_off = threading.Event(), threading.Event(), threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> Any:
        if late.is_set():
            if _imports(frame):
                put_off.set()
            elif not over.is_set():
                raise KeyboardInterrupt
        elif callable(before):
            return before(number, frame)
        elif before is not signal.SIG_IGN:
            raise KeyboardInterrupt

    def watch() -> None:
        due = time.monotonic() + max(seconds, 0.0)
        while not over.wait(max(due - time.monotonic(), 0.0) if not late.is_set() else SOON):
            if not late.is_set() or put_off.is_set() or time.monotonic() >= due:
                late.set()
                put_off.clear()
                due = time.monotonic() + AGAIN
                _thread.interrupt_main()

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
        time.sleep(0)  # an interruption that came with the end is `handle`'s, which does nothing any more
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported: stopped there, half of it would stay, for all that comes after."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
