"""The files of Diginetica (CIKM Cup 2016), written as their owner does, from a generated world."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl

from recbole_ext.convert.synthetic.world import SIGNALS as SIGNALS_OF_WORLD
from recbole_ext.convert.synthetic.world import (
    STYLES,
    Ints,
    Shape,
    Stock,
    World,
    draw,
    make_world,
    plan,
    walk_items,
    zipf,
)
from recbole_ext.progress import progress

DAY_MS = 86_400_000
FIRST_DAY = date(2016, 1, 1)
SHAPE = Shape(
    days=153,  # up to 2016-06-01
    sessions=310_324,
    items=184_047,
    categories=1_217,
    skew=1.3,
    returns=lambda rng, n: rng.geometric(0.3, size=n),
)
BLOCK = 16_384  # sessions made and written at once
MAX_LENGTH = 60  # events of a session
P_BUY, P_BUY_LAST = 0.006, 0.035  # a view turns into a purchase; the last view of a session
P_BUY_DAYS_LATER = 0.03
SIGNALS = {**SIGNALS_OF_WORLD, "buy": P_BUY, "buy_last": P_BUY_LAST, "buy_days_later": P_BUY_DAYS_LATER}


@dataclass(frozen=True)
class Block:
    """Some sessions in order of their day, their events in order of time (ms from the session's start)."""

    session_id: Ints  # (S,)
    user: Ints  # (S,) -1 = unknown
    day: Ints  # (S,)
    start: Ints  # (S,) time of day
    session: Ints  # (E,) which of the sessions above
    item: Ints  # (E,) index into World's items
    time: Ints  # (E,) rising by a second or more within a session
    bought: Ints  # (P,) which of the events above were followed by a purchase
    bought_time: Ints  # (P,)


def walk(world: World, n_sessions: int, seed: int) -> Iterator[Block]:
    """All sessions in order of their day, BLOCK of them at a time."""
    rng = np.random.default_rng([seed, 1])
    user, day = plan(world, n_sessions, rng)
    # As in the owner's log, session numbers tell nothing about time.
    session_id = rng.permutation(n_sessions) + 1
    stock = Stock(world)
    for number, first in enumerate(range(0, n_sessions, BLOCK)):
        part = slice(first, first + BLOCK)
        yield _make_block(
            world, stock, np.random.default_rng([seed, 2, number]), session_id[part], user[part], day[part]
        )


def _make_block(
    world: World, stock: Stock, rng: np.random.Generator, session_id: Ints, user: Ints, day: Ints
) -> Block:
    """The events and purchases of some sessions."""
    n = len(session_id)
    length = np.where(rng.random(n) < 0.25, 1, np.minimum(1 + rng.geometric(0.25, size=n), MAX_LENGTH))
    items = walk_items(world, stock, rng, user, day, int(length.max()))
    # Gaps between views: half a minute in the middle, never under a second.
    gaps = 1000 + (1000 * np.exp(rng.normal(3.3, 1.0, size=items.shape))).astype(np.int64)
    times = np.cumsum(gaps, axis=1)
    real = np.arange(items.shape[1]) < length[:, None]
    session, position = np.nonzero(real)
    time = times[real]

    last = position == length[session] - 1
    bought = np.flatnonzero(rng.random(len(session)) < np.where(last, P_BUY_LAST, P_BUY))
    wait = (60_000 * np.exp(rng.normal(2.0, 0.8, size=len(bought)))).astype(np.int64)
    wait += (rng.random(len(bought)) < P_BUY_DAYS_LATER) * rng.integers(DAY_MS, 7 * DAY_MS, size=len(bought))
    return Block(
        session_id=session_id,
        user=user,
        day=day,
        start=rng.integers(DAY_MS, size=n),
        session=session,
        item=items[real],
        time=time,
        bought=bought,
        bought_time=time[bought] + 1000 + wait,
    )


def write(folder: Path, scale: float, seed: int, known_users: float) -> dict[str, int]:
    """Write the four files of the CIKM Cup 2016 as their owner does, `;`-separated; return counts.

    `timeframe` is in milliseconds from the session's start; a view's `eventdate` is its session's day, a
    purchase's is the purchase's own day; the rows of a session are in no order; an unknown user is NA.
    """
    n_sessions = max(1, round(SHAPE.sessions * scale))
    world = make_world(np.random.default_rng([seed, 0]), SHAPE, scale, round(n_sessions * known_users))
    counts = {"sessions": 0, "views": 0, "purchases": 0, "items": len(world.item_id)}
    seen = np.zeros(len(world.item_id), dtype=bool)
    shuffle = np.random.default_rng(0)
    with (
        (folder / "train-item-views.csv").open("wb") as views,
        (folder / "train-purchases.csv").open("wb") as purchases,
        progress("generating sessions", n_sessions) as advance,
    ):
        views.write(b"sessionId;userId;itemId;timeframe;eventdate\n")
        purchases.write(b"sessionId;userId;timeframe;eventdate;ordernumber;itemId\n")
        for block in walk(world, n_sessions, seed):
            order = np.lexsort((shuffle.random(len(block.item)), block.session))
            _write_views(views, world, block, order)
            _write_purchases(purchases, world, block, counts["purchases"])
            seen[block.item] = True
            counts["sessions"] += len(block.session_id)
            counts["views"] += len(block.item)
            counts["purchases"] += len(block.bought)
            advance(len(block.session_id))
    _write_products(world, folder)
    return counts | {
        "items_viewed": int(seen.sum()),
        "categories": len(world.department),
        "users": len(world.style),
    }


def _csv(frame: pl.DataFrame, stream: IO[bytes]) -> None:
    frame.write_csv(stream, separator=";", include_header=False, null_value="NA")


def _dates(day: Ints) -> pl.Series:
    return pl.Series(values=np.datetime64(FIRST_DAY) + day, dtype=pl.Date)


def _users(user: Ints) -> pl.Series:
    return pl.select(pl.when(pl.lit(pl.Series(user)) >= 0).then(pl.lit(pl.Series(user)) + 1)).to_series()


def _write_views(stream: IO[bytes], world: World, block: Block, order: Ints) -> None:
    session = block.session[order]
    _csv(
        pl.DataFrame(
            {
                "sessionId": block.session_id[session],
                "userId": _users(block.user[session]),
                "itemId": world.item_id[block.item[order]],
                "timeframe": block.time[order],
                "eventdate": _dates(block.day[session]),
            }
        ),
        stream,
    )


def _write_purchases(stream: IO[bytes], world: World, block: Block, orders_before: int) -> None:
    session = block.session[block.bought]
    later = (block.start[session] + block.bought_time) // DAY_MS
    _csv(
        pl.DataFrame(
            {
                "sessionId": block.session_id[session],
                "userId": _users(block.user[session]),
                "timeframe": block.bought_time,
                "eventdate": _dates(block.day[session] + later),
                "ordernumber": np.arange(len(session)) + orders_before + 1,
                "itemId": world.item_id[block.item[block.bought]],
            }
        ),
        stream,
    )


def _write_products(world: World, folder: Path) -> None:
    """Categories, prices and names of all items in order of their numbers; six name tokens an item."""
    rng = np.random.default_rng(1)
    order = np.argsort(world.item_id)
    category, style = world.shelf[order] // STYLES, world.shelf[order] % STYLES
    n, n_categories = len(order), len(world.department)
    # Token numbers: styles, then departments, then four of each category, then words that mean nothing.
    words = 1 + STYLES + n_categories
    noise = words + 4 * n_categories + draw(rng, np.cumsum(zipf(2000, 1.0)), 2 * n).reshape(2, n)
    tokens = [
        words + 4 * category + rng.integers(4, size=n),
        1 + style,
        1 + STYLES + world.department[category],
        words + 4 * category + rng.integers(4, size=n),
        *noise,
    ]
    names = pl.DataFrame({str(place): token for place, token in enumerate(tokens)})
    with (folder / "products.csv").open("wb") as stream:
        stream.write(b"itemId;pricelog2;product.name.tokens\n")
        joined = names.select(pl.concat_str(pl.all(), separator=",")).to_series()
        _csv(pl.DataFrame({"i": world.item_id[order], "p": world.price_log2[order], "n": joined}), stream)
    with (folder / "product-categories.csv").open("wb") as stream:
        stream.write(b"itemId;categoryId\n")
        _csv(pl.DataFrame({"i": world.item_id[order], "c": world.category_id[category]}), stream)
