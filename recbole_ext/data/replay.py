"""Which sessions an update trains on: all that hold anything new, and a share of those that the parent knew already.

A session is new where it has a training event after the newest one that the parent was trained on. The old ones that
train again are drawn uniformly, once a run, by its seed; the experience replay of continual learning (Ratcliff 1990;
for session-based recommendation Mi et al., ADER, RecSys 2020, whose choice of exemplars by item is not made here).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from recbole_ext.data.manifest import manifest


class Replay(NamedTuple):
    """kept: (S,) bool, sessions that train. new, again, old: how many are new, old ones that train, old ones."""

    kept: np.ndarray
    new: int
    again: int
    old: int


def trained_to(dataset: Any) -> float | None:
    """Time of the newest training event of a built SessionDataset, Unix seconds or a running number; None: no event."""
    trains = dataset.train_length > 0
    if not trains.any():
        return None
    return float(_newest(dataset)[trains].max()) + _origin(dataset)


def replay(dataset: Any, known_to: float, share: float, seed: int) -> Replay:
    """What of the training part trains, where the parent's `trained_to` is `known_to`."""
    learns = dataset.train_length - 1 + dataset.empty_history > 0
    newest = _newest(dataset) + _origin(dataset)
    new = learns & (newest > known_to)
    old = np.flatnonzero(learns & ~new)
    again = np.random.default_rng(seed).permutation(old)[: round(share * len(old))]
    kept = new.copy()
    kept[again] = True
    return Replay(kept, int(new.sum()), len(again), len(old))


def _newest(dataset: Any) -> np.ndarray:
    """(S,) time of each session's last training event, of its first event where it has none."""
    last = dataset.session_start + np.maximum(dataset.train_length, 1) - 1
    return np.asarray(dataset.event_time)[last]


def _origin(dataset: Any) -> float:
    return float(manifest(dataset.dataset_path).get("time_origin") or 0.0)
