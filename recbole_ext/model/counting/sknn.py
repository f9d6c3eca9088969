"""SKNN: the k most similar past sessions, by cosine of sets of items. Formula: docs/neighbours.md."""

from __future__ import annotations

from typing import Any

from recbole_ext.model.counting.neighbours import Formula, NeighbourModel, same


class SKNN(NeighbourModel):
    """score(i | s) = sum over the neighbours n with i of |s ∩ n| / sqrt(|s| |n|)."""

    def formula(self, config: Any) -> Formula:
        return Formula(weights=same, cosine=True)
