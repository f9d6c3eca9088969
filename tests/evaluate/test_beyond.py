"""Coverage, Gini and popularity of what is recommended: on paper, and RecBole's own metrics beside them."""

import numpy as np
import pytest

from recbole_ext.errors import UsageError
from recbole_ext.evaluate.beyond import beyond, coverage, gini, mean_popularity

# five items; three targets
TOP = np.array([[1, 2], [1, 3], [1, 2]])
COUNT = np.array([0, 8, 4, 0, 1, 1])


def test_on_paper():
    # item 1 three times, 2 twice, 3 once, 4 and 5 never
    assert coverage(TOP, 5, 2) == pytest.approx(3 / 5)
    assert coverage(TOP, 5, 1) == pytest.approx(1 / 5)
    # sorted counts 0 0 1 2 3, weights -4 -2 0 2 4: (0 + 4 + 12) / (5 * 6)
    assert gini(TOP, 5, 2) == pytest.approx(16 / 30)
    assert gini(TOP, 5, 1) == pytest.approx(4 / 5)  # one item only: (n - 1) / n
    assert mean_popularity(TOP, COUNT, 2) == pytest.approx((3 * 8 + 2 * 4 + 0) / 6)
    assert mean_popularity(TOP, COUNT, 1) == 8


def test_everything_alike():
    top = np.array([[1, 2, 3], [2, 3, 1], [4, 5, 6]])
    assert gini(np.vstack((top, [[4, 5, 6]])), 6, 3) == pytest.approx(0)
    assert coverage(top, 6, 3) == 1


def test_padding_is_not_recommended():
    assert coverage(np.array([[1, 0]]), 4, 2) == 1 / 4
    assert gini(np.array([[1, 0]]), 4, 2) == pytest.approx(3 / 4)
    assert mean_popularity(np.array([[1, 0]]), np.array([9, 2]), 2) == 2


def test_no_more_than_the_record_keeps():
    with pytest.raises(UsageError, match="there is no top 21"):
        coverage(TOP, 5, 21)


def test_beyond_of_an_old_record():
    assert beyond({"top": TOP}, 5, 2)["popularity@2"] is None
    found = beyond({"top": TOP, "item_count": COUNT}, 5, 2)
    assert found == pytest.approx({"coverage@2": 0.6, "gini@2": 16 / 30, "popularity@2": 32 / 6})


def test_recbole_s_own_metrics():
    from recbole.evaluator.metrics import AveragePopularity, GiniIndex, ItemCoverage

    random = np.random.default_rng(5)
    top = np.stack([1 + random.choice(60, 20, replace=False) for _ in range(40)])
    count = random.integers(0, 30, 61)
    config = {"topk": [5, 20], "metric_decimal_place": 12}
    theirs = {
        **{f"coverage@{k}": ItemCoverage(config).get_coverage(top[:, :k], 60) for k in (5, 20)},
        **{f"gini@{k}": GiniIndex(config).get_gini(top[:, :k], 60) for k in (5, 20)},
    }
    popular = AveragePopularity(config)
    values = popular.metric_info(popular.get_pop(top, dict(enumerate(count.tolist()))))
    theirs.update({f"popularity@{k}": values.mean(axis=0)[k - 1] for k in (5, 20)})
    arrays = {"top": top, "item_count": count}
    assert {**beyond(arrays, 60, 5), **beyond(arrays, 60, 20)} == pytest.approx(theirs)
