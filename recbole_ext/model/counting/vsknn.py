"""VSKNN: session neighbours in which recent items of the session weigh more. Formula: docs/neighbours.md."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recbole_ext.model.counting.item_rules import DECAYS, Weighting
from recbole_ext.model.counting.neighbours import Formula, NeighbourModel, NeighbourSettings, same
from recbole_ext.settings.base import Number, Whole, key

# weight of the item at position p of a session of n events
WEIGHTINGS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "same": same,
    "div": lambda p, n: p / n,
    "linear": lambda p, n: np.maximum(1 - 0.1 * (n - p), 0),
    "log": lambda p, n: 1 / np.log10(n - p + 1.7),
    "quadratic": lambda p, n: (p / n) ** 2,
}


class VSKNNSettings(NeighbourSettings):
    """Keys of VSKNN."""

    sample_size: Whole = key(
        500, "most recent sessions that share an item, among which they are looked for; 0: all", ge=0
    )
    weighting: Weighting = key(
        "div",
        "weight of the session's items by position p of n: same 1, div p/n, linear 1 - (n - p)/10, log "
        "1/log10(n - p + 1.7), quadratic (p/n)^2",
    )
    weighting_score: Weighting = key(
        "div",
        "weight of a neighbour by steps i back to the most recent shared item: same 1, div 1/i, linear 1 - i/10, log "
        "1/log10(i + 1.7), quadratic 1/i^2",
    )
    idf_weighting: Number = key(10, "an item counts 1 + idf_weighting * idf times", ge=0)


class VSKNN(NeighbourModel):
    """score(i | s) = sum over the neighbours n with i of

        sum of w(p) over shared items / |s| * weighting_score(steps back to the most recent of them) * idf(i)

    with w the `weighting` of the shared items' positions p in s.
    """

    settings_class = VSKNNSettings

    def formula(self) -> Formula:
        return Formula(
            weights=WEIGHTINGS[self.settings.weighting],
            cosine=False,
            matched=DECAYS[self.settings.weighting_score],
            idf=self.settings.idf_weighting,
        )
