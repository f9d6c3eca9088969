"""A search's study: which trials there are, what is tried next, and when one ends early. All that knows Optuna.

Akiba et al., Optuna, KDD 2019, by ask and tell: the grid asks for a trial, the process that runs it reports its scores
and how it ended. Samplers: uniform; TPE (Bergstra et al. 2011, all knobs together, a running trial counted as a bad one
so that several at once differ); a Gaussian process. Pruners: the median rule; Hyperband (Li et al. 2018). What
differs: each trial is drawn with a seed of its own, made of the search's and its number, so that a continued search
draws what an uninterrupted one would have.
"""

from __future__ import annotations

import json
import os
import random
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_ext.errors import Ended, UsageError, needs
from recbole_ext.experiment.space import Knob, Space
from recbole_ext.records import best_epochs

FIRST_STEPS = 2  # epochs in which the median rule ends no trial
FEWEST = 8  # trials that say anything of what matters
MOST_DRAWN, MOST_FULL = 10, 5  # trials that are drawn at random first, and those that run to their end first


class Pruned(Ended):
    """Ends a trial's run after an epoch."""

    def __init__(self, epoch: int):
        super().__init__(f"pruned after epoch {epoch}")
        self.epoch = epoch


@dataclass(frozen=True)
class Way:
    """How a study goes on: sampler and pruner by name, seed, most epochs of a trial, and trials that are planned."""

    sampler: str
    pruner: str
    seed: int
    epochs: int
    trials: int | None


@dataclass(frozen=True)
class Place:
    """A trial of a study, as the process that runs it gets it."""

    storage: str
    study: str
    number: int
    way: Way


@dataclass(frozen=True)
class Tried:
    """A trial as its study knows it.

    state: running, complete, pruned, failed, or none of these for one that was given up before it began.
    score: the best on validation, of a pruned one until then. epochs: validated ones, the number of the last.
    """

    number: int
    state: str
    settings: dict[str, Any] | None
    score: float | None = None
    epochs: int | None = None
    seconds: float = 0.0
    folder: str = ""
    owner: str = ""
    reason: str = ""


class Study:
    """The study of one model's search on one data set, made where it is not there yet.

    storage: a database's URL, or the path of a journal file. Raises UsageError where it cannot be opened.
    """

    def __init__(self, storage: str, name: str, way: Way, lower_is_better: bool = False):
        optuna = _optuna(way.sampler)
        self.storage, self.name, self.way = storage, name, way
        self.lower_is_better = lower_is_better
        direction = "minimize" if lower_is_better else "maximize"
        try:
            self._store = _opened(storage)
            self._study = optuna.create_study(
                storage=self._store,
                study_name=name,
                direction=direction,
                sampler=optuna.samplers.RandomSampler(),
                pruner=_pruner(way),
                load_if_exists=True,
            )
        except UsageError:
            raise
        except Exception as error:  # a driver that is missing, a server that does not answer, a foreign file
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise UsageError(f"search_storage {storage} cannot be used: {said}") from error

    def place(self, number: int) -> Place:
        """What a process needs to run this trial."""
        return Place(self.storage, self.name, number, self.way)

    def trials(self) -> list[Tried]:
        """Every trial that was begun, in the order in which they were asked for."""
        states = _states()
        better = min if self.lower_is_better else max
        found = []
        for trial in self._study.get_trials(deepcopy=False):
            notes, steps = trial.user_attrs, trial.intermediate_values
            state = states.get(trial.state.name, "")
            score = trial.value if state == "complete" else better(steps.values(), default=None)
            found.append(
                Tried(
                    trial.number,
                    "" if notes.get("given up") else state,
                    json.loads(notes["settings"]) if "settings" in notes else None,
                    score,
                    notes.get("epochs", max(steps, default=None)),
                    float(notes.get("seconds", 0.0)),
                    notes.get("folder", ""),
                    notes.get("owner", ""),
                    notes.get("reason", ""),
                )
            )
        return found

    def ask(self, space: Space, fixed: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """The number and the settings of a new trial; fixed: settings that it is to have."""
        if fixed is not None:
            self._study.enqueue_trial({name: _told(space[name], value) for name, value in fixed.items()})
        trial = self._study.ask()
        self._study.sampler = _sampler(self.way, trial.number)  # draws when it is asked for the first value
        settings: dict[str, Any] = {}
        for name, knob in space.items():
            if knob.asked(settings):
                settings[name] = _drawn(trial, name, knob)
        trial.set_user_attr("settings", json.dumps(settings))
        return trial.number, settings

    def note(self, number: int, **notes: Any) -> None:
        """Keep facts of a running trial: folder, owner, epochs, seconds."""
        trial = self._id(number)
        for name, value in notes.items():
            self._store.set_trial_user_attr(trial, name, value)

    def report(self, number: int, epoch: int, score: float) -> bool:
        """Note the validation score after an epoch, counted from 1; whether the trial is to end now."""
        self._store.set_trial_intermediate_value(self._id(number), epoch, score)
        return bool(self._study.pruner.prune(self._study, self._store.get_trial(self._id(number))))

    def complete(self, number: int, score: float) -> None:
        """The trial has run to its end."""
        self._study.tell(number, score)

    def prune(self, number: int) -> None:
        """The trial has ended early."""
        self._study.tell(number, state=_state("PRUNED"))

    def fail(self, number: int, reason: str) -> None:
        """The trial has ended by an error."""
        self.note(number, reason=reason)
        self._study.tell(number, state=_state("FAIL"))

    def give_up(self, number: int) -> None:
        """The trial is none: it was never begun, or it is one that is known."""
        self.note(number, **{"given up": True})
        self._study.tell(number, state=_state("FAIL"))

    def importance(self) -> dict[str, float]:
        """Share of the scores' variance that each knob of every trial explains, by fANOVA (Hutter et al. 2014) over the
        trials that ran to their end; empty with fewer than FEWEST of these or with one knob."""
        optuna = needs("optuna", "a sampled search")
        whole = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
        if len(whole) < FEWEST or len({trial.value for trial in whole}) < 2:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.way.seed)
        try:
            found = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        except RuntimeError:  # no tree of its forest tells the scores apart
            return {}
        return {name: float(value) for name, value in found.items()} if len(found) > 1 else {}

    def _id(self, number: int) -> int:
        study = self._store.get_study_id_from_name(self.name)
        return int(self._store.get_trial_id_from_study_id_trial_number(study, number))


