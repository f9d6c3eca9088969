"""Rules "after this item, that one", counted in training sessions; what AR and SR share.

References: Agrawal et al., "Mining Association Rules between Sets of Items in Large Databases", SIGMOD 1993;
Kamehkhosh, Jannach and Ludewig, "A Comparison of Frequent Pattern Techniques and a Deep Learning Method for
Session-Based Recommendation", TempRec at RecSys 2017 (sizes of two, sequential rules weighted by distance).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from recbole_ext.model.counting.base import (
    CountingModel,
    CountingSettings,
    TrainingSessions,
    wider,
)
from recbole_ext.model.counting.counted import last_items
from recbole_ext.segments import owner_of, place_in
from recbole_ext.settings.base import Whole, key

Weighting = Literal["same", "div", "linear", "log", "quadratic"]
Decay = Callable[[np.ndarray], np.ndarray]

# weight of what lies i steps back, i = 1, 2, …
DECAYS: dict[str, Decay] = {
    "same": lambda i: np.ones(len(i)),
    "div": lambda i: 1 / i,
    "linear": lambda i: np.maximum(1 - 0.1 * i, 0),
    "log": lambda i: 1 / np.log10(i + 1.7),
    "quadratic": lambda i: 1 / i**2,
}


class ItemRulesSettings(CountingSettings):
    """Keys of rules of two items."""

    rules_per_item: Whole = key(0, "the heaviest rules of an item that are kept; 0: all", ge=0)


class ItemRules(CountingModel):
    """score(item | session) = weight of the rule "last item of the session -> item"."""

    settings_class = ItemRulesSettings

    @abstractmethod
    def count(self, sessions: TrainingSessions, n_items: int) -> sp.csr_matrix:
        """(n_items, n_items) weight of each rule row -> column."""

    def learn(self, sessions: TrainingSessions) -> dict[str, Any]:
        rules = self.count(sessions, self.n_items).tocsr()
        rules.eliminate_zeros()
        rules.sort_indices()
        most = self.settings.rules_per_item
        return {"rules": heaviest(rules, most) if most else rules}

    def enlarged(self, learnt: dict[str, Any], n_items: int) -> dict[str, Any]:
        return {**super().enlarged(learnt, n_items), "rules": wider(learnt["rules"], n_items)}

    def score(self, prefixes: np.ndarray, sessions: np.ndarray | None) -> sp.csr_matrix:
        return self.learnt["rules"][last_items(prefixes)]

    def evidence(self, prefixes: np.ndarray) -> dict[str, sp.csr_matrix]:
        """pairs: (B, n_items) weight of the rule from each row's last item to the item, before scores are scaled."""
        return {"pairs": self.score(prefixes, None)}


def heaviest(rules: sp.csr_matrix, most: int) -> sp.csr_matrix:
    """Each row's `most` largest values; of equal ones the smaller columns."""
    row = owner_of(np.diff(rules.indptr))
    order = np.lexsort((rules.indices, -rules.data, row))
    kept = np.sort(order[place_in(np.diff(rules.indptr)) < most])
    return sp.csr_matrix((rules.data[kept], (row[kept], rules.indices[kept])), shape=rules.shape)


def in_pairs(sessions: TrainingSessions, n_items: int) -> sp.csr_matrix:
    """(n_items, n_items) float64: how many pairs of events of one session hold both items, in either order.

    A pair of one item counts twice, once for each direction.
    """
    row = owner_of(sessions.length)
    shape = (len(sessions.session), n_items)
    counts = sp.csr_matrix((np.ones(len(row)), (row, sessions.item)), shape=shape)  # repeats add up
    itself = sp.diags(np.asarray(counts.sum(axis=0)).ravel())  # an event is no pair with itself
    return (counts.T @ counts - itself).tocsr()


def in_order(
    sessions: TrainingSessions, n_items: int, steps: int, decay: Decay, share: np.ndarray | None = None
) -> sp.csr_matrix:
    """(n_items, n_items) float64: sum of decay(i) over events with the row's item i steps before the column's.

    share: (S,) what a pair of events of each session counts for; None: 1.
    """
    left = np.repeat(sessions.length, sessions.length) - place_in(sessions.length)  # events from here on
    share = np.ones(len(sessions.session)) if share is None else share
    of_event = np.repeat(share, sessions.length)
    rules = sp.csr_matrix((n_items, n_items))
    for step in range(1, min(steps, int(left.max(initial=1)) - 1) + 1):
        first = np.flatnonzero(left > step)
        weight = decay(np.array([float(step)])) * of_event[first]
        pairs = (weight, (sessions.item[first], sessions.item[first + step]))
        rules = rules + sp.csr_matrix(pairs, shape=rules.shape)
    return rules
