"""What is costly to make and follows from what is known, kept in a folder under the sum of all that it follows from.

That sum covers this package's own code and the libraries that draw and count, so that nothing of an older version is
taken for today's; what was kept has a sum of its own, so that a harmed file is made again.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from recbole_ext.files import write_text

LIBRARIES = ("numpy", "matplotlib")


class Kept:
    """What was made before, in a folder that one process at a time is at work in; None: nothing is kept."""

    def __init__(self, folder: Path | None = None):
        self.folder = folder
        self._asked: set[str] = set()

    def get(self, name: str, inputs: Any, make: Callable[[], Any]) -> Any:
        """What `make` returns, plain data for JSON: as it was kept for these `inputs`, plain data too, or made now.

        name: what it is called in the folder, a part of what it follows from.
        """
        if self.folder is None:
            return make()
        file = self.folder / f"{name}-{digest([_code(), name, inputs])[:24]}"
        self._asked.add(file.name)
        text = _read(file)
        if text is None:
            text = json.dumps(make())
            with suppress(OSError):  # then it is made again
                self.folder.mkdir(parents=True, exist_ok=True)
                write_text(file, f"{_sum(text)}\n{text}")
        return json.loads(text)

    def drop_others(self) -> None:
        """Remove what nobody has asked this object for."""
        for file in self.folder.iterdir() if self.folder is not None and self.folder.is_dir() else ():
            if file.name not in self._asked:
                with suppress(OSError):
                    file.unlink()


def digest(value: Any) -> str:
    """The SHA-256 of plain data, as 64 hexadecimal digits."""
    return _sum(json.dumps(value, default=str))


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(file: Path) -> str | None:
    """What was kept in a file; None where there is none that is as it was written."""
    try:
        known, _, text = file.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeError):
        return None
    return text if known == _sum(text) else None


@functools.cache  # the code that runs is that of the process's start
def _code() -> str:
    """The sum of this package's sources and of the versions of LIBRARIES."""
    root = Path(__file__).resolve().parent
    summed = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        summed.update(f"{file.relative_to(root).as_posix()}\n".encode() + file.read_bytes())
    for name in LIBRARIES:
        summed.update(f"{name} {metadata.version(name)}\n".encode())
    return summed.hexdigest()
