"""Which sessions an update trains on: all that hold anything new, and a share of those that the parent knew already.

A session is new where it has a training event after the newest one that the parent was trained on. The old ones that
train again are drawn uniformly, anew in every epoch, by the run's seed; the experience replay of continual learning
(Ratcliff 1990; for sessions Mi et al., ADER, RecSys 2020, whose choice of exemplars by item is not made here).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_ext.data.manifest import manifest


class Replay:
    """What trains of a built SessionDataset's training part.

    new, old: numbers (n,) of the sessions with targets that the parent did not know, and knew. again: how many of the
    old ones train in an epoch.
    """

    def __init__(self, dataset: Any, known_to: float, share: float, seed: int):
        """known_to: the parent's `trained_to`."""
        learns = dataset.train_length - 1 + dataset.empty_history > 0
        newest = _newest(dataset) + _origin(dataset)
        self.sessions = len(learns)
        self.new = np.flatnonzero(learns & (newest > known_to))
        self.old = np.flatnonzero(learns & (newest <= known_to))
        self.again = round(share * len(self.old))
        self._random = np.random.default_rng(seed)

    def draw(self) -> np.ndarray:
        """(S,) bool, the sessions that train in the next epoch."""
        kept = np.zeros(self.sessions, dtype=bool)
        kept[self.new] = True
        kept[self._random.permutation(self.old)[: self.again]] = True
        return kept


def trained_to(dataset: Any) -> float | None:
    """Time of the newest training event of a built SessionDataset, Unix seconds or a running number; None: no event."""
    trains = dataset.train_length > 0
    if not trains.any():
        return None
    return float(_newest(dataset)[trains].max()) + _origin(dataset)


def _newest(dataset: Any) -> np.ndarray:
    """(S,) time of each session's last training event, of its first event where it has none."""
    last = dataset.session_start + np.maximum(dataset.train_length, 1) - 1
    return np.asarray(dataset.event_time)[last]


def _origin(dataset: Any) -> float:
    return float(manifest(dataset.dataset_path).get("time_origin") or 0.0)
