"""Which sessions and items of a log stay: limits on their numbers of events (k-core), and a cap of sessions a user.

RecBole's `user_inter_num_interval` and `item_inter_num_interval` (here sessions and items) look at the whole log, test
part included. Here they look at the training part by default (`inter_num_part: train`): the split is made first, an
item is judged by its training events and goes from the whole log, a session is judged only if it trains. Whole-log
limits, which published protocols ask for, are `inter_num_part: all`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_ext.segments import place_in, runs
from recbole_ext.settings import interval
from recbole_ext.settings.interval import Limits, limits

__all__ = ["CORE_KEYS", "Limits", "core", "limits", "parse_limits", "spread", "within"]

CORE_KEYS = ("user_inter_num_interval", "item_inter_num_interval")


def parse_limits(config: Any, key: str) -> Limits | None:
    """The intervals at `key`, RecBole's notation "[3,inf)" or "[1,2];(5,9]"; None: everything stays.

    Raises UsageError where RecBole only warns.
    """
    return interval.parse_limits(config[key], key)


def within(counts: np.ndarray, intervals: Limits) -> np.ndarray:
    """Whether each count (N,) lies in one of the intervals, (N,) bool."""
    inside = np.zeros(len(counts), dtype=bool)
    for low, high, from_low, to_high in intervals:
        above = counts >= low if from_low else counts > low
        inside |= above & (counts <= high if to_high else counts < high)
    return inside


def core(
    session: np.ndarray,
    item: np.ndarray,
    counted: np.ndarray,
    removable: np.ndarray,
    session_limits: Limits | None,
    item_limits: Limits | None,
    passes: int | None = None,
    exempt: np.ndarray | None = None,
) -> np.ndarray:
    """Events that limits on sessions and items leave, (E,) bool.

    A pass removes the sessions whose number of events is outside `session_limits`, then, counted on what is left, the
    items outside `item_limits`. Passes are repeated until nothing changes, or `passes` times.

    Args:
        session: (E,) int64 numbers from 0.
        item: (E,) int64 numbers from 0.
        counted: (E,) bool, the events that count.
        removable: (sessions,) bool, the sessions that the limits are for; the others keep what items leave them.
        exempt: (items,) bool, items that stay however many events count; None: no item does.
    """
    sessions, items = len(removable), int(item.max(initial=-1)) + 1
    kept = np.arange(len(session))
    done = 0
    while passes is None or done < passes:
        before = len(kept)
        if session_limits is not None:
            events = np.bincount(session[kept][counted[kept]], minlength=sessions)
            stays = within(events, session_limits) | ~removable
            kept = kept[stays[session[kept]]]
        if item_limits is not None:
            events = np.bincount(item[kept][counted[kept]], minlength=items)
            stays = within(events, item_limits) if exempt is None else within(events, item_limits) | exempt
            kept = kept[stays[item[kept]]]
        done += 1
        if len(kept) == before:
            break
    keep = np.zeros(len(session), dtype=bool)
    keep[kept] = True
    return keep


def spread(user: np.ndarray, most: int) -> np.ndarray:
    """Which sessions stay when a user keeps at most `most`, evenly spread over the user's sessions, (S,) bool.

    Of M sessions, number j (from 0) stays where floor((j + 1) most / M) > floor(j most / M), which is true of the last.
    `user`: (S,) int64 user of each session in time order; -1 is nobody known, who is not capped.
    """
    order = np.argsort(user, kind="stable")
    chained = user[order]
    _, sizes = runs(chained)
    rank, total = place_in(sizes), np.repeat(sizes, sizes)
    stays = (rank + 1) * most // np.maximum(total, 1) > rank * most // np.maximum(total, 1)
    keep = np.empty(len(user), dtype=bool)
    keep[order] = stays | (chained < 0)
    return keep
