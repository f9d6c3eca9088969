"""Stand-ins for the packages of MLflow and Weights & Biases: their signatures, as far as ours calls them, in memory.

`tests/run/test_tracking.py` holds the signatures against the real packages where these are installed.
"""

from __future__ import annotations

import re
from types import ModuleType, SimpleNamespace

NAMES = re.compile(r"[\w\-. /:]+")  # of metrics, parameters and tags, by mlflow.utils.validation


class Broken(Exception):
    """What a tracker raises that does not answer."""


class MlflowException(Exception):
    """mlflow.exceptions.MlflowException."""

    def __init__(self, message, error_code="INTERNAL_ERROR"):
        super().__init__(message)
        self.error_code = error_code


class Metric:
    """mlflow.entities.Metric."""

    def __init__(self, key, value, timestamp, step):
        self.key, self.value, self.timestamp, self.step = key, value, timestamp, step


class Param:
    """mlflow.entities.Param."""

    def __init__(self, key, value):
        self.key, self.value = key, value


class MLflowStore:
    """What a server would hold: runs by id. answers: calls that it still answers."""

    def __init__(self):
        self.experiments: dict[str, str] = {}  # name to id
        self.runs: dict[str, SimpleNamespace] = {}
        self.answers = float("inf")
        self.active = None

    def by_name(self):
        return {run.name: run for run in self.runs.values()}

    def call(self):
        self.answers -= 1
        if self.answers < 0:
            raise Broken("Max retries exceeded\nand so on")

    def module(self):
        store = self

        class MlflowClient:
            def get_experiment(self, experiment_id):
                store.call()
                return SimpleNamespace(experiment_id=experiment_id)

            def get_experiment_by_name(self, name):
                store.call()
                known = store.experiments.get(name)
                return None if known is None else SimpleNamespace(experiment_id=known)

            def create_experiment(self, name, artifact_location=None, tags=None):
                store.call()
                return store.experiments.setdefault(name, str(len(store.experiments)))

            def create_run(self, experiment_id, start_time=None, tags=None, run_name=None):
                store.call()
                known = f"run{len(store.runs)}"
                store.runs[known] = SimpleNamespace(
                    name=run_name, experiment=experiment_id, tags=dict(tags), status=["RUNNING"]
                )
                vars(store.runs[known]).update(params={}, metrics=[], texts={})
                return SimpleNamespace(info=SimpleNamespace(run_id=known))

            def get_run(self, run_id):
                store.call()
                if run_id not in store.runs:
                    raise MlflowException("it is not there", "RESOURCE_DOES_NOT_EXIST")
                return SimpleNamespace(info=SimpleNamespace(lifecycle_stage="active"))

            def update_run(self, run_id, status=None, name=None):
                store.call()
                store.runs[run_id].status.append(status)

            def log_batch(self, run_id, metrics=(), params=(), tags=(), synchronous=None):
                store.call()
                run = store.runs[run_id]
                assert len(params) <= 100 and len(metrics) <= 1000
                for one in params:
                    assert NAMES.fullmatch(one.key) and type(one.value) is str
                    assert run.params.setdefault(one.key, one.value) == one.value  # they cannot change
                for one in metrics:
                    assert NAMES.fullmatch(one.key) and type(one.value) is float and one.timestamp > 1e12
                    run.metrics.append((one.key, one.step, one.value))

            def log_text(self, run_id, text, artifact_file):
                store.call()
                store.runs[run_id].texts[artifact_file] = text

            def set_tag(self, run_id, key, value, synchronous=None):
                store.call()
                assert NAMES.fullmatch(key)
                store.runs[run_id].tags[key] = value

            def set_terminated(self, run_id, status=None, end_time=None):
                store.call()
                store.runs[run_id].status.append(status)

        module = ModuleType("mlflow")
        module.MlflowClient = MlflowClient
        module.active_run = lambda: store.active
        module.get_tracking_uri = lambda: "http://nobody:5000"
        module.entities = ModuleType("mlflow.entities")
        module.entities.Metric, module.entities.Param = Metric, Param
        module.exceptions = ModuleType("mlflow.exceptions")
        module.exceptions.MlflowException = MlflowException
        return {"mlflow": module, "mlflow.entities": module.entities, "mlflow.exceptions": module.exceptions}


class WandbRun:
    """wandb.Run."""

    def __init__(self, store, folder, **given):
        self.store, self.given, self.dir = store, given, str(folder)
        self.id = given.get("id") or f"run{len(store.runs)}"
        self.config, self.summary = dict(given.get("config") or {}), {}
        self.history, self.metrics, self.saved, self.ended = [], {}, [], None

    def define_metric(
        self, name, step_metric=None, step_sync=None, hidden=None, summary=None, overwrite=None
    ):
        self.metrics[name] = step_metric

    def log(self, data, step=None, commit=None):
        assert step is None
        self.history.append(data)

    def save(self, glob_str, base_path=None, policy="live", glob=True):
        self.saved.append(glob_str)

    def finish(self, exit_code=None):
        self.ended = exit_code
        if self.store.wandb.run is self:
            self.store.wandb.run = None


class Config(dict):
    """wandb.Config, which takes a flag."""

    def update(self, values, allow_val_change=None):
        assert allow_val_change
        super().update(values)


class WandbStore:
    """What Weights & Biases would hold: runs in order. account: whether there is one."""

    def __init__(self, folder):
        self.folder, self.runs, self.account = folder, [], True

    def module(self):
        def init(
            project=None,
            name=None,
            group=None,
            job_type=None,
            tags=None,
            config=None,
            allow_val_change=None,
            reinit=None,
            id=None,
            resume=None,
            settings=None,
        ):
            given = {key: value for key, value in locals().items() if key != "self"}
            run = WandbRun(self, self.folder, **given)
            self.runs.append(run)
            return run

        def login():
            if not self.account:
                raise Broken("No API key configured")
            return True

        self.wandb = ModuleType("wandb")
        self.wandb.init, self.wandb.login, self.wandb.run = init, login, None
        self.wandb.Settings = lambda silent=None, console=None: SimpleNamespace(silent=silent)
        return {"wandb": self.wandb}
