"""Sessions of now."""

import numpy as np
import pytest

from recbole_ext.data import live
from recbole_ext.data.live import Earlier, LiveSessions


def sessions_of(lists: list[list[int]], **columns) -> LiveSessions:
    item = np.array([item for own in lists for item in own], dtype=np.int64)
    return LiveSessions(item, np.array([len(own) for own in lists], dtype=np.int64), **columns)


def test_equal_sessions_are_found_by_hand():
    some, which = sessions_of([[3, 4], [], [4, 3], [3, 4], [3], [], [3, 4]]).distinct()
    assert some.tolist() == [0, 1, 2, 4]
    assert which.tolist() == [0, 1, 2, 0, 3, 1, 0]


@pytest.mark.parametrize("seed", range(5))
def test_each_session_equals_the_one_that_stands_for_it(seed):
    random = np.random.default_rng(seed)
    lists = [random.integers(1, 4, random.integers(0, 5)).tolist() for _ in range(500)]
    some, which = sessions_of(lists).distinct()
    assert [lists[some[group]] for group in which] == lists
    assert len(some) == len({tuple(own) for own in lists})
    assert (np.diff(some) > 0).all()


def test_sums_that_meet_by_chance_make_no_two_sessions_one(monkeypatch):
    monkeypatch.setattr(live, "place_in", lambda length: np.zeros(length.sum(), dtype=np.int64))
    lists = [[1, 2], [2, 1], [1, 2], [3, 3]]  # 1 + 2 and 2 + 1 have one sum
    some, which = sessions_of(lists).distinct()
    assert [lists[some[group]] for group in which] == lists


@pytest.mark.parametrize(
    "columns",
    [
        {"time": np.zeros(2)},
        {"event": np.ones(2, dtype=np.int64)},
        {"earlier": Earlier(np.array([0]), np.array([1]), np.array([5]))},
    ],
)
def test_what_knows_more_than_items_is_different(columns):
    some, which = sessions_of([[7], [7]], **columns).distinct()
    assert some.tolist() == which.tolist() == [0, 1]
