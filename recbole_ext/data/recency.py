"""What a training target weighs by the age of its session: `recency`.

A target weighs `exp(-age / recency)`, where age goes from 0 for the newest training session to 1 for the oldest, by the
time of their first events, or by their order where the log has no times; then all are scaled so that the mean over the
training targets is 1, so that a learning rate means what it meant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from recbole_ext.data.positions import PositionBatch
from recbole_ext.data.user_sequences import UserBatch

WEIGHT = "target_weight"  # the column of (prefix, target) rows


def target_weights(time: np.ndarray, targets: np.ndarray, recency: float, timed: bool = True) -> np.ndarray:
    """(S,) float32 weight of each target of a session, 0 for a session without any.

    time: (S,) start of each session, in ascending order. targets: (S,) training targets. timed: False: times say no
    more than an order.
    """
    taught = np.flatnonzero(targets)
    weights = np.zeros(len(targets))
    if not len(taught):
        return weights.astype(np.float32)
    start = time[taught] if timed else np.arange(len(taught), dtype=np.float64)
    age = (start[-1] - start) / max(start[-1] - start[0], np.finfo(np.float64).tiny)
    weights[taught] = np.exp(-age / recency)
    return (weights * (targets.sum() / (weights @ targets))).astype(np.float32)


def weight_of(batch: Any) -> Tensor | None:
    """(N,) weights in the order of the batch's states: positions (n * L), events (E,) or rows; None: all weigh 1."""
    if isinstance(batch, UserBatch):
        return batch.weight
    if isinstance(batch, PositionBatch):
        return None if batch.weight is None else batch.weight.unsqueeze(1).expand(-1, batch.steps).flatten()
    if WEIGHT not in batch:
        return None
    weight: Tensor = batch[WEIGHT]
    return weight
