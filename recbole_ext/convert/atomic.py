"""Atomic files and their manifest: RecBole's tab-separated format, written whole or not at all.

The format is RecBole's (https://recbole.io/atomic_files.html); the manifest beside the files, which accounts
for every row of every source, is ours, and so is NAME.inter.parquet, the same rows as .inter with types in the file.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from recbole_ext.convert.engine import pl
from recbole_ext.errors import ConvertError
from recbole_ext.files import (
    PARQUET,
    UNFINISHED,
    changed_outputs,
    placed_whole,
    scratch_beside,
    sha256,
    synced,
)
from recbole_ext.naming import names_items
from recbole_ext.version import __version__

FORMAT = 1
MANIFEST = "manifest.json"
EXAMPLES_PER_REASON = 5
EXAMPLE_LENGTH = 200
InterForm = Literal["text", "parquet", "both"]

# The types of the columns that converters share; a converter with other columns passes their types itself.
COLUMN_TYPES: dict[str, str] = {
    "session_id": "token",
    "user_id": "token",
    "item_id": "token",
    "timestamp": "float",
    "event": "token",
    "split": "token",
    "category": "token",
    "category_path": "token_seq",
    "price": "float",
    "name": "token_seq",
}


class RowReport:
    """What became of every row of one source file: read, kept, dropped by reason, the first few shown."""

    def __init__(self, file: str, harmless: Iterable[str] = ()) -> None:
        """harmless: reasons for which a row is left out as it should be, so that it is no bad one."""
        self.file = file
        self.harmless = frozenset(harmless)
        self.notes: dict[str, int] = {}
        self.read = 0
        self.bad = 0  # of the dropped ones, those with a fault
        self.first_bad: tuple[int, str, str] | None = None  # line, reason, text
        self.dropped: dict[str, int] = {}
        self.examples: list[dict[str, Any]] = []

    @property
    def kept(self) -> int:
        """Rows read less rows dropped."""
        return self.read - sum(self.dropped.values())

    def drop(self, reason: str, count: int, examples: Iterable[tuple[int | None, str]] = ()) -> None:
        """Count `count` more rows dropped for `reason`; `examples` are (line number, text) pairs."""
        if count == 0:
            return
        self.dropped[reason] = self.dropped.get(reason, 0) + count
        shown = sum(1 for example in self.examples if example["reason"] == reason)
        for line, text in list(examples)[: EXAMPLES_PER_REASON - shown]:
            self.examples.append(
                {"file": self.file, "line": line, "reason": reason, "text": text[:EXAMPLE_LENGTH]}
            )

    def drop_bad(self, reason: str, count: int, examples: Iterable[tuple[int | None, str]] = ()) -> None:
        """Count `count` more rows dropped because they have a fault, which only so many rows may have."""
        examples = list(examples)
        if reason in self.harmless:
            self.drop(reason, count, examples)
            return
        self.bad += count
        self.drop(reason, count, examples)
        for line, text in examples:
            if self.first_bad is None or (line or 0) < self.first_bad[0]:
                self.first_bad = (line or 0, reason, text[:EXAMPLE_LENGTH])

    def note(self, what: str, count: int) -> None:
        """Count what is worth telling about rows that are kept."""
        if count:
            self.notes[what] = self.notes.get(what, 0) + count

    def drop_rows(self, rows: pl.DataFrame, reason: str) -> None:
        """Count all `rows` as dropped for `reason`; a column `line`, where there is one, places them."""
        first = rows.head(EXAMPLES_PER_REASON)
        lines = first["line"].to_list() if "line" in first.columns else [None] * first.height
        values = first.select(pl.exclude("line")).rows()
        texts = [";".join("" if value is None else str(value) for value in row) for row in values]
        self.drop(reason, rows.height, zip(lines, texts))

    def as_dict(self) -> dict[str, Any]:
        """The manifest's entry for this file (the examples go elsewhere)."""
        return {"read": self.read, "kept": self.kept, "dropped": dict(sorted(self.dropped.items()))}


def file_record(path: Path, name: str | None = None) -> dict[str, Any]:
    """Name (the file's own where none is given), size in bytes and SHA-256 of one file."""
    return {"name": name or path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}


