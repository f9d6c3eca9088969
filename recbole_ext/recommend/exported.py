from __future__ import annotations

from pathlib import Path
from typing import Any


def is_one(folder: str | Path) -> bool:
    return (Path(folder) / "export.json").is_file()


def load(folder: str | Path, device: str) -> Any:
    raise NotImplementedError
