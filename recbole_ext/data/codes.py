"""A column of tokens as numbers: each block of a log is numbered as it is read, and its texts are let go.

Tokens that are whole numbers are their own codes; others get codes of a dictionary of this column's own (polars'
`Categories.random`), as those of polars' global one depend on what the process has read before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import polars as pl

MISSING = -1
_ALWAYS = 2**22  # whole numbers below it are codes in any column,
_SPARSE = 4  # and larger ones where there are no more than so many numbers an event
_STRETCH = 2**24  # elements that are looked at together
_ROOM = 8  # a column grows by one part in so many more than it needs
_LOOKED_AT = 10_000  # tokens that tell whether they come in runs


class Column:
    """Values that come block by block, in one array that grows, so that it is never there twice."""

    def __init__(self, dtype: Any) -> None:
        self._array = np.empty(0, dtype=dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, values: np.ndarray) -> None:
        """The next ones (n,)."""
        count = self._count + len(values)
        if count > len(self._array):
            self._array.resize(count + count // _ROOM, refcheck=False)
        self._array[self._count : count] = values
        self._count = count

    def blocks(self) -> Iterator[np.ndarray]:
        """The values, some at a time, which may be written over."""
        for start in range(0, self._count, _STRETCH):
            yield self._array[start : min(start + _STRETCH, self._count)]

    def taken(self) -> np.ndarray:
        """All of them, which are kept no more."""
        array, self._array = self._array, np.empty(0, dtype=self._array.dtype)
        array.resize(self._count, refcheck=False)
        self._count = 0
        return array


class Codes:
    """The codes (E,) int32 of a column of E tokens, MISSING where it has none, and what they are the codes of."""

    def __init__(self) -> None:
        self._column = Column(np.int32)
        self._book: _Book = _Numbers()
        self._rows = 0

    def add(self, tokens: pl.Series) -> None:
        """The next tokens (n,): texts, or whole numbers where each was written as Python writes it."""
        self._column.add(self.more(tokens))

    def more(self, tokens: pl.Series) -> np.ndarray:
        """(n,) codes of tokens, as of `add`, that are not the column's, such as those of a table of features."""
        self._rows += len(tokens)
        if tokens.dtype.is_integer() and isinstance(self._book, _Texts):
            tokens = tokens.cast(pl.String)
        codes = _by_runs(tokens, self._book, self._rows)
        if codes is None:
            self._book, numbers = _Texts(), self._book
            for part in self._column.blocks():
                part[:] = _coded(numbers.names(part).cast(pl.String), self._book)
            codes = _coded(tokens.cast(pl.String), self._book)
        return codes

    def taken(self) -> np.ndarray:
        """The whole column, which is kept no more."""
        return self._column.taken()

    def __len__(self) -> int:
        """What all codes are below."""
        return len(self._book)

    def names(self, codes: np.ndarray) -> pl.Series:
        """What codes stand for, null for MISSING: (n,) texts, or the whole numbers that these texts write."""
        return self._book.names(codes)


class _Book(Protocol):
    """Tokens by code."""

    def codes(self, tokens: pl.Series, rows: int) -> np.ndarray | None:
        """(n,) int32 codes of tokens (n,), as of Codes.add, the last ones of `rows`; None: it is not for these."""

    def names(self, codes: np.ndarray) -> pl.Series:
        """See Codes.names."""

    def __len__(self) -> int:
        """See Codes."""


class _Numbers:
    """Tokens that are the whole numbers from 0, written without signs, zeros or blanks before them."""

    def __init__(self) -> None:
        self._highest = -1

    def codes(self, tokens: pl.Series, rows: int) -> np.ndarray | None:
        found = tokens.cast(pl.Int32, strict=False)
        if found.null_count() != tokens.null_count():
            return None
        known = found.drop_nulls().to_numpy()
        highest = int(known.max(initial=self._highest))
        if known.min(initial=0) < 0 or highest >= max(_ALWAYS, _SPARSE * rows):
            return None
        if tokens.dtype == pl.String and _digits(known) != tokens.str.len_bytes().sum():
            return None
        self._highest = highest
        numbers: np.ndarray = found.fill_null(MISSING).to_numpy()
        return numbers

    def names(self, codes: np.ndarray) -> pl.Series:
        found = pl.Series(codes)
        return found.set(found < 0, None)

    def __len__(self) -> int:
        return self._highest + 1


