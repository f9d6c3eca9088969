"""A run that torchrun has started in several processes: what each of them has for itself, and what cannot be shared."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_ext.errors import UsageError
from recbole_ext.processes import current, same_everywhere, started
from recbole_ext.settings.base import flag

VISIBLE = "CUDA_VISIBLE_DEVICES"
_visible = os.environ.get(VISIBLE)  # as torchrun was started with it; a run changes it


def of_this_process(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings of a run, with the GPU of this process.

    It is the one at its place in `gpu_id`, else in CUDA_VISIBLE_DEVICES, else the one of its number.
    """
    found, at = dict(settings or {}), started()
    if at.count == 1 or not _may_have_gpus(found):
        return found
    key, cards = "gpu_id", _listed(found.get("gpu_id"))
    if not cards:
        key, cards = VISIBLE, _listed(_visible)
    if cards and len(set(cards)) <= at.on_machine:
        raise UsageError(
            f"{key} is {','.join(cards)}, and process {at.on_machine} of this machine has none of them for itself: "
            f"name one a process, or leave {key} out"
        )
    return {**found, "gpu_id": cards[at.on_machine] if cards else str(at.on_machine)}


def _may_have_gpus(settings: Mapping[str, Any]) -> bool:
    """Asked without a look at the GPUs, after which no process could choose among them."""
    import torch

    return flag(settings.get("use_gpu", True)) is not False and bool(torch.version.cuda or torch.version.hip)


def _listed(cards: Any) -> list[str]:
    """The GPUs that a setting or a variable names."""
    named = cards if isinstance(cards, list | tuple) else str("" if cards is None else cards).split(",")
    return [str(card).strip() for card in named if str(card).strip()]


@contextmanager
def aside(config: Any) -> Iterator[None]:
    """Within the block all but the first process write what a run writes into a folder that goes with the block."""
    if not current().number:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="process-") as place:
        for key in ("runs_dir", "checkpoint_dir"):
            config[key] = str(Path(place, key))
        config["log_wandb"] = config["show_progress"] = False
        config["track"] = None
        yield


def check_settings_of_several(config: Any, folder: Path | None, parent: Path | None) -> None:
    """UsageError where several processes cannot do what a run asks for."""
    if current().count == 1:
        return
    asked = {
        "an experiment": folder is not None,
        "an update": parent is not None,
        "off_policy": config["off_policy"] is not None,
        "enable_scaler": bool(config["enable_scaler"]),
        "learner sparse_adam": str(config["learner"]).lower() == "sparse_adam",
        # its negatives are the other targets of the batch, of which a process has a part
        f"loss_type {config['loss_type']}": config["loss_type"] not in (None, "CE", "BPR", "BCE"),
    }
    for what in (name for name, there in asked.items() if there):
        raise UsageError(f"{what} is for one process: start it without torchrun, or leave it out")


def meet_others(trainer: Any) -> None:
    """Have the processes begin with the same weights. UsageError where the trainer or the model knows one process."""
    if current().count == 1:
        return
    from torch.nn.modules.batchnorm import _BatchNorm

    from recbole_ext.trainer.session import SessionTrainer

    name = trainer.config["model"]
    if type(trainer) is not SessionTrainer:
        raise UsageError(
            f"{name} trains in one process, as it has a trainer of its own or learns at once: start it without torchrun"
        )
    if any(isinstance(part, _BatchNorm) for part in trainer.model.modules()):
        raise UsageError(
            f"{name} normalises by what is in a batch, of which each process has a part: start it without torchrun"
        )
    same_everywhere(trainer.model)
