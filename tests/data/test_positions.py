"""Rows of whole sessions: every target once, long sessions in windows, batches by length, shuffled."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recbole_ext.data.positions import (
    PositionTrainLoader,
    bucket,
    length_batches,
    mixed_batches,
    position_rows,
)


def loader_of(lengths, longest=None, **config):
    """A loader over sessions of lengths[i] events with items 1, 2, 3 … all different."""
    lengths = np.asarray(lengths)
    start = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    dataset = SimpleNamespace(
        training_positions=lambda: (torch.arange(1, lengths.sum() + 1), start, lengths - 1, longest)
    )
    settings = {"seed": 1, "train_batch_size": 16, "length_buckets": True, **config}
    return PositionTrainLoader(settings, dataset)


def pairs_of(loader):
    """Every (prefix read, target) of an epoch."""
    found = []
    for batch in loader:
        items, targets = batch.items.tolist(), batch.targets.tolist()
        assert sum(t > 0 for row in targets for t in row) == batch.count
        for row, wanted in zip(items, targets):
            found += [(tuple(row[: n + 1]), t) for n, t in enumerate(wanted) if t]
    return found


@pytest.mark.parametrize("buckets", [True, False])
def test_every_target_comes_once_with_all_before_it(buckets):
    lengths = np.random.default_rng(0).integers(1, 30, 50)
    found = pairs_of(loader_of(lengths, length_buckets=buckets))
    first = np.cumsum(lengths) - lengths
    expected = {
        tuple(range(begin + 1, begin + n + 1)): begin + n + 1
        for begin, size in zip(first.tolist(), lengths.tolist())
        for n in range(1, size)
    }
    assert len(found) == len(expected) and dict(found) == expected


@pytest.mark.parametrize("longest", [1, 2, 5, 8])
def test_long_sessions_become_windows_that_hold_every_target_once(longest):
    found = pairs_of(loader_of([1, 2, 9, 10, 11, 23, 40], longest))
    targets = sorted(target for _, target in found)
    first = {1, 2, 4, 13, 23, 34, 57}
    assert targets == [item for item in range(1, 97) if item not in first]
    for prefix, target in found:
        assert prefix == tuple(range(target - len(prefix), target)), "the events before it, without a gap"
        assert len(prefix) <= longest
    known = [len(prefix) for prefix, target in found if target > 57 + longest]
    assert min(known) >= max(1, longest - longest // 2), "at least half of what a prefix row would know"


def test_position_rows_of_short_sessions_are_the_sessions():
    rows = position_rows(np.array([0, 3, 4]), np.array([2, 0, 5]), 5)
    assert rows.start.tolist() == [0, 4] and rows.length.tolist() == [2, 5] and rows.first.tolist() == [0, 0]


def test_an_empty_row_has_neither_items_nor_targets():
    loader = loader_of([4, 4, 2])
    batch = next(iter(loader))
    batch.length[0] = 0
    assert batch.items[0].sum() == 0 and batch.targets[0].sum() == 0


def test_few_shapes():
    assert [bucket(n) for n in (1, 7, 16, 17, 20, 21, 26, 60)] == [1, 7, 16, 20, 20, 25, 31, 72]
    assert bucket(49, 50) == 50 and bucket(60, 50) == 50
    lengths = np.random.default_rng(1).geometric(0.25, 5000)
    batches = length_batches(lengths, 256, torch.Generator().manual_seed(0))
    assert sorted(np.concatenate([rows for rows, _, _ in batches])) == list(range(5000))
    shapes = {steps: full for _, steps, full in batches}
    assert all(len(rows) <= full and lengths[rows].max() <= steps for rows, steps, full in batches)
    assert len(shapes) == len({(steps, full) for _, steps, full in batches}), "one shape for a length"


def test_when_a_target_comes_does_not_depend_on_its_length():
    """Over many epochs the mean place of short and of long sessions is the middle, as under a shuffle."""
    lengths = np.random.default_rng(2).geometric(0.3, 2000)
    generator = torch.Generator().manual_seed(0)
    place, epochs = np.zeros(len(lengths)), 200
    for _ in range(epochs):
        batches = length_batches(lengths, 64, generator)
        order = np.concatenate([rows for rows, _, _ in batches])
        place[order] += np.arange(len(order)) / len(order) / epochs
    assert abs(np.corrcoef(lengths, place)[0, 1]) < 0.15
    for low, high in ((1, 2), (2, 4), (4, 99)):
        group = place[(lengths >= low) & (lengths < high)]
        assert abs(group.mean() - 0.5) < 0.03, (low, high)


def test_who_meets_in_a_batch_changes_every_epoch():
    lengths = np.full(64, 5)
    generator = torch.Generator().manual_seed(0)
    first, second = (
        {frozenset(rows.tolist()) for rows, _, _ in length_batches(lengths, 40, generator)} for _ in range(2)
    )
    assert not first & second


def test_mixed_batches_hold_about_as_many_targets():
    targets = np.random.default_rng(3).integers(0, 9, 400)
    batches = mixed_batches(targets, 100, torch.Generator().manual_seed(0))
    sums = [targets[rows].sum() for rows in batches]
    assert sum(sums) == targets.sum() and max(sums) <= 100 + 9 and min(sums) >= 100 - 20


def test_one_seed_gives_one_order():
    lengths = np.random.default_rng(5).integers(2, 9, 60)
    one, other = loader_of(lengths), loader_of(lengths)
    assert pairs_of(one) == pairs_of(other)
    assert pairs_of(one) != pairs_of(loader_of(lengths)), "the second epoch has another order"
