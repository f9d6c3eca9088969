"""Rows that come batch by batch and are too many to be held: written to a file without a name and mapped from it."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np

_ROWS = 2**18  # that are put in order together


class Spool:
    """(T, W) int32 rows of one width."""

    def __init__(self) -> None:
        self._file: Any = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as its rows
        self._rows = self._width = 0

    def __len__(self) -> int:
        return self._rows

    def add(self, rows: np.ndarray) -> None:
        """The next rows (n, W)."""
        self._width = rows.shape[1]
        self._rows += len(rows)
        self._file.write(np.ascontiguousarray(rows, dtype=np.int32).data)

    def taken(self, order: np.ndarray | None = None) -> np.ndarray:
        """All rows, mapped into memory; order: (T,) which of them comes first, second and so on, None: as they came."""
        rows = self._mapped()
        if order is None or not rows.size:
            return rows
        sorted_rows = Spool()
        for start in range(0, len(order), _ROWS):
            sorted_rows.add(rows[order[start : start + _ROWS]])
        return sorted_rows._mapped()

    def _mapped(self) -> np.ndarray:
        shape = (self._rows, self._width)
        if not self._rows * self._width:
            return np.empty(shape, dtype=np.int32)
        self._file.flush()
        return np.memmap(self._file, dtype=np.int32, mode="c", shape=shape)
