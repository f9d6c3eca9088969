"""What one target adds to a metric, from its rank: the metric is the mean over targets.

Every target is one ranking with one right item, so with its rank r, 1 = best:

    hit@k = recall@k = [r <= k]     precision@k = [r <= k] / k
    ndcg@k = [r <= k] / log2(r + 1)     mrr@k = map@k = [r <= k] / r

These are RecBole's under full ranking of (prefix, target) rows. A category is right at k where one of the k best items
has the target's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recbole_ext.errors import UsageError

NAMES = ("hit", "recall", "precision", "ndcg", "mrr", "map")
ALIASES = {"hr": "hit"}
_ROWS = 2**18  # targets that are looked at together


def gains(rank: np.ndarray, name: str, k: int) -> np.ndarray:
    """(T,) float64 `name`@k of each target of ranks (T,); name: one of NAMES."""
    gain = {
        "hit": lambda: np.ones(len(rank)),
        "recall": lambda: np.ones(len(rank)),
        "precision": lambda: np.full(len(rank), 1 / k),
        "ndcg": lambda: 1 / np.log2(rank + 1.0),
        "mrr": lambda: 1 / rank.astype(np.float64),
        "map": lambda: 1 / rank.astype(np.float64),  # one target a row
    }[name]()
    return gain * (rank <= k)


def parse_metric(metric: str) -> tuple[str, int]:
    """Name and cut-off of `ndcg@10`, in any case; UsageError where it is no metric of a rank."""
    name, _, k = str(metric).strip().lower().partition("@")
    name = ALIASES.get(name, name)
    if name not in NAMES or not k.isdecimal() or int(k) < 1:
        raise UsageError(
            f"metric {metric} is not known: write one of {', '.join(NAMES)} and a cut-off, as in ndcg@10"
        )
    return name, int(k)


def category_hits(arrays: Mapping[str, np.ndarray], k: int) -> np.ndarray:
    """(T,) float64, 1 where one of the k best items has the target's category, 0 where none has it.

    NaN where the target's category is not known. arrays: `item` (T,), `top` (T, K >= k), `item_category` (n_items,).
    """
    category = arrays["item_category"]
    own = category[arrays["item"]]
    hit = np.zeros(len(own), dtype=bool)
    for rows in (slice(start, start + _ROWS) for start in range(0, len(own), _ROWS)):
        hit[rows] = (category[arrays["top"][rows, :k]] == own[rows, None]).any(axis=1)
    return np.where(own > 0, hit.astype(np.float64), np.nan)
