"""Sessions of now as rows that a model reads, as data/rows.py makes them of a log's.

A visitor's earlier sessions come with the session, laid out as `Past` and `UserSequences` lay out a log's, so a row is
the one that an evaluation would have made of the same events.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_ext.data.live import PAST_ITEMS, Earlier, LiveSessions, Reads, past_items
from recbole_ext.data.rows import gathered
from recbole_ext.data.user_sequences import UserBatch, pack
from recbole_ext.segments import earlier_of_group, owner_of, place_in, pointers_of, spans, start_of


class LiveRows(Interaction):
    """Rows of sessions that end where the next event is asked for, and for a model that reads sessions from their first
    event on (HRNNFeat) one of two more ways to read them.

    whole: items (B, M) of each session, 0 = padding on the right, and how many steps each has (B,), 1 or more.
    user_batch: each packed after its visitor's earlier ones, where the model reads these one by one.
    """

    def __init__(
        self,
        columns: dict[str, Any],
        whole: tuple[Tensor, Tensor] | None = None,
        user_batch: UserBatch | None = None,
    ):
        super().__init__(columns)
        self.whole, self.user_batch = whole, user_batch

    def to(self, device: Any, selected_field: Any = None) -> LiveRows:
        """As Interaction's."""
        whole = None if self.whole is None else (self.whole[0].to(device), self.whole[1].to(device))
        batch = None if self.user_batch is None else self.user_batch.to(device)
        return LiveRows({name: column.to(device) for name, column in self.interaction.items()}, whole, batch)


def live_rows(sessions: LiveSessions, reads: Reads, config: Any) -> LiveRows:
    """(S) rows: the last items of each session, 0 = padding on the right, and what else the model reads."""
    suffix = config["LIST_SUFFIX"]
    columns = {config["ITEM_ID_FIELD"] + suffix: sessions.item}
    if sessions.event is not None:
        columns[config["EVENT_FIELD"] + suffix] = sessions.event
    if sessions.time is not None:
        columns[config["TIME_FIELD"] + suffix] = sessions.time.astype(np.float32)
    end = torch.from_numpy(pointers_of(sessions.length)[1:])
    length = torch.from_numpy(np.minimum(sessions.length, reads.longest))
    steps = max(int(length.max()), 1) if reads.trims and len(length) else reads.longest
    flat = {name: torch.from_numpy(np.append(column, 0)) for name, column in columns.items()}
    rows = gathered(flat, end, length, steps)
    rows[config["ITEM_LIST_LENGTH_FIELD"]] = length.clamp_min(1)  # models look for their state at length - 1
    if reads.past and sessions.earlier is not None:
        rows[PAST_ITEMS] = torch.from_numpy(past_items(sessions.earlier, len(sessions), reads.past))
    if reads.chain:
        return LiveRows(rows, user_batch=user_batch(sessions, reads))
    return LiveRows(rows, _whole(sessions, reads.start_step) if reads.whole else None)


def _whole(sessions: LiveSessions, start_step: bool) -> tuple[Tensor, Tensor]:
    """See LiveRows; a start step is a step of padding, and so is all of a session without events."""
    lead = int(start_step)
    width = max(int(sessions.length.max(initial=0)) + lead, 1)
    items = np.zeros((len(sessions), width), dtype=np.int64)
    items[owner_of(sessions.length), lead + place_in(sessions.length)] = sessions.item
    return torch.from_numpy(items), torch.from_numpy(np.maximum(sessions.length + lead, 1))


def user_batch(sessions: LiveSessions, reads: Reads) -> UserBatch:
    """The sessions packed, each whole and after its visitor's earlier ones."""
    count, lead, earlier = len(sessions), int(reads.start_step), sessions.earlier
    # without a start step an empty session is one step of padding
    own_length = np.maximum(sessions.length, 1 - lead)
    own_item = np.zeros(int(own_length.sum()), dtype=np.int64)
    own_item[spans(start_of(own_length), sessions.length)] = sessions.item
    if earlier is None or not len(earlier.owner):
        owner, length, item, state = np.arange(count), own_length, own_item, own_length
    else:
        owner = np.concatenate((earlier.owner, np.arange(count)))
        order = np.argsort(owner, kind="stable")  # a visitor's own session is the last
        length = np.concatenate((earlier.length, own_length))
        first = start_of(length)[order]
        state = np.concatenate((_state_lengths(sessions, earlier), own_length))[order]
        owner, length = owner[order], length[order]
        item = np.concatenate((earlier.item, own_item))[spans(first, length)]
    if lead:
        item = np.insert(item, start_of(length), 0)
        length, state = length + 1, state + 1
    steps = earlier_of_group(owner)
    last = np.append(owner[1:] != owner[:-1], True) if count else np.zeros(0, dtype=bool)
    rows = (start_of(length) + length - 1)[last]
    return pack(item, np.zeros_like(item), length, owner, steps, state, rows)


def _state_lengths(sessions: LiveSessions, earlier: Earlier) -> np.ndarray:
    """(H,) events of each earlier session up to the start of its visitor's next one, see UserSequences."""
    if earlier.time is None or sessions.time is None:
        return earlier.length
    begin = start_of(earlier.length)
    opened = np.full(len(sessions), np.inf)
    known = sessions.length > 0
    opened[known] = sessions.time[start_of(sessions.length)[known]]
    limit = opened[earlier.owner]
    goes_on = np.flatnonzero(earlier.owner[1:] == earlier.owner[:-1])
    limit[goes_on] = earlier.time[begin[goes_on + 1]]
    in_time = earlier.time <= np.repeat(limit, earlier.length)
    return np.maximum(np.add.reduceat(in_time, begin), 1)
