"""JSON lines: one object a line, flat or nested as GA4's export is; numbers keep the digits they are written with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

from recbole_ext.convert.atomic import RowReport
from recbole_ext.convert.columns import Column
from recbole_ext.convert.engine import pl
from recbole_ext.convert.forms.table import (
    BLANK,
    SEVERAL,
    Leaf,
    NestedTable,
    first_list,
    judged,
    with_singles,
)
from recbole_ext.convert.raw_files import UNREADABLE, Source
from recbole_ext.convert.rows import LONGEST_LINE, BadRows
from recbole_ext.errors import ConvertError
from recbole_ext.progress import progress

EXCERPT_LINES = 5_000
BLOCK_LINES = 50_000  # as Python objects, of which a line is many
NO_OBJECT = "not a JSON object"


class JsonTable(NestedTable):
    """A file of JSON lines, plain or packed. Blank lines are no rows."""

    def __init__(self, source: Source, label: str) -> None:
        self._source, self.label, self.path = source, label, source.path

    @cached_property
    def _head(self) -> list[dict[str, Any]]:
        rows = (record for _, _, record in islice(self._records(), EXCERPT_LINES))
        return [record for record in rows if record is not None]

    @cached_property
    def _leaves(self) -> dict[str, Leaf]:  # of the first lines
        found: dict[str, Leaf] = {}
        for record in self._head:
            for name, value in record.items():
                for leaf in _walk((name,), value):
                    found.setdefault(leaf.name, leaf)
        return with_singles(found)

    def kind(self, name: str) -> str | None:
        leaf = self._leaves[name]
        return "list" if leaf.inner == () else None

    def excerpt(self, name: str) -> pl.Series:
        leaf = self._leaves[name]
        texts = []
        for record in self._head:
            values = _value(record, leaf.outer) if leaf.inner is not None else None
            texts.append(_text_of(record, leaf, values[0] if isinstance(values, list) and values else None))
        return pl.Series(name, texts, dtype=pl.String)

    def blocks(
        self, columns: Sequence[Column], allowed: BadRows, report: RowReport
    ) -> Iterator[pl.DataFrame]:
        leaves = [self._leaves[column.owner] for column in columns]
        each = first_list({leaf.name: leaf for leaf in leaves}, columns)
        records = self._records()
        with progress(f"reading {self.label}") as advance:
            while block := list(islice(records, BLOCK_LINES)):
                lines: list[int] = []
                rows: list[list[str | None]] = [[] for _ in leaves]
                several = 0
                for line, text, record in block:
                    if record is None:
                        report.read += 1
                        report.drop_bad(NO_OBJECT, 1, [(line, text)])
                        continue
                    values = _value(record, each) if each is not None else None
                    parts = values if isinstance(values, list) and values else [None]
                    several += len(parts) > 1
                    for part in parts:
                        lines.append(line)
                        for column, leaf in zip(rows, leaves):
                            column.append(_text_of(record, leaf, part))
                report.note(SEVERAL, several)
                texts = {
                    f"_{column.name}": pl.Series(found, dtype=pl.String)
                    for column, found in zip(columns, rows)
                }
                yield judged(
                    pl.DataFrame({"line": pl.Series(lines, dtype=pl.UInt32), **texts}), columns, report
                )
                if allowed.strict:
                    allowed.check(report)
                advance(len(block))

    def lists(self, name: str) -> Iterator[pl.DataFrame]:
        leaf, records = self._leaves[name], self._records()
        while block := list(islice(records, BLOCK_LINES)):
            lines, texts = [], []
            for line, _, record in block:
                values = None if record is None else _value(record, leaf.outer)
                words = [_text(value) for value in values] if isinstance(values, list) else [_text(values)]
                lines.append(line)
                texts.append(" ".join(BLANK.join(word.split()) for word in words if word) or None)
            yield pl.DataFrame(
                {"line": pl.Series(lines, dtype=pl.UInt32), "values": pl.Series(texts, dtype=pl.String)}
            )

    def _records(self) -> Iterator[tuple[int, str, dict[str, Any] | None]]:
        """Line number, text and object of each line that is not blank; None where it is no object."""
        line = 0
        try:
            with self._source.open() as stream:
                while raw := stream.readline(LONGEST_LINE):
                    line += 1
                    if len(raw) == LONGEST_LINE:
                        raise ConvertError(
                            f"{self.path} has a line of over {LONGEST_LINE} bytes: write one object a line."
                        )
                    text = raw.decode("utf-8-sig" if line == 1 else "utf-8", errors="replace").strip()
                    if text:
                        yield line, text, _object(text)
        except UNREADABLE as error:
            reason = str(error) or type(error).__name__
            raise ConvertError(
                f"{self.path} cannot be read past line {line} ({reason}): it is damaged or cut off, fetch it again."
            ) from error


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text, parse_int=str, parse_float=str, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _walk(outer: tuple[str, ...], value: Any) -> Iterator[Leaf]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _walk((*outer, name), inner)
    elif not isinstance(value, list):
        yield Leaf(outer)
    elif _is_keyed(value):
        yield from (Leaf(outer, key=str(entry["key"])) for entry in value)
    else:
        for entry in value:
            yield from (Leaf(outer, inner=inner) for inner in _inner((), entry))


def _inner(steps: tuple[str, ...], value: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _inner((*steps, name), inner)
    elif not isinstance(value, list):
        yield steps


def _is_keyed(value: list[Any]) -> bool:
    return bool(value) and all(
        isinstance(entry, dict) and "key" in entry and set(entry) <= {"key", "value"} for entry in value
    )


def _value(record: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        if not isinstance(record, dict):
            return None
        record = record.get(step)
    return record


def _text_of(record: dict[str, Any], leaf: Leaf, part: Any) -> str | None:
    """A column of a record as text; part: the value of the list that makes rows."""
    if leaf.inner is not None:
        found = _text(_value(part, leaf.inner))
        return _text(_value(record, leaf.single)) if found is None and leaf.single is not None else found
    value = _value(record, leaf.outer)
    if leaf.key is None:
        return _text(value)
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, dict) and entry.get("key") == leaf.key:
            found = entry.get("value")
            if isinstance(found, dict):  # GA4: string_value, int_value …, of which one is there
                found = next((one for one in found.values() if one is not None), None)
            return _text(found)
    return None


def _text(value: Any) -> str | None:
    """A value as its text, None for null; a list or an object in place of a value is told as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value)
