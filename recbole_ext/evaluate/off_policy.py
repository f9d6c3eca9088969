"""What a policy that recommends by a model's scores would earn a target, estimated from the log of another policy.

Every test target is one decision: state s, the session so far; action a, the next item; reward r, by the kind of its
event. The one-step value of a policy pi is V(pi) = E_s sum_a pi(a|s) E[r|s,a], over the log's own states. With
w = min(pi(a|s) / beta(a|s), clip), beta the policy of the log, and r_hat(a) a guess of an item's reward,

    SNIPS = sum w r / sum w                                     (Swaminathan and Joachims, NeurIPS 2015)
    DR    = mean of q + mean of w (r - r_hat(a))                (Dudík, Langford and Li, ICML 2011)
    SNDR  = mean of q + sum of w (r - r_hat(a)) / sum w         (weighted DR of Thomas and Brunskill, ICML 2016)

with q = sum_a pi(a|s) r_hat(a).

What differs: beta is estimated (`Behaviour`), all estimators have clipped weights, r_hat knows the item only.
docs/off_policy.md says what the numbers mean and where they fall short.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from recbole_ext.settings.protocol_values import OffPolicySettings as Settings

LEVEL = 95  # percent of the resampled values that an interval holds
EM_ROUNDS, EM_STILL = 500, 1e-6


# --- the policy of the log ----------------------------------------------------------------------------------


class Behaviour:
    """beta(a|s) = l1 count(last -> a) / count(last ->) + l2 count(a) / N + l3 / n, last: the last item of s.

    Where s is empty or its last item was never left in training, popularity stands in for the first term, so that
    every row sums to 1. Items are ids from 1 to n; id 0, the padding, has no chance.

    last, item: (N,) int64, the last item before each training target (0: none) and the target.
    """

    def __init__(self, last: np.ndarray, item: np.ndarray, n_items: int):
        self.items = n_items - 1
        left = last > 0
        pairs = sp.csr_matrix((np.ones(left.sum()), (last[left], item[left])), shape=(n_items, n_items))
        self._left = np.asarray(pairs.sum(axis=1)).reshape(-1)  # (n_items,) times that an item was left
        self.transitions = sp.csr_matrix(sp.diags(1 / np.maximum(self._left, 1)) @ pairs)
        self.popularity = np.bincount(item, minlength=n_items) / len(item)
        self.weights = np.full(3, 1 / 3)  # of transitions, popularity, uniform

    def fit(self, last: np.ndarray, item: np.ndarray) -> Behaviour:
        """Choose the weights by maximum likelihood of held-out targets (EM); returns itself.

        The uniform term then has one target more, so that no item of the test part is impossible.
        """
        parts = np.ascontiguousarray(self._parts(last, item).T)  # (3, T): sums along T are fast
        for _ in range(EM_ROUNDS):
            mixed = self.weights @ parts
            before, self.weights = self.weights, self.weights * (parts @ (1 / mixed)) / len(item)
            if np.abs(self.weights - before).max() < EM_STILL:
                break
        self.weights = (self.weights * len(item) + (0, 0, 1)) / (len(item) + 1)
        return self

    def chances(self, last: np.ndarray, item: np.ndarray) -> np.ndarray:
        """(T,) beta(item | last)."""
        return self._parts(last, item) @ self.weights

    def table(self, last: np.ndarray) -> np.ndarray:
        """(T, n_items) beta of every item; for small worlds."""
        every = np.arange(self.items + 1)
        rows = [self.chances(np.full(len(every), before), every) for before in last]
        return np.stack(rows) * (every > 0)

    def _parts(self, last: np.ndarray, item: np.ndarray) -> np.ndarray:
        """(T, 3) each term's chance of each target."""
        popular = self.popularity[item]
        moved = np.asarray(self.transitions[last, item]).reshape(-1)
        moved = np.where(self._left[last] > 0, moved, popular)
        return np.stack((moved, popular, np.full(len(item), 1 / self.items)), axis=1)


