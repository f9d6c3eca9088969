"""Which items may be drawn as negatives, and how often each counts: what the training part holds.

RecBole counts popularity over all parts, and draws training negatives among all items that have an id, so those that
only the test part knows are pushed down before they are met.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_ext.errors import UsageError

ROUNDS = 100_000  # of drawing anew before it is given up


def training_events(train: Any) -> np.ndarray:
    """(E,) items of the events of a training part, first ones of sessions included."""
    if hasattr(train, "_training_events"):
        return np.asarray(train.events[train.iid_field])[train._training_events()]
    rows = train.inter_feat.interaction
    items = np.asarray(rows[train.iid_field])
    history = _history(train)
    if history is None:
        return items
    length = np.asarray(rows[train.item_list_length_field])
    return np.concatenate((items, history[length == 1, 0]))


def training_items(train: Any) -> np.ndarray:
    """The items that training knows, ascending."""
    items, history = training_events(train), _history(train)
    known = np.unique(items if history is None else np.concatenate((items, history.ravel())))
    return known[known > 0]


def _history(train: Any) -> np.ndarray | None:
    """(R, L) items before each row's target, 0 = padding, of RecBole's own sequential data sets; None: of others."""
    suffix = train.config["LIST_SUFFIX"]
    if suffix is None or getattr(train, "inter_feat", None) is None:
        return None
    rows = train.inter_feat.interaction
    return np.asarray(rows[train.iid_field + suffix]) if train.iid_field + suffix in rows else None


def uniform(items: np.ndarray, count: int) -> np.ndarray:
    """(count,) of the items at random; where these are 1 … n, the numbers that RecBole draws of n."""
    return items[np.random.randint(0, len(items), count)]


def give_up(rounds: int) -> None:
    """UsageError after so many rounds in which an own item was drawn again."""
    if rounds > ROUNDS:
        raise UsageError(
            "no negative item can be drawn, as somebody has met every item that may be one: leave such sessions out "
            "with user_inter_num_interval"
        )
