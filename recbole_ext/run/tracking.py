"""A run told to MLflow or Weights & Biases while it trains (`track`): settings, metrics by epoch and of the test part.

One tracked run a trained run, so one a cell of an experiment, whichever process does it. Here stands what is told, and
when; how a tracker is told stands in trackers.py, where another one is one class. Nothing of a tracker is imported
where `track` does not name it. One that fails is told nothing more of that run, and the run goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recbole_ext.errors import Ended, UsageError, needs
from recbole_ext.files import write_text
from recbole_ext.run.model_folder import CARD
from recbole_ext.run.model_place import FOLDER
from recbole_ext.run.trackers import (
    FAILED,
    FINISHED,
    PRUNED,
    STOPPED,
    TRACKERS,
    About,
    Tracker,
    Wanted,
    reason,
)

if TYPE_CHECKING:
    from recbole_ext.run.record import Run

FILE = "tracked.json"  # in a cell's folder: what trackers call the run, and what they know of it


@dataclass(frozen=True)
class Called:
    """How an experiment calls a run: its line there, the experiment's name, and what the run is for.

    stage: cell; search, of a trial; epochs, of the run that finds a refitted cell's number of epochs.
    """

    name: str
    experiment: str
    stage: str


def wanted(config: Any) -> Wanted:
    """Who is to be told of a run of this configuration."""
    named = tuple(config["track"] or ())
    old = bool(config["log_wandb"]) and "wandb" not in named
    return Wanted((*named, "wandb") if old else named, config["wandb_project"], old)


def check_installed(config: Any) -> None:
    """UsageError, saying what to install, where a tracker's package is not there."""
    asked = wanted(config)
    for name in asked.trackers:
        needs(
            TRACKERS[name].package, "log_wandb" if asked.as_recbole and name == "wandb" else f"track: {name}"
        )


def check_reached(asked: Wanted, place: str) -> None:
    """UsageError where a tracker does not answer: before anything runs. place: see About."""
    for name in asked.trackers:
        try:
            TRACKERS[name].check(asked, place)
        except Exception as error:  # a server, a disk or an account can fail in any way
            raise _unreached(name, error) from error


def _unreached(name: str, error: Exception) -> UsageError:
    if isinstance(error, UsageError):
        return error
    return UsageError(f"{name} cannot be told of the run ({reason(error)}): mend that, or leave track out")


@contextmanager
def tracked(run: Run, called: Called | None) -> Iterator[None]:
    """Within the block the run is told to the trackers that its configuration names.

    How the block ends is how the tracked run does. Raises UsageError where a tracker does not answer at the start of a
    single run; a cell goes on without it, as its experiment has asked before.
    """
    asked = wanted(run.config)
    if not asked.trackers:
        yield
        return
    run.config["log_wandb"] = False  # RecBole's trainer would begin a run of its own
    if not run.is_cell:
        check_reached(asked, str(run.config["dataset"]))
    telling = Tracked(run, asked, called)
    run.listeners.append(telling.epochs)
    try:
        yield
    except BaseException as error:
        telling.end(*_how(error))
        raise
    missing = run.record.get("not_written")
    telling.tell_end()
    telling.end(*((FAILED, missing[0]) if missing else (FINISHED, "")))


def _how(error: BaseException) -> tuple[str, str]:
    """How a run has ended that raised this, and what is to be said of it."""
    if isinstance(error, Ended):
        return PRUNED, reason(error).removeprefix("pruned ")
    if isinstance(error, Exception):
        return FAILED, reason(error)
    return STOPPED, "interrupted"


