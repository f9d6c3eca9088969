"""SR: sequential rules of size two, weighted by distance. What differs from the released code: docs/neighbours.md."""

from __future__ import annotations

from typing import Any

import scipy.sparse as sp

from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.model.counting.base import TrainingSessions
from recbole_ext.model.counting.item_rules import ItemRules, decay_of, in_order
from recbole_ext.settings.checks import number


class SR(ItemRules):
    """score(i | session) = sum of weighting(d) over training events of i that come d <= steps after the last item."""

    def read_settings(self, config: Any, dataset: SessionDataset) -> None:
        super().read_settings(config, dataset)
        self.steps = int(number(config, "steps", 1, whole=True))
        self.weighting = decay_of(config, "weighting")

    def count(self, sessions: TrainingSessions, n_items: int) -> sp.csr_matrix:
        return in_order(sessions, n_items, self.steps, self.weighting)
