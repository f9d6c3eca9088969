"""Delimited text with or without a header line: csv, tsv and their like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from recbole_ext.convert.atomic import RowReport
from recbole_ext.convert.columns import Column
from recbole_ext.convert.delimited import QuotedSource, excerpt_lines, fields_of, read_quoted_blocks
from recbole_ext.convert.engine import pl
from recbole_ext.convert.forms.table import Table
from recbole_ext.convert.raw_files import Source, read_header
from recbole_ext.convert.rows import BadRows
from recbole_ext.errors import ConvertError

SEPARATORS = (",", ";", "\t", "|")


class TextTable(Table):
    """A file of lines with a separator between fields. header: False where the first line is a row: columns are then
    called 1, 2, 3 …"""

    def __init__(self, source: Source, label: str, separator: str, header: bool = True) -> None:
        self.separator, self.label, self.path = separator, label, source.path
        self._plain = source
        self._source = QuotedSource(source.path, source.member, separator)
        if not header:
            width = len(read_header(self._source, separator))
            numbers = tuple(str(number) for number in range(1, width + 1))
            self._source = QuotedSource(source.path, source.member, separator, numbers)

    @property
    def place(self) -> str:
        return f"{self.path}, line 1"

    @cached_property
    def _names(self) -> list[str]:
        return self._source.names

    def names(self) -> list[str]:
        return self._names

    def first_line(self) -> list[str]:
        """The fields of the first line."""
        return read_header(self._source, self.separator)

    def without_header(self) -> TextTable:
        """The same file, with the first line a row."""
        return TextTable(self._plain, self.label, str(self.separator), header=False)

    @cached_property
    def _lines(self) -> pl.Series:
        return excerpt_lines(self._source)

    def excerpt(self, name: str) -> pl.Series:
        return fields_of(self._lines, self._source, name)

    def blocks(
        self, columns: Sequence[Column], allowed: BadRows, report: RowReport
    ) -> Iterator[pl.DataFrame]:
        return read_quoted_blocks(self._source, columns, allowed, report)


def guess_separator(source: Source, lenient: bool = False) -> str:
    """The mark that the first line holds most of. ConvertError where that is no line of fields, if not `lenient`."""
    head = read_header(source, None)[0]
    if "\0" in head:
        raise ConvertError(f"{source.path} holds no text, or it is UTF-16: save it as UTF-8.")
    best = max(SEPARATORS, key=head.count)
    if not head.count(best) and not lenient:
        raise ConvertError(
            f"{source.path}, line 1: {head[:200]!r} is no header of several columns separated by comma, semicolon, tab "
            "or |: the first line has to name the columns."
        )
    return best
