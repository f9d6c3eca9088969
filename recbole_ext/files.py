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
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from recbole_ext.errors import RECBOLE, UsageError


@contextmanager
def write_beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside `path` to write to within the block, which then takes the place of `path` in one step.

    Where the block raises, what it has written is removed and `path` stays as it was. Of two writers at once the last
    one stays, whole. Raises OSError as writing and renaming do, which names `path`.
    """
    path = Path(path)
    waiting = path.with_name(f"{path.name}.{unique()}.tmp")
    _clear_old(path)
    try:
        yield waiting
        os.replace(waiting, path)
    except BaseException as error:  # Ctrl-C too
        with suppress(OSError):
            waiting.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, os.fspath(waiting), waiting):
            error.filename = os.fspath(path)  # a full disk does not say of which file
        raise


_OLD = 3600.0  # seconds in which a writer that is alive has written something


def _clear_old(path: Path) -> None:
    """Remove what killed writers of a file have left of it, where `cleared` is never called."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.????????.tmp"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _OLD:
                left.unlink()


@contextmanager
def scratch_beside(out: Path) -> Iterator[Path]:
    """An empty folder beside `out`, removed after the block; what killed processes have left of theirs goes first.

    Beside a folder in use lies a file that its process has locked, and a lock dies with its process, however that ends.
    """
    for left in out.parent.glob(f".{glob.escape(out.name)}.*.lock"):
        with locked(left) as free:
            if free:
                shutil.rmtree(left.with_suffix(".part"), ignore_errors=True)
    scratch = out.with_name(f".{out.name}.{unique()}.part")
    with locked(scratch.with_suffix(".lock")):  # before there is a folder that it guards
        try:
            scratch.mkdir()
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def placed_whole(made: Path, out: Path) -> bool:
    """Move a folder to `out` in one step, unless there is one; another process may put its own there at any moment."""
    if out.exists():
        return False
    try:
        os.replace(made, out)
    except OSError:
        if out.is_dir():
            return False
        raise
    synced(out.parent)
    return True


# what `write_beside` and sealed.write make beside files of a run
_HALF = (
    "*.????????.tmp",
    "*.????????.tmp.old",
    "*.pth.tmp",
    "*.npz.tmp",
    "*.json.tmp",
)  # or an older version did


@contextmanager
def cleared(folder: Path, within: str = "") -> Iterator[None]:
    """Be at work in a folder, beside others; who comes when nobody is removes what killed runs have half written.

    within: of which folders in it, as `glob` has them. A lock dies with its process, however that ends.
    """
    own = folder / f".{unique()}.at-work"
    with locked(own):
        began = own.stat().st_mtime if own.exists() else 0.0
        alone = True
        for other in (path for path in folder.glob(".????????.at-work") if path != own):
            with locked(other) as left:
                alone = alone and left
        for half in (path for name in _HALF for path in folder.glob(within + name)) if alone else ():
            with suppress(OSError):  # younger ones are of those who have come meanwhile
                if half.stat().st_mtime <= began:
                    shutil.rmtree(half) if half.is_dir() else half.unlink()
        yield


@contextmanager
def locked(file: Path) -> Iterator[bool]:
    """Hold the lock of a file, which is removed with it; whether it is held: not where another process has it, nor
    where a file system knows no locks."""
    from filelock import FileLock, Timeout  # here, as an exported folder is answered without it

    lock = FileLock(file)
    held = False
    try:
        lock.acquire(blocking=False)
        held = True
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError):
        pass
    try:
        yield held
    finally:
        lock.release()
        with suppress(OSError):
            file.unlink(missing_ok=True)


def synced(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; what cannot wait is passed over."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # Windows waits for writers only
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


_BLOCK = 2**20  # bytes that are read together
PARQUET = ".parquet"  # after .inter: the same events, with their types


def events_file(folder: str | os.PathLike[str], name: str) -> Path | None:
    """The events of a data set: NAME.inter.parquet unless it is older than NAME.inter; None: there is neither."""
    text = Path(folder) / f"{name}.inter"
    parquet = text.with_name(text.name + PARQUET)
    if not parquet.is_file():
        return text if text.is_file() else None
    stale = text.is_file() and text.stat().st_mtime_ns > parquet.stat().st_mtime_ns
    return text if stale else parquet


def sha256(file: Path, read: Callable[[float], None] = lambda size: None) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits; OSError where it cannot be read.

    read: called with the number of bytes that were read since the last call.
    """
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            read(len(block))
    return digest.hexdigest()


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
        raise UsageError(f"RecBole is not installed: {RECBOLE}")
    return Path(spec.origin).parent
