"""Rules "after this item, that one", counted in training sessions; what AR and SR share.

References: Agrawal et al., "Mining Association Rules between Sets of Items in Large Databases", SIGMOD 1993;
Kamehkhosh, Jannach and Ludewig, "A Comparison of Frequent Pattern Techniques and a Deep Learning Method for
Session-Based Recommendation", TempRec at RecSys 2017 (sizes of two, sequential rules weighted by distance).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.model.counting.base import AtOnceModel, TrainingSessions, last_items
from recbole_ext.settings.checks import number, one_of

Decay = Callable[[np.ndarray], np.ndarray]

# weight of what lies i steps back, i = 1, 2, …
DECAYS: dict[str, Decay] = {
    "same": lambda i: np.ones(len(i)),
    "div": lambda i: 1 / i,
    "linear": lambda i: np.maximum(1 - 0.1 * i, 0),
    "log": lambda i: 1 / np.log10(i + 1.7),
    "quadratic": lambda i: 1 / i**2,
}


def decay_of(config: Any, key: str) -> Decay:
    """The decay that a key names."""
    return DECAYS[one_of(config, key, tuple(DECAYS))]


class ItemRules(AtOnceModel):
    """score(item | session) = weight of the rule "last item of the session -> item"."""

    def read_settings(self, config: Any, dataset: SessionDataset) -> None:
        self.rules_per_item = int(number(config, "rules_per_item", 0, whole=True))

    @abstractmethod
    def count(self, sessions: TrainingSessions, n_items: int) -> sp.csr_matrix:
        """(n_items, n_items) weight of each rule row -> column."""

    def learn(self, sessions: TrainingSessions) -> dict[str, Any]:
        rules = self.count(sessions, self.n_items).tocsr()
        rules.eliminate_zeros()
        rules.sort_indices()
        return {"rules": heaviest(rules, self.rules_per_item) if self.rules_per_item else rules}

    def score(self, prefixes: np.ndarray, sessions: np.ndarray | None) -> sp.csr_matrix:
        return self.learnt["rules"][last_items(prefixes)]


def heaviest(rules: sp.csr_matrix, most: int) -> sp.csr_matrix:
    """Each row's `most` largest values; of equal ones the smaller columns."""
    row = np.repeat(np.arange(rules.shape[0]), np.diff(rules.indptr))
    order = np.lexsort((rules.indices, -rules.data, row))
    place = np.arange(len(order)) - np.repeat(rules.indptr[:-1], np.diff(rules.indptr))
    kept = np.sort(order[place < most])
    return sp.csr_matrix((rules.data[kept], (row[kept], rules.indices[kept])), shape=rules.shape)


def in_pairs(sessions: TrainingSessions, n_items: int) -> sp.csr_matrix:
    """(n_items, n_items) float64: how many pairs of events of one session hold both items, in either order.

    A pair of one item counts twice, once for each direction.
    """
    row = np.repeat(np.arange(len(sessions.session)), sessions.length)
    shape = (len(sessions.session), n_items)
    counts = sp.csr_matrix((np.ones(len(row)), (row, sessions.item)), shape=shape)  # repeats add up
    itself = sp.diags(np.asarray(counts.sum(axis=0)).ravel())  # an event is no pair with itself
    return (counts.T @ counts - itself).tocsr()


def in_order(sessions: TrainingSessions, n_items: int, steps: int, decay: Decay) -> sp.csr_matrix:
    """(n_items, n_items) float64: sum of decay(i) over events with the row's item i steps before the column's."""
    left = np.repeat(sessions.start[1:], sessions.length) - np.arange(
        len(sessions.item)
    )  # events from here on
    rules = sp.csr_matrix((n_items, n_items))
    for step in range(1, min(steps, int(left.max(initial=1)) - 1) + 1):
        first = np.flatnonzero(left > step)
        weight = np.repeat(decay(np.array([float(step)])), len(first))
        pairs = (weight, (sessions.item[first], sessions.item[first + step]))
        rules = rules + sp.csr_matrix(pairs, shape=rules.shape)
    return rules
