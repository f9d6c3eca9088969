"""Item-item weights by least squares, sparse: an item's weights are solved for over the few items that go with it.

The problem is min over B of sum_r w_r |y_r - x_r B|^2 + ridge |B|^2, rows r being views of training sessions. It falls
apart into one for each column of B, all with the matrix XᵀWX. A column's problem is solved exactly over its strongest
candidates, its other weights are 0; where all items are candidates, B is the dense closed form.

References: Choi et al., "Session-aware Linear Item-Item Models for Session-based Recommendation", WWW 2021 (SLIST: the
two views). What differs: docs/neighbours.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recbole_ext.model.counting.base import TrainingSessions
from recbole_ext.model.counting.item_rules import heaviest, in_order
from recbole_ext.segments import owner_of, place_in

LEAST = 1e-4  # a pair of events that would weigh less is left out


@dataclass(frozen=True)
class Normal:
    """What least squares needs to know of its rows.

    gram: (n_items, n_items) XᵀWX. cross: (n_items, n_items) XᵀWY. Both float64.
    """

    gram: sp.csr_matrix
    cross: sp.csr_matrix

    def mixed(self, other: Normal, share: float) -> Normal:
        """share * self + (1 - share) * other."""
        return Normal(
            (share * self.gram + (1 - share) * other.gram).tocsr(),
            (share * self.cross + (1 - share) * other.cross).tocsr(),
        )


def similarity(sessions: TrainingSessions, weight: np.ndarray, n_items: int) -> Normal:
    """SLIS: a session is a set that tells itself, x = its items / the root of their number, y = its items.

    weight: (S,) of the sessions.
    """
    count = len(sessions.session)
    held = sp.csr_matrix(
        (np.ones(len(sessions.item)), (owner_of(sessions.length), sessions.item)), shape=(count, n_items)
    )
    held.data[:] = 1  # a repeated item is there once
    view = sp.diags(1 / np.sqrt(np.maximum(np.diff(held.indptr), 1))) @ held
    weighted = (sp.diags(weight) @ view).T.tocsr()
    return Normal(weighted @ view, weighted @ held)


def transitions(sessions: TrainingSessions, weight: np.ndarray, n_items: int, decay: float) -> Normal:
    """SLIT: an event tells what follows, x = its item, y = the later events, exp(-(d - 1) / decay) for d steps on.

    weight: (S,) of the sessions.
    """
    goes_on = place_in(sessions.length) < np.repeat(sessions.length, sessions.length) - 1
    of_event = np.repeat(weight, sessions.length)
    leaves = np.bincount(sessions.item[goes_on], weights=of_event[goes_on], minlength=n_items)
    longest = int(sessions.length.max(initial=1))
    steps = int(min(1 - np.log(LEAST) * decay, longest))
    rules = in_order(sessions, n_items, steps, lambda d: np.exp(-(d - 1) / decay), weight)
    return Normal(sp.diags(leaves).tocsr(), rules)


def solve(normal: Normal, ridge: float, most: int) -> sp.csr_matrix:
    """(n_items, n_items) B: row = item of the session, column = item to recommend, at most `most` weights a column.

    A column's candidates are the rows with the largest `cross`; of equal ones the smaller.
    """
    by_target = normal.cross.T.tocsr()
    by_target.eliminate_zeros()
    by_target.sort_indices()
    kept = heaviest(by_target, most)
    weights = np.empty(len(kept.data))
    for target in np.flatnonzero(np.diff(kept.indptr)):
        own = slice(kept.indptr[target], kept.indptr[target + 1])
        candidates = kept.indices[own]
        local = normal.gram[candidates][:, candidates].toarray()  # (m, m)
        local.flat[:: len(candidates) + 1] += ridge
        weights[own] = np.linalg.solve(local, kept.data[own])
    return sp.csr_matrix((weights, kept.indices, kept.indptr), shape=kept.shape).T.tocsr()
