"""VSKNN: session neighbours in which recent items of the session weigh more. Formula: docs/neighbours.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from recbole_ext.model.counting.item_rules import decay_of
from recbole_ext.model.counting.neighbours import Formula, NeighbourModel, same
from recbole_ext.settings.checks import number, one_of

# weight of the item at position p of a session of n events
WEIGHTINGS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "same": same,
    "div": lambda p, n: p / n,
    "linear": lambda p, n: np.maximum(1 - 0.1 * (n - p), 0),
    "log": lambda p, n: 1 / np.log10(n - p + 1.7),
    "quadratic": lambda p, n: (p / n) ** 2,
}


class VSKNN(NeighbourModel):
    """score(i | s) = sum over the neighbours n with i of

        sum of w(p) over shared items / |s| * weighting_score(steps back to the most recent of them) * idf(i)

    with w the `weighting` of the shared items' positions p in s.
    """

    def formula(self, config: Any) -> Formula:
        return Formula(
            weights=WEIGHTINGS[one_of(config, "weighting", tuple(WEIGHTINGS))],
            cosine=False,
            matched=decay_of(config, "weighting_score"),
            idf=float(number(config, "idf_weighting", 0)),
        )
