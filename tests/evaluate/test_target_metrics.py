"""What a target adds to a metric, on paper, and whether its category was right."""

import numpy as np
import pytest

from recbole_ext.errors import UsageError
from recbole_ext.evaluate.target_metrics import category_hits, gains, parse_metric

RANK = np.array([1, 2, 3, 11])


@pytest.mark.parametrize(
    ("name", "at_ten"),
    [
        ("hit", [1, 1, 1, 0]),
        ("recall", [1, 1, 1, 0]),
        ("precision", [0.1, 0.1, 0.1, 0]),
        ("mrr", [1, 1 / 2, 1 / 3, 0]),
        ("ndcg", [1, 1 / np.log2(3), 1 / 2, 0]),
    ],
)
def test_gains_on_paper(name, at_ten):
    assert gains(RANK, name, 10).tolist() == pytest.approx(at_ten)


def test_names():
    assert parse_metric("NDCG@10") == ("ndcg", 10) and parse_metric("hr@5") == ("hit", 5)
    for wrong in ("ndcg", "ndcg@0", "ndcg@x", "auc@10", "@10", "ndcg@-1"):
        with pytest.raises(UsageError, match=f"metric {wrong} is not known"):
            parse_metric(wrong)


def test_category_hits_on_paper():
    arrays = {
        "item": np.array([1, 2, 3, 4]),
        "top": np.array([[1, 2, 3], [3, 1, 4], [1, 4, 2], [4, 4, 4]]),
        "item_category": np.array([0, 7, 7, 8, 0]),  # of items 1, 2, 3 and 4
    }
    assert category_hits(arrays, 1).tolist()[:3] == [1, 0, 0]
    assert category_hits(arrays, 2).tolist()[:3] == [1, 1, 0]
    assert category_hits(arrays, 3).tolist()[:3] == [1, 1, 0]  # item 4's category is unknown, so it is none's
    assert np.isnan(category_hits(arrays, 3)[3])
