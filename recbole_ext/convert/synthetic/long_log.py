"""A log of up to hundreds of millions of events in Retail Rocket's schema, in order of time, made as it is written.

Reference: none, the world is ours; sessions per visitor, their lengths and the share of kinds are near OTTO's
(https://github.com/otto-de/recsys-dataset). What differs from `retailrocket`: events.csv is in order of time, sessions
are longer and visitors come back, items grow with the root of the events, and a walk draws by formula where the other
one searches. Memory holds items, visitors and a few numbers of each session, never the events.

Events are drawn by blocks of SEEDED sessions that each have a seed of their own; how many blocks are made side by side
or written at once changes no byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import polars as pl

from recbole_ext.convert.synthetic.ahead import in_turn
from recbole_ext.convert.synthetic.property_log import (
    DAY_MS,
    FIRST_MS,
    ITEMS,
    MAX_PROPERTY_ROWS,
    P_MOVED,
    PROPERTY_ROWS,
    PropertyLog,
    write_properties,
)
from recbole_ext.convert.synthetic.retailrocket import SHAPE as SHAPE_OF_OWNER
from recbole_ext.convert.synthetic.retailrocket import adjusted, item_ids, write_tree
from recbole_ext.convert.synthetic.walk import Shelves, walk
from recbole_ext.convert.synthetic.world import SIGNALS as SIGNALS_OF_WORLD
from recbole_ext.convert.synthetic.world import Ints, Shape, World, make_world, plan
from recbole_ext.errors import ConvertError
from recbole_ext.progress import progress

FULL_EVENTS, FULL_ITEMS = 100_000_000, 1_500_000  # items of a log of so many events; others by the root
SKEW = 1.1
MEAN_LENGTH = 5.0  # events of a session, of a log-normal law with this median and spread
MEDIAN, SPREAD, MAX_LENGTH = 3.5, 0.9, 200
P_CART, P_BUY = (
    0.11,
    0.3,
)  # an event is the last one's item put into the cart; an event after that is its purchase
SEEDED = 1 << 16  # sessions of one seed
AT_ONCE = 2  # blocks made side by side
KINDS = ("view", "addtocart", "transaction")
SIGNALS = {**SIGNALS_OF_WORLD, "carts": P_CART, "buys": P_BUY, "moved": P_MOVED}


def _returns(rng: np.random.Generator, n: int) -> Ints:
    return rng.geometric(0.3, size=n)


@dataclass(frozen=True)
class Sessions:
    """Sessions in order of their start, (S,) each."""

    user: npt.NDArray[np.int32]
    start: Ints  # ms since the first day
    length: npt.NDArray[np.uint8]  # events


def items_of(events: int) -> int:
    """How many items a log of so many events has where nobody says."""
    return max(1, round(FULL_ITEMS * math.sqrt(events / FULL_EVENTS)))


def shape_of(events: int, items: int) -> Shape:
    """The world of a log of so many events and items, whose scale is 1."""
    return Shape(
        days=SHAPE_OF_OWNER.days,
        sessions=max(1, round(events / MEAN_LENGTH)),
        items=items,
        categories=round(SHAPE_OF_OWNER.categories * (items / ITEMS) ** 0.7),
        skew=SKEW,
        returns=_returns,
    )


def write(
    folder: Path, seed: int, events: int, items: int | None = None, property_scale: float = 1.0
) -> dict[str, int]:
    """Write events.csv, category_tree.csv and item_properties_part1.csv …; return counts.

    `events` rows in order of time (unix ms); property rows in the owner's proportion to items, times `property_scale`.
    """
    share = (items or items_of(events)) / ITEMS
    rows = max(1, round(PROPERTY_ROWS * share * property_scale))
    if rows > MAX_PROPERTY_ROWS:
        raise ConvertError(
            f"so many items with --property-scale {property_scale:g} ask for {rows:,} property rows, but at most "
            f"{MAX_PROPERTY_ROWS:,} can be made: lower one of them."
        )
    shape = shape_of(events, items or items_of(events))
    world = make_world(np.random.default_rng([seed, 0]), shape, 1.0, shape.sessions)
    counts = _write_events(world, folder, seed, _sessions(world, shape.sessions, events, seed))
    counts |= {"visitors": len(world.style), "items": len(world.item_id)}
    node = write_tree(world, folder, seed, share)
    counts |= {"categories": len(node), "property_rows": rows}
    log = PropertyLog(world, item_ids(world, seed), node[: len(world.department)], rows, seed)
    write_properties(log, folder, at_once=AT_ONCE)
    return counts


# --- sessions


def _sessions(world: World, count: int, events: int, seed: int) -> Sessions:
    """Who comes when for how many events, `events` in all."""
    rng = np.random.default_rng([seed, 1])
    planned, day = plan(world, count, rng)
    start = day * DAY_MS + rng.integers(DAY_MS, size=count)
    order = np.argsort(start, kind="stable")
    user, start = planned.astype(np.int32)[order], start[order]
    del planned, day, order
    drawn = MEDIAN * np.exp(SPREAD * rng.standard_normal(count, dtype=np.float32))
    length = np.clip(drawn, 1, MAX_LENGTH).astype(np.int64)
    return Sessions(user, start, adjusted(rng, length, events, MAX_LENGTH).astype(np.uint8))


# --- events


@dataclass(frozen=True)
class Events:
    """Some events in order of time, (E,) each."""

    time: Ints  # ms since the first day
    user: npt.NDArray[np.int32]
    item: npt.NDArray[np.int32]
    kind: npt.NDArray[np.uint8]  # which of KINDS
    session: npt.NDArray[np.int32]

    def __getitem__(self, part: slice | Ints) -> Events:
        return Events(self.time[part], self.user[part], self.item[part], self.kind[part], self.session[part])

    def in_order(self, more: Events) -> Events:
        """These and `more`, which begin no earlier, in order of time; of one moment these first."""
        both = Events(
            np.concatenate((self.time, more.time)),
            np.concatenate((self.user, more.user)),
            np.concatenate((self.item, more.item)),
            np.concatenate((self.kind, more.kind)),
            np.concatenate((self.session, more.session)),
        )
        return both[np.argsort(both.time, kind="stable")]


def _write_events(world: World, folder: Path, seed: int, sessions: Sessions) -> dict[str, int]:
    visitor_id = np.random.default_rng([seed, 2]).permutation(len(world.style)) + 1
    item_id = item_ids(world, seed)
    seen = np.zeros(len(world.item_id), dtype=bool)
    of_kind = np.zeros(len(KINDS), dtype=np.int64)
    orders = _Orders()
    with (
        (folder / "events.csv").open("wb") as stream,
        progress("generating events", int(sessions.length.sum(dtype=np.int64))) as advance,
    ):
        stream.write(b"timestamp,visitorid,event,itemid,transactionid\n")
        for part in _in_time(_blocks(world, sessions, seed), sessions):
            seen[part.item] = True
            of_kind += np.bincount(part.kind, minlength=len(KINDS))
            _write_part(part, visitor_id, item_id, orders.numbers(part), stream)
            advance(len(part.time))
    views, carts, transactions = of_kind.tolist()
    counts = {"events": views + carts + transactions, "views": views, "addtocarts": carts}
    return counts | {"transactions": transactions, "items_in_events": int(seen.sum())}


def _write_part(
    part: Events, visitor_id: Ints, item_id: Ints, order_number: pl.Series, stream: IO[bytes]
) -> None:
    pl.DataFrame(
        {
            "timestamp": FIRST_MS + part.time,
            "visitorid": visitor_id[part.user],
            "event": pl.Series(KINDS, dtype=pl.Enum(KINDS)).gather(part.kind),
            "itemid": item_id[part.item],
            "transactionid": order_number,
        }
    ).write_csv(stream, include_header=False)


class _Orders:
    """Numbers of orders: what a visitor buys in one session is one, numbered by its first purchase."""

    def __init__(self) -> None:
        self._number: dict[int, int] = {}

    def numbers(self, part: Events) -> pl.Series:
        """(E,) the order of each purchase, null for what is none."""
        sold = np.flatnonzero(part.kind == KINDS.index("transaction"))
        numbers = self._number
        found = [numbers.setdefault(session, len(numbers)) for session in part.session[sold].tolist()]
        place = pl.DataFrame({"row": sold, "number": np.array(found, dtype=np.int64)})
        rows = pl.DataFrame({"row": np.arange(len(part.kind))})
        return rows.join(place, on="row", how="left", maintain_order="left")["number"]


def _in_time(blocks: Iterator[tuple[int, Events]], sessions: Sessions) -> Iterator[Events]:
    """The events of all blocks in order of time; of one moment by session. A block is (its end, its events)."""
    waiting: Events | None = None
    for end, events in blocks:
        events = events if waiting is None else waiting.in_order(events)
        if end == len(sessions.start):
            yield events
            return
        done = int(
            np.searchsorted(events.time, sessions.start[end])
        )  # from here on the next ones may come between
        waiting = events[done:]
        yield events[:done]


def _blocks(world: World, sessions: Sessions, seed: int) -> Iterator[tuple[int, Events]]:
    """Blocks of sessions in order, each with its end and its events in order of time; AT_ONCE are made ahead."""
    shelves = Shelves(world, SKEW)
    count = len(sessions.start)

    def made(number: int) -> tuple[int, Events]:
        part = slice(number * SEEDED, min((number + 1) * SEEDED, count))
        return part.stop, _events(world, shelves, np.random.default_rng([seed, 7, number]), sessions, part)

    return in_turn(made, range(-(-count // SEEDED)), AT_ONCE)


def _events(
    world: World, shelves: Shelves, rng: np.random.Generator, sessions: Sessions, part: slice
) -> Events:
    """The events of some sessions in order of time."""
    length = sessions.length[part].astype(np.int64)
    first = np.cumsum(length) - length
    session = np.repeat(np.arange(len(length)), length)
    kind = _kinds(rng, first, len(session))
    view = kind == 0
    seen_before = np.cumsum(view) - 1  # the view that each event is or follows
    user = sessions.user[part]
    day = sessions.start[part] // DAY_MS
    walked = walk(world, shelves, rng, user, day, np.bincount(session[view], minlength=len(length)))

    gap = 1000 + (1000 * np.exp(3.3 + rng.standard_normal(len(session), dtype=np.float32))).astype(np.int64)
    gap[first] = 0
    elapsed = np.cumsum(gap)
    time = (sessions.start[part] - elapsed[first])[session] + elapsed
    number = (session + part.start).astype(np.int32)
    events = Events(time, user[session], walked[seen_before], kind, number)
    return events[np.argsort(time, kind="stable")]


def _kinds(rng: np.random.Generator, first: Ints, count: int) -> npt.NDArray[np.uint8]:
    """(count,) which of KINDS each event is; a cart follows a view, a purchase follows its cart; `first` are views."""
    carted = rng.random(count, dtype=np.float32) < P_CART
    bought = rng.random(count, dtype=np.float32) < P_BUY
    carted[first] = bought[first] = False
    carted[1:] &= ~carted[:-1].copy()
    kind = carted.astype(np.uint8)
    kind[1:][carted[:-1] & bought[1:]] = KINDS.index("transaction")
    return kind
