"""Delimited files of strangers: separators within quotation marks, and an excerpt of one column.

`rows.read_rows` splits lines at every separator; a `QuotedSource` hides those that stand within quotation marks from
it, as EMBEDDED, and `read_quoted_rows` puts them back into the values.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, cast

from recbole_ext.convert.atomic import RowReport
from recbole_ext.convert.columns import Column, Test
from recbole_ext.convert.engine import pl
from recbole_ext.convert.raw_files import UNREADABLE, Source, read_header
from recbole_ext.convert.rows import LONGEST_LINE, BadRows, read_rows
from recbole_ext.errors import ConvertError

EMBEDDED = "\x1f"  # ASCII's unit separator: one byte, as a separator is, and in no text
WRONG_FIELDS = "wrong number of fields"  # what `rows` calls it
EXCERPT_BYTES, EXCERPT_CHUNKS = 1 << 22, 64


@dataclass(frozen=True)
class QuotedSource(Source):
    """A source whose separators within quotation marks come out as EMBEDDED; lines and sizes stay the same.

    A field in quotation marks begins after a separator and ends before one, on one line; what looks otherwise is
    left as it is.
    """

    separator: str = ","

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        with super().open() as stream:
            yield cast(IO[bytes], _Hiding(stream, self.separator))


class _Hiding:
    """The lines of a stream with EMBEDDED in place of the separators within quotation marks."""

    def __init__(self, stream: IO[bytes], separator: str) -> None:
        self._stream, self._separator = stream, separator.encode()
        mark = re.escape(self._separator)
        opens = rb"(?:(?<![^\n" + mark + rb"])|(?<=\xef\xbb\xbf))"  # a byte order mark may come first
        without, text = rb'(?:[^"\n' + mark + rb']|"")*', rb'(?:[^"\n]|"")*'
        self._fields = re.compile(opens + rb'"' + without + mark + text + rb'"(?=[\r\n' + mark + rb"]|\Z)")

    def read(self, size: int = -1) -> bytes:
        """Whole lines of `size` bytes or a little more, all of the rest for -1."""
        block = self._stream.read(size)
        return self._hidden(block if block.endswith(b"\n") else block + self._stream.readline(LONGEST_LINE))

    def readline(self, size: int = -1) -> bytes:
        return self._hidden(self._stream.readline(size))

    def _hidden(self, block: bytes) -> bytes:
        block = block.replace(
            EMBEDDED.encode(), b"\x1e"
        )  # one of the file's own stays a control character, a fault
        if b'"' not in block:
            return block
        return self._fields.sub(lambda field: field[0].replace(self._separator, EMBEDDED.encode()), block)


def read_quoted_rows(
    source: QuotedSource, columns: Sequence[Column], allowed: BadRows
) -> tuple[pl.DataFrame, RowReport]:
    """As `read_rows`; separators within quotation marks belong to their field."""
    mark = source.separator
    try:
        rows, report = read_rows(
            source, [_restored_column(column, mark) for column in columns], allowed, separator=mark
        )
    except ConvertError as error:
        sentence = str(error).replace(repr(EMBEDDED)[1:-1], mark)
        if WRONG_FIELDS in sentence and '"' in sentence:
            sentence = (
                f"{sentence.removesuffix('.')}; a field with quotation marks around it may hold separators, but "
                "neither line breaks nor quotation marks."
            )
        raise ConvertError(sentence) from error
    for example in report.examples:
        example["text"] = example["text"].replace(EMBEDDED, mark)
    return rows, report


def _restored(text: pl.Expr, separator: str) -> pl.Expr:
    """The text with the separators that a QuotedSource hid."""
    return text.str.replace_all(EMBEDDED, separator, literal=True)


def _restored_column(column: Column, separator: str) -> Column:
    def after(test: Test) -> Test:
        return lambda text: test(_restored(text, separator))

    faults = tuple((reason, after(is_bad)) for reason, is_bad in column.faults)
    return replace(column, value=after(column.value), faults=faults, whole=None)


def excerpt(source: QuotedSource, name: str) -> pl.Series:
    """Texts of the column `name`: of all lines of a file of EXCERPT_BYTES or less, of lines from all over a larger
    one, of the first lines of a packed one. Lines with another number of fields than the header are left out."""
    header = read_header(source, source.separator)
    field = (
        pl.col("line")
        .str.split_exact(source.separator, len(header) - 1)
        .struct.field(f"field_{header.index(name)}")
    )
    lines = pl.Series("line", _lines(source).decode("utf-8", errors="replace").split("\n"), dtype=pl.String)
    whole = lines.str.count_matches(source.separator, literal=True) == len(header) - 1
    bare = field.str.strip_chars(" \t\r").str.replace(r'^"([^"]*)"$', "$1").str.strip_chars(" \t")
    return lines.filter(whole).to_frame().select(_restored(bare, source.separator).alias(name)).to_series()


def _lines(source: QuotedSource) -> bytes:
    """Whole lines after the header."""
    size = source.size
    try:
        if size is None or size <= EXCERPT_BYTES:
            with source.open() as stream:
                stream.readline()
                return stream.read(EXCERPT_BYTES)
        chunks = []
        with source.path.open("rb") as stream:
            for number in range(EXCERPT_CHUNKS):
                stream.seek(number * size // EXCERPT_CHUNKS)
                stream.readline(LONGEST_LINE)  # the header, or the rest of a line
                chunks.append(stream.read(EXCERPT_BYTES // EXCERPT_CHUNKS).rpartition(b"\n")[0])
        return _Hiding(io.BytesIO(b"\n".join(chunks)), source.separator).read()
    except UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise ConvertError(
            f"{source.path} cannot be read ({reason}): it is damaged or cut off, fetch it again."
        ) from error