class FileRecords:
    """The `file_record`s of some files, worked out beside the conversion: hashing leaves Python's lock free."""

    def __init__(self, paths: Iterable[Path] | Mapping[Path, str]) -> None:
        """paths: the files, or the name of each."""
        names = paths if isinstance(paths, Mapping) else {}
        self._paths = [(path, names.get(path)) for path in dict.fromkeys(paths)]
        self._records: list[dict[str, Any]] = []
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._records = [file_record(path, name) for path, name in self._paths]
        except OSError as error:
            self._error = error

    def result(self) -> list[dict[str, Any]]:
        """The records, one a path in order; waits for them. Raises OSError for a file that cannot be read."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._records


@dataclass(frozen=True)
class Conversion:
    """What a source's `read` makes of raw logs: the tables, and the account of every row."""

    inter: pl.DataFrame
    item: pl.DataFrame | None
    sources: Iterable[Path] | FileRecords
    reports: Iterable[RowReport]
    options: Mapping[str, Any]  # as `Options.recorded` has them, perhaps with what was found out
    notes: Mapping[str, int]
    counts: Mapping[str, Any]
    time_origin: float | None = None  # unix seconds
    types: Mapping[str, str] = field(default_factory=dict)  # of columns that COLUMN_TYPES does not name
    more: Mapping[str, Any] = field(default_factory=dict)  # what else the manifest says, by name


def write_conversion(
    out: Path, source: str, made: Conversion, inter_form: InterForm = "text"
) -> dict[str, Any]:
    """Write what was read from a source, as `write_dataset` does; return the manifest."""
    manifest = make_manifest(
        source,
        sources=made.sources,
        reports=made.reports,
        options=made.options,
        notes={**made.notes, **_naming(made)},
        counts=made.counts,
        time_origin=made.time_origin,
    )
    return write_dataset(out, made.inter, made.item, {**manifest, **made.more}, made.types, inter_form)


def _naming(made: Conversion) -> dict[str, int]:
    """Notes on features that name each item, with the number of their values."""
    found: dict[str, int] = {}
    if made.item is None:
        return found
    for column in made.item.columns:
        kind = made.types.get(column) or COLUMN_TYPES.get(column)
        if kind != "token" or column == "item_id":
            continue
        known = made.item[column].drop_nulls()
        if names_items(known.n_unique(), len(known)):
            found[
                f"values of {column}, nearly one an item: models leave it out where item_features does not name it"
            ] = known.n_unique()
    return found


def make_manifest(
    converter: str,
    *,
    sources: Iterable[Path] | FileRecords,
    reports: Iterable[RowReport],
    options: Mapping[str, Any],
    notes: Mapping[str, int],
    counts: Mapping[str, Any],
    time_origin: float | None = None,
) -> dict[str, Any]:
    """The manifest of one conversion, but for what only the writer knows (outputs, version, creation time).

    `time_origin` is in unix seconds: what to add to a `timestamp` to have the time of day back.
    """
    reports = list(reports)
    records = sources if isinstance(sources, FileRecords) else FileRecords(sources)
    return {
        "converter": converter,
        "options": {key: str(value) if isinstance(value, Path) else value for key, value in options.items()},
        "time_origin": time_origin,
        "sources": records.result(),
        "rows": {report.file: report.as_dict() for report in reports},
        "examples": [example for report in reports for example in report.examples],
        "notes": {reason: count for reason, count in notes.items() if count},
        "counts": dict(counts),
    }


