"""The files of Retail Rocket, written as their owner does, from a generated world: events and the category tree."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from recbole_ext.convert.synthetic.property_log import (
    DAY_MS,
    FIRST_MS,
    HOUR_MS,
    ITEMS,
    MAX_PROPERTY_ROWS,
    P_MOVED,
    PROPERTY_ROWS,
    PropertyLog,
    write_properties,
)
from recbole_ext.convert.synthetic.world import SIGNALS as SIGNALS_OF_WORLD
from recbole_ext.convert.synthetic.world import (
    Ints,
    Shape,
    Stock,
    World,
    make_world,
    plan,
    walk_items,
)
from recbole_ext.errors import ConvertError
from recbole_ext.progress import progress

VIEWS, CARTS, TRANSACTIONS = 2_664_312, 69_332, 22_457  # the owner's events
ITEM_IDS, CATEGORY_IDS, TREE_ROWS = 466_867, 1_699, 1_669
P_ALONE = 0.866  # of visitors: one session
P_SINGLE = 0.835  # of sessions: one view
SHORT = 0.5  # of the other sessions: geometric parameter of the views after the first two
P_LONG, LONG, LONG_TAIL = 0.009, 8, 1.6  # of sessions: a power law from LONG views on, with this exponent
MAX_LENGTH = 1000
MAX_LEVELS = 6  # of the category tree
CART_LAST = 4.0  # the last view of a longer session is so many times as likely to go into the cart
EVENT_BLOCK = 131_072  # sessions made and written at once
SIGNALS = {
    **SIGNALS_OF_WORLD,
    "carts": CARTS / VIEWS,
    "transactions": TRANSACTIONS / CARTS,
    "cart_last": CART_LAST,
    "moved": P_MOVED,
}


def _returns(rng: np.random.Generator, n: int) -> Ints:
    return np.where(rng.random(n) < P_ALONE, 1, 1 + rng.geometric(0.5, size=n))


SHAPE = Shape(days=139, sessions=1_784_000, items=ITEMS, categories=1_330, skew=1.44, returns=_returns)


def write(folder: Path, scale: float, seed: int, property_scale: float) -> dict[str, int]:
    """Write events.csv, category_tree.csv and item_properties_part1.csv … as the owner does; return counts.

    Times are unix milliseconds; no file is in order of time. Below scale 1 the property log shrinks with it.
    """
    rows = max(1, round(PROPERTY_ROWS * scale * property_scale))
    if rows > MAX_PROPERTY_ROWS:
        raise ConvertError(
            f"--scale {scale:g} and --property-scale {property_scale:g} ask for {rows:,} property rows, "
            f"but at most {MAX_PROPERTY_ROWS:,} can be made: lower one of them."
        )
    n_sessions = max(1, round(SHAPE.sessions * scale))
    world = make_world(np.random.default_rng([seed, 0]), SHAPE, scale, n_sessions)
    counts = _write_events(world, folder, scale, seed, n_sessions)
    counts |= {"visitors": len(world.style), "items": len(world.item_id)}
    node = write_tree(world, folder, seed, scale)
    counts["categories"] = len(node)
    log = PropertyLog(world, item_ids(world, seed), node[: len(world.department)], rows, seed)
    counts["property_rows"] = rows
    write_properties(log, folder)
    return counts


# --- events


def _write_events(world: World, folder: Path, scale: float, seed: int, n_sessions: int) -> dict[str, int]:
    """Views, carts and transactions, shuffled within blocks of sessions; exactly the owner's counts times `scale`."""
    rng = np.random.default_rng([seed, 1])
    user, day = plan(world, n_sessions, rng)
    n_views = max(n_sessions, round(VIEWS * scale))
    length = _lengths(rng, n_sessions, n_views)
    carts, bought = _carts(rng, length, scale)
    visitor_id = rng.permutation(len(world.style)) + 1
    stock = Stock(world)
    counts = {"events": 0, "views": n_views, "addtocarts": len(carts), "transactions": int(bought.sum())}
    seen = np.zeros(len(world.item_id), dtype=bool)
    item_id = item_ids(world, seed)
    first_view = np.concatenate(([0], np.cumsum(length)))
    order_number = 0
    with (
        (folder / "events.csv").open("wb") as stream,
        progress("generating events", n_sessions) as advance,
    ):
        stream.write(b"timestamp,visitorid,event,itemid,transactionid\n")
        for number, first in enumerate(range(0, n_sessions, EVENT_BLOCK)):
            part = slice(first, min(first + EVENT_BLOCK, n_sessions))
            block_rng = np.random.default_rng([seed, 2, number])
            session, item, time = _views(world, stock, block_rng, user[part], day[part], length[part])
            seen[item] = True
            low, high = np.searchsorted(carts, (first_view[part.start], first_view[part.stop]))
            carted, buys = carts[low:high] - first_view[part.start], bought[low:high]
            cart_time = time[carted] + block_rng.integers(5_000, 60_000, size=len(carted))
            sold = carted[buys]
            wait = 60_000 + block_rng.exponential(120_000, size=len(sold)).astype(np.int64)
            # what a visitor buys in one session is one order
            buyers, order = np.unique(session[sold], return_inverse=True)
            order = order.reshape(-1) + order_number
            order_number += len(buyers)
            rows = np.concatenate((np.arange(len(item)), carted, sold))
            kinds = np.repeat(["view", "addtocart", "transaction"], [len(item), len(carted), len(sold)])
            frame = pl.DataFrame(
                {
                    "timestamp": np.concatenate((time, cart_time, cart_time[buys] + wait)),
                    "visitorid": visitor_id[user[part][session[rows]]],
                    "event": kinds,
                    "itemid": item_id[item[rows]],
                    "transactionid": np.concatenate((np.full(len(item) + len(carted), -1), order)),
                }
            )
            bought_ones = pl.when(pl.col("transactionid") >= 0).then("transactionid")
            shuffled = frame.with_columns(bought_ones)[block_rng.permutation(frame.height)]
            shuffled.write_csv(stream, include_header=False)
            counts["events"] += frame.height
            advance(part.stop - part.start)
    return counts | {"items_in_events": int(seen.sum())}


