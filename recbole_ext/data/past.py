"""A visitor's past: what a session's user had done before its first event, newest first.

All events of a user lie in order of (time, their session, place in the session). The past of a session is what lies
before its own first event there: where two sessions overlap, an event of the earlier one that happens after the later
one's start is no part of the later one's past.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_ext.data.users import users_of
from recbole_ext.segments import owner_of


@dataclass(frozen=True)
class PastPointers:
    """The pasts of n rows, by pointers into one flat column.

    column: (P,) int64 item of every event that there is. begin: (n,) int64 place of a row's newest event; older ones
    follow. length: (n,) int64 how many of them are its past, 0: none. limit: K, how many are read.
    """

    column: Tensor
    begin: Tensor
    length: Tensor
    limit: int

    @property
    def items(self) -> Tensor:
        """(n, K) int64 items of the past, column 0 the newest, 0 = none."""
        step = torch.arange(self.limit, device=self.begin.device)
        there = step < self.length.unsqueeze(1)
        if not len(self.column):  # no event trains: nothing can be gathered
            return there.long()
        return torch.where(there, self.column[torch.where(there, self.begin.unsqueeze(1) + step, 0)], 0)

    def rows(self, chosen: Tensor | slice) -> PastPointers:
        """The pasts of some of the rows."""
        return replace(self, begin=self.begin[chosen], length=self.length[chosen])

    def to(self, device: torch.device | str) -> PastPointers:
        """The same with its tensors on `device`."""
        moved = {name: getattr(self, name).to(device) for name in ("column", "begin", "length")}
        return replace(self, **moved)


class Past:
    """The past of every session of a SessionDataset that has been built.

    There are two columns: `training` has training events only (the leading `train_length` of each session), `whole`
    every event. The first is for training batches, the second for rows to be ranked.
    """

    def __init__(self, dataset: Any):
        start = np.asarray(dataset.session_start, dtype=np.int64)
        length = np.asarray(dataset.session_length, dtype=np.int64)
        trained = np.asarray(dataset.train_length, dtype=np.int64)
        user = users_of(dataset.events, start, dataset.config["LINK_USER_FIELD"])
        session = owner_of(length)  # (E,)
        # sessions lie in order of start and events in order of time, so a stable sort breaks ties as it should
        order = np.lexsort((np.asarray(dataset.event_time), user[session]))
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        first = np.full(int(user.max(initial=-1)) + 1, len(order), dtype=np.int64)
        np.minimum.at(first, user, place[start])  # a user's first event opens one of their sessions
        trains = np.arange(len(order)) - start[session] < trained[session]
        items = dataset.events[dataset.config["ITEM_ID_FIELD"]].numpy().astype(np.int64)

        self.start = torch.from_numpy(start)
        self.whole = _pointers(items[order], first[user], place[start])
        before = np.concatenate(([0], np.cumsum(trains[order])))
        kept = items[order][trains[order]]
        self.training = _pointers(kept, before[first[user]], before[place[start]])

    @property
    def anybody_returns(self) -> bool:
        """Whether a session has a past."""
        return bool((self.whole.length > 0).any())

    def pointers(self, session: Tensor, limit: int, training: bool) -> PastPointers:
        """The pasts of sessions (n,) int64, -1: one that the log does not have, which has no past.

        The columns move to where `session` lies, and stay there.
        """
        pasts = self._at(session.device, training)
        known = session >= 0
        chosen = pasts.rows(torch.where(known, session, 0))
        return replace(chosen, length=torch.where(known, chosen.length, 0), limit=limit)

    def of_sessions(self, session: Tensor, limit: int, training: bool) -> Tensor:
        """(n, limit) int64 items of the pasts of sessions (n,) int64, column 0 the newest, 0 = none."""
        return self.pointers(session, limit, training).items

    def of_events(self, event: Tensor, limit: int, training: bool) -> Tensor:
        """(n, limit) int64 items of the pasts of the sessions that hold the events (n,) int64, such as `event_index`
        of (prefix, target) rows."""
        self.start = self.start.to(event.device)
        session = torch.searchsorted(self.start, event.contiguous(), right=True) - 1
        return self.of_sessions(session, limit, training)

    def _at(self, device: torch.device, training: bool) -> PastPointers:
        if training:
            self.training = self.training.to(device)
            return self.training
        self.whole = self.whole.to(device)
        return self.whole


def _pointers(items: np.ndarray, first: np.ndarray, end: np.ndarray) -> PastPointers:
    """Pasts (S,) from `first` to before `end` of `items`, which lie oldest first: the column is turned around."""
    column = torch.from_numpy(items[::-1].copy())
    return PastPointers(column, torch.from_numpy(len(items) - end), torch.from_numpy(end - first), 0)
