"""Intervals and tests: small cases on paper, coverage and calibration on simulated sessions."""

import itertools

import numpy as np
import pytest

from recbole_ext.evaluate import intervals
from recbole_ext.evaluate.intervals import (
    bootstrap_mean,
    bootstrap_means,
    holm,
    pair_tests,
    paired_test,
    paired_tests,
)


def test_two_sessions_on_paper():
    # sums 3 over 3 targets and 0 over 1; the draws are (A, A): 1, (A, B): 3 / 4, (B, B): 0, with chances 1/4, 1/2, 1/4
    mean, low, high = bootstrap_mean(np.array([1, 0, 1, 1.0]), np.array([7, 2, 7, 7]), draws=4000)
    assert (mean, low, high) == (0.75, 0.0, 1.0)
    drawn = np.concatenate(list(intervals._weights(2, 4000, 1)))
    assert (drawn.sum(axis=1) == 2).all()
    assert np.bincount(drawn[:, 0].astype(int)) / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_the_fast_way_equals_a_plain_loop():
    random = np.random.default_rng(3)
    cluster = np.sort(random.integers(0, 30, 200))
    values = random.random((200, 2))
    found = bootstrap_means(values, cluster, draws=50, seed=4)
    counts = np.concatenate(list(intervals._weights(30, 50, 4)))
    for column in range(2):
        means = []
        for draw in counts:
            drawn = [np.tile(values[cluster == c, column], int(n)) for c, n in enumerate(draw)]
            means.append(np.concatenate(drawn).mean())
        assert (found.low[column], found.high[column]) == pytest.approx(
            tuple(np.percentile(means, (2.5, 97.5)))
        )
        assert found.mean[column] == pytest.approx(values[:, column].mean())


def test_whatever_the_size_of_the_pieces(monkeypatch):
    random = np.random.default_rng(0)
    values, cluster = random.random(500), random.integers(0, 80, 500)
    other = random.random(500)
    whole = bootstrap_mean(values, cluster), paired_test(values, other, cluster)
    monkeypatch.setattr(intervals, "_CHUNK", 300)
    again = bootstrap_mean(values, cluster), paired_test(values, other, cluster)
    assert again[0] == pytest.approx(whole[0])
    assert again[1]["p"] == pytest.approx(whole[1]["p"], abs=0.03)  # signs come in whole bytes


def test_one_session_has_no_interval():
    mean, low, high = bootstrap_mean(np.array([1.0, 0.0]), np.array([5, 5]))
    assert mean == 0.5 and np.isnan(low) and np.isnan(high)


def sessions(random, count, spread):
    """Cluster and values of sessions of 1 to 9 targets that share a tendency: (T,) each."""
    size = random.integers(1, 10, count)
    cluster = np.repeat(np.arange(count), size)
    tendency = np.repeat(random.normal(0, spread, count), size)
    return cluster, (random.random(len(cluster)) < 1 / (1 + np.exp(-tendency))).astype(float)


def test_targets_taken_for_independent_make_too_narrow_an_interval():
    random = np.random.default_rng(11)
    held = {"sessions": 0, "targets": 0}
    for trial in range(300):
        cluster, values = sessions(random, 80, 3.0)
        for name, unit in (("sessions", cluster), ("targets", np.arange(len(values)))):
            _, low, high = bootstrap_mean(values, unit, draws=300, seed=trial)
            held[name] += low <= 0.5 <= high  # the truth, by symmetry
    assert 0.90 <= held["sessions"] / 300 <= 0.98, held
    assert held["targets"] / 300 < 0.80, held


# --- tests --------------------------------------------------------------------------------------------------


def test_sign_flips_on_paper():
    # summed differences of three sessions: 2, 1 and 1; |± 2 ± 1 ± 1| is 4 in 2 of 8 cases
    a, b = np.array([1, 1, 1, 1.0, 0.5]), np.array([0, 0, 0, 0, 0.5])
    found = paired_test(a, b, np.array([0, 0, 1, 2, 3]), draws=8000)
    assert found["difference"] == pytest.approx(4 / 5)
    assert found["p"] == pytest.approx(2 / 8, abs=0.02)
    assert found["low"] <= 4 / 5 <= found["high"]
    swapped = paired_test(b, a, np.array([0, 0, 1, 2, 3]), draws=8000)
    assert swapped["difference"] == -found["difference"] and swapped["p"] == found["p"]


