"""SKNN: the k most similar past sessions, by cosine of sets of items. Formula: docs/neighbours.md."""

from __future__ import annotations

from recbole_ext.model.counting.neighbours import Formula, NeighbourModel, NeighbourSettings, same
from recbole_ext.settings.base import Whole, key


class SKNNSettings(NeighbourSettings):
    """Keys of SKNN."""

    k: Whole = key(100, "nearest sessions", ge=1)
    sample_size: Whole = key(
        500, "most recent sessions that share an item, among which they are looked for; 0: all", ge=0
    )


class SKNN(NeighbourModel):
    """score(i | s) = sum over the neighbours n with i of |s ∩ n| / sqrt(|s| |n|)."""

    settings_class = SKNNSettings

    def formula(self) -> Formula:
        """Cosine over items, each counting the same."""
        return Formula(weights=same, cosine=True)
