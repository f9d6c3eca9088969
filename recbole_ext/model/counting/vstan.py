"""VSTAN: STAN's decays with VSKNN's weight of the match and idf. Formula: docs/neighbours.md."""

from __future__ import annotations

import numpy as np

from recbole_ext.model.counting.item_rules import Decay
from recbole_ext.model.counting.neighbours import Formula, NeighbourModel, StanSettings, exponential
from recbole_ext.settings.base import Number, key


class VSTANSettings(StanSettings):
    """Keys of VSTAN."""

    lambda_ipw: Number | None = key(
        1.225, "decay by steps back to the most recent shared item, in events", ge=1e-9
    )
    lambda_idf: Number = key(5, "an item counts 1 + lambda_idf * idf times", ge=0)


class VSTAN(NeighbourModel):
    """STAN's score, of which a neighbour's part is multiplied by exp(-(b - 1) / lambda_ipw), b = steps back to the most
    recent shared item, and an item's by 1 + lambda_idf * log(sessions / sessions with the item)."""

    settings_class = VSTANSettings

    def formula(self) -> Formula:
        own = self.settings
        return Formula(
            weights=exponential(own.lambda_spw),
            cosine=True,
            matched=_steps_back(own.lambda_ipw),
            age=own.lambda_snh,
            distance=own.lambda_inh,
            idf=own.lambda_idf,
        )


def _steps_back(rate: float | None) -> Decay | None:
    return None if rate is None else lambda back: np.exp(-(back - 1) / rate)
