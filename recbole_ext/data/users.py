"""Which sessions are one user's."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_ext.errors import UsageError


def users_of(events: Any, session_start: np.ndarray, field: str | None) -> np.ndarray:
    """(S,) int64 user of each session, from 0; a session whose user is unknown is a user with one session.

    events: the columns of a SessionDataset. session_start: (S,) first event of each session. field: LINK_USER_FIELD.
    Raises UsageError where the column does not exist, unless it is the default, or holds numbers.
    """
    sessions = len(session_start)
    if field not in events:
        if field in (None, "user_id"):  # the default: a log without users
            return np.arange(sessions)
        columns = ", ".join(events.columns if hasattr(events, "columns") else events)
        raise UsageError(f"LINK_USER_FIELD is {field}, which the .inter file does not have: it has {columns}")
    known = events[field].numpy()[session_start]
    if isinstance(known, np.ndarray) and known.dtype.kind == "f":
        raise UsageError(f"LINK_USER_FIELD {field} is a float column: it has to be a token column")
    alone = np.arange(sessions) + known.max(initial=0) + 1
    return np.unique(np.where(known > 0, known, alone), return_inverse=True)[1].reshape(-1)
