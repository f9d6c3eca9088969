"""Rows in a file come back as they were added, in any order."""

import numpy as np
import pytest

from recbole_ext.trainer import spool


@pytest.mark.parametrize("together", [2, 2**18])
def test_rows_come_back_in_order(monkeypatch, together):
    monkeypatch.setattr(spool, "_ROWS", together)
    kept = spool.Spool()
    parts = [np.arange(6).reshape(2, 3), np.arange(10, 19).reshape(3, 3)]
    for part in parts:
        kept.add(part)
    rows, order = np.concatenate(parts), np.array([4, 0, 2, 1, 3])
    assert (
        len(kept) == 5
        and np.array_equal(kept.taken(), rows)
        and np.array_equal(kept.taken(order), rows[order])
    )
    assert isinstance(kept.taken(order), np.memmap) and kept.taken().dtype == np.int32


def test_no_rows_are_no_file():
    kept = spool.Spool()
    assert kept.taken().shape == (0, 0)
    kept.add(np.empty((2, 0), dtype=np.int64))
    assert kept.taken(np.array([1, 0])).shape == (2, 0)
