"""What the user names - files, folders of parts, globs, frames - as tables, each in its form.

A form is told by a file's first bytes, and JSON lines by the brace that they begin with. Of a folder all files with a
usual ending are read, in order of their names, at any depth; folders called `day=2024-05-01` are columns (Hive).
"""

from __future__ import annotations

import glob
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from recbole_ext.convert.forms.json_lines import JsonTable
from recbole_ext.convert.forms.table import NestedTable, Table, with_singles
from recbole_ext.convert.forms.text import TextTable, guess_separator
from recbole_ext.convert.forms.typed import TypedTable, file_table, frame_table, is_frame
from recbole_ext.convert.raw_files import UNREADABLE, Source
from recbole_ext.errors import ConvertError

ENDINGS = frozenset(
    (
        *(".csv", ".tsv", ".txt", ".tab", ".psv", ".json", ".jsonl", ".ndjson"),
        *(".parquet", ".pq", ".arrow", ".feather", ".ipc"),
    )
)
PACKED = (".gz", ".zip")
EXCERPTS = 3  # of many tables of the same types, whose excerpts show the names of keyed lists
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


class Frame(str):
    """A frame among options, which are compared, printed and recorded: its name, which holds it."""

    frame: Any

    def __new__(cls, frame: Any) -> Frame:
        made = super().__new__(cls, "frame of items")
        made.frame = frame
        return made


@dataclass(frozen=True)
class Part:
    """A table, what the names of its folders say, and whether it was found in a folder or by a glob."""

    table: Table
    hive: Mapping[str, str | None] = field(default_factory=dict)
    found: bool = False


def find_parts(
    raw: Any, separator: str | None = None, header: bool = True, but: Sequence[Path] = ()
) -> tuple[list[Part], list[str]]:
    """The tables that `raw` names, one or a list of them, and the names of files of a folder that are none.

    but: files that are something else. Raises ConvertError where nothing is there.
    """
    named = list(raw) if isinstance(raw, list | tuple) else [raw]
    files: dict[Path, bool] = {}
    frames: list[Any] = []
    roots, strange = [], []
    for one in named:
        if not isinstance(one, str | Path):
            frames.append(one)
            continue
        path = Path(one)
        if path.is_file():
            files[path] = False
            roots.append(path.parent)
            continue
        found = sorted(_in_folder(path)) if path.is_dir() else _globbed(path)
        inside = [entry for entry in found if _usual(entry)]
        strange += [str(entry.relative_to(_root(path))) for entry in found if not _usual(entry)]
        inside = [entry for entry in inside if entry.resolve() not in {other.resolve() for other in but}]
        if not inside:
            raise ConvertError(_nothing(path))
        files.update(dict.fromkeys(inside, True))
        roots.append(_root(path))
    labels = _labels(list(files), roots)
    parts = [
        Part(_table(path, labels[path], separator, header), _hive(path, roots), found)
        for path, found in files.items()
    ]
    for number, frame in enumerate(frames, 1):
        if not is_frame(frame):
            raise ConvertError(
                f"{frame!r} names no table: give a file, or a frame of polars, pandas or Arrow."
            )
        label = "frame" if len(frames) == 1 else f"frame {number}"
        parts.append(Part(frame_table(frame, label)))
    _share_columns([part.table for part in parts])
    return parts, strange


