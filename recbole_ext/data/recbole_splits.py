"""RecBole's splits LS, RS and TS of rows, without its loops over them (TS on 200,000 sessions: a minute).

Each function returns (R,) int64 row numbers, group by group, and the part of each. Groups are by `ids` (R,), in order
of first occurrence as in RecBole; rows of a group keep their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from recbole_ext.data.splits import TEST, TRAIN, VALID
from recbole_ext.segments import place_in, runs

HELD_OUT = {"valid_and_test": (VALID, TEST), "valid_only": (VALID,), "test_only": (TEST,)}


def by_ratio(ids: np.ndarray, cuts_of: Callable[[int], Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """RS: the rows of each group by shares, in order; `cuts_of`: where a group of so many rows is cut."""
    order, position, total = grouped(ids)
    sizes, size = np.unique(total, return_inverse=True)
    cuts = np.array([cuts_of(int(count)) for count in sizes])
    return order, (position[:, None] >= cuts[size.reshape(-1)]).sum(axis=1)


def leave_one_out(ids: np.ndarray, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """LS: the last one or two rows of each group are held out, the first one never; `mode`: of HELD_OUT."""
    order, position, total = grouped(ids)
    from_end = total - 1 - position
    part = np.full(len(order), TRAIN)
    for distance, place in enumerate(reversed(HELD_OUT[mode])):
        part[(from_end == distance) & (position > 0)] = place
    return order, part


def by_time(ids: np.ndarray, time: np.ndarray, shares: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """TS: rows after one instant are test, the earlier rows of each group by shares; time (R,), rows in its order."""
    order, position, _ = grouped(ids)
    early = (time <= np.percentile(time, 100 * (1 - shares[-1])))[order]
    group = np.cumsum(position == 0) - 1
    known = np.bincount(group, weights=early).astype(np.int64)
    cut = (known * (shares[0] / (1 - shares[2]))).astype(np.int64)
    held_out = np.where(position < cut[group], TRAIN, VALID)
    return order, np.where(early, held_out, TEST)


def grouped(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(R,) int64 each: row numbers group by group, place of each in its group, size of its group."""
    opened = _opened(ids)
    order = np.argsort(opened, kind="stable")
    _, sizes = runs(opened[order])
    return order, place_in(sizes), np.repeat(sizes, sizes)


def _opened(ids: np.ndarray) -> np.ndarray:
    """(R,) the row where each row's group begins."""
    if ids.dtype.kind not in "iu" or not len(ids) or ids.min() < 0 or ids.max() > 4 * len(ids):
        _, first, group = np.unique(ids, return_index=True, return_inverse=True)
        return np.asarray(first[group.reshape(-1)])
    first = np.zeros(int(ids.max()) + 1, dtype=np.int32 if len(ids) < 2**31 else np.int64)
    # of several values for one place the last one stays, which is the first row
    first[ids[::-1]] = np.arange(len(ids) - 1, -1, -1)
    return first[ids]
