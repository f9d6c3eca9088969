"""Names of a column's tokens by id, and ids by name: what RecBole keeps as a numpy array of texts and a dict.

Both behave as these do, but hold the names once, in Arrow's layout or as the whole numbers that they write, and make
Python objects of those that are asked for: 25 million sessions are .1 to .5 GB so, and 4 GB as an array and a dict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

PADDING = "[PAD]"
_BLOCK = 2**18  # names that are Python objects at a time


class Tokens(Sequence[str]):
    """(N,) names by id; number 0 is the padding's. Numpy takes it for the array of texts that it stands for.

    names: (N - 1,) those of the ids from 1, texts or whole numbers.
    """

    def __init__(self, names: pl.Series) -> None:
        self._names = names

    def __len__(self) -> int:
        return len(self._names) + 1

    @property
    def shape(self) -> tuple[int]:
        """(N,)."""
        return (len(self),)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of the array: as wide as the longest name."""
        names = self._names if self._names.dtype == pl.String else self._names.cast(pl.String)
        longest: Any = names.str.len_chars().max() or 0
        return np.dtype(f"<U{max(longest, len(PADDING))}")

    def __getitem__(self, ids: Any) -> Any:
        """As of the array: one name, or an array of them in the shape of `ids`; IndexError as numpy raises it."""
        place = self._places(ids)
        if place.ndim == 0:
            return np.str_(PADDING if place == 0 else self._names[int(place) - 1])
        return self._texts(place.reshape(-1)).reshape(place.shape)

    def _places(self, ids: Any) -> np.ndarray:
        """The ids that an index of numpy's, or a tensor, means."""
        if isinstance(ids, slice):
            return np.arange(*ids.indices(len(self)))
        place = np.asarray(ids)
        if place.dtype == bool:
            if place.shape != self.shape:
                raise IndexError(f"a mask of shape {place.shape} for {len(self)} names")
            return np.flatnonzero(place)
        if place.size and place.dtype.kind not in "iu":
            raise IndexError(f"{place.dtype} is no type of an index")
        outside = (place < -len(self)) | (place >= len(self))
        if outside.any():
            raise IndexError(f"there is no id {place[outside].flat[0]}: they go up to {len(self) - 1}")
        return np.where(place < 0, place + len(self), place).astype(np.int64)

    def some(self, ids: np.ndarray) -> Some:
        """Names of many ids (n,), none made before it is asked for."""
        return Some(self, ids)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _BLOCK):
            yield from self[start : start + _BLOCK]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        texts = np.empty(len(self), dtype=self.dtype)
        for start in range(0, len(self), _BLOCK):
            texts[start : start + _BLOCK] = self[start : start + _BLOCK]
        return texts if dtype is None else texts.astype(dtype)

    def tolist(self) -> list[str]:
        """All names as Python's texts."""
        return [PADDING, *self._names.cast(pl.String).to_list()]

    @property
    def numbers(self) -> np.ndarray | None:
        """(N - 1,) int64 what the names from id 1 write, where all are whole numbers; else None."""
        return self._names.cast(pl.Int64).to_numpy() if self._names.dtype.is_integer() else None

    def _texts(self, ids: np.ndarray) -> np.ndarray:
        texts = np.full(len(ids), PADDING, dtype=self.dtype)
        named = ids > 0
        texts[named] = self._names.gather(ids[named] - 1).cast(pl.String).to_list()
        return texts


class Some(Sequence[str]):
    """(n,) names of these ids, an id as often as it is there."""

    def __init__(self, tokens: Tokens, ids: np.ndarray) -> None:
        self._tokens, self._ids = tokens, ids

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, place: Any) -> Any:
        return self._tokens[self._ids[place]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        texts = self._tokens[self._ids]
        return texts if dtype is None else texts.astype(dtype)


class Ids(Mapping[str, int]):
    """Id of each name; a dict is made when the first one is asked for."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    @cached_property
    def _ids(self) -> dict[str, int]:
        return dict(zip(self._tokens, range(len(self._tokens))))

    def __getitem__(self, token: str) -> int:
        return self._ids[token]

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)
