"""What pickled data sets and loaders of RecBole's are made of, in a file beside them: stale ones are seen by it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from recbole_ext.files import write_text
from recbole_ext.plain import config_to_plain
from recbole_ext.settings.roles import identity


def made_of(config: Any) -> dict[str, Any]:
    """All settings but those of machine and folders, and the atomic files with sizes and times."""
    found = {"settings": identity(config_to_plain(config)), "files": _files(config)}
    return json.loads(json.dumps(found, default=str))  # type: ignore[no-any-return]


def _files(config: Any) -> dict[str, list[int]]:
    folder = Path(config["data_path"])
    files = [file for file in folder.glob("*") if file.is_file() and file.name != "manifest.json"]
    stats = {file.name: file.stat() for file in sorted(files)}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _beside(file: str | os.PathLike[str]) -> Path:
    return Path(f"{os.fspath(file)}.made-of.json")


def write_made_of(config: Any, key: str, file: Path) -> None:
    """Note what `file` was made of, as it was noted under `key` before it was made."""
    known = getattr(config, "made_of", {}).get(key)
    if known is not None:
        write_text(_beside(file), json.dumps(known, indent=1))


def what_differs(file: str, now: dict[str, Any]) -> str:
    """In what `file` is not of the settings and files of now, in words; empty: in nothing."""
    try:
        before = json.loads(_beside(file).read_text(encoding="utf-8"))
        settings, files = dict(before["settings"]), dict(before["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{_beside(file).name} does not say of what"
    said = [
        f"{key} was {settings.get(key)} and is {now['settings'].get(key)}"
        for key in sorted({*settings, *now["settings"]})
        if settings.get(key) != now["settings"].get(key)
    ]
    said += [
        f"{name} has changed"
        for name in sorted({*files, *now["files"]})
        if files.get(name) != now["files"].get(name)
    ]
    return "; ".join(said)
