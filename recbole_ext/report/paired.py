"""The paired tests of a comparison: asked for in either order, and what may be called a difference.

A claim that one model is better than another is made only where the test says so: Holm-adjusted p < .05.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recbole_ext.report.formats import ALPHA, known


@dataclass(frozen=True)
class Test:
    """Model `a` minus model `b` on one metric."""

    __test__ = False  # not pytest's

    difference: float | None
    low: float | None
    high: float | None
    p_holm: float | None

    @property
    def decided(self) -> bool:
        """Whether the difference may be called one: Holm-adjusted p < .05 and a sign."""
        return known(self.p_holm) and self.p_holm < ALPHA and known(self.difference) and self.difference != 0

    @property
    def better(self) -> bool:
        """Decided, and a is above b."""
        return self.decided and (self.difference or 0) > 0

    @property
    def worse(self) -> bool:
        """Decided, and a is below b."""
        return self.decided and (self.difference or 0) < 0

    @property
    def tested(self) -> bool:
        """Whether there is a p value."""
        return known(self.p_holm)

    def turned(self) -> Test:
        """b minus a."""
        return Test(_negative(self.difference), _negative(self.high), _negative(self.low), self.p_holm)


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


UNTESTED = Test(None, None, None, None)


class Tests:
    """The tests of a comparison, asked for in either order of the two models."""

    __test__ = False

    def __init__(self, comparison: Mapping[str, Any]):
        self._found = {
            (t["a"], t["b"], t["metric"]): Test(
                t.get("difference"), t.get("low"), t.get("high"), t.get("p_holm")
            )
            for t in comparison.get("tests") or []
        }

    def __len__(self) -> int:
        return len(self._found)

    def between(self, a: str | None, b: str | None, metric: str) -> Test:
        """`a` minus `b`; UNTESTED where the two were not compared on `metric`, or one is None."""
        if (a, b, metric) in self._found:
            return self._found[a, b, metric]
        if (b, a, metric) in self._found:
            return self._found[b, a, metric].turned()
        return UNTESTED


def best_model(comparison: Mapping[str, Any], metric: str) -> str | None:
    """Label of the model whose mean is highest; None where no model has the metric."""
    means = {m["model"]: m["metrics"].get(metric, {}).get("mean") for m in comparison["models"]}
    means = {label: mean for label, mean in means.items() if known(mean)}
    return max(means, key=lambda label: means[label]) if means else None
