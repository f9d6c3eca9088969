"""Lists for the sessions of a file, into a file, some sessions at a time: memory does not grow with them.

A file of events (.csv, .parquet) has the columns session and item, and where known time, event, user; the events of a
session stand together. A file of sessions (.jsonl) has one a line: a list of items, or an object with items, and where
known session, history, times, events.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd

from recbole_ext.errors import UsageError, needs
from recbole_ext.files import write_beside
from recbole_ext.progress import progress
from recbole_ext.recommend.asked import Report, Session
from recbole_ext.recommend.lists import Empty, Lister, Lists, Question

BLOCK = 16384  # sessions at a time
ROWS = 1 << 16  # rows of a parquet file that are read at a time
_Block = TypeVar("_Block")
READ, WRITTEN = (".csv", ".jsonl", ".parquet"), (".csv", ".jsonl", ".parquet")


def recommend_file(
    recommender: Lister,
    source: Path,
    out: Path,
    k: int,
    *,
    history: Path | None = None,
    empty_popular: bool = False,
    **options: Any,
) -> Report:
    """Write the lists of all sessions of `source` to `out`, whole or not at all; what became of them.

    history: a file of events with the column user, of what the visitors did before; it is held in memory. options: as
    of `Lister.lists`. Raises UsageError for a file that cannot be read, a session whose events do not stand
    together, items of which the model knows none, and a name whose end says no format.
    """
    _check_ends(source, READ, "read")
    _check_ends(out, WRITTEN, "written")
    if not source.is_file():
        raise UsageError(f"there is no file {source}: name one with the columns session and item")
    for read in filter(None, (source, history)):
        if out.exists() and out.samefile(read):
            raise UsageError(f"out is {out}, which is read: name another file")
    past = None if history is None else _whole(history)
    total = Report()
    try:
        with ExitStack() as stack:
            writer = stack.enter_context(_writer(out))
            advance = stack.enter_context(progress("sessions ranked:"))
            for sessions in _blocks(source):
                empty: Empty = "popular" if empty_popular else "start"
                lists = recommender.answer(
                    Question(sessions, k, history=past, empty=empty, **_of_block(options, sessions))
                )
                writer.add(lists)
                total.add(lists.report)
                advance(len(lists))
            if not total.sessions:
                raise UsageError(f"{source} holds no session")
            recommender.require_known(total, str(source))
    except OSError as error:
        raise UsageError(f"{error.filename or source}: {error.strerror or error}") from error
    recommender.tell(total, empty_popular)
    return total


def _of_block(options: Mapping[str, Any], sessions: Any) -> dict[str, Any]:
    """Options of some sessions of a file: what names other sessions is theirs."""
    named = [name for name in ("exclude", "candidates") if isinstance(options.get(name), Mapping)]
    if not named:
        return dict(options)
    ids = sessions["session"] if hasattr(sessions, "columns") else [one.id for one in sessions]
    here = {str(label) for label in ids}
    less = {name: {key: one for key, one in options[name].items() if str(key) in here} for name in named}
    return {**options, **less}


def _check_ends(file: Path, known: tuple[str, ...], what: str) -> None:
    if file.suffix not in known:
        raise UsageError(f"{file} cannot be {what}: name a file that ends in {', '.join(known)}")


# --- reading ------------------------------------------------------------------------------------------------


def _blocks(source: Path) -> Iterator[Any]:
    """About BLOCK sessions at a time, as `Lister.lists` takes them."""
    if source.suffix == ".jsonl":
        yield from _lines(source)
        return
    rows = _csv_rows(source) if source.suffix == ".csv" else _parquet_rows(source)
    yield from _whole_sessions(rows, source)


def _lines(source: Path) -> Iterator[list[Session]]:
    met = _Met(f"comes twice in {source}: write each session on one line")
    held: list[Session] = []
    with source.open(encoding="utf-8") as stream:
        for number, line in enumerate(_decoded(stream, source), 1):
            if not line.strip():
                continue
            held.append(_session(line, number, source))
            if len(held) == BLOCK:
                yield met.new(held, [one.id for one in held])
                held = []
    if held:
        yield met.new(held, [one.id for one in held])


def _decoded(stream: Any, source: Path) -> Iterator[str]:
    try:
        yield from stream
    except UnicodeError as error:
        raise UsageError(f"{source} is not written in UTF-8: convert it first") from error


def _session(line: str, number: int, source: Path) -> Session:
    try:
        given = json.loads(line)
    except ValueError as error:
        raise UsageError(f"{source}, line {number} is no JSON: write one session a line") from error
    except RecursionError as error:
        raise UsageError(f"{source}, line {number} is nested too deeply: write a list of items") from error
    if isinstance(given, list):
        given = {"items": given}
    known = ("items", "session", "history", "times", "events")
    if not isinstance(given, dict) or not isinstance(given.get("items"), list) or set(given) - set(known):
        raise UsageError(
            f"{source}, line {number} is no session: write a list of items, or an object with items and of "
            f"{', '.join(known[1:])} what is known"
        )
    return Session(
        given["items"],
        given.get("session", number),
        given.get("history") or (),
        given.get("times"),
        given.get("events"),
    )


def _csv_rows(source: Path) -> Iterator[pd.DataFrame]:
    """Rows of a csv file as frames of text."""
    with source.open(encoding="utf-8-sig", newline="") as stream:
        numbered = _csv_lines(stream, source)
        _, head = next(numbered, (1, []))
        rows: list[list[str]] = []
        for line, row in numbered:
            if len(row) != len(head):
                raise UsageError(f"{source}, line {line} has {len(row)} fields, and the head has {len(head)}")
            rows.append(row)
            if len(rows) == ROWS:
                yield _frame(head, rows)
                rows = []
    yield _frame(head, rows)


def _csv_lines(stream: Any, source: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line that is not blank.

    UsageError where a field goes on in the next line: a quotation mark that nobody closed would swallow sessions.
    """
    reader = csv.reader(_decoded(stream, source), strict=True)
    while True:
        line, why = reader.line_num + 1, "a field goes on in the next line"
        try:
            row = next(reader, None)
        except csv.Error as error:
            row, why = [], why if reader.line_num > line else str(error)
        else:
            if row is None:
                return
            if reader.line_num == line:
                if row:
                    yield line, row
                continue
        raise UsageError(
            f"{source}, line {line} cannot be read, as {why}: close each quotation mark on its line, and double those "
            "inside a text"
        )


