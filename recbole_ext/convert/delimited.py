"""Delimited files of strangers: quotation marks as RFC 4180 has them, and an excerpt of one column.

`rows.read_rows` splits lines at every separator; a `QuotedSource` hides from it what stands within quotation marks
(separators, line breaks, doubled marks) as control characters, and `read_quoted_rows` puts them back into the values.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import IO, cast

from recbole_ext.convert.atomic import RowReport
from recbole_ext.convert.columns import Column, Test
from recbole_ext.convert.engine import np, pl
from recbole_ext.convert.raw_files import UNREADABLE, Source, read_header
from recbole_ext.convert.rows import LONGEST_LINE, BadRows, read_blocks, read_rows
from recbole_ext.errors import ConvertError

# ASCII's information separators, one byte each and in no text: a separator, a doubled mark, a line break
EMBEDDED, DOUBLED, BROKEN = "\x1f", "\x1e", "\x1d"
FOREIGN = bytes.maketrans(b"\x1d\x1e\x1f", b"\x1a\x1a\x1a")  # the file's own stay control characters, a fault
WRONG_FIELDS = "wrong number of fields"  # what `rows` calls it
EXCERPT_BYTES, EXCERPT_CHUNKS = 1 << 22, 64
LONGEST_ROW = 1 << 20  # bytes that a row with line breaks within quotation marks may go on for


@dataclass(frozen=True)
class QuotedSource(Source):
    """A source in which what quotation marks hide comes out as EMBEDDED, DOUBLED and BROKEN.

    A field in quotation marks begins after a separator and ends before one. It may go on over lines where that gives
    its row the fields of the header; the row then stands on the first of them, and blank lines follow, so that lines
    keep their numbers. What looks otherwise is left as it is. `header`: the columns of a file that does not name them.
    """

    separator: str = ","
    header: tuple[str, ...] | None = None
    marked: list[bool] = field(
        default_factory=lambda: [False], compare=False
    )  # whether a mark was read so far

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self.header) if self.header is not None else read_header(self, self.separator)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        with super().open() as stream:
            first = b"" if self.header is not None else stream.readline(LONGEST_LINE)
            width = len(self.header) if self.header is not None else first.count(self.separator.encode()) + 1
            yield cast(IO[bytes], _Hiding(stream, self.separator, width, self.marked, first))


class _Hiding:
    """A stream of lines, with what quotation marks hide out of sight.

    width: fields of a row; marked: is told of the first quotation mark; first: the first line, read already.
    """

    def __init__(
        self, stream: IO[bytes], separator: str, width: int, marked: list[bool], first: bytes = b""
    ) -> None:
        self._marked = marked
        self._stream, self._separator, self._first = stream, separator.encode(), first
        mark = re.escape(self._separator)
        opens = rb"(?:(?<![^\n" + mark + rb"])|(?<=\xef\xbb\xbf))"  # a byte order mark may come first
        without, hides = rb'[^"\n' + mark + rb"\x1d]*", rb'(?:""|[' + mark + rb"\x1d])"
        text = rb'(?:[^"\n]|"")*'
        self._fields = re.compile(opens + rb'"' + without + hides + text + rb'"(?=[\r\n' + mark + rb"]|\Z)")
        self._open = re.compile(rb"(?:^|[" + mark + rb'])"(?:[^"]|"")*\Z')
        field = rb'(?:"(?:[^"]|"")*"|[^"\n' + mark + rb"]*)"
        more = rb"(?:" + mark + field + rb"){%d}" % (width - 1)
        self._row = re.compile(field + more + rb"\r?\n?")

    def read(self, size: int = -1) -> bytes:
        """Whole lines of `size` bytes or a little more, all of the rest for -1."""
        first, self._first = self._first, b""
        block = first + self._stream.read(size)
        if not block.endswith(b"\n"):
            block += self._stream.readline(LONGEST_LINE)
        return self._hidden(self._joined(block.translate(FOREIGN)))

    def readline(self, size: int = -1) -> bytes:
        """One line; a row that goes on over several is cut off there."""
        if self._first:
            first, self._first = self._first, b""
            return self._hidden(first)
        return self._hidden(self._stream.readline(size).translate(FOREIGN))

    def _hidden(self, block: bytes) -> bytes:
        if b'"' not in block:
            return block
        self._marked[0] = True
        return self._fields.sub(lambda field: self._hide(field[0]), block)

    def _hide(self, field: bytes) -> bytes:
        inner = field[1:-1].replace(b'""', DOUBLED.encode()).replace(self._separator, EMBEDDED.encode())
        return b'"' + inner + b'"'

    def _joined(self, block: bytes) -> bytes:
        """The block with rows that go on over several lines on their first one, and as many blank lines behind it.

        Such a row begins and ends on a line with an odd number of marks; what lies between two of them and is no whole
        row stays as it is.
        """
        if b'"' not in block:
            return block
        lines, odd = _odd_lines(block)
        if odd and self._open.search(block[lines[odd[-1]] : lines[odd[-1] + 1]]):
            more = self._to_next_mark()  # which a row that ends on the last odd line does not need, but bears
            block += more
            lines, odd = _odd_lines(block) if more else (lines, odd)
        made: list[bytes] = []
        done = place = 0
        while place + 1 < len(odd):
            start, end = lines[odd[place]], lines[odd[place + 1] + 1]
            row = block[start:end]
            if self._row.fullmatch(row) is None:
                place += 1
                continue
            body = row.rstrip(b"\r\n")
            rest = b"\n" * body.count(b"\n")
            made += [block[done:start], body.replace(b"\n", BROKEN.encode()), row[len(body) :] or b"\n", rest]
            done, place = end, place + 2
        return b"".join([*made, block[done:]])

    def _to_next_mark(self) -> bytes:
        """The lines to the next one with an odd number of marks, or LONGEST_ROW bytes of them."""
        parts: list[bytes] = []
        size = 0
        while size < LONGEST_ROW:
            line = self._stream.readline(LONGEST_LINE).translate(FOREIGN)
            parts.append(line)
            size += len(line)
            if not line or line.count(b'"') % 2:
                break
        return b"".join(parts)


def _odd_lines(block: bytes) -> tuple[list[int], list[int]]:
    """Where the lines of a block begin, its end last; and which of them hold an odd number of quotation marks."""
    text = np.frombuffer(block, dtype=np.uint8)
    starts = np.concatenate([[0], np.flatnonzero(text == ord("\n")) + 1])
    starts = starts if starts[-1] == len(block) else np.append(starts, len(block))
    marks = np.searchsorted(np.flatnonzero(text == ord('"')), starts)
    return starts.tolist(), np.flatnonzero(np.diff(marks) % 2).tolist()


def read_quoted_rows(
    source: QuotedSource, columns: Sequence[Column], allowed: BadRows
) -> tuple[pl.DataFrame, RowReport]:
    """As `read_rows`; what stands within quotation marks belongs to its field."""
    mark = source.separator
    try:
        rows, report = read_rows(
            source, [_restored_column(column, source) for column in columns], allowed, separator=mark
        )
    except ConvertError as error:
        raise _plain_error(error, mark) from error
    show_plainly(report, mark)
    return rows, report


def read_quoted_blocks(
    source: QuotedSource, columns: Sequence[Column], allowed: BadRows, report: RowReport
) -> Iterator[pl.DataFrame]:
    """As `read_blocks`; what stands within quotation marks belongs to its field."""
    mark = source.separator
    wanted = [_restored_column(column, source) for column in columns]
    try:
        yield from read_blocks(source, wanted, allowed, report, mark, source.header)
    except ConvertError as error:
        raise _plain_error(error, mark) from error
    show_plainly(report, mark)


def show_plainly(report: RowReport, separator: str) -> None:
    """Put what was hidden back into the rows that a report shows."""
    for example in report.examples:
        example["text"] = _shown(example["text"], separator)
    if report.first_bad is not None:
        line, reason, text = report.first_bad
        report.first_bad = (line, reason, _shown(text, separator))


def _shown(text: str, separator: str) -> str:
    return text.replace(EMBEDDED, separator).replace(DOUBLED, '""').replace(BROKEN, "\n")


def _plain_error(error: ConvertError, separator: str) -> ConvertError:
    sentence = str(error)
    for hidden, shown in ((EMBEDDED, separator), (DOUBLED, '""'), (BROKEN, r"\n")):
        sentence = sentence.replace(repr(hidden)[1:-1], shown)
    if WRONG_FIELDS in sentence and '"' in sentence:
        sentence = (
            f"{sentence.removesuffix('.')}; a field may hold separators and line breaks where quotation marks stand "
            "around it, and marks within it are doubled."
        )
    return ConvertError(sentence)


def _restored(text: pl.Expr, source: QuotedSource) -> pl.Expr:
    """The text with what a source hid; nothing is done for one in which no mark was read so far."""
    if not source.marked[0]:
        return text
    text = text.str.replace_all(EMBEDDED, source.separator, literal=True)
    return text.str.replace_all(DOUBLED, '"', literal=True).str.replace_all(BROKEN, "\n", literal=True)


def _restored_column(column: Column, source: QuotedSource) -> Column:
    def after(test: Test) -> Test:
        return lambda text: test(_restored(text, source))

    unpaired = (
        f"{column.owner} has a quotation mark without its pair",
        lambda text: text.str.starts_with('"'),
    )
    faults = (unpaired, *((reason, after(is_bad)) for reason, is_bad in column.faults))
    return replace(column, value=after(column.value), faults=faults, whole=None)


def excerpt_lines(source: QuotedSource) -> pl.Series:
    """Lines as `fields_of` takes them apart: all of a file of EXCERPT_BYTES or less, lines from all over a larger one,
    the first ones of a packed one. Those with another number of fields than the header are left out."""
    lines = pl.Series("line", _lines(source).decode("utf-8", errors="replace").split("\n"), dtype=pl.String)
    width = len(source.names)
    return lines.filter(lines.str.count_matches(source.separator, literal=True) == width - 1)


def fields_of(lines: pl.Series, source: QuotedSource, name: str) -> pl.Series:
    """Texts of the column `name` of some lines."""
    header = source.names
    field = (
        pl.col("line")
        .str.split_exact(source.separator, len(header) - 1)
        .struct.field(f"field_{header.index(name)}")
    )
    bare = field.str.strip_chars(" \t\r").str.replace(r'^"([^"]*)"$', "$1").str.strip_chars(" \t")
    return lines.to_frame().select(_restored(bare, source).alias(name)).to_series()


def _lines(source: QuotedSource) -> bytes:
    """Whole lines after the header."""
    size = source.size
    try:
        if size is None or size <= EXCERPT_BYTES:
            with source.open() as stream:
                if source.header is None:
                    stream.readline()
                return stream.read(EXCERPT_BYTES)
        chunks = []
        with source.path.open("rb") as stream:
            for number in range(EXCERPT_CHUNKS):
                stream.seek(number * size // EXCERPT_CHUNKS)
                if number or source.header is None:
                    stream.readline(LONGEST_LINE)  # the header, or the rest of a line
                chunks.append(stream.read(EXCERPT_BYTES // EXCERPT_CHUNKS).rpartition(b"\n")[0])
        return _Hiding(
            io.BytesIO(b"\n".join(chunks)), source.separator, len(source.names), source.marked
        ).read()
    except UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise ConvertError(
            f"{source.path} cannot be read ({reason}): it is damaged or cut off, fetch it again."
        ) from error
