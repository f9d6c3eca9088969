"""An experiment within a time: its models one after the other, each searched wholly or left out by name.

A model may take its share of what time is left, and what it does not need goes to the others; those that were stopped
take what is left at the end, in order. To stop is what Ctrl-C does, so a later call goes on with them. The test parts
are not read here: whoever was finished in time is tested by an experiment of all of them.
"""

from __future__ import annotations

import _thread
import csv
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from recbole_ext.experiment.checked import Asked, asked_of
from recbole_ext.experiment.conduct import run_experiment
from recbole_ext.experiment.groups import groups_of
from recbole_ext.experiment.names import CELLS
from recbole_ext.experiment.plan import Entry, Experiment

ROUNDS = 2  # shares first, then what is left of them


@dataclass
class Chosen:
    """How it went. finished: models whose settings validation has chosen, in the experiment's order; failed: labels
    and why; late: labels of those that the time did not suffice for."""

    finished: list[Entry] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)


def chosen_in_time(experiment: Experiment, seconds: float, folder: Path) -> Chosen:
    """Search and train the models of an experiment of one data set on validation for about so long.

    folder: of what each has chosen. Raises UsageError, before anything runs, as `run_experiment` does, and
    KeyboardInterrupt where somebody else than the clock stops it.
    """
    groups_of(experiment)  # every setting is checked before the first model runs
    end = time.monotonic() + seconds
    found = Chosen()
    waiting = list(experiment.models)
    for turn in range(ROUNDS):
        late = []
        for place, entry in enumerate(waiting):
            left = end - time.monotonic()
            share = left / (len(waiting) - place) if turn + 1 < ROUNDS else left
            if left <= 0 or not _in_time(experiment, entry, share, folder / entry.folder):
                late.append(entry)
                continue
            reason = _failure(folder / entry.folder)
            if reason is None:
                found.finished.append(entry)
            else:
                found.failed[entry.label] = reason
        waiting = late
    order = [entry.label for entry in experiment.models]
    found.finished.sort(key=lambda entry: order.index(entry.label))
    found.late = [entry.label for entry in waiting]
    return found


def of_models(experiment: Experiment, entries: list[Entry]) -> Experiment:
    """The experiment of some of its models, without the settings that none of them reads."""
    asked = [asked_of(experiment, experiment.datasets[0], entry) for entry in entries]
    return replace(
        experiment,
        models=tuple(entries),
        settings=_read_by_any(experiment.settings, asked),
        overrides=_read_by_any(experiment.overrides, asked),
        search=_searched_by_any(experiment, asked),
        narrowed=True,
    )


def _read_by_any(settings: object, asked: list[Asked]) -> dict[str, object]:
    assert isinstance(settings, dict)
    return {key: value for key, value in settings.items() if not all(key in one.unread for one in asked)}


def _searched_by_any(experiment: Experiment, asked: list[Asked]) -> dict[str, list[object]]:
    return {
        key: list(values) for key, values in experiment.search.items() if any(key in one.space for one in asked)
    }


def _in_time(experiment: Experiment, entry: Entry, seconds: float, folder: Path) -> bool:
    """Whether the model was searched and trained in so many seconds; the test part is left alone."""
    alone = replace(of_models(experiment, [entry]), report=folder, test=False)
    finished = False
    with _stopped_after(seconds):
        run_experiment(alone)
        finished = True
    if not finished:
        print(f"{entry.label}: stopped after {seconds:.0f} s, its share of the time", file=sys.stderr)
    return finished


def _failure(folder: Path) -> str | None:
    """Why a cell of a finished call has failed; None where none has."""
    with (folder / CELLS).open(encoding="utf-8", newline="") as stream:
        return next((row["reason"] for row in csv.DictReader(stream) if row["status"] == "failed"), None)


@contextmanager
def _stopped_after(seconds: float) -> Iterator[None]:
    """Leave the block after so many seconds, in the main thread, as Ctrl-C would; whose own Ctrl-C is raised."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        _thread.interrupt_main()

    clock = threading.Timer(max(seconds, 0.0), stop)
    clock.daemon = True
    clock.start()
    try:
        try:
            yield
        finally:
            clock.cancel()
            clock.join()
            time.sleep(0)  # an interruption that came with the end of the block is raised here
    except KeyboardInterrupt:
        if not late.is_set():
            raise
