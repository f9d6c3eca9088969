"""Files that are written whole or not at all, sums of files, and what code a result comes from.

Whole means: a reader, or the next call after an interruption, finds the old content or the new one. It is not said
that a file outlives a power cut: nothing here waits for the disk.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recbole_ext.errors import UsageError


@contextmanager
def write_beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside `path` to write to within the block, which then takes the place of `path` in one step.

    Where the block raises, what it has written is removed and `path` stays as it was. Two writers at once are not
    kept apart. Raises OSError as writing and renaming do, which names `path`.
    """
    path = Path(path)
    waiting = path.with_name(f"{path.name}.tmp")
    try:
        yield waiting
        os.replace(waiting, path)
    except BaseException as error:  # Ctrl-C too
        with suppress(OSError):
            waiting.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, os.fspath(waiting), waiting):
            error.filename = os.fspath(path)  # a full disk does not say of which file
        raise


def torn(path: str | os.PathLike[str]) -> OSError:
    """The OSError of a file of which a library, which raises an error of its own, has written a part only."""
    return OSError(errno.ENOSPC, "only a part of it was written (is the disk full?)", os.fspath(path))


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Make the folder where it is missing; OSError where nothing can be written into it. Leaves no file."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b" " * 4096)


@contextmanager
def told() -> Iterator[None]:
    """Within the block, a file that cannot be written is a UsageError that names it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_WRITING or error.filename is None:
            raise
        raise UsageError(cannot_write(error)) from error


_OF_WRITING = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.EIO,
)


def cannot_write(error: OSError, file: str | os.PathLike[str] | None = None) -> str:
    """What to say of a file that could not be written; `file` where the error does not know it."""
    return f"{file or error.filename} cannot be written: {error.strerror or error}"


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, whole or not at all; OSError where the folder is missing or takes nothing."""
    with write_beside(path) as waiting:
        waiting.write_text(text, encoding="utf-8")


def sha256(file: Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits; OSError where it cannot be read."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@functools.cache  # the code that runs is that of the process's start
def commit() -> str | None:
    """The checkout's commit, marked where files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip()


def recbole_folder() -> Path:
    """Folder of the installed recbole package."""
    spec = importlib.util.find_spec("recbole")
    if spec is None or spec.origin is None:
        raise UsageError("RecBole is not installed: pip install recbole==1.2.1")
    return Path(spec.origin).parent
