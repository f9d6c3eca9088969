"""STAN: session neighbours with three decays, by sequence and time. Formula: docs/neighbours.md."""

from __future__ import annotations

from recbole_ext.model.counting.neighbours import Formula, NeighbourModel, StanSettings, exponential
from recbole_ext.settings.base import Number, Whole, key


class STANSettings(StanSettings):
    """Keys of STAN."""

    sample_size: Whole = key(
        5000, "most recent sessions that share an item, among which they are looked for; 0: all", ge=0
    )
    lambda_spw: Number | None = key(1.225, "decay by position in the session, in events", ge=1e-9)
    lambda_inh: Number | None = key(
        2.45, "decay by distance from the shared item in the neighbour, in events", ge=1e-9
    )


class STAN(NeighbourModel):
    """score(i | s) = sum over the neighbours n with i of

    cosine of the weights exp((p - |s|) / lambda_spw) of s's items with the set of n's
    * exp(-age of n / lambda_snh) * exp(-|position of i in n - position of the last shared item in n| / lambda_inh)
    """

    settings_class = STANSettings

    def formula(self) -> Formula:
        own = self.settings
        return Formula(
            weights=exponential(own.lambda_spw), cosine=True, age=own.lambda_snh, distance=own.lambda_inh
        )
