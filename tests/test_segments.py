"""Ragged columns: each function against a plain loop, over segments of every kind, none and empty ones included."""

import numpy as np
import pytest

from recbole_ext.segments import (
    earlier_of_group,
    holder_of,
    owner_of,
    place_in,
    pointers_of,
    runs,
    spans,
    start_of,
)

RANDOM = np.random.default_rng(0)
LENGTHS = [[], [0], [3], [2, 0, 1, 3], [0, 0, 2], [1, 1, 1], RANDOM.integers(0, 5, 50).tolist()]
VALUES = [[], [7], [7, 7], [1, 1, 3, 1, 1, 1], [2, 1, 2, 2, 1], RANDOM.integers(0, 4, 60).tolist()]


def elements(length):
    """(segment, place) of every element, by a loop."""
    return [(segment, place) for segment, count in enumerate(length) for place in range(count)]


def check(found, expected):
    assert found.dtype == np.int64 and found.tolist() == expected


@pytest.mark.parametrize("kind", [np.int64, np.int32])
@pytest.mark.parametrize("length", LENGTHS, ids=str)
def test_by_length(length, kind):
    lengths = np.array(length, dtype=kind)
    check(owner_of(lengths), [segment for segment, _ in elements(length)])
    check(place_in(lengths), [place for _, place in elements(length)])
    check(start_of(lengths), [sum(length[:segment]) for segment in range(len(length))])
    check(pointers_of(lengths), [sum(length[:segment]) for segment in range(len(length) + 1)])


@pytest.mark.parametrize("length", LENGTHS, ids=str)
def test_spans(length):
    first = RANDOM.integers(0, 100, len(length))
    expected = [int(first[segment]) + place for segment, place in elements(length)]
    check(spans(first, np.array(length, dtype=np.int64)), expected)


def test_the_holder_of_an_element_is_its_owner():
    lengths = np.array([2, 1, 4, 3])
    check(holder_of(np.arange(10), start_of(lengths)), owner_of(lengths).tolist())
    check(holder_of(np.array([9, 0, 2]), start_of(lengths)), [3, 0, 1])
    check(holder_of(np.array([], dtype=np.int64), start_of(lengths)), [])


@pytest.mark.parametrize("values", VALUES, ids=str)
def test_runs(values):
    starts = [i for i, value in enumerate(values) if i == 0 or values[i - 1] != value]
    start, length = runs(np.array(values, dtype=np.int64))
    check(start, starts)
    check(length, [end - begin for begin, end in zip(starts, [*starts[1:], len(values)])])


@pytest.mark.parametrize("values", VALUES, ids=str)
def test_earlier_of_group(values):
    check(
        earlier_of_group(np.array(values, dtype=np.int64)),
        [values[:i].count(v) for i, v in enumerate(values)],
    )
