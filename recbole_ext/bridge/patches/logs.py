"""Patches for what RecBole 1.2.1 writes beside a run: names that no two runs share, and a log and a folder for each.

A name is RecBole's with eight random digits behind it, so that runs of one model that start in the same second, on one
machine or on several, never write to one file.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from recbole_ext.errors import UsageError
from recbole_ext.files import unique
from recbole_ext.processes import current

LOG_FOLDER, TENSORBOARD_FOLDER = "log", "log_tensorboard"
LEVELS = ("debug", "info", "warning", "error", "critical")
_open: list[logging.Handler] = []  # of the run under way
_writers: list[Any] = []  # to its TensorBoard folder
_tracked: list[
    Any
] = []  # its run at Weights & Biases, where RecBole's own door has begun one; ours: run/tracking.py


def patch_names() -> None:
    """Give RecBole's checkpoints names of their own, those of S3Rec's first stage too."""
    from recbole.trainer import trainer as recbole_trainer
    from recbole.utils import get_local_time

    def unique_time() -> str:
        return f"{get_local_time()}-{unique()}"

    recbole_trainer.get_local_time = unique_time
    pretrain = recbole_trainer.PretrainTrainer.pretrain
    save = recbole_trainer.PretrainTrainer.save_pretrained_model

    def own_names(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._pretrained_stem = Path(self.saved_model_file).stem
        return pretrain(self, *args, **kwargs)

    def save_pretrained_model(self: Any, epoch: int, saved_model_file: str) -> None:
        stem = getattr(self, "_pretrained_stem", Path(saved_model_file).stem)
        file = Path(saved_model_file).with_name(f"{stem}-{self.config['dataset']}-{epoch + 1}.pth")
        save(self, epoch, str(file))
        self.logger.info(f"Saving current: {file}")

    recbole_trainer.PretrainTrainer.pretrain = own_names
    recbole_trainer.PretrainTrainer.save_pretrained_model = save_pretrained_model


def patch_logs() -> None:
    """Let every run have a log file, a TensorBoard folder and a run at Weights & Biases of its own."""
    import recbole.quick_start.quick_start
    import recbole.trainer.trainer
    import recbole.utils
    import recbole.utils.logger
    import recbole.utils.utils
    from recbole.utils.wandblogger import WandbLogger

    for module in (recbole.utils, recbole.utils.logger, recbole.quick_start.quick_start):
        module.init_logger = init_logger
    for module in (recbole.utils, recbole.utils.utils, recbole.trainer.trainer):
        module.get_tensorboard = get_tensorboard
    setup = WandbLogger.setup

    def _setup(self: Any) -> None:
        before = _tracking_run() if self.log_wandb else None
        try:
            setup(self)
        except ImportError as error:
            raise UsageError(
                "log_wandb is True, but wandb is not installed: pip install wandb, or leave log_wandb out"
            ) from error
        if self.log_wandb and before is None:
            _tracked.append(_tracking_run())

    WandbLogger.setup = _setup


def _tracking_run() -> Any:
    try:
        import wandb
    except ImportError:
        return None
    return wandb.run


def end_run() -> None:
    """Close what the last run of this process has opened; a handler or a tracking run of the user's own stays."""
    root = logging.getLogger()
    for handler in _open:
        root.removeHandler(handler)
        handler.close()
    _open.clear()
    while _writers:
        writer = _writers.pop()
        try:
            writer.close()
        except (
            OSError
        ) as error:  # what its thread met, a folder that is gone or a full disk: no fault of the next run
            logging.getLogger().warning(f"TensorBoard's curves in {writer.log_dir} are not whole: {error}")
    while _tracked:
        _tracked.pop().finish()


def init_logger(config: Any) -> None:
    """RecBole's function of that name: messages go to the screen and to a new log file; those of a run before end.

    Where the root logger has handlers of the user's own, its level and what goes to the screen stay theirs.
    """
    import colorlog
    from recbole.utils import get_local_time
    from recbole.utils.logger import RemoveColorFilter, log_colors_config

    end_run()
    if current().number:  # the first of several processes writes for all
        return
    state = str(config["state"] or "info").lower()
    level = getattr(logging, (state if state in LEVELS else "info").upper())
    model = config["model"]
    file = Path(LOG_FOLDER) / model / f"{model}-{config['dataset']}-{get_local_time()}-{unique()}.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    to_file = logging.FileHandler(file)
    to_file.setFormatter(
        logging.Formatter("%(asctime)-15s %(levelname)s  %(message)s", "%a %d %b %Y %H:%M:%S")
    )
    to_file.addFilter(RemoveColorFilter())
    root = logging.getLogger()
    if not root.handlers:
        form = "%(log_color)s%(asctime)-15s %(levelname)s  %(message)s"
        to_screen = logging.StreamHandler()
        to_screen.setFormatter(colorlog.ColoredFormatter(form, "%d %b %H:%M", log_colors=log_colors_config))
        _open.append(to_screen)
        root.setLevel(level)
    _open.append(to_file)  # the last one, as its filter takes the colours away
    for handler in _open:
        handler.setLevel(level)
        root.addHandler(handler)


class _Silent:
    """A writer to TensorBoard that writes nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def get_tensorboard(logger: logging.Logger) -> Any:
    """RecBole's function of that name: a writer to the folder that is named as the run's log file."""
    from recbole.utils import get_local_time
    from torch.utils.tensorboard import SummaryWriter

    if current().number:
        return _Silent()
    files = [Path(handler.baseFilename) for handler in _open if isinstance(handler, logging.FileHandler)]
    name = files[0].stem if files else f"model-{get_local_time()}-{unique()}"
    # whole, as a thread of its own opens it again whenever it writes
    _writers.append(SummaryWriter(os.path.abspath(os.path.join(TENSORBOARD_FOLDER, name))))
    return _writers[-1]