def _frame(head: list[str], rows: list[list[str]]) -> pd.DataFrame:
    columns = list(zip(*rows)) if rows else [()] * len(head)
    frame = pd.DataFrame({name: np.array(values, dtype=object) for name, values in zip(head, columns)})
    for name in frame.columns:
        frame[name] = frame[name].where(frame[name] != "", None)
    return frame


def _parquet_rows(source: Path) -> Iterator[pd.DataFrame]:
    pl = needs("polars", "a .parquet file")
    try:
        for part in pl.scan_parquet(source).collect_batches(chunk_size=ROWS, maintain_order=True):
            yield pd.DataFrame({name: part[name].to_numpy() for name in part.columns})
    except pl.exceptions.PolarsError as error:
        raise UsageError(f"{source} cannot be read: {str(error).splitlines()[0]}") from error


def _whole_sessions(parts: Iterator[pd.DataFrame], source: Path) -> Iterator[pd.DataFrame]:
    """Frames of whole sessions; UsageError where the events of one do not stand together."""
    met = _Met(f"has events of {source} that do not stand together: sort the file by session")
    held: list[pd.DataFrame] = []
    count = before = 0
    column = ""
    for part in parts:
        column = column or _session_column(part, source)
        names = part[column].to_numpy()
        if not len(names):
            continue
        nameless = pd.isna(names)
        if nameless.any():
            raise UsageError(
                f"row {before + int(np.argmax(nameless)) + 1:,} of {source} names no session: fill the column {column}"
            )
        before += len(names)
        opens = np.flatnonzero(names[1:] != names[:-1]) + 1
        count += len(opens)
        if count < BLOCK or not len(opens):
            held.append(part)
            continue
        last = opens[-1]  # the last session may go on in the next rows
        whole = pd.concat([*held, part.iloc[:last]], ignore_index=True)
        yield met.new(whole, _opening(whole, column))
        held, count = [part.iloc[last:]], 0
    if held:
        whole = pd.concat(held, ignore_index=True)
        yield met.new(whole, _opening(whole, column))


def _opening(frame: pd.DataFrame, column: str) -> np.ndarray:
    """Names of sessions in order, one for each stretch of rows that have the same."""
    names = frame[column].to_numpy()
    return np.asarray(names[np.append(True, names[1:] != names[:-1])])


