"""Beyond accuracy: what a model recommends over all test targets, from their top items.

With c_i how often item i is among the k best of the T targets, and n items that could be:

    coverage@k   = number of items with c_i > 0, over n
    gini@k       = sum_i (2 i - n - 1) c_(i) / (n sum_i c_i), c_(1) <= … <= c_(n): 0 = all alike, (n - 1) / n = one only
    popularity@k = mean number of training events of a recommended item

They are RecBole's ItemCoverage, GiniIndex and AveragePopularity, but that n leaves the padding out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recbole_ext.errors import UsageError

TOP = 20  # items of each target that a record keeps
_ROWS = 2**18  # targets that are looked at together


def coverage(top: np.ndarray, items: int, k: int = TOP) -> float:
    """Share of `items` that any target (T,) has among its k best, `top` (T, K) int, best first, 0 = padding."""
    return float((_counts(top, k) > 0).sum() / items)


def gini(top: np.ndarray, items: int, k: int = TOP) -> float:
    """Inequality of how often each of `items` is recommended; arguments as of `coverage`."""
    counts = _counts(top, k)
    counts = np.sort(counts[counts > 0]).astype(np.float64)
    place = np.arange(
        items - len(counts) + 1, items + 1
    )  # items that are never recommended come first and add 0
    return float(((2 * place - items - 1) * counts).sum() / (items * counts.sum()))


def mean_popularity(top: np.ndarray, item_count: np.ndarray, k: int = TOP) -> float:
    """Mean of item_count (n_items,) over what is recommended, as often as it is; `top` as of `coverage`."""
    counts = _counts(top, k)
    return float((counts * item_count[: len(counts)]).sum() / counts.sum())


def beyond(arrays: Mapping[str, np.ndarray], items: int, k: int = TOP) -> dict[str, float | None]:
    """All three of a run with `top` (T, K); the popularity None where `item_count` (n_items,) is not known."""
    top = arrays["top"]
    return {
        f"coverage@{k}": coverage(top, items, k),
        f"gini@{k}": gini(top, items, k),
        f"popularity@{k}": mean_popularity(top, arrays["item_count"], k) if "item_count" in arrays else None,
    }


def _counts(top: np.ndarray, k: int) -> np.ndarray:
    """(largest item + 1,) how often each item is among the k best, the padding never."""
    if not 1 <= k <= TOP:
        raise UsageError(f"a record keeps {TOP} items a target, so there is no top {k}: ask for 1 to {TOP}")
    counts = np.zeros(int(top.max(initial=0)) + 1, dtype=np.int64)
    for start in range(0, len(top), _ROWS):
        counts += np.bincount(top[start : start + _ROWS, :k].reshape(-1), minlength=len(counts))
    counts[0] = 0
    return counts[: int(np.flatnonzero(counts).max(initial=0)) + 1]
