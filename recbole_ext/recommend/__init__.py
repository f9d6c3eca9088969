"""A model folder used: `load` one, ask it for lists. `recbole_ext.load` is the same function.

torch is loaded with the first name that is used, so that what only watches others needs none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recbole_ext.recommend.asked import Report, Session
    from recbole_ext.recommend.recommender import Lists, Question, Recommender, load

__all__ = ["Lists", "Question", "Recommender", "Report", "Session", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module("recbole_ext.recommend.recommender"), name)
