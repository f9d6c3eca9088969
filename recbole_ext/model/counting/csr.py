"""Of scipy.sparse what scoring by counts needs, with numpy alone: an exported folder is asked without scipy.

Names and arguments are scipy's, so that nearest.py and counted.py take either. Sums are added up in scipy's order:
results are the same, bit for bit where the machine multiplies and adds in two steps. What differs: a product keeps no
zeros, and its rows are in order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_ext.segments import owner_of, pointers_of, spans

CELLS = 1 << 20  # sums of a product that are added up at a time, 8 MB of them


class csr_matrix:
    """Rows of what is not zero: `data` and its columns `indices`, row r's from indptr[r] to indptr[r + 1].

    given: (data, indices, indptr), or (data, (row, column)), whose repeats add up; a shape: nothing but zeros.
    """

    def __init__(self, given: Any, shape: tuple[int, int] | None = None):
        if shape is None:
            shape = given
            given = np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(given[0] + 1, dtype=np.int64)
        self.shape: tuple[int, int] = (int(shape[0]), int(shape[1]))
        if len(given) == 3:
            self.data, self.indices, self.indptr = given
        else:
            values, (row, column) = given
            key, place = np.unique(row * np.int64(self.shape[1]) + column, return_inverse=True)
            self.data = _sums(place.reshape(-1), values, len(key))
            row, self.indices = np.divmod(key, self.shape[1])
            self.indptr = pointers_of(np.bincount(row, minlength=self.shape[0]))

    def copy(self) -> csr_matrix:
        """One of its own."""
        return csr_matrix((self.data.copy(), self.indices, self.indptr), self.shape)

    def astype(self, dtype: Any) -> csr_matrix:
        """The same with data of another type."""
        return csr_matrix((self.data.astype(dtype), self.indices, self.indptr), self.shape)

    def tocsr(self) -> csr_matrix:
        """Itself."""
        return self

    def eliminate_zeros(self) -> None:
        """Leave stored zeros out, in place."""
        kept = self.data != 0
        row = owner_of(np.diff(self.indptr))[kept]
        self.data, self.indices = self.data[kept], self.indices[kept]
        self.indptr = pointers_of(np.bincount(row, minlength=self.shape[0]))

    def __getitem__(self, place: Any) -> Any:
        """Rows (R,), or the values (N,) at rows and columns (N,) each."""
        if isinstance(place, tuple):
            return self._values(*place)
        length = np.diff(self.indptr)[place]
        entry = spans(self.indptr[place], length)
        return csr_matrix(
            (self.data[entry], self.indices[entry], pointers_of(length)), (len(place), self.shape[1])
        )

    def _values(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        key = self._keys()
        order = np.argsort(key, kind="stable")
        wanted = row * np.int64(self.shape[1]) + column
        found = np.minimum(np.searchsorted(key[order], wanted), max(len(key) - 1, 0))
        if not len(key):
            return np.zeros(len(wanted), dtype=self.data.dtype)
        entry = order[found]
        return np.where(key[entry] == wanted, self.data[entry], np.zeros((), dtype=self.data.dtype))

    def _keys(self) -> np.ndarray:
        """(N,) int64 number of each entry's cell."""
        return np.asarray(owner_of(np.diff(self.indptr)) * np.int64(self.shape[1]) + self.indices)

    def __matmul__(self, other: csr_matrix) -> csr_matrix:
        rows, width = self.shape[0], other.shape[1]
        step = max(CELLS // max(width, 1), 1)
        parts = [self._product(other, first, min(first + step, rows)) for first in range(0, rows, step)]
        return vstack(parts) if parts else csr_matrix((0, width))

    def _product(self, other: csr_matrix, first: int, stop: int) -> csr_matrix:
        """Rows `first` up to `stop` of the product."""
        mine = slice(int(self.indptr[first]), int(self.indptr[stop]))
        own = self.indices[mine]
        length = other.indptr[own + 1] - other.indptr[own]
        entry = spans(other.indptr[own], length)
        row = np.repeat(owner_of(np.diff(self.indptr[first : stop + 1])), length)
        shape = stop - first, other.shape[1]
        values = np.repeat(self.data[mine], length) * other.data[entry]
        cells = _sums(row * shape[1] + other.indices[entry], values, shape[0] * shape[1])
        key = np.flatnonzero(cells)
        row, column = np.divmod(key, shape[1])
        return csr_matrix((cells[key], column, pointers_of(np.bincount(row, minlength=shape[0]))), shape)


def _sums(place: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """(count,) float64 sum of the values (N,) at each place, added up in their order."""
    found = np.bincount(place, weights=values, minlength=count)
    return found.astype(np.float64, copy=False)  # of none numpy makes whole numbers


def vstack(parts: Any, format: str = "csr") -> csr_matrix:
    """The rows of matrices of one width, one below the other."""
    length = np.concatenate([np.diff(part.indptr) for part in parts])
    return csr_matrix(
        (
            np.concatenate([part.data for part in parts]),
            np.concatenate([part.indices for part in parts]),
            pointers_of(length),
        ),
        (len(length), parts[0].shape[1]),
    )
