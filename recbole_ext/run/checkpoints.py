"""Checkpoints of a run that has a folder of its own, so that an interrupted one goes on where it was, exactly.

`best.pth` is RecBole's checkpoint of the best epoch (of each epoch, where nothing validates), `last.pth` the same of
the last epoch. Both hold all that an exact resume needs (bridge/patches/checkpoints.py);
both are written beside and renamed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recbole_ext.bridge.checkpoint import read_checkpoint
from recbole_ext.errors import UsageError

BEST, LAST = "best.pth", "last.pth"
SECONDS = (
    20.0  # between two `last.pth`: an interruption costs no more, and short epochs do not wait for the disk
)


class Checkpoints:
    """Keeps the checkpoints of `trainer` in `folder`, which is made; `note` is called after each epoch first.

    A trainer of several stages with `own_progress = True` saves and resumes by itself, in `best.pth` and beside it.
    """

    def __init__(self, trainer: Any, folder: Path, note: Callable[[int, float], None]):
        folder.mkdir(parents=True, exist_ok=True)
        self.trainer = trainer
        self.folder = folder
        self.note = note
        self._kept = time.monotonic()
        trainer.saved_model_file = str(folder / BEST)

    def restore(self) -> None:
        """Put the trainer where the newer of the two checkpoints was taken, if there is one.

        A model that learns at once does so again. Raises UsageError when a checkpoint does not fit the model.
        """
        if getattr(self.trainer.model, "learns_in_one_pass", False):
            return
        newest = max(self._found(), key=lambda pair: pair[0], default=None)
        if newest is None:
            return
        resume(self.trainer, str(newest[1]))
        self.trainer.saved_model_file = str(self.folder / BEST)

    def _found(self) -> list[tuple[int, Path]]:
        files = [file for file in (self.folder / BEST, self.folder / LAST) if file.is_file()]
        return [(int(read_checkpoint(str(file))["epoch"]), file) for file in files]

    def after_epoch(self, epoch: int, valid_score: float) -> None:
        """RecBole's end-of-epoch callback."""
        self.note(epoch, valid_score)
        if time.monotonic() - self._kept >= SECONDS:
            self.keep(epoch)

    def keep(self, epoch: int) -> None:
        """Write `last.pth` of the state after `epoch`."""
        if getattr(self.trainer, "own_progress", False):
            return
        self.trainer._save_checkpoint(epoch, verbose=False, saved_model_file=str(self.folder / LAST))
        self._kept = time.monotonic()

    def end(self) -> None:
        """Remove `last.pth`: there is nothing to go on with."""
        (self.folder / LAST).unlink(missing_ok=True)


def resume(trainer: Any, file: str) -> None:
    """Put `trainer` where checkpoint `file` was taken; UsageError when it is missing or of another model."""
    try:
        trainer.resume_checkpoint(file)
    except UsageError:
        raise
    except FileNotFoundError as error:
        raise UsageError(f"resume_from names {file}, which does not exist") from error
    except Exception as error:  # a foreign file can fail in any way
        raise UsageError(
            f"resume_from {file} is no checkpoint of this model with these sizes: {str(error).splitlines()[0]}"
        ) from error


def has_ended(trainer: Any) -> bool:
    """Whether a resumed trainer has nothing left to train: all epochs made, or stopped early in the last one."""
    if getattr(trainer, "own_progress", False):
        return False
    stopped = trainer.cur_step > trainer.stopping_step
    return trainer.start_epoch > 0 and (trainer.start_epoch >= trainer.epochs or stopped)


def fit(trainer: Any, train: Any, valid: Any, **options: Any) -> tuple[float, dict[str, float] | None]:
    """`trainer.fit(train, valid, **options)`: best score and result on validation; nothing where training has ended.

    RecBole's own would save the last epoch's weights over the best ones there.
    """
    trainer.eval_step = min(trainer.eval_step, trainer.epochs)  # else nothing validates, and nothing is kept
    if not has_ended(trainer):
        return trainer.fit(train, valid, **options)
    trainer.eval_collector.data_collect(train)
    return trainer.best_valid_score, trainer.best_valid_result
