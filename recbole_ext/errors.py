"""The exceptions of a user's mistakes and the name that a misspelt one may mean; loads nothing else of ours."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(Exception):
    """Something the user can put right; its text is one sentence: what is wrong, where, what to do."""


class ConvertError(UsageError):
    """What stops a conversion: the UsageError of raw logs and converters' options."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`: did you mean X?` with the one of `known` that is spelt most like `name`, case aside; empty without one."""
    spelling = {str(item).lower(): str(item) for item in known}
    close = difflib.get_close_matches(str(name).lower(), spelling, n=1, cutoff=0.6)
    return f": did you mean {spelling[close[0]]}?" if close else ""
