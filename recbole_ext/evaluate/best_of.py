"""The best of n trials of a search that one may expect: how much the search itself leaves to chance.

Dodge et al., Show Your Work, EMNLP 2019; in the form of Tang et al., Showing Your Work Doesn't Always Work, ACL 2020:
the n trials are drawn from the N that were made without putting them back, so that the mean is unbiased. It is exact
for trials that were drawn independently, as by sampler random; trials of TPE or a Gaussian process lean on those before
them, and the curve says what a random order of the same trials would have given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def best_of(scores: Sequence[float], lower_is_better: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the best of n = 1 … N trials drawn from these: two arrays (N,)."""
    sign = -1.0 if lower_is_better else 1.0
    ordered = np.sort(sign * np.asarray(scores, dtype=np.float64))
    total = len(ordered)
    # P(the best of n is the i-th from below) = C(i - 1, n - 1) / C(N, n)
    share = np.array(
        [[math.comb(i, n - 1) / math.comb(total, n) for i in range(total)] for n in range(1, total + 1)]
    ).reshape(total, total)
    mean = share @ ordered
    spread = np.sqrt(np.maximum((share * (ordered[None, :] - mean[:, None]) ** 2).sum(axis=1), 0.0))
    return sign * mean, spread
