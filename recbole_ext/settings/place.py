"""Place: machine and folders, and how loudly. None of these changes a result."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from recbole_ext.settings.base import Flag, Names, Role, Settings, Text, Whole, each_once, key


def _gpus(value: Any) -> Any:
    """The numbers of GPUs as RecBole's text, "0,1"; anything else unchanged, to be refused."""
    if isinstance(value, list | tuple) and all(type(one) in (int, str) for one in value):
        value = ",".join(str(one) for one in value)
    if value is None or value is False:
        return ""
    text = str(value).replace(" ", "")
    wrong = isinstance(value, bool) or not isinstance(value, str | int)
    if wrong or not re.fullmatch(r"-1|[0-9]*(,[0-9]+)*", text):
        raise ValueError("that is no number of a GPU")
    return text


def one_line(value: Any) -> Any:
    """A name of one line, as it is printed on a terminal and set in a page."""
    value = str(value) if type(value) is int and 0 <= value < 10**6 else value
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > 100:
        raise ValueError("write a name of one line, of at most 100 letters")
    return value.strip()


Label = Annotated[str, BeforeValidator(one_line)]
_Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)


def _parted(value: Any) -> Any:
    """Words that commas part, as on the command line, as a list."""
    return [word.strip() for word in value.split(",")] if isinstance(value, str) else value


Trackers = Annotated[  # the classes of run/trackers.py
    list[Literal["mlflow", "wandb"]], BeforeValidator(_parted), AfterValidator(each_once)
]


class Place(Settings):
    """All keys of it."""

    role: ClassVar[Role] = Role.PLACE

    # --- machine
    gpu_id: Annotated[str, BeforeValidator(_gpus)] = key(
        "0", "which GPUs are seen; empty or -1: none", says="a number from 0, or several parted by commas"
    )
    use_gpu: Flag = key(True, "False: the CPU, whatever GPUs there are")
    reproducibility: Flag = key(True, "torch takes the ways that give the same bits every time")
    eval_batch_size: Whole = key(4096, "rows that are ranked at a time", ge=1)
    worker: Whole = key(0, "processes that make batches, the same with any number", ge=0)
    cuda_graphs: Flag = key(True, "on a GPU, steps of whole sessions run as CUDA graphs")
    trust_pickle: Flag | None = key(
        False,
        "checkpoints and data caches that need pickle are loaded; they can run any code, so only your own",
    )
    # --- folders
    data_path: Text = key("dataset/", "folder of the atomic files, <data_path>/<dataset>/<dataset>.inter")
    raw_path: Text | None = key(
        None,
        "folder of the raw logs, or any log of events, read when the atomic files are missing; others are refused",
    )
    generate: dict[str, Any] | None = key(None, "makes generated logs in raw_path when that does not exist")
    runs_dir: Text = key("runs", "one folder a run: record.json, ranks.npz, model/, learning_curve.png")
    checkpoint_dir: Text = key("saved", "folder of checkpoints")
    resume_from: Text | None = key(None, "checkpoint to continue from, exactly")
    save_dataset: Flag = key(False, "RecBole's data sets are pickled into checkpoint_dir")
    dataset_save_path: Text | None = key(None, "such a pickle, to be read")
    save_dataloaders: Flag = key(False, "RecBole's loaders are pickled into checkpoint_dir")
    dataloaders_save_path: Text | None = key(None, "such a pickle, to be read")
    # --- output
    state: Annotated[Literal["debug", "info", "warning", "error", "critical"], _Lower] = key(
        "info", "least important messages that are shown"
    )
    show_progress: Flag = key(True, "a bar an epoch; on a terminal only where nothing is said")
    label: Label | None = key(
        None, "what the run is called in tables and comparisons; ~: its model", says="a name of one line"
    )
    loss_decimal_place: Whole = key(4, "decimals of the losses that are printed", ge=0, le=17)
    verbose: Flag | None = key(None, "RecBole's own, of a second process")
    track: Trackers | None = key(
        None,
        "who is told of a run while it trains, see docs/tracking.md",
        says="mlflow, wandb, or both in a list, or ~ for none",
    )
    log_wandb: Flag = key(False, "RecBole's own: track: wandb, under the names that RecBole gives metrics")
    wandb_project: Text | None = key("recbole", "project at Weights & Biases")
    # --- RecBole's runs of several processes
    nproc: Whole | None = key(1, "RecBole's own; several processes are started by torchrun", ge=1)
    world_size: Whole | None = key(None, "RecBole's own; several processes are started by torchrun", ge=-1)
    ip: Text | None = key(None, "of the first machine")
    port: Annotated[int, Field(strict=True, ge=0, le=65535)] | Text | None = key(
        None, "on it", says="the number of a port, or ~ for none"
    )
    offset: Whole | None = key(None, "number of this machine's first process", ge=0)
    local_rank: Whole | None = key(None, "number of this process on its machine", ge=0)
    config_file: Text | None = key(None, "named by RecBole, read by nothing")
    config_files: Text | Names | None = key(None, "more yaml files, as on the command line")
    config_file_list: Names | None = key(None, "the same in Python")