def test_all_signs_beside_drawn_ones():
    random = np.random.default_rng(2)
    cluster = np.repeat(np.arange(10), 3)
    a, b = random.random(30) + 0.15, random.random(30)
    sums = np.bincount(cluster, a - b)
    flipped = [abs(np.dot(signs, sums)) for signs in itertools.product((1, -1), repeat=10)]
    exact = np.mean(np.array(flipped) >= abs(sums.sum()) - 1e-12)
    assert 0.02 < exact < 0.5
    assert paired_test(a, b, cluster, draws=40_000)["p"] == pytest.approx(exact, abs=0.012)


def test_the_smallest_p_and_the_largest():
    n = 200
    better = paired_test(np.ones(n), np.zeros(n), np.arange(n), draws=999)
    assert better["p"] == 1 / 1000
    same = paired_test(np.ones(n), np.ones(n), np.arange(n), draws=999)
    assert same["p"] == 1 and same["difference"] == same["low"] == same["high"] == 0


def test_p_is_uniform_where_models_are_alike():
    """NDCG-like gains of two models in sessions with a tendency each, under which names may be swapped."""
    random = np.random.default_rng(8)
    p = {"sessions": [], "targets": []}
    for trial in range(500):
        size = random.integers(1, 10, 60)
        cluster = np.repeat(np.arange(60), size)
        lead = np.repeat(random.normal(0, 0.3, 60), size)  # by which a is better in that session
        a, b = lead + random.random(len(cluster)), random.random(len(cluster))
        p["sessions"].append(paired_test(a, b, cluster, draws=400, seed=trial)["p"])
        p["targets"].append(paired_test(a, b, np.arange(len(a)), draws=400, seed=trial)["p"])
    for level in (0.05, 0.25, 0.5):
        assert np.mean(np.array(p["sessions"]) <= level) == pytest.approx(
            level, abs=3 * np.sqrt(level * (1 - level) / 500)
        )
    # targets taken for independent find what is not there
    assert np.mean(np.array(p["targets"]) <= 0.05) > 0.12


def test_several_differences_are_tested_as_one_by_one():
    random = np.random.default_rng(1)
    values, cluster = random.normal(0.05, 1, (300, 3)), random.integers(0, 70, 300)
    together = paired_tests(values, cluster, draws=500)
    for column in range(3):
        alone = paired_test(values[:, column], np.zeros(300), cluster, draws=500)
        assert {name: found[column] for name, found in together.items()} == pytest.approx(alone)


def test_holm_on_paper():
    # ordered .01 .02 .03 .04 times 4 3 2 1: .04 .06 .06 .04, and never below the one before
    assert holm(np.array([0.03, 0.01, 0.04, 0.02])).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([0.9, 0.6])).tolist() == [1, 1]
    assert holm(np.array([0.04])).tolist() == [0.04]
    assert holm(np.array([])).tolist() == []


def test_holm_holds_the_chance_of_any_false_finding():
    random = np.random.default_rng(0)
    p = random.random((4000, 5))
    raw = (p.min(axis=1) <= 0.05).mean()
    adjusted = np.mean([holm(row).min() <= 0.05 for row in p])
    assert raw > 0.2 and adjusted == pytest.approx(0.05, abs=0.012)


def test_pairs_of_models_are_tested_as_their_differences():
    """Two models that differ in one session only, too: every flip ties with what was seen."""
    random = np.random.default_rng(3)
    values = random.random((400, 4))
    values[:, 3] = values[:, 0]
    values[7, 3] += 1e-3
    a, b = np.array([0, 0, 1, 2]), np.array([1, 3, 2, 3])
    cluster = random.integers(0, 150, 400)
    found = pair_tests(values, a, b, cluster, draws=700)
    expected = paired_tests(values[:, a] - values[:, b], cluster, draws=700)
    assert found["p"].tolist() == expected["p"].tolist() and found["p"][1] == 1
    for name in ("difference", "low", "high"):
        assert (found[name] == expected[name]).all()
