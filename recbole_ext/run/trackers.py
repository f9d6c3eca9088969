"""How a tracker is told of a run, one class each; what it is told, and when, stands in tracking.py.

Another one is a class here, in TRACKERS, and its name in settings/place.py. Its package is imported when a run begins
that asks for it. Whatever it raises is caught by who calls it.
"""

from __future__ import annotations

import abc
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from recbole_ext.errors import UsageError, needs

CARD = "model_card.md"
FINISHED, FAILED, STOPPED, PRUNED = "finished", "failed", "stopped", "pruned"


@dataclass(frozen=True)
class Wanted:
    """Who is to be told of a run. trackers: their names. project: at Weights & Biases. as_recbole: metrics there have
    the names that RecBole's own `log_wandb` gives them."""

    trackers: tuple[str, ...] = ()
    project: str | None = None
    as_recbole: bool = False


@dataclass(frozen=True)
class About:
    """What a tracker is told of a run when it begins.

    place: the experiment's name, of a single run its data set's. settings: as in record.json. tags: commit, data set,
    model, seed, experiment, stage; those that are not known are left out. alone: no cell of an experiment.
    """

    name: str
    place: str
    settings: Mapping[str, Any]
    tags: Mapping[str, str]
    alone: bool


def metric_name(part: str, name: str) -> str:
    """A metric's name at every tracker: `valid/ndcg_at_10` for `NDCG@10` on validation, as MLflow takes no @.

    part: train, valid, best_valid, test or seconds; name: as in record.json.
    """
    return f"{part}/{re.sub(r'[^a-z0-9_. -]', '_', name.lower().replace('@', '_at_'))}"


def reason(error: BaseException) -> str:
    """One line of what an error says; of one about a connection, what the system says of it."""
    cause = error
    while (below := cause.__cause__ or cause.__context__) is not None:
        cause = below
    said = str(cause if isinstance(cause, OSError) else error)
    text = next((line.strip() for line in said.splitlines() if line.strip()), type(error).__name__)
    return text if len(text) <= 200 else f"{text[:197]}..."


class Tracker(abc.ABC):
    """A run at a tracker, begun when it is made, or gone on with where `known` is the id that it had.

    id: what the tracker calls it. A `known` run that is not there any more is begun anew, under another id.
    """

    package: ClassVar[str]
    id: str

    @abc.abstractmethod
    def __init__(self, about: About, asked: Wanted, known: str | None): ...

    @classmethod
    @abc.abstractmethod
    def check(cls, asked: Wanted, place: str) -> None:
        """Raise where no run could be begun now; place: see About."""

    @abc.abstractmethod
    def log(self, part: str, values: Mapping[str, float], epoch: int) -> None:
        """Tell metrics, see `metric_name`, of an epoch from 0; those of the end are told with the last one."""

    @abc.abstractmethod
    def keep(self, card: Path) -> None:
        """Keep the model card."""

    @abc.abstractmethod
    def end(self, how: str, why: str) -> None:
        """Close the run; how, why: see Tracked.end."""


