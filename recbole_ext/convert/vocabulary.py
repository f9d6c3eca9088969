"""A column of texts that comes block by block, held as numbers: ids repeat, and a log of any size is read."""

from __future__ import annotations

from recbole_ext.convert.engine import pl
from recbole_ext.convert.rows import compact

MANY = 1 << 22  # texts held before those of several blocks are made one


class TextColumn:
    """The texts of one column; a block is a row of numbers and the different texts that they stand for."""

    def __init__(self) -> None:
        self._texts: list[pl.Series] = []
        self._codes: list[pl.Series] = []
        self._least = MANY

    def add(self, texts: pl.Series) -> None:
        """The next rows: (N,) String, null where there is none."""
        different = texts.drop_nulls().unique().alias("text")
        table = compact(different.to_frame())
        self._texts.append(table["text"])
        self._codes.append(_codes(texts, table["text"]))
        if sum(map(len, self._texts)) > self._least:
            self._merge()

    def column(self, name: str) -> pl.Series:
        """All rows: (N,) Enum, whose order is that of the texts."""
        self._merge()
        if not self._texts:
            return pl.Series(name, [], dtype=pl.Enum([]))
        ordered = self._texts[0].sort()
        return self._texts[0].cast(pl.Enum(ordered)).gather(self._codes[0]).alias(name)

    def _merge(self) -> None:
        if not self._texts:
            return
        texts = pl.concat(self._texts).unique()
        parts = [_codes(own, texts).gather(codes) for own, codes in zip(self._texts, self._codes)]
        self._texts, self._codes = [texts], [pl.concat(parts)]
        self._least = max(MANY, 2 * len(texts))


def _codes(texts: pl.Series, different: pl.Series) -> pl.Series:
    """Where each text stands in `different`: (N,) UInt32, null where there is no text."""
    places = different.alias("text").to_frame().with_row_index("code")
    named = texts.alias("text").to_frame().drop_nulls()
    codes = named.join(places, on="text", how="left", maintain_order="left")["code"]
    if len(codes) == len(texts):
        return codes
    there = texts.is_not_null().alias("there").to_frame()
    return codes.gather(there.select(pl.when("there").then(pl.col("there").cum_sum() - 1)).to_series())
