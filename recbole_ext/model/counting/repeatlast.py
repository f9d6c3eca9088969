"""RepeatLast: the last item comes again, a floor for logs in which items repeat."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from recbole_ext.model.counting.base import CountingModel, TrainingSessions
from recbole_ext.model.counting.counted import last_items


class RepeatLast(CountingModel):
    """score(i | session) = 1 for the session's last item; no other item has one."""

    def learn(self, sessions: TrainingSessions) -> dict[str, Any]:
        return {}

    def score(self, prefixes: np.ndarray, sessions: np.ndarray | None) -> sp.csr_matrix:
        last = last_items(prefixes)
        row = np.flatnonzero(last)
        return sp.csr_matrix((np.ones(len(row)), (row, last[row])), shape=(len(last), self.n_items))
