"""Runs of one model on a small log: what is fitted, what the evaluation was given, and the same in a fresh process."""

from __future__ import annotations

import atexit
import contextlib
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from recbole_ext.bridge.keys import unread_keys
from recbole_ext.run.run import build_config, configure
from recbole_ext.segments import holder_of
from recbole_ext.testing.toys import LONGEST, Session, write_log

LOG = "toy"  # name of the data set of a run
SETTINGS: dict[str, Any] = {
    "eval_args": {"split": {"given": {"valid_share": 0}}},
    "MAX_ITEM_LIST_LENGTH": LONGEST,
    "epochs": 20,
    "eval_step": 10,
    "stopping_step": 1000,
    "train_batch_size": 32,
    "eval_batch_size": 16,  # several batches, of prefixes of several lengths
    "learning_rate": 0.01,
    "metrics": ["Hit", "NDCG"],
    "topk": [1, 5],
    "valid_metric": "NDCG@5",
    "metric_decimal_place": 9,
    "use_gpu": False,
    "show_progress": False,
    "state": "ERROR",
}


@dataclass
class Ranked:
    """What an evaluation was given, its rows in the order of their events.

    scores: (R, n_items) float, of all items. target: (R,) items. rank: (R,) as the record has it. row: (R,) place of
    each target's event. batches: the batches as they came, (scores as the model hands them over, rows, targets).
    metrics: by name.
    """

    scores: np.ndarray
    target: np.ndarray
    rank: np.ndarray
    row: np.ndarray
    batches: list[tuple[Any, Any, torch.Tensor]]
    metrics: dict[str, float]


@dataclass
class Fitted:
    """A run in this process: its config, data, model, trainer, its checkpoint, and its test part as it was ranked."""

    config: Any
    train: Any
    valid: Any
    test: Any
    model: Any
    trainer: Any
    checkpoint: str
    ranked: Ranked


def fit(
    model: str,
    folder: Path,
    log: list[Session],
    settings: Mapping[str, Any] | None = None,
    resume_from: str | None = None,
    common: Mapping[str, Any] | None = None,
) -> Fitted:
    """Train and test a model on a log as `recbole_ext.run` does, less the record; files lie in `folder`.

    settings: what the model is given. common: what it is given too where it reads it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_log(folder / "data", LOG, log)
    places = {"data_path": str(folder / "data"), "checkpoint_dir": str(folder / "saved")}
    config = configure(
        model, LOG, readable(model, {**places, **(settings or {})}, {**SETTINGS, **(common or {})})
    )
    import recbole.data
    from recbole.utils import get_trainer, init_seed

    from recbole_ext.bridge.needs import made
    from recbole_ext.run import checkpoints

    with contextlib.chdir(folder):  # RecBole's trainer writes beside
        init_seed(config["seed"], config["reproducibility"])
        loaders = recbole.data.data_preparation(config, recbole.data.create_dataset(config))
        init_seed(config["seed"], config["reproducibility"])
        network = made(config, loaders[0]._dataset)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, network)
        trainer.eval_collector = _keeper(config)
        if resume_from is not None:
            checkpoints.resume(trainer, resume_from)
        checkpoints.fit(trainer, loaders[0], loaders[1], saved=True, verbose=False)
        ranked = rank(trainer, loaders[2], load_best_model=True)
    train, valid, test = loaders
    return Fitted(config, train, valid, test, network, trainer, str(trainer.saved_model_file), ranked)


def readable(model: str, settings: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """The settings over the common ones that this model reads: epochs say nothing to one that counts."""
    together = {**common, **settings}
    unread = unread_keys(build_config(model, LOG, together))
    return {key: value for key, value in together.items() if key not in unread or key not in common}


def _keeper(config: Any) -> Any:
    from recbole_ext.trainer.collector import RankCollector

    class ScoreKeeper(RankCollector):
        """RankCollector that also keeps what it was given."""

        def __init__(self, config: Any):
            super().__init__(config)
            self.given: list[tuple[Any, Any, torch.Tensor]] = []

        def eval_batch_collect(
            self, scores_tensor: Any, interaction: Any, positive_u: Any, positive_i: Any
        ) -> None:
            if self.keep:
                self.given.append((scores_tensor, interaction, positive_i))
            super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)

    return ScoreKeeper(config)


def rank(trainer: Any, loader: Any, load_best_model: bool = False) -> Ranked:
    """Evaluate, and keep all scores; the trainer's collector has to be that of `fit`."""
    collector = trainer.eval_collector
    collector.given = []
    collector.start()
    metrics = trainer.evaluate(loader, load_best_model=load_best_model, show_progress=False)
    kept = collector.targets()
    scores = torch.cat([dense(given) for given, _, _ in collector.given]).numpy()
    # drawn candidates follow the targets in a batch
    row = torch.cat([rows["event_index"][: len(given)] for given, rows, _ in collector.given]).numpy()
    order = np.argsort(row, kind="stable")
    return Ranked(scores[order], kept["item"], kept["rank"], row[order], collector.given, dict(metrics))


