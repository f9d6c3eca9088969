"""The owner's files on disk: found under their names, plain or packed, and opened."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from recbole_ext.errors import ConvertError

UNREADABLE = (OSError, EOFError, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True)
class Source:
    """A log on disk: plain, gzip, or zip (then `member` may name the file inside)."""

    path: Path
    member: str | None = None

    @property
    def label(self) -> str:
        """The name that users see in messages and in the manifest."""
        return f"{self.path.name}/{self.member}" if self.member else self.path.name

    @property
    def size(self) -> int | None:
        """Bytes to be read, None where the file is packed."""
        with self.path.open("rb") as stream:
            packed = stream.read(2) in (b"\x1f\x8b", b"PK")
        return None if packed else self.path.stat().st_size

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The file's bytes, decompressed; what it is is told by its first bytes, not by its name."""
        with self.path.open("rb") as stream:
            head = stream.read(4)
            stream.seek(0)
            if head[:2] == b"\x1f\x8b":
                with gzip.open(stream) as unpacked:
                    yield unpacked  # type: ignore[misc]
            elif head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
                with zipfile.ZipFile(stream) as archive, self._member(archive) as unpacked:
                    yield unpacked
            else:
                yield stream

    def _member(self, archive: zipfile.ZipFile) -> IO[bytes]:
        """The archive's member to read: the named one, else that of the archive's name, else the only one."""
        files = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
        stem = self.path.name.removesuffix(".zip").removesuffix(".csv") + ".csv"
        named = [name for name in files if name.rsplit("/", 1)[-1] == (self.member or stem)]
        candidates = named or ([] if self.member else files)
        if len(candidates) != 1:
            raise ConvertError(
                f"{self.path} holds {len(candidates)} files that could be {self.member or stem}: "
                "pack exactly one."
            )
        try:
            return archive.open(candidates[0])
        except RuntimeError as error:  # encrypted, or a compression that Python does not know
            raise ConvertError(f"{self.path} cannot be unpacked ({error}): unpack it by hand.") from error


def find_source(
    raw: Path, name: str, chosen: Path | str | None = None, bundle: str | None = None
) -> Source | None:
    """The file of the owner's `name` (xyz.csv) in `raw`, as .csv, .csv.gz, .csv.zip or .zip, or inside
    `bundle`.

    `chosen` names another file in its place, in `raw` or by its path. None where the owner's file is not
    there; ConvertError where the chosen one is not.
    """
    if chosen is not None:
        for path in (raw / chosen, Path(chosen)):
            if path.is_file():
                return Source(path)
        raise ConvertError(
            f"No file {chosen} in {raw} or in the working folder, chosen in place of {name}: check it."
        )
    for file in (name, f"{name}.gz", f"{name}.zip", name.removesuffix(".csv") + ".zip"):
        if (raw / file).is_file():
            return Source(raw / file)
    if bundle and (raw / bundle).is_file() and name in members(raw / bundle):
        return Source(raw / bundle, name)
    return None


def members(archive: Path) -> list[str]:
    """The names of the files in a zip archive, without their folders."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return [member.rsplit("/", 1)[-1] for member in opened.namelist()]
    except UNREADABLE as error:
        raise ConvertError(f"{archive} cannot be read ({error}): download it again.") from error


def read_header(source: Source, separator: str | None) -> list[str]:
    """The names of a file's columns as they stand in its header line; one name, the line, where `separator` is None."""
    try:
        with source.open() as stream:
            head = stream.readline(1 << 20)
    except UNREADABLE as error:
        raise ConvertError(
            f"{source.path} cannot be read ({error}): it is damaged or cut off, fetch it again."
        ) from error
    line = head.decode("utf-8-sig", errors="replace")
    return [name.strip(' \t\r\n"') for name in (line.split(separator) if separator else [line])]