def shrunken_rewards(item: np.ndarray, reward: np.ndarray, n_items: int) -> np.ndarray:
    """(n_items,) mean reward of each item's targets (N,), drawn to the mean of all where there are few.

    Empirical Bayes: r_hat = (n m + k mean) / (n + k) with n targets of mean m, k = variance within items / variance
    between items, both by the method of moments; the mean of all where items do not differ beyond chance.
    """
    total = len(reward)
    count = np.bincount(item, minlength=n_items).astype(float)
    overall = float(reward.mean())
    mean = np.bincount(item, reward, minlength=n_items) / np.maximum(count, 1)
    seen = int((count > 0).sum())
    if seen in (1, total):  # one item, or one target each: nothing says how items differ
        return np.full(n_items, overall)
    within = float(((reward - mean[item]) ** 2).sum()) / (total - seen)
    spread = float((count * (mean - overall) ** 2).sum())
    between = (spread - (seen - 1) * within) / (total - float((count**2).sum()) / total)
    if between <= 0:
        return np.full(n_items, overall)
    k = within / between
    return np.where(count > 0, (count * mean + k * overall) / np.maximum(count + k, 1e-300), overall)


# --- the policy of the model --------------------------------------------------------------------------------


# --- estimates ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """Reward a target, and the interval that holds LEVEL percent of its values over resampled sessions."""

    value: float | None  # None: no weight is above 0
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Estimates:
    """What the log says of a policy.

    log: the log's own mean reward. snips, dr, sndr: of the policy. effective: (sum w)² / sum w², the number of targets
    of one weight that would say as much. mean_weight: of the clipped weights; 1 on average where beta is right and
    nothing is clipped. clipped: share of the targets whose weight was cut. max_weight: before clipping.
    """

    targets: int
    sessions: int
    log: Value
    snips: Value
    dr: Value
    sndr: Value
    effective: float
    mean_weight: float
    clipped: float
    max_weight: float

    def to_record(self) -> dict[str, Any]:
        """Plain numbers, as the run's record keeps them."""
        return asdict(self)


def estimate(
    chance: np.ndarray,
    behaviour: np.ndarray,
    reward: np.ndarray,
    expected: np.ndarray,
    guessed: np.ndarray,
    session: np.ndarray,
    settings: Settings,
) -> Estimates:
    """Estimates of T > 0 decisions, all arguments (T,).

    chance: pi(a|s). behaviour: beta(a|s) > 0. reward: r. expected: sum_a pi(a|s) r_hat(a). guessed: r_hat(a).
    session: what is resampled, any whole numbers.
    """
    raw = chance / behaviour
    weight = np.minimum(raw, settings.clip)
    missed = weight * (reward - guessed)
    columns = np.stack((np.ones_like(weight), reward, weight, weight * reward, expected, missed))  # (6, T)
    _, place = np.unique(session, return_inverse=True)
    place = place.reshape(-1)
    sums = np.stack([np.bincount(place, column) for column in columns], axis=1)  # (S, 6)
    points = _values(sums.sum(axis=0, keepdims=True))[0]
    low, high = _interval(sums, settings)
    log, snips, dr, sndr = (
        Value(*map(_known, (points[place], low[place], high[place]))) for place in range(len(points))
    )
    squares = float((weight**2).sum())
    return Estimates(
        targets=len(weight),
        sessions=len(sums),
        log=log,
        snips=snips,
        dr=dr,
        sndr=sndr,
        effective=float(weight.sum()) ** 2 / squares if squares > 0 else 0.0,
        mean_weight=float(weight.mean()),
        clipped=float((raw > settings.clip).mean()),
        max_weight=float(raw.max()),
    )


def _values(sums: np.ndarray) -> np.ndarray:
    """(R, 4) the log's value, SNIPS, DR and SNDR, from sums (R, 6) of 1, r, w, w r, expected and w (r - r_hat)."""
    count, reward, weight, weighed, expected, missed = sums.T
    weight = np.where(weight > 0, weight, np.nan)
    direct = expected / count
    return np.stack(
        (reward / count, weighed / weight, direct + missed / count, direct + missed / weight), axis=1
    )


def _interval(sums: np.ndarray, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Two (4,) percentiles of the values where as many sessions are drawn with replacement, `bootstrap` times."""
    rng = np.random.default_rng(settings.seed)
    n = len(sums)
    drawn = [np.bincount(rng.integers(n, size=n), minlength=n) @ sums for _ in range(settings.bootstrap)]
    values = _values(np.stack(drawn))
    tail = (100 - LEVEL) / 2
    found = [
        np.percentile(column[~np.isnan(column)], (tail, 100 - tail))
        if (~np.isnan(column)).any()
        else np.full(2, np.nan)
        for column in values.T
    ]
    low, high = np.stack(found, axis=1)
    return low, high


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


# --- in a run -----------------------------------------------------------------------------------------------
