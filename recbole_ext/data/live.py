"""Sessions of now, which no log holds, with their visitors' earlier ones. data/live_rows.py makes rows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recbole_ext.segments import owner_of, place_in, spans, start_of

PAST_ITEMS = "past_items"  # column of rows: (B, P) int64, newest first, 0 = none


@dataclass(frozen=True)
class Reads:
    """What a model reads of a session.

    longest: events that its prefix keeps, the last ones. trims: whether a batch may be cut to its longest prefix.
    past: events of the visitor's past. whole: it reads sessions from their first event on, and not the prefix alone.
    chain: it reads the visitor's earlier sessions one by one. start_step: a session starts with a step of padding.
    """

    longest: int
    trims: bool = False
    past: int = 0
    whole: bool = False
    chain: bool = False
    start_step: bool = False

    @property
    def visitors(self) -> bool:
        """Whether it reads anything of a visitor's past."""
        return self.past > 0 or self.chain


@dataclass(frozen=True)
class Earlier:
    """The earlier sessions of the visitors of S sessions: H sessions, those of one visitor together, oldest first.

    owner: (H,) int64 ascending, whose they are. length: (H,) int64, 1 or more. item: (P,) int64, session by session.
    time: (P,) float64 seconds; None: each session lies wholly before the next one, and before the visitor's own.
    """

    owner: np.ndarray
    length: np.ndarray
    item: np.ndarray
    time: np.ndarray | None = None


@dataclass(frozen=True)
class LiveSessions:
    """S sessions, their events in order, items by their rows of the catalogue.

    item: (E,) int64, session by session. length: (S,) int64, 0 allowed. time: (E,) float64 seconds since the log's
    origin; None where unknown. event: (E,) int64 kinds; None where unknown. earlier: None: nothing is known of anybody.
    """

    item: np.ndarray
    length: np.ndarray
    time: np.ndarray | None = None
    event: np.ndarray | None = None
    earlier: Earlier | None = None

    def __len__(self) -> int:
        return len(self.length)

    def chosen(self, sessions: np.ndarray) -> LiveSessions:
        """Some of them, in the order of `sessions` (n,)."""
        length = self.length[sessions]
        place = spans(start_of(self.length)[sessions], length)
        time, event = (None if column is None else column[place] for column in (self.time, self.event))
        earlier = None if self.earlier is None else _chosen_earlier(self.earlier, sessions, len(self))
        return LiveSessions(self.item[place], length, time, event, earlier)

    def distinct(self) -> tuple[np.ndarray, np.ndarray]:
        """(D,) one session of each that differ, in order, and (S,) which of these each equals.

        Sessions with times, kinds of events or earlier sessions all count as different.
        """
        everyone = np.arange(len(self))
        if len(self) < 2 or not (self.time is None and self.event is None and self.earlier is None):
            return everyone, everyone
        order, same = _equals_the_one_before(self.item, self.length)
        first = order[~same]
        group = np.empty(len(self), dtype=np.int64)
        group[order] = np.cumsum(~same) - 1
        by_place = np.argsort(first)
        number = np.empty(len(first), dtype=np.int64)
        number[by_place] = np.arange(len(first))
        return first[by_place], number[group]


def _equals_the_one_before(item: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S,) an order of sessions in which equal ones stand together, and whether each equals the one before it."""
    mixed = (item * np.int64(-7046029254386353131)) ^ (place_in(length) * np.int64(-4417276706812531889))
    sums = np.append(0, np.cumsum(mixed * (mixed >> 29 | 1)))  # they wrap around, which does no harm
    key = sums[start_of(length) + length] - sums[start_of(length)]
    order = np.lexsort((key, length))
    size, start = length[order], start_of(length)[order]
    same = np.append(False, (size[1:] == size[:-1]) & (key[order][1:] == key[order][:-1]))
    later = np.flatnonzero(same)
    here, there = spans(start[later], size[later]), spans(start[later - 1], size[later])
    other = owner_of(size[later])[item[here] != item[there]]
    same[later[other]] = False  # equal sums alone
    return order, same


def joined(several: Sequence[LiveSessions]) -> LiveSessions:
    """The sessions of all, in order.

    Of all or of none the times are known, and so the kinds of events and the times of earlier sessions, where there are
    such.
    """
    if len(several) == 1:
        return several[0]
    columns = {
        name: None
        if getattr(several[0], name) is None
        else np.concatenate([getattr(one, name) for one in several])
        for name in ("time", "event")
    }
    first = start_of(np.array([len(one) for one in several]))
    pasts = [(one.earlier, begin) for one, begin in zip(several, first) if one.earlier is not None]
    earlier = None
    if pasts:
        earlier = Earlier(
            np.concatenate([past.owner + begin for past, begin in pasts]),
            np.concatenate([past.length for past, _ in pasts]),
            np.concatenate([past.item for past, _ in pasts]),
            None if pasts[0][0].time is None else np.concatenate([past.time for past, _ in pasts]),
        )
    return LiveSessions(
        np.concatenate([one.item for one in several]),
        np.concatenate([one.length for one in several]),
        columns["time"],
        columns["event"],
        earlier,
    )


def _chosen_earlier(earlier: Earlier, sessions: np.ndarray, count: int) -> Earlier:
    have = np.bincount(earlier.owner, minlength=count)
    which = spans(start_of(have)[sessions], have[sessions])
    place = spans(start_of(earlier.length)[which], earlier.length[which])
    time = None if earlier.time is None else earlier.time[place]
    return Earlier(owner_of(have[sessions]), earlier.length[which], earlier.item[place], time)


def past_items(earlier: Earlier, count: int, limit: int) -> np.ndarray:
    """(count, P) int64 items of the visitors' pasts, newest first, 0 = none; P: as many as there are, up to `limit`."""
    owner = np.repeat(earlier.owner, earlier.length)
    item = earlier.item
    if earlier.time is not None:  # sessions may overlap: the past is in order of time
        order = np.lexsort((earlier.time, owner))
        item, owner = item[order], owner[order]
    have = np.bincount(owner, minlength=count)
    ago = np.repeat(have, have) - 1 - place_in(have)
    width = max(min(int(have.max(initial=0)), limit), 1)
    found = np.zeros((count, width), dtype=np.int64)
    kept = ago < width
    found[owner[kept], ago[kept]] = item[kept]
    return found
