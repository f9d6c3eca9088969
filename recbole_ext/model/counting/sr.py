"""SR: sequential rules of size two, weighted by distance. What differs from the released code: docs/neighbours.md."""

from __future__ import annotations

import scipy.sparse as sp

from recbole_ext.model.counting.base import TrainingSessions
from recbole_ext.model.counting.item_rules import DECAYS, ItemRules, ItemRulesSettings, Weighting, in_order
from recbole_ext.settings.base import Whole, key


class SRSettings(ItemRulesSettings):
    """Keys of SR."""

    steps: Whole = key(20, "how far apart the two items may be", ge=1)
    weighting: Weighting = key(
        "div", "weight of i steps: same 1, div 1/i, linear 1 - i/10, log 1/log10(i + 1.7), quadratic 1/i^2"
    )


class SR(ItemRules):
    """score(i | session) = sum of weighting(d) over training events of i that come d <= steps after the last item."""

    settings_class = SRSettings

    def count(self, sessions: TrainingSessions, n_items: int) -> sp.csr_matrix:
        return in_order(sessions, n_items, self.settings.steps, DECAYS[self.settings.weighting])
