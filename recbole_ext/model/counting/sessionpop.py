"""SessionPop (S-Pop): popularity within the current session.

Reference: Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from recbole_ext.model.counting.base import CountingModel, TrainingSessions
from recbole_ext.settings.base import ModelSettings


class SessionPopSettings(ModelSettings):
    """SessionPop has no keys of its own."""

    other_defaults: ClassVar[dict[str, Any]] = {"train_neg_sample_args": None, "epochs": 1}


class SessionPop(CountingModel):
    """score(i | session) = events of i in the session + a share below 1 that orders ties by training events.

    An item that is not in the session has the second term alone, so popularity always follows.
    """

    settings_class = SessionPopSettings

    def learn(self, sessions: TrainingSessions) -> dict[str, Any]:
        return {}

    def score(self, prefixes: np.ndarray, sessions: np.ndarray | None) -> sp.csr_matrix:
        row, column = np.nonzero(prefixes)
        ones = np.ones(len(row))
        counts = sp.csr_matrix((ones, (row, prefixes[row, column])), shape=(len(prefixes), self.n_items))
        counts.sum_duplicates()
        counts.data += self.popularity[counts.indices]
        return counts
