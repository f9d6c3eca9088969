"""What kind of event each event of a log is, and what it is worth: `rewards`, a number an event kind.

Learning (data/transitions.py), reward@k (evaluate/slices.py) and the value of a policy (evaluate/off_policy.py) read
them alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from recbole_ext.errors import UsageError

UNKNOWN = "unknown"  # the kind of an event of which the log says nothing


def kind_names(dataset: Any, field: str) -> list[str]:
    """Names of the event kinds by their ids in a token column of the log, 0: the log says nothing."""
    return [UNKNOWN, *map(str, dataset.field2id_token[field][1:])]


def event_kinds(dataset: Any, field: str, ids: np.ndarray) -> np.ndarray:
    """Event kinds (T,) of ids (T,) as they are called in the log."""
    return np.asarray(kind_names(dataset, field), dtype=str)[ids]


def check_rewards(rewards: Mapping[str, Any], kinds: Iterable[str], holders: str = "test targets") -> None:
    """Raise UsageError for the first of the event kinds that has no reward; `holders`: where they come from."""
    for kind in np.unique(np.asarray(list(kinds), dtype=str)):
        if str(kind) not in rewards:
            raise UsageError(
                f"rewards has none for event {kind}, which {holders} hold: it has "
                f"{', '.join(map(str, rewards))}, so add {kind}"
            )


def target_rewards(kind: np.ndarray, rewards: Mapping[str, float]) -> np.ndarray:
    """(T,) float64 reward of targets of kinds (T,) of str, each of which has one."""
    names, place = np.unique(kind, return_inverse=True)
    return np.array([float(rewards[str(name)]) for name in names])[place.reshape(-1)]
