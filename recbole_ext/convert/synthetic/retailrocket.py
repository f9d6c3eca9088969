"""The files of Retail Rocket, written as their owner does, from a generated world.

Every row of the property log is worked out from its number alone, so that a log of any length is written block by
block, in an order that looks random, in constant memory.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from recbole_ext.convert.errors import ConvertError
from recbole_ext.convert.progress import progress
from recbole_ext.convert.synthetic.world import (
    STYLES,
    Ints,
    Shape,
    Stock,
    World,
    make_world,
    plan,
    walk_items,
    zipf,
)

DAY_MS = 86_400_000
FIRST_MS = int(datetime(2015, 5, 3, tzinfo=UTC).timestamp()) * 1000
VIEWS, CARTS, TRANSACTIONS = 2_664_312, 69_332, 22_457  # the owner's events
PROPERTY_ROWS = 20_275_902
ITEM_IDS, CATEGORY_IDS, TREE_ROWS = 466_867, 1_699, 1_669
P_ALONE = 0.866  # of visitors: one session
P_SINGLE = 0.748  # of sessions: one view
P_LONG, LONG = 0.012, 0.08  # of sessions: a long tail of views, its geometric parameter
SHORT = 0.62
MAX_LENGTH = 100
MAX_LEVELS = 6  # of the category tree
P_KNOWN_ITEM = 0.9  # of items: in the property log
P_MOVED = 0.1  # of repeated category rows: the item has moved to another category of the same parent
CART_LAST = 4.0  # the last view of a longer session is so many times as likely to go into the cart
FIRST_SNAPSHOT_MS = FIRST_MS + 7 * DAY_MS + 3 * 3_600_000  # Sundays, 03:00 UTC
SNAPSHOTS = [week for week in range(19) if week != 8]  # the owner's log has 18 of these 19 weeks
EVENT_BLOCK, PROPERTY_BLOCK = 131_072, 1 << 19  # sessions and property rows made and written at once
PART_ROWS = 10_500_000  # rows of a file of the property log: the owner has two

# (name, rows of the owner's log); the other rows belong to OTHERS hashed names, a few of them very frequent
NAMED = (("888", 3_000_398), ("790", 1_790_516), ("available", 1_503_639), ("categoryid", 788_214))
OTHERS = 1_100

OPTIONS = {"property_scale": 1.0}
SIGNALS = {
    "carts": CARTS / VIEWS,
    "transactions": TRANSACTIONS / CARTS,
    "cart_last": CART_LAST,
    "moved": P_MOVED,
}


def _returns(rng: np.random.Generator, n: int) -> Ints:
    return np.where(rng.random(n) < P_ALONE, 1, 1 + rng.geometric(0.5, size=n))


SHAPE = Shape(days=139, sessions=1_784_000, items=463_392, categories=1_330, skew=1.44, returns=_returns)


def write(folder: Path, scale: float, seed: int, property_scale: float) -> dict[str, int]:
    """Write events.csv, category_tree.csv and item_properties_part1.csv … as the owner does; return counts.

    Times are unix milliseconds; no file is in order of time. Below scale 1 the property log shrinks with it.
    """
    if not 0 < property_scale <= 100:
        raise ConvertError(f"--property-scale is {property_scale}, but must be above 0 and at most 100.")
    n_sessions = max(1, round(SHAPE.sessions * scale))
    world = make_world(np.random.default_rng([seed, 0]), SHAPE, scale, n_sessions)
    counts = _write_events(world, folder, scale, seed, n_sessions)
    counts |= {"visitors": len(world.style), "items": len(world.item_id)}
    node, parent = _tree(world, np.random.default_rng([seed, 3]), scale)
    _csv(pl.DataFrame({"categoryid": node, "parentid": parent}), folder / "category_tree.csv")
    counts["categories"] = len(node)
    rows = max(1, round(PROPERTY_ROWS * scale * property_scale))
    log = _PropertyLog(world, node[: len(world.department)], rows, seed)
    counts["property_rows"] = rows
    _write_properties(log, folder)
    return counts


def _csv(frame: pl.DataFrame, file: Path) -> None:
    with file.open("wb") as stream:
        frame.write_csv(stream)


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
    item_id = _item_ids(world, seed)
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
            carted = carts[low:high] - first_view[part.start]
            buys = bought[low:high]
            cart_time = time[carted] + block_rng.integers(5_000, 60_000, size=len(carted))
            sold = carted[buys]
            wait = 60_000 + block_rng.exponential(120_000, size=len(sold)).astype(np.int64)
            # what a visitor buys in one session is one order
            buyers, order = np.unique(session[sold], return_inverse=True)
            order = order.reshape(-1) + order_number
            order_number += len(buyers)
            rows = np.concatenate((np.arange(len(item)), carted, sold))
            frame = pl.DataFrame(
                {
                    "timestamp": np.concatenate((time, cart_time, cart_time[buys] + wait)),
                    "visitorid": visitor_id[user[part][session[rows]]],
                    "event": np.repeat(
                        ["view", "addtocart", "transaction"], [len(item), len(carted), len(sold)]
                    ),
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
            1 + rng.geometric(LONG, size=n_sessions),
        ),
    )
    length = np.minimum(length, MAX_LENGTH)
    while missing := n_views - int(length.sum()):
        able = (
            np.flatnonzero(length > 1)
            if missing < 0
            else np.flatnonzero((length > 1) & (length < MAX_LENGTH))
        )
        able = able if len(able) else np.arange(n_sessions)
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
    for low, high in ((1, 1), (2, 4), (5, 16), (17, MAX_LENGTH)):  # so that no walk is far longer than needed
        group = np.flatnonzero((length >= low) & (length <= high))
        if len(group):
            walked = walk_items(world, stock, rng, user[group], day[group], int(length[group].max()))
            real = np.arange(walked.shape[1]) < length[group][:, None]
            items[(first[group][:, None] + np.arange(walked.shape[1]))[real]] = walked[real]
    gap = 1000 + (1000 * np.exp(rng.normal(3.3, 1.0, size=len(items)))).astype(np.int64)
    gap[first] = 0
    elapsed = np.cumsum(gap)
    session = np.repeat(np.arange(len(length)), length)
    start = FIRST_MS + day * DAY_MS + rng.integers(DAY_MS, size=len(length))
    return session, items, start[session] + elapsed - elapsed[first][session]


def _item_ids(world: World, seed: int) -> Ints:
    """(I,) the numbers that the log shows, some of which no item has."""
    count = len(world.item_id)
    room = max(count, math.ceil(count * ITEM_IDS / SHAPE.items))
    return np.random.default_rng([seed, 4]).permutation(room)[:count]


# --- the category tree


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


# --- the property log


def _mix(*numbers: Ints | int) -> npt.NDArray[np.uint64]:
    """A hash of some numbers, element by element (SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        state = np.uint64(0x9E3779B97F4A7C15)
        out: npt.NDArray[np.uint64] = np.asarray(state)
        for number in numbers:
            out = (out ^ np.asarray(number).astype(np.uint64)) + state
            out = (out ^ (out >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            out = (out ^ (out >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            out = out ^ (out >> np.uint64(31))
        return out


def _below(count: Ints | int, *numbers: Ints | int) -> Ints:
    """A hash of some numbers as a number from 0 to `count` - 1."""
    return (_mix(*numbers) % np.asarray(count).astype(np.uint64)).astype(np.int64)


class _PropertyLog:
    """The rows of the property log by number.

    The number of a row, scrambled, says its property and the how-manieth row of it: the first rows of a property go
    round all items that have it, at the item's first snapshot; the next ones are changes at later snapshots.
    """

    def __init__(self, world: World, category: Ints, rows: int, seed: int) -> None:
        self.rows, self._seed = rows, seed
        self._category, self._price = category, world.price_log2
        self._item_category = world.shelf // STYLES
        self._sibling = _siblings(world.department)
        self._id = _item_ids(world, seed)
        all_items = np.arange(len(self._id))
        self._known = all_items[_below(1000, all_items, seed, 11) < 1000 * P_KNOWN_ITEM]
        if not len(self._known):
            self._known = all_items
        # An item is entered before its first possible event, at that snapshot or the one before.
        entered = np.searchsorted(np.array(SNAPSHOTS) * 7 + 7, world.birth, side="right") - 1
        self._entered = np.maximum(entered - _below(2, all_items, seed, 12), 0)

        names, sizes = [name for name, _ in NAMED], [size for _, size in NAMED]
        others = PROPERTY_ROWS - sum(sizes)
        taken = {int(name) for name in names if name.isdigit()}
        hashed = [number for number in range(1, OTHERS + 20) if number not in taken][:OTHERS]
        hashed = [hashed[place] for place in np.random.default_rng([seed, 5]).permutation(OTHERS)]
        share = np.concatenate((np.array(sizes), zipf(OTHERS, 1.05) * others)) / PROPERTY_ROWS
        self._ends = np.floor(np.cumsum(share) * rows + 1e-6).astype(np.int64)
        self._ends[-1] = rows
        self._names = pl.Series([*names, *map(str, hashed)])
        self._stride = _coprime(rows)

    def block(self, first: int, last: int) -> pl.DataFrame:
        """Rows `first` to `last` - 1 as the log shows them."""
        number = np.arange(first, last, dtype=np.int64)
        # row numbers are below 2^31 for any log of some 100 GB, so the product fits
        scrambled = (number * self._stride + self.rows // 3) % self.rows
        kind = np.searchsorted(self._ends, scrambled, side="right")
        place = scrambled - np.where(kind > 0, self._ends[kind - 1], 0)
        turn = place // len(self._known)
        item = self._known[(place + _below(len(self._known), kind, self._seed, 13)) % len(self._known)]
        week = self._entered[item]
        later = len(SNAPSHOTS) - 1 - week
        changed = (turn > 0) & (later > 0)
        step = 1 + _below(np.maximum(later, 1), item, kind, turn)
        week = np.where(changed, week + step, week)
        frame = pl.DataFrame(
            {
                "timestamp": FIRST_SNAPSHOT_MS + np.array(SNAPSHOTS)[week] * 7 * DAY_MS,
                "itemid": self._id[item],
                "kind": kind,
                "row": np.arange(len(kind)),
            }
        )
        values = [self._values(kind == wanted, wanted, item, turn) for wanted in range(len(NAMED))]
        values.append(self._other_values(kind >= len(NAMED), kind, item, turn))
        value = pl.concat(values).sort("row")["value"]
        property_ = self._names.gather(pl.Series(kind)).alias("property")
        return frame.select("timestamp", "itemid").with_columns(property_, value)

    def _values(self, rows: npt.NDArray[np.bool_], kind: int, item: Ints, turn: Ints) -> pl.DataFrame:
        """The values of one of NAMED, with the rows that they belong to."""
        row = np.flatnonzero(rows)
        item, turn = item[row], turn[row]
        name = NAMED[kind][0]
        if name == "categoryid":
            category = self._item_category[item]
            moved = (turn > 0) & (_below(1000, item, turn, 14) < 1000 * P_MOVED)
            shown = self._category[np.where(moved, self._sibling[category], category)]
            value = pl.Series(shown).cast(pl.String)
        elif name == "available":
            value = pl.Series(_below(2, item, turn, 15)).cast(pl.String)
        elif name == "790":  # a price, which changes by up to a tenth
            price = (
                2.0 ** self._price[item] * 100 * (1 + (turn > 0) * (_below(201, item, turn, 16) - 100) / 1000)
            )
            value = _numbers(np.rint(price).astype(np.int64) * 10)
        else:
            value = self._other_values(np.ones(len(row), dtype=bool), np.full(len(row), kind), item, turn)[
                "value"
            ]
        return pl.DataFrame({"row": row, "value": value.alias("value")})

    def _other_values(self, rows: npt.NDArray[np.bool_], kind: Ints, item: Ints, turn: Ints) -> pl.DataFrame:
        """Hashed values: a token, a number, or both among more tokens."""
        row = np.flatnonzero(rows)
        key = (kind[row], item[row], turn[row])
        tokens = pl.Series(_below(1_300_000, *key, 17)).cast(pl.String)
        more = pl.Series(_below(1_300_000, *key, 18)).cast(pl.String)
        numbers = _numbers(_below(2000, *key, 19) * 12_000)
        shape = pl.Series(_below(9, *key, 20))
        frame = pl.DataFrame({"row": row, "shape": shape, "a": tokens, "b": more, "n": numbers})
        value = (
            pl.when(pl.col("shape") < 2)
            .then("a")
            .when(pl.col("shape") < 4)
            .then("n")
            .when(pl.col("shape") < 5)
            .then(pl.concat_str("a", "n", "b", separator=" "))
            .otherwise(pl.concat_str("b", "a", "n", "a", separator=" "))
        )
        return frame.select("row", value.alias("value"))


def _numbers(thousandths: Ints) -> pl.Series:
    """Whole thousandths as the owner writes numbers: n277.200."""
    whole, rest = pl.Series(thousandths // 1000), pl.Series(thousandths % 1000)
    return pl.select(
        pl.format("n{}.{}", pl.lit(whole), pl.lit(rest).cast(pl.String).str.zfill(3))
    ).to_series()


def _siblings(department: Ints) -> Ints:
    """(C,) the next category of the same department, round and round."""
    order = np.argsort(department, kind="stable")
    grouped = department[order]
    starts = np.searchsorted(grouped, grouped)
    ends = np.searchsorted(grouped, grouped, side="right")
    here = np.arange(len(order))
    sibling = np.empty_like(order)
    sibling[order] = order[starts + (here - starts + 1) % (ends - starts)]
    return sibling


def _coprime(rows: int) -> int:
    """A multiplier that takes every row number to another one, far from its neighbours'."""
    stride = max(1, int(rows * 0.6180339887))
    while math.gcd(stride, rows) != 1:
        stride += 1
    return stride


def _write_properties(log: _PropertyLog, folder: Path) -> None:
    """All rows, in two parts or as many as it takes for PART_ROWS a part."""
    parts = max(2, math.ceil(log.rows / PART_ROWS))
    bounds = [log.rows * part // parts for part in range(parts + 1)]
    with progress("generating properties", log.rows) as advance:
        for part in range(parts):
            with (folder / f"item_properties_part{part + 1}.csv").open("wb") as stream:
                stream.write(b"timestamp,itemid,property,value\n")
                for first in range(bounds[part], bounds[part + 1], PROPERTY_BLOCK):
                    last = min(first + PROPERTY_BLOCK, bounds[part + 1])
                    log.block(first, last).write_csv(stream, include_header=False)
                    advance(last - first)