class MLflow(Tracker):
    """MLflow (https://mlflow.org), by its client, so that a run of the user's own stays the active one.

    Runs lie where MLFLOW_TRACKING_URI says, else where MLflow itself decides; in the experiment that
    MLFLOW_EXPERIMENT_ID or MLFLOW_EXPERIMENT_NAME names, else in one called as `About.place`. Within an active run they
    are its children.
    """

    package = "mlflow"
    _STATUS: ClassVar = {FINISHED: "FINISHED", FAILED: "FAILED"}  # all else: KILLED
    _AT_ONCE = 100  # parameters that a server takes in one call

    def __init__(self, about: About, asked: Wanted, known: str | None):
        mlflow = needs("mlflow", "track: mlflow")
        with _hurried():
            self._client = mlflow.MlflowClient()
            if known is not None and self._is_there(known):
                self.id = known
                self._client.update_run(known, status="RUNNING")
                return
            active = mlflow.active_run()
            parent = {"mlflow.parentRunId": active.info.run_id} if active else {}
            commit = about.tags.get("commit")
            source = {"mlflow.source.git.commit": commit} if commit else {}
            tags = {**about.tags, **source, **parent}
            place = active.info.experiment_id if active else _mlflow_experiment(self._client, about.place)
            run = self._client.create_run(place, run_name=about.name, tags=tags)
            self.id = run.info.run_id
            params = [mlflow.entities.Param(key, value) for key, value in _flat(about.settings)]
            for start in range(0, len(params), self._AT_ONCE):
                self._client.log_batch(self.id, params=params[start : start + self._AT_ONCE])

    def _is_there(self, known: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(known).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    @classmethod
    def check(cls, asked: Wanted, place: str) -> None:
        """Ask for the experiment, which makes a local store too, before several processes would at once."""
        mlflow = needs("mlflow", "track: mlflow")
        try:
            with _hurried():
                _mlflow_experiment(mlflow.MlflowClient(), place)
        except Exception as error:  # of requests, of a database, of MLflow
            raise UsageError(
                f"MLflow does not answer at {mlflow.get_tracking_uri()} ({reason(error)}): start its server, set "
                "MLFLOW_TRACKING_URI, or leave track out"
            ) from error

    def log(self, part: str, values: Mapping[str, float], epoch: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(metric_name(part, name), float(value), now, epoch) for name, value in values.items()
        ]
        with _hurried():
            self._client.log_batch(self.id, metrics=metrics)

    def keep(self, card: Path) -> None:
        with _hurried():
            self._client.log_text(self.id, card.read_text(encoding="utf-8"), CARD)

    def end(self, how: str, why: str) -> None:
        with _hurried():
            self._client.set_tag(self.id, "ended", f"{how}: {why}" if why else how)
            self._client.set_terminated(self.id, self._STATUS.get(how, "KILLED"))


def _mlflow_experiment(client: Any, place: str) -> str:
    """The id of the experiment that the environment names, or of the one called `place`, which is made."""
    from mlflow.exceptions import MlflowException

    if known := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return str(client.get_experiment(known).experiment_id)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or place
    if (found := client.get_experiment_by_name(name)) is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:  # another process was first
        if (found := client.get_experiment_by_name(name)) is None:
            raise
        return str(found.experiment_id)


@contextmanager
def _hurried() -> Iterator[None]:
    """Within the block MLflow gives a server up after a minute, and not after many, where nobody says how long."""
    ours = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
    ours = {name: value for name, value in ours.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Settings as MLflow's parameters, name and text; of mappings each value, as `eval_args.split.session_time`."""
    for key, value in settings.items():
        name = f"{above}{re.sub(r'[^0-9A-Za-z_. /:-]', '_', str(key))}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, str(value)


class WandB(Tracker):
    """Weights & Biases (https://wandb.ai), online or by WANDB_MODE=offline, where runs lie in ./wandb.

    In the project `wandb_project`, grouped by `About.place`. Where the process has a run already, as in a sweep, a
    single run is told there, and leaves it open; a cell has one of its own whatever is open.
    """

    package = "wandb"

    def __init__(self, about: About, asked: Wanted, known: str | None):
        wandb = needs("wandb", "track: wandb")
        self._as_recbole = asked.as_recbole
        self._is_ours = wandb.run is None or not about.alone
        settings = {**about.settings, **{f"run.{key}": value for key, value in about.tags.items()}}
        if self._is_ours:
            quiet = {} if about.alone else {"settings": wandb.Settings(silent=True, console="off")}
            self._run = wandb.init(
                project=asked.project,
                name=about.name,
                group=about.place,
                job_type=about.tags["stage"],
                tags=[about.tags[key][:64] for key in ("dataset", "model")],
                config=settings,
                allow_val_change=True,
                reinit="create_new",
                **({"id": known, "resume": "allow"} if known else {}),
                **quiet,
            )
        else:
            self._run = wandb.run
            self._run.config.update(settings, allow_val_change=True)
        self.id = str(self._run.id)
        if self._as_recbole:
            for part in ("train", "valid"):
                self._run.define_metric(f"{part}/*", step_metric=f"{part}_step")
        else:
            self._run.define_metric("epoch", hidden=True)
            for part in ("train", "valid"):
                self._run.define_metric(f"{part}/*", step_metric="epoch")

    @classmethod
    def check(cls, asked: Wanted, place: str) -> None:
        """Ask for the account, where runs are sent to one; nothing is sent yet."""
        wandb = needs("wandb", "track: wandb")
        try:
            wandb.login()
        except Exception as error:
            raise UsageError(
                f"Weights & Biases knows no account here ({reason(error)}): call wandb login, set WANDB_MODE=offline, "
                "or leave track out"
            ) from error

    def log(self, part: str, values: Mapping[str, float], epoch: int) -> None:
        named = {self._name(part, name): float(value) for name, value in values.items()}
        if part not in ("train", "valid"):  # one value a run
            self._run.summary.update(named)
        elif self._as_recbole:
            self._run.log(
                {**named, f"{part}_step": epoch, **({"train/epoch": epoch} if part == "train" else {})}
            )
        else:
            self._run.log({**named, "epoch": epoch})

    def _name(self, part: str, name: str) -> str:
        if not self._as_recbole:
            return metric_name(part, name)
        if part == "train":
            return f"train/train_{name}"
        return f"{'eval' if part == 'test' else part}/{name.lower()}"

    def keep(self, card: Path) -> None:
        here = Path(self._run.dir, CARD)  # where it lies is not for wandb to link to: a run may be moved
        shutil.copyfile(card, here)
        self._run.save(str(here), base_path=self._run.dir, policy="now")

    def end(self, how: str, why: str) -> None:
        if why:
            self._run.summary["ended"] = f"{how}: {why}"
        if self._is_ours:
            self._run.finish(exit_code=1 if how in (FAILED, STOPPED) else 0)


TRACKERS: dict[str, type[Tracker]] = {"mlflow": MLflow, "wandb": WandB}
