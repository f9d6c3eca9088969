"""Intervals and tests of metrics, by session: its targets hang together, so they are drawn and flipped together.

Bootstrap (Efron 1979), by clusters (Field and Welsh 2007): sessions are drawn with replacement, as many as there are;
the value of a draw is the sum over its targets divided by their number, as sessions have different numbers of targets.
Test: the paired randomisation test, which Smucker, Allan and Carterette (CIKM 2007) recommend for rankings, with a
session's difference in place of a query's. Several tests: Holm's correction (1979). A change of at least some size is
tested by the studentised bootstrap (Hall 1988), as differences less a margin are skewed, which signs by chance are not.
numpy only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from recbole_ext.progress import progress

DRAWS = 1000  # of a bootstrap
FLIPS = 10_000  # of a test: p is 1 / 10,001 at least
LEVEL = 95  # percent of the drawn values that an interval holds
_CHUNK = 4 << 20  # numbers that are drawn at a time


class Interval(NamedTuple):
    """A mean over targets and the percentiles of its bootstrap, (M,) float64 each; NaN where there is none."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def bootstrap_mean(
    values: np.ndarray, cluster: np.ndarray, draws: int = DRAWS, seed: int = 1
) -> tuple[float, float, float]:
    """Mean of values (T,) and its percentile interval where clusters (T,), whole numbers, are drawn with replacement.

    low and high are NaN where there are fewer than two clusters: nothing then says how they differ. T > 0.
    """
    found = bootstrap_means(values[:, None], cluster, draws, seed)
    return float(found.mean[0]), float(found.low[0]), float(found.high[0])


def bootstrap_means(values: np.ndarray, cluster: np.ndarray, draws: int = DRAWS, seed: int = 1) -> Interval:
    """`bootstrap_mean` of every column of values (T, M), all from the same draws."""
    sums, sizes = _cluster_sums(values, cluster)
    mean = sums.sum(axis=0) / len(values)
    if len(sums) < 2:
        unknown = np.full(len(mean), np.nan)
        return Interval(mean, unknown, unknown)
    columns = np.column_stack((sums, sizes))
    drawn = np.concatenate(
        [weights @ columns for weights in _weights(len(sums), draws, seed)]
    )  # (draws, M + 1)
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(drawn[:, :-1] / drawn[:, -1:], (tail, 100 - tail), axis=0)
    return Interval(mean, low, high)


def normal_mean(values: np.ndarray, cluster: np.ndarray) -> tuple[float, float, float]:
    """`bootstrap_mean` without drawing: mean of values (T,) and mean ± 1.96 SE, where draws a slice cost too much.

    SE^2 = S / (S - 1) sum over clusters s of (d_s - mean n_s)^2 / T^2, d_s the sum and n_s the number of its targets.
    low and high are NaN where there are fewer than two clusters, and where all are alike: nothing then says how they
    differ. T > 0.
    """
    sums, sizes = _cluster_sums(values[:, None], cluster)
    mean, count = float(values.mean()), len(sums)
    if count < 2 or not values.std():
        return mean, float("nan"), float("nan")
    square = float(((sums[:, 0] - mean * sizes) ** 2).sum()) * count / (count - 1)
    half = 1.96 * square**0.5 / len(values)
    return mean, mean - half, mean + half


def paired_test(
    a: np.ndarray, b: np.ndarray, cluster: np.ndarray, draws: int = FLIPS, seed: int = 1
) -> dict[str, float]:
    """Do two models differ on the same targets (T,)? `difference` = mean of a - b, its interval, and p.

    Paired randomisation (sign-flip) test over clusters, two-sided: with d_s the sum of a - b over cluster s, and signs
    e_s of +1 or -1 by chance, p = (1 + #{|sum_s e_s d_s| >= |sum_s d_s|}) / (1 + draws). Under the hypothesis that the
    models' names could be swapped in every session, p is uniform. low, high: as of `bootstrap_mean`.
    """
    found = paired_tests((a - b)[:, None], cluster, draws, seed)
    return {name: float(column[0]) for name, column in found.items()}


def paired_tests(
    differences: np.ndarray, cluster: np.ndarray, draws: int = FLIPS, seed: int = 1
) -> dict[str, np.ndarray]:
    """`paired_test` of every column of differences (T, P): difference, low, high and p, (P,) each."""
    count = differences.shape[1]
    against = np.column_stack((differences, np.zeros(len(differences))))
    pairs = np.arange(count), np.full(count, count)
    return pair_tests(against, *pairs, cluster, draws, seed)


def pair_tests(
    values: np.ndarray, a: np.ndarray, b: np.ndarray, cluster: np.ndarray, draws: int = FLIPS, seed: int = 1
) -> dict[str, np.ndarray]:
    """`paired_test` of pairs of columns of values (T, M): a[p] and b[p], (P,) each; results as of `paired_tests`.

    Signs are multiplied with M columns, however many pairs there are.
    """
    differences = values[:, a] - values[:, b]
    interval = bootstrap_means(differences, cluster, seed=seed)
    sums, _ = _cluster_sums(differences, cluster)
    differs = (sums != 0).any(axis=1)  # a session without difference has no sign
    total = sums[differs].sum(axis=0)
    own = _cluster_sums(values, cluster)[0][differs]
    # the same signs in another order of summing may be a little off
    size = np.abs(own).sum(axis=0)
    least = np.abs(total) - 1e-12 * (size[a] + size[b])
    extreme = np.zeros(len(total), dtype=np.int64)
    with progress("testing pairs", draws) as advance:
        for plus in _signs(len(own), draws, seed):
            drawn = plus @ own
            extreme += (np.abs(2 * (drawn[:, a] - drawn[:, b]) - total) >= least).sum(axis=0)
            advance(len(plus))
    return {
        "difference": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "p": (1 + extreme) / (1 + draws),
    }