def _session_column(part: pd.DataFrame, source: Path) -> str:
    for name in ("session", "session_id"):
        if name in part.columns:
            return name
    raise UsageError(f"{source} has no column session: it has {', '.join(map(str, part.columns)) or 'none'}")


class _Met:
    """Which sessions have been met, by a hash of 8 bytes each. wrong: what to say behind one that comes again."""

    def __init__(self, wrong: str) -> None:
        self._wrong = wrong
        self._known = np.zeros(0, dtype=np.uint64)

    def new(self, block: _Block, names: Iterable[Any]) -> _Block:
        """The block of these sessions; UsageError where one of them was met before, or is among them twice."""
        named = np.array([str(name) for name in names], dtype=object)
        hashed = pd.util.hash_array(named, categorize=False)
        order = np.argsort(hashed, kind="stable")
        ordered = hashed[order]
        again = np.append(False, ordered[1:] == ordered[:-1])
        place = np.searchsorted(self._known, ordered)
        inside = place < len(self._known)
        again[inside] |= self._known[place[inside]] == ordered[inside]
        if again.any():
            raise UsageError(f"session {named[order[np.argmax(again)]]} {self._wrong}")
        self._known = np.insert(self._known, place, ordered)
        return block


def _whole(file: Path) -> pd.DataFrame:
    """A file of events, all of it."""
    _check_ends(file, (".csv", ".parquet"), "read")
    if not file.is_file():
        raise UsageError(f"there is no file {file}: name one with the columns user, session and item")
    parts = _csv_rows(file) if file.suffix == ".csv" else _parquet_rows(file)
    return pd.concat(list(parts), ignore_index=True)


# --- writing ------------------------------------------------------------------------------------------------


class _Writer(Protocol):
    def __enter__(self) -> _Writer: ...

    def __exit__(self, *error: Any) -> None: ...

    def add(self, lists: Lists) -> None:
        """Write more lists."""


def _writer(out: Path) -> _Writer:
    made: Mapping[str, Callable[[Path], _Writer]] = {
        ".csv": _CsvWriter,
        ".jsonl": _JsonWriter,
        ".parquet": _ParquetWriter,
    }
    return made[out.suffix](out)


class _TextWriter:
    def __init__(self, out: Path):
        self._beside = write_beside(out)

    def __enter__(self) -> Any:
        self._stack = ExitStack()
        self._path = self._stack.enter_context(self._beside)
        self._stream = self._stack.enter_context(self._path.open("w", encoding="utf-8", newline=""))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


class _CsvWriter(_TextWriter):
    """Rows of session, rank, item, score, and the evidence."""

    def add(self, lists: Lists) -> None:
        first = not self._stream.tell()
        lists.frame().to_csv(self._stream, index=False, header=first, lineterminator="\n")


class _JsonWriter(_TextWriter):
    """One session a line: session, items, scores (null where an item is there for its popularity), and the evidence."""

    def add(self, lists: Lists) -> None:
        for place, label in enumerate(lists.labels):
            there = lists.items[place] != 0
            line = {
                "session": label if isinstance(label, str | int) else str(label),
                "items": lists.names[lists.items[place][there]].tolist(),
                "scores": [None if s != s else s for s in lists.scores[place][there].tolist()],
                **{name: values[place][there].tolist() for name, values in lists.evidence.items()},
            }
            self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")


class _ParquetWriter:
    """The rows of a csv file as a parquet file, sessions as text: parts beside it, which polars joins as a stream."""

    def __init__(self, out: Path):
        self._pl = needs("polars", "a .parquet file")  # before any work
        self._out, self._beside = out, out.with_name(f"{out.name}.parts")

    def __enter__(self) -> _ParquetWriter:
        shutil.rmtree(self._beside, ignore_errors=True)
        self._beside.mkdir()
        self._parts: list[Path] = []
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if kind is None and self._parts:
                with write_beside(self._out) as waiting:
                    self._pl.scan_parquet(self._parts).sink_parquet(waiting)
        finally:
            shutil.rmtree(self._beside, ignore_errors=True)

    def add(self, lists: Lists) -> None:
        pl = self._pl
        frame = lists.frame()
        columns = {name: frame[name].to_numpy() for name in frame.columns}
        columns["session"] = np.array([str(label) for label in columns["session"]], dtype=object)
        self._parts.append(self._beside / f"{len(self._parts):06}.parquet")
        pl.DataFrame(columns, schema_overrides={"session": pl.String, "item": pl.String}).write_parquet(
            self._parts[-1]
        )
