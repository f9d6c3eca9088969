"""Arithmetic of ragged columns: flat arrays (E,) that hold segments (S,) of different length one after the other.

A log's events are segments by session, a CSR matrix's values segments by row, sorted keys segments of equal ones. All
results are int64; no segments and segments of length 0 are allowed unless it is said otherwise.
"""

from __future__ import annotations

import numpy as np


def pointers_of(length: np.ndarray) -> np.ndarray:
    """(S + 1,) where each segment starts, and where the last one ends: a CSR matrix's indptr. length: (S,)."""
    return np.concatenate(([0], np.cumsum(length, dtype=np.int64)))


def start_of(length: np.ndarray) -> np.ndarray:
    """(S,) where each segment starts. length: (S,)."""
    return np.cumsum(length, dtype=np.int64) - length


def owner_of(length: np.ndarray) -> np.ndarray:
    """(E,) the segment of each element. length: (S,)."""
    return np.repeat(np.arange(len(length)), length)


def place_in(length: np.ndarray) -> np.ndarray:
    """(E,) the place of each element in its segment, from 0. length: (S,)."""
    return spans(np.zeros(len(length), dtype=np.int64), length)


def holder_of(element: np.ndarray, start: np.ndarray) -> np.ndarray:
    """(R,) the segment that holds each element of `element` (R,), where start (S,) ascends; no segment is empty."""
    return np.searchsorted(start, element, side="right") - 1


def last_of(element: np.ndarray, start: np.ndarray) -> np.ndarray:
    """(S,) the last one of `element` (R,) in each segment, -1 without one; start as for `holder_of`."""
    if not len(element):
        return np.full(len(start), -1)
    place = np.full(max(int(element.max()) + 1, int(start[-1]) + 1), -1)
    place[element] = element
    return np.maximum.reduceat(place, start)


def runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(G,) where each run of equal neighbours starts in `values` (E,), and (G,) how long it is."""
    opens = np.ones(len(values), dtype=bool)
    opens[1:] = values[1:] != values[:-1]
    start = np.flatnonzero(opens)
    return start, np.diff(np.append(start, len(values)))


def earlier_of_group(group: np.ndarray) -> np.ndarray:
    """(E,) how many elements before each one have the same value; group (E,) in any order."""
    order = np.argsort(group, kind="stable")
    earlier = np.empty(len(group), dtype=np.int64)
    earlier[order] = place_in(runs(group[order])[1])
    return earlier


def spans(first: np.ndarray, length: np.ndarray) -> np.ndarray:
    """(sum of length,) first[0], first[0] + 1, …, length[0] of them, then those from first[1], …; both (S,)."""
    return np.arange(int(np.sum(length))) + np.repeat(first - start_of(length), length)


def pieces(flat: np.ndarray, length: np.ndarray) -> list[np.ndarray]:
    """The segments (S,) of `flat` (E,), each a view of it. length: (S,)."""
    ends = np.cumsum(length).tolist()
    return [flat[first:end] for first, end in zip([0, *ends], ends)]


def padded(flat: np.ndarray, length: np.ndarray) -> np.ndarray:
    """(S, L) segments of `flat` (E,) with zeros behind them, as wide as the longest one. length: (S,)."""
    table = np.zeros((len(length), int(length.max(initial=0))), dtype=flat.dtype)
    table[np.arange(table.shape[1]) < length[:, None]] = flat
    return table