def _digits(numbers: np.ndarray) -> int:
    """How many all of them, 0 or more, are written with."""
    most = len(str(numbers.max(initial=0)))
    return len(numbers) + sum(int((numbers >= 10**n).sum()) for n in range(1, most))


class _Texts:
    """Any tokens, by first occurrence."""

    def __init__(self) -> None:
        self._known = pl.Categorical(pl.Categories.random())
        self._held = pl.Series([], dtype=self._known)  # polars forgets names that no series has
        self._names: list[pl.Series] = [pl.Series([], dtype=pl.String)]
        self._count = 0

    def codes(self, tokens: pl.Series, rows: int) -> np.ndarray:
        code: np.ndarray = tokens.cast(self._known).to_physical().cast(pl.Int32).fill_null(MISSING).to_numpy()
        fresh = np.flatnonzero(code >= self._count)
        new, first = np.unique(code[fresh], return_index=True)  # the next numbers, none left out
        self._names.append(tokens.gather(fresh[first]))
        self._count += len(new)
        return code

    def names(self, codes: np.ndarray) -> pl.Series:
        self._names = [pl.concat(self._names)]
        places = pl.Series(codes)
        return self._names[0].gather(places.set(places < 0, None))

    def __len__(self) -> int:
        return self._count


def _by_runs(tokens: pl.Series, book: _Book, rows: int) -> np.ndarray | None:
    """Codes of tokens; those of sessions, users and kinds of events come in runs, which are looked up once each."""
    if tokens.dtype.is_integer():  # which are as quickly looked at one by one
        return book.codes(tokens, rows)
    few = tokens[:_LOOKED_AT]
    if 2 * int(few.ne_missing(few.shift(1)).sum()) > len(few):
        return book.codes(tokens, rows)
    opens = np.array(tokens.ne_missing(tokens.shift(1)))
    opens[:1] = True
    first = np.flatnonzero(opens)
    codes = book.codes(tokens.gather(first), rows)
    return None if codes is None else np.repeat(codes, np.diff(np.append(first, len(tokens))))


def _coded(tokens: pl.Series, texts: _Texts) -> np.ndarray:
    codes = _by_runs(tokens, texts, 0)
    assert codes is not None
    return codes


def renumbered(columns: Sequence[np.ndarray], count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Ids by first occurrence in the columns one after the other, as pandas.factorize gives them, 0 for MISSING.

    columns: of codes below `count`. Returns the columns' ids, as narrow as they go, and (N - 1,) the code of each id
    from 1.
    """
    code = _by_first_occurrence(columns, count)
    id_of = np.zeros(count + 1, dtype=narrow(len(code)))  # the last one for MISSING
    id_of[code] = np.arange(1, len(code) + 1)
    return [id_of[column] for column in columns], code


def _by_first_occurrence(columns: Sequence[np.ndarray], count: int) -> np.ndarray:
    """(N,) int32 the codes that occur, in order of the first time."""
    known = _in_order(columns)
    if known is not None:
        return np.arange(known, dtype=np.int32)
    before = sum(map(len, columns))
    never = before
    first = np.full(count + 1, never, dtype=narrow(never))
    for column in reversed(columns):
        before -= len(column)
        for start in range(max(len(column) - 1, 0) // _STRETCH * _STRETCH, -1, -_STRETCH):
            part = column[start : start + _STRETCH]
            # of several values for one place the last one stays, which is the first occurrence
            first[part[::-1]] = np.arange(before + start + len(part) - 1, before + start - 1, -1)
    occurs = np.flatnonzero(first[:-1] < never)
    return occurs[np.argsort(first[occurs], kind="stable")].astype(np.int32)


def _in_order(columns: Sequence[np.ndarray]) -> int | None:
    """How many codes occur where each new one is the next number, as in a log that was just read; else None."""
    highest = MISSING
    for column in columns:
        for start in range(0, len(column), _STRETCH):
            part = column[start : start + _STRETCH]
            peak = np.maximum(np.maximum.accumulate(part), highest)
            if peak[0] > highest + 1 or (peak[1:] - peak[:-1] > 1).any():
                return None
            highest = int(peak[-1])
    return highest + 1


def narrow(count: int) -> np.dtype[Any]:
    """The smallest signed type that holds the numbers up to `count`."""
    return next(
        np.dtype(kind) for kind in (np.int8, np.int16, np.int32, np.int64) if count <= np.iinfo(kind).max
    )
