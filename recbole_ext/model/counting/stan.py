"""STAN: session neighbours with three decays, by sequence and time. Formula: docs/neighbours.md."""

from __future__ import annotations

from typing import Any

from recbole_ext.model.counting.neighbours import Formula, NeighbourModel, exponential, rate_of


class STAN(NeighbourModel):
    """score(i | s) = sum over the neighbours n with i of

    cosine of the weights exp((p - |s|) / lambda_spw) of s's items with the set of n's
    * exp(-age of n / lambda_snh) * exp(-|position of i in n - position of the last shared item in n| / lambda_inh)
    """

    def formula(self, config: Any) -> Formula:
        return Formula(
            weights=exponential(rate_of(config, "lambda_spw")),
            cosine=True,
            age=rate_of(config, "lambda_snh"),
            distance=rate_of(config, "lambda_inh"),
        )
