"""Orders of many rows: those of a plain stable sort, whatever the keys; rows that repeat others."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_ext.convert.rows import narrow, repeated
from recbole_ext.convert.sessions import number_sessions, sort_order

WIDE = st.sampled_from([-(2**62), -(2**40), -1, 0, 1, 2, 255, 2**31, 2**45, 2**62])
keys = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.tuples(*[st.one_of(st.integers(0, 3), WIDE)] * width), max_size=40)
)


@settings(deadline=None, max_examples=150)
@given(keys)
def test_order_is_that_of_a_stable_sort_by_all_keys(rows):
    columns = [np.array(column, dtype=np.int64) for column in zip(*rows)] or [np.array([], dtype=np.int64)]
    assert sort_order(columns).tolist() == sorted(range(len(rows)), key=lambda place: rows[place])


def test_order_of_narrow_numbers():
    draw = np.random.default_rng(0)
    user = draw.integers(0, 50, 5_000).astype(np.uint32)
    time = draw.integers(1_430_000_000_000, 1_430_000_000_000 + 10**10, 5_000)
    kind = draw.integers(0, 3, 5_000).astype(np.uint8)
    assert (sort_order([user, time, kind]) == np.lexsort([kind, time, user])).all()
    assert (sort_order([np.sort(time)]) == np.arange(5_000)).all()


@pytest.mark.parametrize("dtype", [pl.Int64, pl.UInt32])
def test_sessions_that_begin_earlier_move_ahead(dtype):
    events = pl.DataFrame(
        {
            "user_id": pl.Series([1, 1, 1, 0, 0], dtype=dtype),
            "time_ms": [9_000_000, 1_000, 61_001, 5_000, 4_000],
            "item_id": ["a", "b", "c", "d", "e"],
        }
    )
    numbered = number_sessions(events, gap_minutes=1)
    assert numbered["item_id"].to_list() == ["b", "e", "d", "c", "a"]
    assert numbered["session_id"].to_list() == [1, 2, 2, 3, 4]
    assert number_sessions(events.head(0), gap_minutes=1).height == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["a", "b", None])), max_size=20))
@settings(deadline=None, max_examples=60)
def test_rows_that_repeat_an_earlier_one(rows):
    frame = pl.DataFrame(rows, schema={"number": pl.Int64, "text": pl.String}, orient="row")
    again = [place for place, row in enumerate(rows) if row in rows[:place]]
    assert repeated(frame).to_list() == again


def test_numbers_are_narrowed_only_where_they_fit():
    rows = pl.DataFrame({"a": [0, 2**32 - 1], "b": [0, 2**32], "c": [-1, 0], "d": [1, 2]})
    assert narrow(rows, ["a", "b", "c"]).schema == {"a": pl.UInt32, **dict.fromkeys("bcd", pl.Int64)}
