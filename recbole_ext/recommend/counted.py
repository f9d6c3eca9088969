"""Models that count as an exported folder keeps them: what they have learnt, and their weights as tables.

Their formulas are the run's own (model/counting/nearest.py and counted.py), with numpy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from recbole_ext.errors import UsageError
from recbole_ext.model.counting import csr
from recbole_ext.model.counting.counted import highest_one, last_items, linked, popularity_of
from recbole_ext.model.counting.nearest import Formula, Neighbourhood

NEIGHBOURS, RULES, LINKED = ("SKNN", "VSKNN", "STAN", "VSTAN"), ("AR", "SR"), ("LINK",)
COUNTED = NEIGHBOURS + RULES + LINKED
LONGEST = 2000  # events of a session whose weights make a table of 16 MB


class Counted:
    """score: (B, L) prefixes, 0 = padding on the right, to (B, n_items) csr, a row's highest 1. evidence: of the same,
    by column. popularity: (n_items,) as CountingModel's."""

    def __init__(
        self,
        score: Callable[[np.ndarray], csr.csr_matrix],
        evidence: Callable[[np.ndarray], dict[str, csr.csr_matrix]],
        popularity: np.ndarray,
    ):
        self._score, self.evidence, self.popularity = score, evidence, popularity_of(popularity)

    def score(self, prefixes: np.ndarray) -> csr.csr_matrix:
        """(B, n_items) float32."""
        return highest_one(self._score(prefixes)).astype(np.float32)


def scoring_of(stated: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Counted:
    """What scores by an exported model; KeyError where something is not there."""
    name, popularity = stated["model"], arrays["learnt.popularity"]
    learnt = {
        key.removeprefix("learnt."): value for key, value in arrays.items() if key.startswith("learnt.")
    }
    if name in NEIGHBOURS:
        near = Neighbourhood(
            learnt,
            _formula(stated, arrays),
            len(popularity),
            stated["k"],
            stated["sample_size"],
            stated["remind"],
            csr,
        )
        return Counted(lambda prefixes: near.score(prefixes, None), near.evidence, popularity)
    matrix = _matrix(learnt, "rules" if name in RULES else "weights", len(popularity))
    if name in RULES:

        def rules(prefixes: np.ndarray) -> csr.csr_matrix:
            return matrix[last_items(prefixes)]

        return Counted(rules, lambda prefixes: {"pairs": rules(prefixes)}, popularity)
    return Counted(
        lambda prefixes: linked(prefixes, matrix, stated["decay"], csr), lambda prefixes: {}, popularity
    )


def described(model: Any, longest: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `scoring_of` reads of a model of COUNTED, in plain values and arrays; longest: events of a session that it
    reads."""
    arrays: dict[str, np.ndarray] = {}
    for name, value in model.learnt.items():
        if hasattr(value, "indptr"):
            arrays |= {
                f"learnt.{name}.{part}": getattr(value, part) for part in ("data", "indices", "indptr")
            }
        else:
            arrays[f"learnt.{name}"] = np.asarray(value)
    told: dict[str, Any] = {"fill": model.fill}
    formula = getattr(model, "factors", None)
    if formula is None:
        return {**told, "decay": getattr(model.settings, "predict_decay", None)}, arrays
    if longest > LONGEST:
        raise UsageError(
            f"{type(model).__name__} with MAX_ITEM_LIST_LENGTH {longest} cannot be exported, as its weights become a "
            f"table: train it with {LONGEST} at most"
        )
    steps = np.arange(1.0, longest + 1)
    length = np.repeat(steps, np.arange(1, longest + 1))
    arrays["weights"] = formula.weights(np.concatenate([steps[:n] for n in range(1, longest + 1)]), length)
    if formula.matched is not None:
        arrays["matched"] = formula.matched(steps)
    told |= {name: getattr(formula, name) for name in ("cosine", "age", "distance", "idf")}
    return {**told, "k": model.k, "sample_size": model.sample_size, "remind": model.settings.remind}, arrays


def _formula(stated: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Formula:
    weights, matched = arrays["weights"], arrays.get("matched")

    def weight(position: np.ndarray, length: np.ndarray) -> np.ndarray:
        place = length * (length - 1) / 2 + position - 1  # weights of shorter sessions come before
        return np.asarray(weights[place.astype(np.int64)])

    def of_match(back: np.ndarray) -> np.ndarray:
        assert matched is not None
        return np.asarray(matched[back.astype(np.int64) - 1])

    return Formula(
        weights=weight,
        cosine=stated["cosine"],
        matched=None if matched is None else of_match,
        age=stated["age"],
        distance=stated["distance"],
        idf=stated["idf"],
    )


def _matrix(learnt: Mapping[str, np.ndarray], name: str, n_items: int) -> csr.csr_matrix:
    parts = tuple(learnt[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    return csr.csr_matrix(parts, shape=(n_items, n_items))
