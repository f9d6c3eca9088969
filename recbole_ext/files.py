"""Files that are written whole or not at all, sums of files, and what code a result comes from.

Whole means: a reader, or the next call after an interruption, finds the old content or the new one. It is not said
that a file outlives a power cut: only `synced` waits for the disk.
"""

from __future__ import annotations

import errno
import functools
import glob
import hashlib
import importlib.util
import os
import shutil
import struct
import subprocess
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

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


@contextmanager
def scratch_beside(out: Path) -> Iterator[Path]:
    """An empty folder beside `out`, removed after the block; what killed processes have left of theirs goes first.

    A folder in use is locked by its process, and a lock dies with its process, however that ends.
    """
    with locked(out.parent):
        for left in out.parent.glob(f".{glob.escape(out.name)}.*.part"):
            with locked(left, wait=False) as free:
                if free:
                    shutil.rmtree(left, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
        holds = ExitStack()
        holds.enter_context(locked(scratch))
    try:
        with holds:
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


# what `write_beside` and sealed.write make beside files of a run
_HALF = ("*.pth.tmp", "*.npz.tmp", "*.json.tmp", "*.png.tmp", "*.????????.tmp", "*.????????.tmp.old")


@contextmanager
def cleared(folder: Path, within: str = "") -> Iterator[None]:
    """Be at work in a folder, beside others; who comes when nobody is removes what killed runs have half written.

    within: of which folders in it, as `glob` has them. A lock dies with its process, however that ends.
    """
    with locked(folder, wait=False) as alone:
        for left in (path for half in _HALF for path in folder.glob(within + half)) if alone else ():
            with suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    with locked(folder, shared=True):
        yield


@contextmanager
def locked(folder: Path, wait: bool = True, shared: bool = False) -> Iterator[bool]:
    """Hold the lock of a folder, with `shared` beside others who share it; whether it is held: not where another has
    it and `wait` is False, nor where a file system knows no locks."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield False
        return
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
            held = True
        except OSError:
            held = False
        yield held
    finally:
        os.close(handle)


def synced(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; what cannot wait is passed over."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


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


def unique() -> str:
    """Eight hexadecimal digits, drawn by the system: those of numpy and Python are alike in runs of one seed."""
    return os.urandom(4).hex()


UNFINISHED = ".unfinished"  # stands in a folder of atomic files while they are replaced


def changed_outputs(folder: Path, outputs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of files that are not as a manifest's `outputs` say; sums are looked at where a file is newer than it."""
    told = (folder / "manifest.json").stat().st_mtime_ns
    changed = []
    for output in outputs:
        file = folder / output["name"]
        same = file.is_file() and file.stat().st_size == output["bytes"]
        if same and file.stat().st_mtime_ns > told:
            same = sha256(file) == output.get("sha256")
        if not same:
            changed.append(output["name"])
    return changed


def sha256(file: Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits; OSError where it cannot be read."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def whole_zip(file: str | os.PathLike[str]) -> bool:
    """Whether a zip archive, such as .npz or what torch saves, holds what was written into it, by the sums in it.

    Who reads one may not look at them, as torch does, or fail in any way. OSError where the file cannot be opened.
    """
    with open(file, "rb") as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                return archive.testzip() is None and _is_full(archive, stream)
        except Exception:  # of a damaged archive anything
            return False


def _is_full(archive: zipfile.ZipFile, stream: BinaryIO) -> bool:
    """Whether the members that an archive lists stand one after another from its start to its list: a changed length
    in the list hides those that follow."""
    place = 0
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        stream.seek(member.header_offset + 26)
        name, extra = struct.unpack("<HH", stream.read(4))
        gap = member.header_offset - place
        if member.comment or gap not in (0, 16, 24):  # the sizes may stand behind a member once more
            return False
        place = member.header_offset + 30 + name + extra + member.compress_size
    return archive.start_dir - place in (0, 16, 24)


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
