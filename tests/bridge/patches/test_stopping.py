"""Which epoch is the best, and when training stops: patches/stopping.py.

Scenarios are run by test_every_patch.py.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from .toy import make_config


def exact_scores(folder: Path) -> Any:
    """One hit of three, at one decimal: what is shown, and what epochs are compared by."""
    from recbole.evaluator import Collector, Evaluator
    from recbole.trainer import Trainer

    conf = make_config("Pop", folder, metrics=["Hit"], topk=[1], valid_metric="Hit@1", metric_decimal_place=1)
    collector = Collector(conf)
    collector.data_struct.update_tensor("rec.topk", torch.tensor([[1, 1], [0, 1], [0, 1]]))
    evaluator = Evaluator(conf)
    trainer = SimpleNamespace(
        evaluate=lambda *args, **options: evaluator.evaluate(collector.get_data_struct()),
        **{"evaluator": evaluator, "valid_metric": "hit@1", "train_loss_dict": {}},
    )
    score, shown = Trainer._valid_epoch(trainer, None)
    return [round(float(score), 6), dict(shown)]


def early_stopping(folder: Path) -> Any:
    """A plateau of four after a first score: which evaluations stop, and which are the best so far."""
    from recbole.trainer import trainer

    best, since, told = -np.inf, 0, []
    for score in (0.25, 0.5, 0.5, 0.5, 0.5):
        best, since, stop, better = trainer.early_stopping(score, best, since, max_step=2, bigger=True)
        told.append([stop, better])
    return told


EXPECTED: dict[str, Any] = {
    "exact_scores": [0.333333, {"hit@1": 0.3}],
    "early_stopping": [[False, True], [False, True], [False, False], [False, False], [True, False]],
}

# what the scenario says without the patch, as a part of its JSON
FAULTS = {
    "exact_scores": "[0.3, ",
    "early_stopping": "[False, True], [False, True]]",
}