def _share_columns(tables: Sequence[Table]) -> None:
    """Give tables that are parts of one log the columns of all: what a part's excerpt does not show may still be in it.

    Parts of one log are tables with the same types, and JSON lines that have most of their names in common.
    """
    typed: dict[str, list[TypedTable]] = {}
    lines: list[list[JsonTable]] = []
    for table in tables:
        if isinstance(table, TypedTable):
            typed.setdefault(str(table.schema), []).append(table)
        elif isinstance(table, JsonTable):
            near = (group for group in lines if _alike(set(group[0].names()), set(table.names())))
            group = next(near, None)
            if group is None:
                lines.append([table])
            else:
                group.append(table)
    for alike in typed.values():
        _take_all(alike, alike[:: max(len(alike) // EXCERPTS, 1)][:EXCERPTS])
    for parts in lines:
        _take_all(parts, parts)


def _take_all(tables: Sequence[NestedTable], shown: Sequence[NestedTable]) -> None:
    leaves = with_singles({name: leaf for table in shown for name, leaf in table.leaves().items()})
    for table in tables:
        table.take_leaves(leaves)


def _alike(one: set[str], other: set[str]) -> bool:
    return 2 * len(one & other) >= len(one | other)


def one_table(named: Path | Frame, folder: Path | None, option: str, separator: str | None = None) -> Table:
    """The table of a single file, by its path or in the folder, or of a frame."""
    if isinstance(named, Frame):
        return frame_table(named.frame, str(named))
    for path in (Path(named), *([folder / named] if folder is not None else [])):
        if path.is_file():
            return _table(path, path.name, separator, header=True, lenient=True)
    raise ConvertError(f"There is no file {named}: name the table of item features with {option}.")


def _nothing(path: Path) -> str:
    if path.is_dir():
        return f"{path} is a folder without a table (csv, jsonl, parquet …): name the table of events."
    return f"There is no file {path}: name the table of events."


def _root(path: Path) -> Path:
    """The folder that the names of parts are told from: the path itself, or that before a glob's first mark."""
    while glob.has_magic(str(path)) and not path.exists():
        path = path.parent
    return path


def _globbed(path: Path) -> list[Path]:
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    return [entry for one in found for entry in (sorted(_in_folder(one)) if one.is_dir() else [one])]


def _in_folder(folder: Path) -> Iterator[Path]:
    """Files at any depth; what begins with a dot or a line (`_SUCCESS`) is what a writer leaves for itself."""
    for entry in folder.iterdir():
        if entry.name.startswith((".", "_")) or entry.name.endswith(".crc"):
            continue
        if entry.is_dir():
            yield from _in_folder(entry)
        elif entry.is_file():
            yield entry


def _usual(path: Path) -> bool:
    name = path.name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return Path(name).suffix in ENDINGS or name != path.name.lower() or _first_bytes(path) == b"PAR1"


def _labels(files: list[Path], roots: Sequence[Path]) -> dict[Path, str]:
    """What each file is called: by its name, or with its folders where names are alike."""
    names = [path.name for path in files]
    if len(set(names)) == len(names) and not any(_hive(path, roots) for path in files):
        return dict(zip(files, names))
    labels = [str(path.relative_to(_nearest(path, roots))) for path in files]
    if len(set(labels)) < len(labels):
        labels = [str(path) for path in files]
    return dict(zip(files, labels))


def _nearest(path: Path, roots: Sequence[Path]) -> Path:
    return max((root for root in roots if path.is_relative_to(root)), key=lambda root: len(root.parts))


def _hive(path: Path, roots: Sequence[Path]) -> dict[str, str | None]:
    """Columns that the names of the folders are, `day=2024-05-01`, from the named folder down."""
    found: dict[str, str | None] = {}
    root = _nearest(path, roots)
    for step in (*root.parts[-1:], *path.relative_to(root).parts[:-1]):
        name, sign, value = step.partition("=")
        if sign and name:
            found[name] = None if value == HIVE_NULL else unquote(value)
    return found


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(8)[:4]


def _table(path: Path, label: str, separator: str | None, header: bool, lenient: bool = False) -> Table:
    """A file in its form; lenient: its reader says what is wrong with a header of one column."""
    try:
        magic = _first_bytes(path)
        if magic == b"PAR1":
            return file_table(path, label, "parquet")
        if magic == b"ARRO":
            return file_table(path, label, "arrow")
        if magic == b"PK\x03\x04" and _is_workbook(path):
            raise ConvertError(f"{path} is a workbook: save the sheet of events as CSV.")
        source = Source(path)
        with source.open() as stream:
            start = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    except UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise ConvertError(
            f"{path} cannot be read ({reason}): it is damaged or cut off, fetch it again."
        ) from error
    if start.startswith(b"{"):
        return JsonTable(source, label)
    if start.startswith(b"["):
        raise ConvertError(f"{path} is one JSON list: write an object a line (jq -c '.[]' does).")
    return TextTable(source, label, separator or guess_separator(source, lenient), header)


def _is_workbook(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return "xl/workbook.xml" in archive.namelist()
