"""The best items without sorting: against a stable sort, with ties, -inf, NaN, and rows wide enough for blocks."""

import numpy as np
import pytest
import torch

from recbole_ext.scores.top import SMALL, _blocks, best_items


def by_sorting(scores, k):
    """(B, k) items by a stable sort of each row; what is no number or -inf comes last."""
    values = np.where(np.isnan(scores), -np.inf, scores)
    return np.argsort(-values, axis=1, kind="stable")[:, :k]


def assert_best(scores, k):
    items, values = best_items(torch.from_numpy(scores), k)
    expected = by_sorting(scores, k)
    known = np.take_along_axis(np.where(np.isnan(scores), -np.inf, scores), expected, axis=1)
    assert np.array_equal(values.numpy(), known)
    there = known > -np.inf
    assert np.array_equal(items.numpy()[there], expected[there])
    for row in items.tolist():
        assert len(set(row)) == k


@pytest.mark.parametrize("width", [20, 21, 4096, SMALL + 1, 5000, 10_007])
@pytest.mark.parametrize("distinct", [2, 30, 4000, None])
def test_as_a_stable_sort_has_them(width, distinct):
    random = np.random.default_rng(width)
    shape = (7, width)
    scores = random.normal(size=shape) if distinct is None else random.integers(0, distinct, shape)
    scores = scores.astype(np.float32)
    assert (_blocks(width, 21) is None) == (width <= SMALL)
    for k in (1, 20):
        assert_best(scores, k)
        assert_best(np.concatenate([scores] * 5), k)


def test_few_candidates_nan_and_a_tie_across_the_end():
    scores = np.full((4, 6000), -np.inf, dtype=np.float32)
    scores[0, [5000, 7]] = 1.0, 2.0
    scores[1, ::3] = np.nan
    scores[1, 1::3] = np.arange(2000) % 5
    scores[2, [10, 5999, 3]] = np.inf, 0.0, 0.0
    scores[3] = 1.0
    assert_best(scores, 20)
    assert_best(np.concatenate([scores] * 9), 20)
    items, values = best_items(torch.from_numpy(scores), 3)
    assert items[0, :2].tolist() == [7, 5000] and values[0].tolist() == [2.0, 1.0, -np.inf]
    assert items[2].tolist() == [10, 3, 5999]
    assert items[3].tolist() == [0, 1, 2]


def test_all_of_a_row():
    items, _ = best_items(torch.tensor([[3.0, 1.0, 3.0, 2.0]]), 4)
    assert items.tolist() == [[0, 2, 3, 1]]