class Watch:
    """Reports the validation scores of a trial's run to its study, and ends the run by `Pruned` where that says so."""

    def __init__(self, place: Place):
        self.number = place.number
        self._study = Study(place.storage, place.study, place.way)
        before = next(one for one in self._study.trials() if one.number == place.number)
        self._before, self._began = before.seconds, time.monotonic()
        self.ended = before.state != "running"  # on a machine that was lost after it

    def after_epoch(self, epoch: int, score: float) -> None:
        """RecBole's end-of-epoch callback, of epochs counted from 0."""
        ends = self._study.report(self.number, epoch + 1, score)
        self._note_seconds()
        if ends and epoch + 1 < self._study.way.epochs:  # after the last one there is nothing to save
            raise Pruned(epoch + 1)

    def complete(self, record: Mapping[str, Any]) -> None:
        """Tell the study the best score of a run that came to its end."""
        self._note_seconds()
        self._study.note(self.number, epochs=best_epochs(record))
        self._study.complete(self.number, record["best_valid_score"])

    def prune(self) -> None:
        """Tell the study that the run has ended early."""
        self._study.prune(self.number)

    def _note_seconds(self) -> None:
        """Also those of earlier calls, which were interrupted."""
        self._study.note(self.number, seconds=self._before + time.monotonic() - self._began)


def this_owner(folder: Path) -> str:
    """Who runs trials here: a machine and the folder of an experiment, which one process at a time works on."""
    return f"{socket.gethostname()}:{os.path.abspath(folder)}"


def mend(journal: Path) -> None:
    """Cut what a full disk or a power cut has left of a journal's last line, which the next one would be added to, and
    remove the lock of a process that was killed.

    Only where no other process writes to it.
    """
    Path(f"{journal}.lock").unlink(missing_ok=True)
    content = journal.read_bytes() if journal.is_file() else b""
    if content and not content.endswith(b"\n"):
        os.truncate(journal, content.rfind(b"\n") + 1)


def check(way: Way) -> None:
    """Raise UsageError where a package is not installed that the study needs."""
    _optuna(way.sampler)


# --- Optuna's parts -----------------------------------------------------------------------------------------


def _optuna(sampler: str) -> Any:
    optuna = needs("optuna", "a search with a sampler or a pruner")
    if sampler == "gp":
        for package in ("torch", "scipy"):
            needs(package, "sampler: gp")
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # its lines are about its own calls
    return optuna


def _opened(storage: str) -> Any:
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    return RDBStorage(storage) if "://" in storage else JournalStorage(JournalFileBackend(storage))


def _sampler(way: Way, number: int) -> Any:
    import optuna

    seed = random.Random(f"{way.seed} {number}").getrandbits(31)
    first = _first(way.trials, MOST_DRAWN)
    if way.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=first)
    if way.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=first, warn_independent_sampling=False)
    return optuna.samplers.RandomSampler(seed=seed)


def _pruner(way: Way) -> Any:
    import optuna

    if way.pruner == "median":
        first = _first(way.trials, MOST_FULL)
        return optuna.pruners.MedianPruner(n_startup_trials=first, n_warmup_steps=FIRST_STEPS)
    if way.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=1, max_resource=max(1, way.epochs), reduction_factor=3
        )
    return optuna.pruners.NopPruner()


def _first(trials: int | None, most: int) -> int:
    """How many trials go before those that are learnt from: a quarter of a small search."""
    return most if trials is None else min(most, max(2, trials // 4))


def _drawn(trial: Any, name: str, knob: Knob) -> Any:
    if not knob.is_range:
        return json.loads(trial.suggest_categorical(name, _words(knob.choices)))
    if knob.kind is int:
        return trial.suggest_int(name, int(knob.low), int(knob.high), step=int(knob.step or 1), log=knob.log)
    return trial.suggest_float(name, knob.low, knob.high, step=knob.step, log=knob.log)


def _told(knob: Knob, value: Any) -> Any:
    return value if knob.is_range else json.dumps(value)


def _words(choices: Sequence[Any]) -> list[str]:
    """Choices as Optuna keeps them: it knows no lists and no mappings."""
    return [json.dumps(choice) for choice in choices]


def _state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]


def _states() -> dict[str, str]:
    return {"RUNNING": "running", "COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
