"""Generated raw logs in an owner's schema, with planted signals that a model can be caught missing.

Reference: none, the world is ours; sizes and shapes follow the Diginetica log (CIKM Cup 2016, Track 2). What
differs from it: real Diginetica has `NA` for most users, whereas here most sessions belong to users who come
back, since the user level of a model has nothing to learn from otherwise.

What is planted:
- features: categories hang in a tree (department, category); prices and name tokens tell category and style
  apart;
- sequence: every item has one preferred successor per style, in its own category; repeats; noise;
- user: a user keeps to a few categories and to one style over all sessions, and the style decides which
  successor comes next, so that earlier sessions help from the second event of a session on;
- time: a part of the items is born during the log and never seen before, so a split by time has cold items;
- reward: some views turn into purchases, minutes later and now and then days later.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from recbole_ext import __version__
from recbole_ext.convert.errors import ConvertError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# The owner's log at scale 1.
SESSIONS, ITEMS, CATEGORIES = 310_324, 184_047, 1_217
FIRST_DAY = date(2016, 1, 1)
DAYS = 153  # up to 2016-06-01
DAY_MS = 86_400_000
DEMO_SCALE = 0.035  # some 11 k sessions, 43 k views and 5 k items: minutes of training on two cores

STYLES = 3
MIN_SHELF = 2  # items of one category and one style
MAX_LENGTH = 60  # events of a session
MAX_RETURNS = 10  # sessions of a user
MAX_GAP = 15  # days between two sessions of a user: MAX_RETURNS of them still fit into DAYS
TASTES = 3  # categories of a user
BLOCK = 16_384  # sessions made and written at once
MAX_SCALE = 100.0

# What the next event is, after an event of a session.
P_SUCCESSOR, P_CATEGORY, P_REPEAT, P_SWITCH, P_NOISE = 0.52, 0.24, 0.10, 0.06, 0.08
P_OWN_STYLE = 0.9  # an event follows the session's style
P_OWN_TASTE = 0.85  # a session of a known user starts in a category of the user's taste
P_NEW = 0.3  # share of items born after the first day
P_BUY, P_BUY_LAST = 0.006, 0.035  # a view turns into a purchase; the last view of a session
P_BUY_DAYS_LATER = 0.03

SIGNALS = {
    "successor": P_SUCCESSOR,
    "category": P_CATEGORY,
    "repeat": P_REPEAT,
    "switch": P_SWITCH,
    "noise": P_NOISE,
    "own_style": P_OWN_STYLE,
    "own_taste": P_OWN_TASTE,
    "new_items": P_NEW,
    "buy": P_BUY,
    "buy_last": P_BUY_LAST,
    "buy_days_later": P_BUY_DAYS_LATER,
}


@dataclass(frozen=True)
class World:
    """Categories in their tree, items on their shelves (one for each style of a category), users' tastes.

    Item arrays are sorted by (shelf, birth), so the items of a shelf that are born by some day are one slice
    of it.
    """

    # categories, (C,)
    department: Ints  # parent in the tree
    category_id: Ints  # the number that the log shows
    category_weight: Floats  # popularity, sums to 1
    # items, (I,)
    item_id: Ints  # the number that the log shows
    shelf: Ints  # category * STYLES + style
    birth: Ints  # day of the first possible event
    weight: Floats  # popularity, sums to 1
    price_log2: Ints
    successor: Ints  # (I, STYLES) preferred next item of each style
    # users, (U,)
    taste: Ints  # (U, TASTES) categories, dearest first
    style: Ints
    sessions: Ints  # sessions of the user over the log


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m recbole_ext.convert synthetic`."""
    parser.add_argument("schema", choices=sorted(WRITERS), help="whose files to write")
    parser.add_argument("--out", type=Path, help="folder of the raw logs (default raw_data/SCHEMA-demo)")
    parser.add_argument(
        "--scale",
        type=float,
        default=DEMO_SCALE,
        help="1 = the size of the owner's log (default %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same bytes (default 1)")
    parser.add_argument(
        "--known-users", type=float, default=0.6, help="share of sessions whose user is known (default 0.6)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command line: generate, and return what generator.json says."""
    out = args.out or Path("raw_data") / f"{args.schema}-demo"
    record = generate(args.schema, out, scale=args.scale, seed=args.seed, known_users=args.known_users)
    counts = ", ".join(f"{count:,} {name}" for name, count in record["counts"].items())
    print(f"{counts}\nwritten to {out}")
    return record


def generate(
    source: str, out: Path | str, scale: float = DEMO_SCALE, seed: int = 1, known_users: float = 0.6
) -> dict[str, Any]:
    """Write raw logs in the schema of `source` to the folder `out`, with generator.json beside; return the
    latter.

    `scale` 1 is about the owner's size (310 k sessions, 1.24 M views, 184 k items in 1,217 categories);
    `known_users` is the share of sessions whose user is known. Sessions are made and written in blocks.

    Raises ConvertError for an unknown source or a value out of its range.
    """
    out = Path(out).absolute()
    if source not in WRITERS:
        raise ConvertError(f"There is no generator for {source!r}: known are {', '.join(sorted(WRITERS))}.")
    if not 0 < scale <= MAX_SCALE:
        raise ConvertError(f"--scale is {scale}, but must be above 0 and at most {MAX_SCALE:g}.")
    if not 0 <= known_users <= 1:
        raise ConvertError(f"--known-users is {known_users}, but a share lies between 0 and 1.")
    if seed < 0:
        raise ConvertError(f"--seed is {seed}, but must be 0 or more.")
    if out.exists() and not out.is_dir():
        raise ConvertError(f"{out} is a file, and the logs need a folder: name another one with --out.")

    n_sessions = max(1, round(SESSIONS * scale))
    world = make_world(np.random.default_rng([seed, 0]), scale, round(n_sessions * known_users))
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        counts = WRITERS[source](world, walk(world, n_sessions, seed), scratch)
        record = {
            "generator": f"recbole_ext {__version__} synthetic",
            "source": source,
            "options": {"scale": scale, "seed": seed, "known_users": known_users},
            "signals": SIGNALS,
            "counts": counts | {"categories": len(world.department), "users": len(world.style)},
        }
        (scratch / "generator.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        out.mkdir(exist_ok=True)
        for path in sorted(scratch.iterdir(), key=lambda path: path.name == "generator.json"):
            os.replace(path, out / path.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return record


# --- the world


def make_world(rng: np.random.Generator, scale: float, known_sessions: int) -> World:
    """Draw categories, items and as many users as it takes for `known_sessions` sessions.

    Categories grow more slowly than items, so that a small world still has shelves of some items.
    """
    n_categories = max(6, round(CATEGORIES * scale**0.7))
    n_items = max(round(ITEMS * scale), n_categories * STYLES * MIN_SHELF)
    department = rng.integers(max(2, n_categories // 8), size=n_categories)  # about eight each
    popularity = _zipf(n_categories, 0.7)[rng.permutation(n_categories)]

    # Every shelf has its minimum; the rest goes to the popular categories.
    shelf = np.repeat(np.arange(n_categories * STYLES), MIN_SHELF)
    extra = n_items - len(shelf)
    drawn = np.searchsorted(np.cumsum(popularity), rng.random(extra) * (1 - 1e-9))
    shelf = np.concatenate([shelf, drawn * STYLES + rng.integers(STYLES, size=extra)])
    birth = np.where(rng.random(n_items) < P_NEW, rng.integers(1, DAYS, size=n_items), 0)
    birth[: n_categories * STYLES * MIN_SHELF : MIN_SHELF] = 0  # no shelf is ever empty
    order = np.lexsort((birth, shelf))
    shelf, birth = shelf[order], birth[order]

    starts = np.searchsorted(shelf, np.arange(n_categories * STYLES + 1))
    weight = _shelf_weights(rng, shelf, starts)
    category_price = rng.normal(8.0, 2.0, size=n_categories)
    price = category_price[shelf // STYLES] + 1.5 * (shelf % STYLES - 1) + rng.normal(0.0, 0.4, size=n_items)
    successor = _make_successors(rng, shelf, starts, weight)
    weight = weight * popularity[shelf // STYLES]
    taste, style, sessions = _make_users(rng, known_sessions, department, popularity)
    return World(
        department=department,
        category_id=rng.permutation(n_categories) + 1,
        category_weight=popularity,
        item_id=rng.permutation(n_items) + 1,
        shelf=shelf,
        birth=birth,
        weight=weight / weight.sum(),
        price_log2=np.clip(np.rint(price), 0, 16).astype(np.int64),
        successor=successor,
        taste=taste,
        style=style,
        sessions=sessions,
    )


def _zipf(n: int, exponent: float) -> Floats:
    """Power-law weights of ranks 1 … n that sum to 1."""
    weight = np.arange(1, n + 1, dtype=np.float64) ** -exponent
    return weight / weight.sum()


def _shelf_weights(rng: np.random.Generator, shelf: Ints, starts: Ints) -> Floats:
    """Power-law popularity within each shelf, independent of birth; the weights of a shelf sum to 1."""
    by_luck = np.lexsort((rng.random(len(shelf)), shelf))
    rank = np.empty(len(shelf))
    rank[by_luck] = np.arange(len(shelf)) - starts[shelf] + 1  # by_luck keeps shelves in place
    weight = rank**-1.3
    return weight / np.bincount(shelf, weight)[shelf]


def _make_successors(rng: np.random.Generator, shelf: Ints, starts: Ints, weight: Floats) -> Ints:
    """(I, STYLES) one other item of the same category for each style, drawn by flattened popularity."""
    target = (shelf // STYLES * STYLES)[:, None] + np.arange(STYLES)
    total = np.concatenate([[0.0], np.cumsum(weight**0.7)])
    low, high = total[starts[target]], total[starts[target + 1]]
    drawn = np.searchsorted(total, low + rng.random(target.shape) * (high - low), side="right") - 1
    drawn = np.clip(drawn, starts[target], starts[target + 1] - 1)
    itself = drawn == np.arange(len(shelf))[:, None]
    size = starts[target + 1] - starts[target]
    return np.where(itself, starts[target] + (drawn - starts[target] + 1) % size, drawn)


def _make_users(
    rng: np.random.Generator, known_sessions: int, department: Ints, popularity: Floats
) -> tuple[Ints, Ints, Ints]:
    """Users until their sessions are `known_sessions`: categories of taste, style, and number of sessions."""
    sessions = np.minimum(rng.geometric(0.3, size=max(1, known_sessions)), MAX_RETURNS)
    ends = np.cumsum(sessions)
    n_users = int(np.searchsorted(ends, known_sessions)) + 1 if known_sessions else 0
    sessions = sessions[:n_users]
    if n_users:
        sessions[-1] -= ends[n_users - 1] - known_sessions
    taste = np.empty((n_users, TASTES), dtype=np.int64)
    taste[:, 0] = _draw(rng, np.cumsum(popularity), n_users)
    taste[:, 1] = _neighbours(rng, department, taste[:, 0])
    taste[:, 2] = _draw(rng, np.cumsum(popularity), n_users)
    return taste, rng.integers(STYLES, size=n_users), sessions


def _draw(rng: np.random.Generator, cumulative: Floats, n: int) -> Ints:
    """`n` indices drawn by the weights whose running sum is `cumulative`."""
    drawn = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    return np.minimum(drawn, len(cumulative) - 1)


def _neighbours(rng: np.random.Generator, department: Ints, category: Ints) -> Ints:
    """For each category, one category of the same department, drawn evenly (perhaps itself)."""
    order = np.argsort(department, kind="stable")
    starts = np.searchsorted(department[order], np.arange(department.max() + 2))
    parent = department[category]
    size = starts[parent + 1] - starts[parent]
    return order[starts[parent] + (rng.random(len(category)) * size).astype(np.int64)]


# --- sessions


def walk(world: World, n_sessions: int, seed: int) -> Iterator[Block]:
    """All sessions in order of their day, BLOCK of them at a time."""
    rng = np.random.default_rng([seed, 1])
    user, day = _plan(world, n_sessions, rng)
    # As in the owner's log, session numbers tell nothing about time.
    session_id = rng.permutation(n_sessions) + 1
    stock = _Stock(world)
    for number, first in enumerate(range(0, n_sessions, BLOCK)):
        part = slice(first, first + BLOCK)
        yield _make_block(
            world, stock, np.random.default_rng([seed, 2, number]), session_id[part], user[part], day[part]
        )


def _plan(world: World, n_sessions: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Who comes when, in order of days: (user, day), both (n_sessions,); a user comes at most once a day."""
    user = np.repeat(np.arange(len(world.sessions)), world.sessions)
    gap = np.minimum(rng.geometric(0.18, size=len(user)), MAX_GAP)
    firsts = np.cumsum(world.sessions) - world.sessions
    gap[firsts] = 0
    since_first = np.cumsum(gap)
    since_first -= since_first[firsts][user]
    span = np.zeros(len(world.sessions), dtype=np.int64)
    np.maximum.at(span, user, since_first)
    start = (rng.random(len(span)) * (DAYS - span)).astype(np.int64)
    unknown = n_sessions - len(user)
    user = np.concatenate([user, np.full(unknown, -1)])
    day = np.concatenate([start[user[: len(gap)]] + since_first, rng.integers(DAYS, size=unknown)])
    order = np.argsort(day, kind="stable")
    return user[order], day[order]


class _Stock:
    """Draws items by popularity among those born by a day, from one shelf or from the whole world."""

    def __init__(self, world: World) -> None:
        self._shelf_birth = world.shelf * DAYS + world.birth  # sorted, as World says
        self._shelf_sum = np.concatenate([[0.0], np.cumsum(world.weight)])
        self._shelf_start = np.searchsorted(world.shelf, np.arange(world.shelf[-1] + 2))
        self._by_birth = np.argsort(world.birth, kind="stable")
        self._birth = world.birth[self._by_birth]
        self._birth_sum = np.concatenate([[0.0], np.cumsum(world.weight[self._by_birth])])

    def from_shelf(self, luck: Floats, shelf: Ints, day: Ints) -> Ints:
        """One item for each (shelf, day), by popularity; `luck` lies in [0, 1)."""
        first = self._shelf_start[shelf]
        end = np.searchsorted(self._shelf_birth, shelf * DAYS + day, side="right")
        low, high = self._shelf_sum[first], self._shelf_sum[end]
        drawn = np.searchsorted(self._shelf_sum, low + luck * (high - low), side="right") - 1
        return np.clip(drawn, first, end - 1)

    def from_world(self, luck: Floats, day: Ints) -> Ints:
        """One item for each day, by popularity; `luck` lies in [0, 1)."""
        end = np.searchsorted(self._birth, day, side="right")
        drawn = np.searchsorted(self._birth_sum, luck * self._birth_sum[end], side="right") - 1
        return self._by_birth[np.clip(drawn, 0, end - 1)]


def _make_block(
    world: World, stock: _Stock, rng: np.random.Generator, session_id: Ints, user: Ints, day: Ints
) -> Block:
    """The events and purchases of some sessions."""
    n = len(session_id)
    length = np.where(rng.random(n) < 0.25, 1, np.minimum(1 + rng.geometric(0.25, size=n), MAX_LENGTH))
    items = _walk_items(world, stock, rng, user, day, int(length.max()))
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


def _walk_items(
    world: World, stock: _Stock, rng: np.random.Generator, user: Ints, day: Ints, steps: int
) -> Ints:
    """(S, steps) items of sessions that all go on for `steps` events; the caller cuts them to length."""
    n = len(user)
    known = user >= 0
    popular = np.cumsum(world.category_weight)
    # The sessions of nobody are those of users seen once: a taste and a style of their own.
    taste = np.stack([_draw(rng, popular, n) for _ in range(TASTES)], axis=1)
    taste[:, 1] = _neighbours(rng, world.department, taste[:, 0])
    style = rng.integers(STYLES, size=n)
    taste[known], style[known] = world.taste[user[known]], world.style[user[known]]

    dear = np.searchsorted([0.6, 0.85], rng.random(n), side="right")
    intent = taste[np.arange(n), dear]
    stray = rng.random(n) >= P_OWN_TASTE
    intent = np.where(stray, _draw(rng, popular, n), intent)

    items = np.empty((n, steps), dtype=np.int64)
    # The first view is of any style: which one is the user's shows over time only.
    items[:, 0] = stock.from_shelf(rng.random(n), intent * STYLES + rng.integers(STYLES, size=n), day)
    bounds = np.cumsum([P_SUCCESSOR, P_CATEGORY, P_REPEAT, P_SWITCH])
    for step in range(1, steps):
        move = np.searchsorted(bounds, rng.random(n), side="right")  # 0 … 4, in the order of the P_ above
        worn = np.where(rng.random(n) < P_OWN_STYLE, style, rng.integers(STYLES, size=n))
        intent = np.where(move == 3, taste[np.arange(n), rng.integers(TASTES, size=n)], intent)
        item = stock.from_shelf(rng.random(n), intent * STYLES + worn, day)
        follow = world.successor[items[:, step - 1], worn]
        follows = (move == 0) & (world.birth[follow] <= day)  # a successor not yet born: the category instead
        again = items[np.arange(n), (rng.random(n) * step).astype(np.int64)]
        item = np.where(follows, follow, np.where(move == 2, again, item))
        items[:, step] = np.where(move == 4, stock.from_world(rng.random(n), day), item)
    return items


# --- writers, one a source


def write_diginetica(world: World, blocks: Iterator[Block], folder: Path) -> dict[str, int]:
    """Write the four files of the CIKM Cup 2016 as their owner does, `;`-separated; return counts.

    `timeframe` is in milliseconds from the session's start; a view's `eventdate` is its session's day, a
    purchase's is the purchase's own day; the rows of a session are in no order; an unknown user is NA.
    """
    counts = {"sessions": 0, "views": 0, "purchases": 0, "items": len(world.item_id)}
    seen = np.zeros(len(world.item_id), dtype=bool)
    shuffle = np.random.default_rng(0)
    with (
        (folder / "train-item-views.csv").open("wb") as views,
        (folder / "train-purchases.csv").open("wb") as purchases,
    ):
        views.write(b"sessionId;userId;itemId;timeframe;eventdate\n")
        purchases.write(b"sessionId;userId;timeframe;eventdate;ordernumber;itemId\n")
        for block in blocks:
            order = np.lexsort((shuffle.random(len(block.item)), block.session))
            _write_views(views, world, block, order)
            _write_purchases(purchases, world, block, counts["purchases"])
            seen[block.item] = True
            counts["sessions"] += len(block.session_id)
            counts["views"] += len(block.item)
            counts["purchases"] += len(block.bought)
    _write_products(world, folder)
    return counts | {"items_viewed": int(seen.sum())}


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
    noise = words + 4 * n_categories + _draw(rng, np.cumsum(_zipf(2000, 1.0)), 2 * n).reshape(2, n)
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


WRITERS = {"diginetica": write_diginetica}