def write_dataset(
    out: Path,
    inter: pl.DataFrame,
    item: pl.DataFrame | None,
    manifest: Mapping[str, Any],
    types: Mapping[str, str] | None = None,
    inter_form: InterForm = "text",
) -> dict[str, Any]:
    """Write OUT/NAME.inter, OUT/NAME.item and OUT/manifest.json (NAME = last part of OUT); return the
    manifest.

    `inter_form`: .inter as text, OUT/NAME.inter.parquet in its place, or both. Columns are written in the frames' order
    and with the types of `COLUMN_TYPES`, or of `types` where that names them; sequences are space-joined strings
    already; nulls become empty fields of the text and stay nulls of the parquet. All is written to a
    temporary folder beside OUT and moved into place at the end, the manifest last; whatever goes wrong before
    that leaves the files that were there as they were.

    Raises ConvertError for a column without a type, for text that would break the format, and where OUT is a
    file.
    """
    out = Path(out).absolute()
    tables = {} if inter_form == "parquet" else {f"{out.name}.inter": inter}
    tables |= {} if inter_form == "text" else {f"{out.name}.inter{PARQUET}": inter}
    tables |= {} if item is None else {f"{out.name}.item": item}
    known = {**COLUMN_TYPES, **(types or {})}
    for file, table in tables.items():
        _check_table(file, table, known)
    if out.exists() and not out.is_dir():
        raise ConvertError(
            f"{out} is a file, and the atomic files need a folder: name another one with --out."
        )

    out.parent.mkdir(parents=True, exist_ok=True)
    with scratch_beside(out) as scratch:
        made = scratch / "new"
        made.mkdir()
        outputs = [_write_table(made / file, table, known) for file, table in tables.items()]
        full = {
            "format": FORMAT,
            "converter": manifest.get("converter"),
            "version": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **manifest,
            "outputs": outputs,
        }
        (made / MANIFEST).write_text(json.dumps(full, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        _move_into_place(scratch, out, [*tables, MANIFEST])
    return full


def read_manifest(out: Path) -> dict[str, Any] | None:
    """The manifest of OUT; None where there is none, or the files beside it are not those that it tells of."""
    try:
        manifest = json.loads((Path(out) / MANIFEST).read_text(encoding="utf-8"))
        changed = changed_outputs(Path(out), manifest["outputs"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if changed or (Path(out) / UNFINISHED).exists() else manifest


def _check_table(file: str, table: pl.DataFrame, types: Mapping[str, str]) -> None:
    """Refuse a column without a type, and text that a tab-separated reader would take apart."""
    for column in table.columns:
        if column not in types:
            raise ConvertError(
                f"{file}: column {column!r} has no type: give it one (token, token_seq, float …)."
            )
        if table.schema[column] != pl.String:
            continue
        broken = table.get_column(column).str.contains("[\t\n\r]").fill_null(False)
        if broken.any():
            text = table.get_column(column).filter(broken)[0]
            raise ConvertError(
                f"{file}: {text[:EXAMPLE_LENGTH]!r} in column {column!r} holds a tab or a line break, "
                "which atomic files cannot carry: take it out of the source."
            )


def _write_table(path: Path, table: pl.DataFrame, types: Mapping[str, str]) -> dict[str, Any]:
    """Write one table with RecBole's typed header, as text or parquet, and return its manifest entry."""
    typed = table.rename({column: f"{column}:{types[column]}" for column in table.columns})
    if path.suffix == PARQUET:
        # whole numbers stay: they take less room than their texts, and need no reading; part by part for the others
        cast = [
            pl.col(name).cast(pl.Float64 if name.endswith(":float") else pl.String)
            for name, kind in typed.schema.items()
            if not (kind.is_integer() and name.endswith(":token"))
        ]
        typed.lazy().with_columns(cast).sink_parquet(path)
    else:
        typed.write_csv(path, separator="\t", quote_style="never", null_value="")
    record = file_record(path)
    return {"name": path.name, "rows": table.height, "bytes": record["bytes"], "sha256": record["sha256"]}


def _keep(path: Path, copy: Path) -> None:
    """A second name for a file, or a copy where the file system has no hard links."""
    try:
        os.link(path, copy)
    except OSError:
        shutil.copy2(path, copy)


def _move_into_place(scratch: Path, out: Path, files: list[str]) -> None:
    """Move `files` from `scratch`/new to `out`; if a move fails, put back what was there.

    A new folder comes in one step. In one that is there UNFINISHED stands from the first move to the last, as a process
    that is killed in between puts nothing back.
    """
    made, old = scratch / "new", scratch / "old"
    for path in (*(made / file for file in files), made):
        synced(path)
    if placed_whole(made, out):
        return
    with _alone_in(out):
        _move_files(made, old, out, files)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Within the block no other process is in such a block for this folder; on Windows and file systems without locks
    it may be."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def _move_files(made: Path, old: Path, out: Path, files: list[str]) -> None:
    old.mkdir()
    # An .item of an earlier conversion does not describe the items of this one, and its events are others.
    written = {output["name"] for output in (read_manifest(out) or {}).get("outputs", [])}
    kinds = (".inter", f".inter{PARQUET}", ".item")
    stale = ({f"{out.name}{kind}" for kind in kinds} & written) - set(files)
    for file in [*files, *stale]:
        if (out / file).exists():
            _keep(out / file, old / file)
    before = (out / UNFINISHED).exists()
    (out / UNFINISHED).touch()
    synced(out)
    try:
        for file in files:
            os.replace(made / file, out / file)
        for file in stale:
            (out / file).unlink()
        synced(out)
    except BaseException:
        for file in [*files, *stale]:
            if (old / file).exists():
                os.replace(old / file, out / file)
            else:
                (out / file).unlink(missing_ok=True)
        if not before:
            (out / UNFINISHED).unlink()
        raise
    (out / UNFINISHED).unlink()
