"""A model folder used: `load` one, ask it for lists. `recbole_ext.load` is the same function."""

from __future__ import annotations

from recbole_ext.recommend.asked import Report, Session
from recbole_ext.recommend.recommender import Lists, Question, Recommender, load

__all__ = ["Lists", "Question", "Recommender", "Report", "Session", "load"]