class Tracked:
    """The run under way as its trackers know it.

    A cell that was interrupted goes on in the run that it had there, and no epoch is told twice; what a checkpoint of
    another folder brings is told from the first epoch on. Raises UsageError as `tracked` does.
    """

    def __init__(self, run: Run, asked: Wanted, called: Called | None):
        self._run = run
        self._ids: dict[str, str] = {}
        self._told: dict[str, dict[str, set[int]]] = {}  # by tracker, by part: the epochs that it knows
        self._open: dict[str, Tracker] = {}
        self._about = _about(run, called)
        self._read()
        for name in asked.trackers:
            known = self._ids.get(name)
            try:
                tracker = TRACKERS[name](self._about, asked, known)
            except Exception as error:
                if not run.is_cell:
                    refused = _unreached(name, error)
                    self.end(FAILED, str(refused))  # who was told before
                    raise refused from error
                self._lose(name, error)
                continue
            self._open[name] = tracker
            self._ids[name] = tracker.id
            if tracker.id != known:
                self._told[name] = {}
        run.record["tracked"] = {name: self._ids[name] for name in self._open}
        self._write()

    # --- what is told ----------------------------------------------------------------------------------

    def epochs(self, trainer: Any) -> None:
        """Tell what is new in a trainer: losses and validation metrics by epoch, from 0.

        Of an epoch before a resume only its score is known.
        """
        scores = getattr(trainer, "valid_scores", {})
        values = getattr(trainer, "epoch_values", {})
        latest = getattr(trainer, "_last_valid", None)
        for epoch, loss in trainer.train_loss_dict.items():
            if loss is not None:
                numbers = {key: value for key, value in values.get(epoch, {}).items() if _is_number(value)}
                self._tell("train", {"loss": float(loss), **numbers}, epoch)
        for epoch, score in scores.items():
            result = {self._run.config["valid_metric"]: score}
            if latest is not None and epoch == max(scores) and float(latest[0]) == score:
                result = latest[1]
            self._tell("valid", result, epoch)
        self._write()

    def tell_end(self) -> None:
        """Tell what the record says at the end: best epoch, test metrics, seconds, and the model card."""
        record = self._run.record
        at = max((one["epoch"] for one in record.get("epochs", [])), default=0)
        best = dict(record.get("valid", {}))
        if record.get("best_epoch") is not None:
            best["epoch"] = record["best_epoch"]
        self._tell("best_valid", best, at)
        if "test" in record:
            self._tell("test", record["test"], at)
            self._tell("seconds", record["seconds"], at)
            card = self._run.folder / FOLDER / CARD
            if card.is_file():
                self._each(lambda name, tracker: tracker.keep(card))
        self._write()

    def end(self, how: str, why: str) -> None:
        """Close the tracked runs. how: FINISHED, FAILED, STOPPED or PRUNED; why: a line, where it did not finish."""
        self._each(lambda name, tracker: tracker.end(how, why))
        self._open.clear()

    def _tell(self, part: str, values: Mapping[str, float], epoch: int) -> None:
        def tell(name: str, tracker: Tracker) -> None:
            told = self._told[name].setdefault(part, set())
            if epoch not in told and values:
                tracker.log(part, values, epoch)
                told.add(epoch)

        self._each(tell)

    def _each(self, do: Callable[[str, Tracker], None]) -> None:
        """Do something with every tracker; one that fails is left alone from then on."""
        for name, tracker in list(self._open.items()):
            try:
                do(name, tracker)
            except Exception as error:
                del self._open[name]
                self._lose(name, error)

    def _lose(self, name: str, error: Exception) -> None:
        # not by the log: a grid shows errors alone
        said = f"{name} is told no more of {self._about.name}, which goes on ({reason(error)})"
        print(said, file=sys.stderr, flush=True)

    # --- what is known of it -----------------------------------------------------------------------------

    def _read(self) -> None:
        if not self._run.is_cell:
            return
        try:
            found = json.loads((self._run.folder / FILE).read_text(encoding="utf-8"))
            self._ids = {name: str(one["id"]) for name, one in found.items()}
            self._told = {
                name: {part: set(epochs) for part, epochs in one["told"].items()}
                for name, one in found.items()
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none there, or cut: begun anew
            self._ids, self._told = {}, {}

    def _write(self) -> None:
        if not self._run.is_cell:  # a single run goes on in another folder, under another name
            return
        told = {
            name: {"id": known, "told": {part: sorted(epochs) for part, epochs in self._told[name].items()}}
            for name, known in self._ids.items()
        }
        with suppress(OSError):  # a full disk: what goes on later is a tracked run of its own
            self._run.folder.mkdir(parents=True, exist_ok=True)
            write_text(self._run.folder / FILE, json.dumps(told) + "\n")


class Beside:
    """Stands where RecBole's trainer has its WandbLogger, which it calls after each epoch, validated or not."""

    def __init__(self, listeners: Sequence[Callable[[Any], None]], trainer: Any):
        self._listeners, self._trainer = listeners, trainer

    def log_metrics(self, metrics: Mapping[str, Any], head: str = "train", commit: bool = True) -> None:
        """Call the listeners when a loss is known; validation metrics follow when the trainer has noted them."""
        for listen in self._listeners if head == "train" else ():
            listen(self._trainer)

    def log_eval_metrics(self, metrics: Mapping[str, Any], head: str = "eval") -> None:
        """Nothing: the test metrics are told with the rest of the record."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _about(run: Run, called: Called | None) -> About:
    record = run.record
    model = str(record.get("label") or record["model"])
    tags = {
        "commit": record["commit"],
        "dataset": record["dataset"],
        "model": record["model"],
        "seed": record["seed"],
        "experiment": called and called.experiment,
        "stage": called.stage if called else "run",
    }
    return About(
        called.name if called else f"{record['dataset']} {model} seed {record['seed']}",
        called.experiment if called else str(record["dataset"]),
        record["config"],
        {key: str(value) for key, value in tags.items() if value is not None},
        not run.is_cell,
    )