@torch.no_grad()
def dense(scores: Any) -> torch.Tensor:
    """(B, n_items) float32 scores of a batch, however the model hands them over."""
    whole: torch.Tensor = scores if isinstance(scores, torch.Tensor) else scores.dense()
    return whole.detach().cpu().float()


# --- the model folder ---------------------------------------------------------------------------------------


def recommender_of(run: Fitted, folder: Path) -> Any:
    """The run's model, written to a model folder and opened again."""
    from recbole_ext.recommend import load
    from recbole_ext.run.model_folder import write_model_folder

    record = dict.fromkeys(("dataset", "seed", "started", "commit", "split"))
    record |= {"model": run.config["model"], "versions": {}}
    data = run.train._dataset, run.test._dataset
    write_model_folder(folder, record, run.config, run.trainer, *data, card="# A model of the tests\n")
    return load(folder)


def prefixes(run: Fitted) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The test part's prefixes as sessions of now, called by the place of their target, each of a visitor of its own;
    and what else the log has of the same visitors, before and after."""
    data = run.test._dataset
    names, time = data.field2id_token[data.iid_field], data.event_time
    items = data.events[data.iid_field].numpy()
    user = data.events[run.config["LINK_USER_FIELD"]].numpy()
    session = holder_of(np.arange(len(items)), data.session_start)
    asked, past = [], []
    for target in run.ranked.row.tolist():
        own = range(int(data.session_start[session[target]]), target)
        asked += [(target, names[items[e]], time[e], target) for e in own] or [
            (target, None, time[target], target)
        ]
        others = np.flatnonzero((user == user[target]) & (user > 0) & (session != session[target]))
        past += [(target, session[e], names[items[e]], time[e]) for e in others]
    return (
        pd.DataFrame(asked, columns=["session", "item", "time", "user"]),
        pd.DataFrame(past, columns=["user", "session", "item", "time"]),
    )


# --- the same in a fresh process ----------------------------------------------------------------------------

_workers: list[subprocess.Popen[str]] = []


def rank_in_fresh_process(checkpoint: str, cls: type, folder: Path) -> dict[str, np.ndarray]:
    """`scores`, `rank`, `row` of `Ranked`, of a process that knows the checkpoint and nothing else of the run.

    cls: the model's class; where it is a user's, its file is loaded and it is registered there. The process is forked,
    where it can be, from one that has imported the package and done nothing, so that many models wait for one import.
    """
    out = folder / "fresh.npz"
    wanted = {
        "checkpoint": checkpoint,
        "out": str(out),
        "folder": str(folder),
        "class": cls.__name__,
        "module": cls.__module__,
        "file": None if _is_known(cls) else inspect.getfile(cls),
        "threads": torch.get_num_threads(),
    }
    worker = _worker()
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(json.dumps(wanted) + "\n")
    worker.stdin.flush()
    answer = json.loads(worker.stdout.readline() or '{"error": "the process ended"}')
    if answer["error"]:
        raise AssertionError(f"a fresh process cannot load the checkpoint:\n{answer['error']}")
    with np.load(out) as arrays:
        return dict(arrays)


def _is_known(cls: type) -> bool:
    return cls.__module__.split(".")[0] in ("recbole", "recbole_ext")


def _worker() -> subprocess.Popen[str]:
    if not _workers:
        words = [sys.executable, "-m", "recbole_ext.testing.fresh"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        _workers.append(
            subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        )
        atexit.register(_end, _workers[0])
    return _workers[0]


def _end(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.close()
    worker.wait(10)
