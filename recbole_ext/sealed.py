"""A folder of files that is whole or absent, and says so: SHA256SUMS names every file in it and its sum.

It is made beside its place and moved there; of two writers the last one stays. A reader checks all sums before it looks
into a file, so a file that was cut, changed, added or lost is refused.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from recbole_ext.errors import UsageError
from recbole_ext.files import sha256

SUMS = "SHA256SUMS"  # as sha256sum writes it, so that `sha256sum -c SHA256SUMS` checks the folder too
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\\\s]+)")


def write(folder: Path, files: Mapping[str, Callable[[Path], None]]) -> None:
    """Make `folder` of `files`, name to what writes a file to the path it is given; what was there is replaced.

    Where a writer raises, `folder` stays as it was. Raises OSError as writing does.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    waiting = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    waiting.mkdir()
    try:
        for name, make in files.items():
            make(waiting / name)
        seal(waiting, files)
        if folder.exists():
            old = folder.with_name(f"{waiting.name}.old")
            folder.rename(old)
            waiting.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            waiting.rename(folder)
    finally:
        shutil.rmtree(waiting, ignore_errors=True)


def seal(folder: Path, names: Iterable[str]) -> None:
    """Write the sums of the named files, which are all that there are in a folder."""
    lines = [f"{sha256(folder / name)}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines), encoding="ascii")


def check(folder: Path) -> dict[str, str]:
    """The files of a folder with their sums, each found to be as it was written.

    Raises UsageError, naming the file, where the folder is not as it was written.
    """
    sums = _sums(folder)
    there = {file.name for file in folder.iterdir()} - {SUMS}
    for name in sorted(there ^ sums.keys()):
        how = "is no part of it" if name in there else "is missing"
        raise UsageError(f"{folder} is not as it was written: {name} {how}, so make or copy it again")
    for name, expected in sums.items():
        try:
            found = sha256(folder / name)
        except OSError as error:
            raise UsageError(f"{folder / name} cannot be read: {error.strerror}") from error
        if found != expected:
            raise UsageError(
                f"{folder / name} was cut or changed since it was written: copy the folder again"
            )
    return sums


def _sums(folder: Path) -> dict[str, str]:
    try:
        text = (folder / SUMS).read_bytes().decode("ascii")
    except FileNotFoundError as error:
        raise UsageError(f"{folder} has no {SUMS}, so it is not whole: make or copy it again") from error
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{folder / SUMS} cannot be read: copy the folder again") from error
    found = {}
    for line in text.removesuffix("\n").split("\n"):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in found or match[2] in (".", ".."):
            raise UsageError(
                f"{folder / SUMS} was cut or changed since it was written: copy the folder again"
            )
        found[match[2]] = match[1]
    if not found or not text.endswith("\n"):
        raise UsageError(f"{folder / SUMS} was cut or changed since it was written: copy the folder again")
    return found