def _lengths(rng: np.random.Generator, n_sessions: int, n_views: int) -> Ints:
    """(n_sessions,) views of each session: mostly one, now and then very many, `n_views` in all."""
    kind = rng.random(n_sessions)
    length = np.where(
        kind < P_SINGLE,
        1,
        np.where(
            kind < 1 - P_LONG,
            1 + rng.geometric(SHORT, size=n_sessions),
            np.minimum(LONG * (1 - rng.random(n_sessions)) ** (-1 / LONG_TAIL), MAX_LENGTH).astype(np.int64),
        ),
    )
    return adjusted(rng, length, n_views, MAX_LENGTH)


def adjusted(rng: np.random.Generator, length: Ints, total: int, most: int) -> Ints:
    """Lengths of sessions made longer or shorter by one here and there until they are `total` together.

    `most` of one, where that is enough; `length` itself is changed.
    """
    while missing := total - int(length.sum()):
        able = np.flatnonzero((length > 1) if missing < 0 else (length > 1) & (length < most))
        able = able if len(able) else np.arange(len(length))
        chosen = rng.permutation(able)[: abs(missing)]
        length[chosen] += int(np.sign(missing))
    return length


def _carts(rng: np.random.Generator, length: Ints, scale: float) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Which views (numbered over all sessions, ascending) go into the cart, and which of these are bought."""
    ends = np.cumsum(length)
    weight = np.ones(int(ends[-1]))
    weight[ends[length > 1] - 1] = CART_LAST
    count = min(len(weight), round(CARTS * scale))
    luck = (
        rng.exponential(size=len(weight)) / weight
    )  # the smallest ones are a draw by weight without replacement
    carts = np.sort(np.argpartition(luck, max(count - 1, 0))[:count])
    bought = np.zeros(count, dtype=bool)
    bought[rng.permutation(count)[: min(count, round(TRANSACTIONS * scale))]] = True
    return carts, bought


def _views(
    world: World, stock: Stock, rng: np.random.Generator, user: Ints, day: Ints, length: Ints
) -> tuple[Ints, Ints, Ints]:
    """The views of some sessions, session by session: (V,) session, item, unix ms."""
    items = np.empty(int(length.sum()), dtype=np.int64)
    first = np.cumsum(length) - length
    for low, high in (
        (1, 1),
        (2, 4),
        (5, 16),
        (17, 64),
        (65, 256),
        (257, MAX_LENGTH),
    ):  # so that no walk is far longer than needed
        group = np.flatnonzero((length >= low) & (length <= high))
        if len(group):
            walked = walk_items(world, stock, rng, user[group], day[group], int(length[group].max()))
            real = np.arange(walked.shape[1]) < length[group][:, None]
            items[(first[group][:, None] + np.arange(walked.shape[1]))[real]] = walked[real]
    gap = 1000 + (1000 * np.exp(rng.normal(3.3, 1.0, size=len(items)))).astype(np.int64)
    gap[first] = 0
    elapsed = np.cumsum(gap)
    session = np.repeat(np.arange(len(length)), length)
    elapsed -= elapsed[first][session]
    start = day * DAY_MS + rng.integers(DAY_MS, size=len(length))
    # The log ends with its last day: what would go on after it has begun earlier, with an hour for carts and orders.
    latest = SHAPE.days * DAY_MS - HOUR_MS - elapsed[first + length - 1]
    return session, items, FIRST_MS + np.minimum(start, latest)[session] + elapsed


def item_ids(world: World, seed: int) -> Ints:
    """(I,) the numbers that the log shows, some of which no item has."""
    count = len(world.item_id)
    room = max(count, math.ceil(count * ITEM_IDS / SHAPE.items))
    return np.random.default_rng([seed, 4]).permutation(room)[:count]


# --- the category tree


def write_tree(world: World, folder: Path, seed: int, scale: float) -> Ints:
    """Write category_tree.csv; (N,) the numbers of its categories, those of the world first."""
    node, parent = _tree(world, np.random.default_rng([seed, 3]), scale)
    with (folder / "category_tree.csv").open("wb") as stream:
        pl.DataFrame({"categoryid": node, "parentid": parent}).write_csv(stream)
    return node


def _tree(world: World, rng: np.random.Generator, scale: float) -> tuple[Ints, pl.Series]:
    """Category numbers, those of the world first, and their parents (null: a root), up to six levels.

    World's departments are parents of its categories; two of a level share a parent above.
    """
    leaves = len(world.department)
    level = np.unique(world.department, return_inverse=True)[1].reshape(-1)
    parents, base = [level + leaves], leaves
    size = int(level.max()) + 1
    while size > 3 and len(parents) < MAX_LEVELS - 1:
        above = (size + 1) // 2
        parents.append(np.arange(size) // 2 + base + size)
        base, size = base + size, above
    nodes = base + size
    extra = max(0, round(TREE_ROWS * scale**0.7) - nodes)  # categories without items, under any parent
    parent = np.concatenate([*parents, np.full(size, -1), rng.integers(leaves, nodes, size=extra)])
    room = max(len(parent), math.ceil(len(parent) * CATEGORY_IDS / TREE_ROWS))
    number = rng.permutation(room)[: len(parent)]
    shown = pl.Series(number[np.maximum(parent, 0)])
    shown = pl.select(pl.when(pl.lit(pl.Series(parent)) >= 0).then(pl.lit(shown))).to_series()
    return number, shown
