"""The exceptions for a user's mistakes; at the ground, so that raising one loads nothing else."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(Exception):
    """Something the user can put right; its text is one sentence: what is wrong, where, what to do."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`: did you mean NAME?` of the known name that is most like `name`, empty where none is near."""
    spelling = {str(item).lower(): str(item) for item in known}
    close = difflib.get_close_matches(str(name).lower(), spelling, n=1, cutoff=0.6)
    return f": did you mean {spelling[close[0]]}?" if close else ""
