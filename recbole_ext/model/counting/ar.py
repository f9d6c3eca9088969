"""AR: association rules of size two. What differs from the released code: docs/neighbours.md."""

from __future__ import annotations

import scipy.sparse as sp

from recbole_ext.model.counting.base import TrainingSessions
from recbole_ext.model.counting.item_rules import ItemRules, in_pairs


class AR(ItemRules):
    """score(i | session) = number of pairs of events of one training session that hold i and the last item."""

    def count(self, sessions: TrainingSessions, n_items: int) -> sp.csr_matrix:
        return in_pairs(sessions, n_items)
