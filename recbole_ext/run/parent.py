"""The run that another one goes on from: its folder read, and what the new run takes over from it.

exact: the model learns in one pass, so the new run is what a fit on its log is. warm: training goes on from the
parent's weights, optimizer and moving average.
"""

from __future__ import annotations

from collections.abc import Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np

from recbole_ext import records
from recbole_ext.bridge.choice import dataset_class, path_of
from recbole_ext.bridge.description import SESSION_VECTOR_MODELS
from recbole_ext.bridge.warm import go_on
from recbole_ext.data.replay import Replay
from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.errors import UsageError
from recbole_ext.files import whole_zip
from recbole_ext.settings.run_settings import settings_of
from recbole_ext.settings.training import Training

EXACT, WARM = "exact", "warm"
BLEND_STANDS = "a Blend is made of finished runs: update those, and blend them anew"


def read_parent(folder: Path) -> dict[str, Any]:
    """record.json of a finished run; UsageError where the folder holds none."""
    records.check_finished_run(folder)
    record = records.read(folder)
    if not isinstance(record.get("config"), dict) or "test" not in record:
        raise UsageError(f"{folder} is of a run that is not finished: finish it, or name another one")
    return record


def kind_of(config: Any) -> str:
    """EXACT or WARM; UsageError where a run of this model cannot go on with other days."""
    name = config["model"]
    encoder = getattr(config.model_class, "encoder_name", name)
    if encoder in SESSION_VECTOR_MODELS:
        raise UsageError(
            f"{name} cannot go on: {encoder} learns a vector for each session of the log, so train it anew"
        )
    cls = dataset_class(config)
    if cls is None or not issubclass(cls, SessionDataset):
        raise UsageError(f"{name} cannot go on, as it runs on RecBole's own data set here: train it anew")
    if name == "Blend":
        raise UsageError(BLEND_STANDS)
    return EXACT if path_of(config).one_pass else WARM


def begin(trainer: Any, loader: Any, folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Give a fresh trainer what the run in `folder` had learnt; what the new record says of its parent.

    loader: of the training part, which is told what of it trains (`replay_share`). Raises UsageError where the two do
    not fit together.
    """
    kind = kind_of(trainer.config)
    found = {
        "folder": str(folder),
        "started": record["started"],
        "commit": record.get("commit"),
        "kind": kind,
    }
    if kind == EXACT:
        return found
    file = record.get("checkpoint")
    if not file or not Path(file).is_file():
        raise UsageError(
            f"{folder} has no checkpoint to go on from, as {file or 'none'} does not exist: put it there, or train anew"
        )
    counts = go_on(trainer, str(file), loader._dataset, _trained(folder))
    counts |= _draw(loader, settings_of(trainer.config, Training), record)
    getLogger().info(f"goes on from {file}: {counts}")
    return {**found, "checkpoint": str(file), **counts}


def _draw(loader: Any, settings: Training, record: Mapping[str, Any]) -> dict[str, int]:
    """Have the loader give all new sessions and a share of the parent's; counts for the record."""
    share, known_to = settings.replay_share, record.get("trained_to")
    if share is None or share == 1:
        return {}
    if known_to is None:
        raise UsageError(
            f"replay_share is {share}, but the run that goes on was made by an older version and does not say which "
            "sessions it knew: write replay_share: 1 this time"
        )
    replay = Replay(loader._dataset, float(known_to), share, settings.seed)
    if not len(replay.new) and not replay.again:
        raise UsageError(
            f"replay_share is {share}, and there is no new session to train on: write a larger one"
        )
    loader.keep(replay)
    return {"new_sessions": len(replay.new), "sessions_again": replay.again, "old_sessions": len(replay.old)}


def _trained(folder: Path) -> np.ndarray | None:
    """Names of the items that the run in `folder` had training events of; None where its ranks do not say.

    Raises UsageError where they were cut or changed.
    """
    file = folder / "ranks.npz"
    if not file.is_file():
        return None
    if not whole_zip(file):
        raise UsageError(f"{file} was cut or changed since it was written: put back a copy, or train anew")
    with np.load(file, allow_pickle=False) as stored:
        if "item_count" not in stored or "item_token" not in stored:
            return None
        return np.asarray(stored["item_token"][stored["item_count"] > 0])
