"""VSTAN: STAN's decays with VSKNN's weight of the match and idf. Formula: docs/neighbours.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_ext.model.counting.item_rules import Decay
from recbole_ext.model.counting.neighbours import Formula, NeighbourModel, exponential, rate_of
from recbole_ext.settings.checks import number


class VSTAN(NeighbourModel):
    """STAN's score, of which a neighbour's part is multiplied by exp(-(b - 1) / lambda_ipw), b = steps back to the most
    recent shared item, and an item's by 1 + lambda_idf * log(sessions / sessions with the item)."""

    def formula(self, config: Any) -> Formula:
        return Formula(
            weights=exponential(rate_of(config, "lambda_spw")),
            cosine=True,
            matched=_steps_back(rate_of(config, "lambda_ipw")),
            age=rate_of(config, "lambda_snh"),
            distance=rate_of(config, "lambda_inh"),
            idf=float(number(config, "lambda_idf", 0)),
        )


def _steps_back(rate: float | None) -> Decay | None:
    return None if rate is None else lambda back: np.exp(-(back - 1) / rate)
