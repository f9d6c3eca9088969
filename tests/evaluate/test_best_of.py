"""The expected best of n trials against every draw of n of them."""

from itertools import combinations

import numpy as np
import pytest

from recbole_ext.evaluate.best_of import best_of


@pytest.mark.parametrize("lower", [False, True])
def test_it_is_the_mean_over_all_draws_without_putting_back(lower):
    scores = [0.3, 0.1, 0.2, 0.2, 0.7]
    mean, spread = best_of(scores, lower_is_better=lower)
    for n in range(1, 6):
        drawn = [(min if lower else max)(some) for some in combinations(scores, n)]
        assert mean[n - 1] == pytest.approx(np.mean(drawn)) and spread[n - 1] == pytest.approx(np.std(drawn))
    assert mean[-1] == pytest.approx(0.1 if lower else 0.7) and spread[-1] == 0


def test_of_one_trial_and_of_none():
    assert [list(part) for part in best_of([0.4])] == [[0.4], [0.0]]
    assert [list(part) for part in best_of([])] == [[], []]