class Changes(NamedTuple):
    """By column, (P,) float64 each; NaN where there is none.

    change: sum of a over sum of b, less 1. low, high: its percentile interval. p_kept: of "a is at most (1 - margin)
    b", small where a surely keeps more. p_fallen: of "a is at least (1 - margin) b", small where it surely keeps less.
    """

    change: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_kept: np.ndarray
    p_fallen: np.ndarray


def changes(
    a: np.ndarray, b: np.ndarray, cluster: np.ndarray, margin: np.ndarray, draws: int = FLIPS, seed: int = 1
) -> Changes:
    """By what share a is more than b, and one-sided tests of a fall by `margin`; values (T, P), margin (P,) of b.

    With d_s the sum of a - (1 - margin) b over cluster s of S, t = mean(d) / (sd(d) / sqrt(S)); a bootstrap of clusters
    gives the distribution of (mean* - mean) / (sd* / sqrt(S)), t's where mean(d) is truly 0: p = (1 + #{t* >= t}) /
    (1 + draws), or with <=. Values of targets outside of a slice are 0 in its column. p is 1 where d does not vary.
    """
    sums, _ = _cluster_sums(np.concatenate((a, b), axis=1), cluster)
    width, count = a.shape[1], len(sums)
    of_a, of_b = sums[:, :width], sums[:, width:]
    kept = of_a - (1 - margin) * of_b
    mean = kept.mean(axis=0)
    centred = kept - mean
    t = _studentised(mean, (centred**2).mean(axis=0), 0.0, count)
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.where(of_b.sum(axis=0) > 0, of_a.sum(axis=0) / of_b.sum(axis=0) - 1, np.nan)
    if count < 2:
        unknown, one = np.full(width, np.nan), np.ones(width)
        return Changes(change, unknown, unknown, one, one)
    columns = np.concatenate((of_a, of_b, centred, centred**2), axis=1)
    above, below, ratios = np.zeros(width, np.int64), np.zeros(width, np.int64), []
    for weights in _weights(count, draws, seed):
        drawn_a, drawn_b, first, second = np.split(weights @ columns / count, 4, axis=1)
        drawn = _studentised(first, second, first, count)
        above += (~(drawn < t)).sum(axis=0)  # what is no number speaks for nothing
        below += (~(drawn > t)).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios.append(drawn_a / drawn_b - 1)
    tail = (100 - LEVEL) / 2
    found = np.concatenate(ratios)
    with np.errstate(invalid="ignore"):  # of what is not finite, which is unknown
        low, high = np.percentile(found, (tail, 100 - tail), axis=0)
    unknown = ~np.isfinite(found).all(axis=0)
    low[unknown], high[unknown] = np.nan, np.nan
    return Changes(change, low, high, (1 + above) / (1 + draws), (1 + below) / (1 + draws))


def _studentised(mean: np.ndarray, square: np.ndarray, centre: np.ndarray | float, count: int) -> np.ndarray:
    """mean / (sd / sqrt(count)), where sd^2 = square - centre^2; NaN where nothing varies."""
    variance = square - centre**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 1e-9 * square, mean / np.sqrt(variance / count), np.nan)


def holm(p: np.ndarray) -> np.ndarray:
    """(P,) p values of P tests, adjusted so that the chance of any false finding among them is below the level.

    With p ordered, p_(1) <= … <= p_(P): adjusted p_(i) = min(1, max over j <= i of (P - j + 1) p_(j)).
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(raised, 1)
    return adjusted


def _cluster_sums(values: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of values (T, M) over each of S clusters, (S, M), and the clusters' sizes (S,)."""
    _, place = np.unique(cluster, return_inverse=True)
    place = place.reshape(-1)
    sizes = np.bincount(place)
    sums = np.stack([np.bincount(place, column, len(sizes)) for column in values.T], axis=1)
    return sums, sizes.astype(np.float64)


def _weights(clusters: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """`draws` rows (…, clusters) float64, some at a time: how often each cluster is drawn, `clusters` in all."""
    rng = np.random.default_rng(seed)
    for rows in _pieces(clusters, draws):
        drawn = rng.integers(clusters, size=(rows, clusters))
        drawn += clusters * np.arange(rows)[:, None]
        counts = np.bincount(drawn.reshape(-1), minlength=rows * clusters)
        yield counts.reshape(rows, clusters).astype(np.float64)


def _signs(clusters: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """`draws` rows (…, clusters) float64, some at a time: 1 for a plus, 0 for a minus."""
    rng = np.random.default_rng(seed)
    width = -(-clusters // 8)
    for rows in _pieces(clusters, draws):
        bits = np.frombuffer(rng.bytes(rows * width), dtype=np.uint8).reshape(rows, width)
        yield np.unpackbits(bits, axis=1, count=clusters).astype(np.float64)


def _pieces(clusters: int, draws: int) -> Iterator[int]:
    most = max(1, _CHUNK // max(clusters, 1))
    for first in range(0, draws, most):
        yield min(most, draws - first)
