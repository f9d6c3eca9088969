"""Where a run's model folder lies. Knows no torch, so that a folder without one is refused at once."""

from __future__ import annotations

from pathlib import Path

from recbole_ext import sealed
from recbole_ext.errors import UsageError
from recbole_ext.records import check_folder

FOLDER = "model"
MODEL = "model.json"
_CHOSEN = "chosen"  # the folder of a study with the model that it takes


def place_of(folder: str | Path) -> Path:
    """The model folder of a run's folder, or the folder itself; UsageError where there is neither."""
    folder = Path(folder)
    for place in (folder, folder / FOLDER):
        if (place / MODEL).is_file() or (place / sealed.SUMS).is_file():
            return place
    check_folder(folder)
    inside = _models_in(folder)
    if inside:
        more = f" (or another one of {len(inside)})" if len(inside) > 1 else ""
        raise UsageError(f"{folder} holds no model of its own: take {inside[0]}{more}")
    raise UsageError(
        f"{folder} holds no model: name a run's folder that has {FOLDER}/, or train the model again"
    )


def _models_in(folder: Path) -> list[Path]:
    """Runs' folders with a model right below a folder: the chosen one of a study first, then the latest."""
    runs = [place.parents[1] for place in folder.glob(f"*/{FOLDER}/{MODEL}")]
    return sorted(runs, key=lambda run: (run.name == _CHOSEN, run.stat().st_mtime_ns), reverse=True)
