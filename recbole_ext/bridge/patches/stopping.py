"""Patches for when RecBole 1.2.1 stops training: by unrounded scores, and an equal one is no better."""

from __future__ import annotations

import math
from typing import Any

from recbole_ext.bridge.patches.metrics import measured

EXACT_DECIMALS = 17


def patch_exact_scores() -> None:
    """Let the Evaluator keep its last result unrounded, in `exact`, and validation compare that; metrics by pieces."""
    from recbole.evaluator import Evaluator
    from recbole.trainer.trainer import Trainer

    valid_epoch = Trainer._valid_epoch

    def evaluate(self: Any, dataobject: Any) -> dict[str, float]:
        self.exact = {}
        for name in self.metrics:
            self.metric_class[name].decimal_place = EXACT_DECIMALS
            self.exact.update(measured(self.metric_class[name], dataobject))
        places = self.config["metric_decimal_place"]
        return {key: round(value, places) for key, value in self.exact.items()}

    def _valid_epoch(self: Any, *args: Any, **kwargs: Any) -> Any:
        score, result = valid_epoch(self, *args, **kwargs)
        return getattr(self.evaluator, "exact", {}).get(self.valid_metric, score), result

    Evaluator.evaluate = evaluate
    Trainer._valid_epoch = _valid_epoch


def patch_early_stopping() -> None:
    """Put ours in the place of RecBole's `early_stopping`, in its trainers too."""
    import recbole.trainer.trainer
    import recbole.utils
    import recbole.utils.utils

    for module in (recbole.utils, recbole.utils.utils, recbole.trainer.trainer):
        module.early_stopping = early_stopping


def early_stopping(
    value: float, best: float, cur_step: int, max_step: int, bigger: bool = True
) -> tuple[float, int, bool, bool]:
    """Best score, evaluations since it was reached, whether to stop, and whether it is this one.

    Training stops at the evaluation after `max_step` of them that were no better, as RecBole's does after a peak. The
    first score is the best so far whatever it is, and any number is better than none (NaN).
    """
    first = math.isinf(best)
    if first or (value > best if bigger else value < best) or (math.isnan(best) and not math.isnan(value)):
        return value, 0, False, True
    return best, cur_step + 1, cur_step + 1 > max_step, False
