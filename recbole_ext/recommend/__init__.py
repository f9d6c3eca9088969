"""A model folder used: `load` one, ask it for lists. `recbole_ext.load` calls it, and takes a run's record too.

Importing it loads neither torch nor RecBole, and a folder that was exported is opened and asked without them.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from recbole_ext.errors import UsageError
from recbole_ext.recommend.asked import Report, Session
from recbole_ext.recommend.lists import Lister, Lists, Question
from recbole_ext.run.model_place import place_of

__all__ = ["Lister", "Lists", "Question", "Report", "Session", "load"]


def load(folder: str | Path, device: str = "cpu") -> Lister:
    """Open the model of a run's folder, a model folder, or a folder that `export` wrote, to ask it; no data set is
    needed.

    device: where it computes, as torch names it; an exported folder computes on the CPU. Raises UsageError in one
    sentence: there is no model, a file was cut or changed, another version wrote it, or the model cannot be asked for a
    new session.
    """
    from recbole_ext.recommend import exported

    if exported.is_one(folder):
        return exported.load(folder, device)
    check(folder)
    from recbole_ext.recommend import recommender

    return recommender.load(folder, device)


def check(folder: str | Path) -> None:
    """UsageError where a folder holds no model, neither a run's nor an exported one, and where a run's model is met
    without torch: before anything is imported that takes seconds."""
    from recbole_ext.recommend import exported

    if exported.is_one(folder):
        return
    require_torch(f"{folder} is no exported folder, and a run is opened")
    place_of(folder)


def require_torch(what: str) -> None:
    """UsageError where torch and RecBole are not there; what: a clause that ends in the verb that they do."""
    missing = [name for name in ("torch", "recbole") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{what} by {' and '.join(missing)}, not installed here: export the run where it was trained, or pip "
            "install recbole-ext with what it needs"
        )
