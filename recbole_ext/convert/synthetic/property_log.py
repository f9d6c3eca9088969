"""The property log of Retail Rocket, generated: every row is worked out from its number alone.

So a log of any length is written block by block, in an order that looks random, in constant memory.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from recbole_ext.convert.synthetic.ahead import in_turn
from recbole_ext.convert.synthetic.world import STYLES, Ints, World
from recbole_ext.errors import ConvertError
from recbole_ext.progress import progress

DAY_MS = 86_400_000
FIRST_MS = int(datetime(2015, 5, 3, tzinfo=UTC).timestamp()) * 1000
HOUR_MS = 3_600_000
PROPERTY_ROWS = 20_275_902
ITEMS = 463_392  # of the owner's shop
KNOWN_ITEMS = 417_053  # of all items: in the property log
P_MOVED = 0.105  # of items: after the first row of their category, another category of the same parent
# Days of the log with a snapshot at 03:00 UTC: Sundays; 18 of 19 weeks have one.
SNAPSHOTS = np.array([7 + 7 * week for week in range(19) if week != 8])
PROPERTY_BLOCK = 1 << 19  # rows made and written at once
PART_ROWS = 10_500_000  # rows of a file of the property log: the owner has two
MAX_PROPERTY_ROWS = 3_000_000_000  # so that products of two row numbers stay below 2^63

# Rows of the owner's log by name; the other rows belong to OTHERS hashed names, a few of them very frequent.
# 790 is a price; the values of those not in PLAIN are drawn.
NAMED = {"790": 1_790_516, "available": 1_503_639, "categoryid": 788_214, "888": 3_000_398}
PLAIN = ("790", "available", "categoryid")  # the first of NAMED
OTHERS, OTHERS_SKEW, OTHERS_SHIFT = 1_100, 1.25, 9
FREQUENT = 364  # a number among the most frequent of the others


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


class PropertyLog:
    """The rows of the property log by number.

    The number of a row, scrambled, says its property and the how-manieth row of it. The first rows of a property go
    round the items that are in the log, each at the item's first snapshot, which is the first one at or after its
    birth. The next ones take one pair of item and later snapshot each, so no item has two values of a property at one
    time. A property that would need more pairs than there are leaves its rows to the others.

    `item_id`: (I,) the numbers that the log shows. `category`: (C,) those of the world's categories.
    """

    def __init__(self, world: World, item_id: Ints, category: Ints, rows: int, seed: int) -> None:
        self.rows, self._seed = rows, seed
        self._category, self._price = category, world.price_log2
        self._item_category = world.shelf // STYLES
        self._sibling = _siblings(world.department)
        self._id = item_id
        entered = np.searchsorted(SNAPSHOTS, world.birth)
        self._known = _known_items(entered, seed)
        self._entered = entered[self._known]  # which snapshot
        # Pairs of an item (by place in _known) and a later snapshot, snapshot by snapshot: those of one snapshot are
        # the items that entered before it.
        self._by_entry = np.argsort(self._entered, kind="stable")
        self._rank = np.empty_like(self._by_entry)
        self._rank[self._by_entry] = np.arange(len(self._known))
        before = np.searchsorted(self._entered[self._by_entry], np.arange(len(SNAPSHOTS)))
        self._pairs = np.concatenate(([0], np.cumsum(before)))  # (snapshots + 1,) where each begins
        self._n_pairs = max(1, int(self._pairs[-1]))
        self._pair_stride = _coprime(self._n_pairs)

        names, share = _property_names(seed)
        self._names = pl.Series(names)
        self._sizes = _fill(share, rows, len(self._known) + int(self._pairs[-1]))
        self._ends = np.cumsum(self._sizes)
        self._stride = _coprime(rows)

    def block(self, first: int, last: int) -> pl.DataFrame:
        """Rows `first` to `last` - 1 as the log shows them."""
        number = np.arange(first, last, dtype=np.int64)
        scrambled = (number * self._stride + self.rows // 3) % self.rows
        kind = np.searchsorted(self._ends, scrambled, side="right")
        place = scrambled - (self._ends - self._sizes)[kind]
        count = len(self._known)
        changed = place >= count
        here = (place + _below(count, np.arange(len(self._sizes)), self._seed, 13)[kind]) % count
        snapshot = self._entered[here]
        pair = (self._offset(kind[changed]) + (place[changed] - count) * self._pair_stride) % self._n_pairs
        snapshot[changed] = np.searchsorted(self._pairs, pair, side="right") - 1
        here[changed] = self._by_entry[pair - self._pairs[snapshot[changed]]]

        frame = pl.DataFrame(
            {
                "timestamp": FIRST_MS + SNAPSHOTS[snapshot] * DAY_MS + 3 * HOUR_MS,
                "itemid": self._id[self._known[here]],
                "property": self._names.gather(pl.Series(kind)),
            }
        )
        values = [self._values(wanted, kind, here, snapshot) for wanted in range(len(PLAIN))]
        values.append(self._other_values(kind, here, snapshot))
        return frame.with_columns(pl.concat(values).sort("row")["value"])

    def _offset(self, kind: Ints) -> Ints:
        """Where the changes of a property begin among the pairs."""
        return _below(self._n_pairs, np.arange(len(self._sizes)), self._seed, 12)[kind]

    def _changes_before(self, kind: int, here: Ints, snapshot: Ints) -> Ints:
        """How many rows of one property an item has had after its first one, that of `snapshot` included."""
        back = pow(self._pair_stride, -1, self._n_pairs) if self._n_pairs > 1 else 0
        offset = int(self._offset(np.array([kind]))[0])
        n_changes = self._sizes[kind] - len(self._known)
        count = np.zeros(len(here), dtype=np.int64)
        for week in range(1, len(SNAPSHOTS)):
            pair = self._pairs[week] + self._rank[here]
            number = (pair - offset) % self._n_pairs * back % self._n_pairs
            count += (self._entered[here] < week) & (week <= snapshot) & (number < n_changes)
        return count

    def _values(self, kind: int, kinds: Ints, here: Ints, snapshot: Ints) -> pl.DataFrame:
        """The values of one of PLAIN, with the rows that they belong to."""
        row = np.flatnonzero(kinds == kind)
        here, snapshot = here[row], snapshot[row]
        item = self._known[here]
        name = PLAIN[kind]
        if name == "categoryid":
            category = self._item_category[item]
            moved = (snapshot > self._entered[here]) & (_below(1000, item, self._seed, 14) < 1000 * P_MOVED)
            shown = self._category[np.where(moved, self._sibling[category], category)]
            value = pl.Series(shown).cast(pl.String)
        elif name == "available":  # a change is to the other value
            at_first = _below(2, item, self._seed, 15)
            value = pl.Series((at_first + self._changes_before(kind, here, snapshot)) % 2).cast(pl.String)
        else:  # a price: changes are by up to a tenth, alternately by an odd and an even number of thousandths
            turn = self._changes_before(kind, here, snapshot)
            change = 2 * _below(101, item, snapshot, self._seed, 16) - 100 - turn % 2
            price = 2.0 ** self._price[item] * 100 * (1 + (turn > 0) * change / 1000)
            value = _numbers(np.rint(price).astype(np.int64) * 10)
        return pl.DataFrame({"row": row, "value": value.alias("value")})

    def _other_values(self, kind: Ints, here: Ints, snapshot: Ints) -> pl.DataFrame:
        """Hashed values: a token, a number, or both among more tokens; with the rows that they belong to."""
        row = np.flatnonzero(kind >= len(PLAIN))
        key = (kind[row], self._known[here[row]], snapshot[row], self._seed)
        tokens = pl.Series(_below(1_300_000, *key, 17)).cast(pl.String)
        more = pl.Series(_below(1_300_000, *key, 18)).cast(pl.String)
        numbers = _numbers(_below(2000, *key, 19) * 12_000)
        shape = pl.Series(_below(14, *key, 20))
        frame = pl.DataFrame({"row": row, "shape": shape, "a": tokens, "b": more, "n": numbers})
        value = (
            pl.when(pl.col("shape") < 3)
            .then("a")
            .when(pl.col("shape") < 5)
            .then("n")
            .when(pl.col("shape") < 7)
            .then(pl.concat_str("a", "n", "b", separator=" "))
            .otherwise(pl.concat_str("b", "a", "n", "a", separator=" "))
        )
        return frame.select("row", value.alias("value"))


def _known_items(entered: Ints, seed: int) -> Ints:
    """Those items that are in the property log: nine of ten, and none that is born after the last snapshot."""
    able = np.flatnonzero(entered < len(SNAPSHOTS))
    count = max(1, round(len(entered) * KNOWN_ITEMS / ITEMS))
    return np.sort(np.random.default_rng([seed, 6]).permutation(able)[:count])


def _property_names(seed: int) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Names of the properties, PLAIN first, and each one's share of the rows."""
    rng = np.random.default_rng([seed, 5])
    taken = {int(name) for name in NAMED if name.isdigit()} | {FREQUENT}
    hashed = rng.permutation([number for number in range(1, OTHERS + 10) if number not in taken])[
        : OTHERS - 1
    ]
    hashed = np.insert(hashed, 1, FREQUENT)
    rank = np.arange(1, OTHERS + 1, dtype=np.float64)
    others = (rank + OTHERS_SHIFT) ** -OTHERS_SKEW
    others *= (PROPERTY_ROWS - sum(NAMED.values())) / others.sum()
    return [*NAMED, *map(str, hashed)], np.concatenate((list(NAMED.values()), others)) / PROPERTY_ROWS


def _fill(share: npt.NDArray[np.float64], rows: int, room: int) -> Ints:
    """Share out `rows` rows, `room` of them at most to anyone; what does not fit goes to the others in proportion."""
    sizes = np.zeros(len(share), dtype=np.int64)
    while missing := rows - int(sizes.sum()):
        open_ = np.flatnonzero(sizes < room)
        if not len(open_):
            raise ConvertError(
                f"--property-scale asks for {rows:,} property rows, but the items of so small a --scale have only "
                f"{sizes.sum():,}: lower it."
            )
        wanted = np.floor(np.cumsum(share[open_]) / share[open_].sum() * missing + 1e-6).astype(np.int64)
        wanted[-1] = missing
        sizes[open_] = np.minimum(sizes[open_] + np.diff(wanted, prepend=0), room)
    return sizes


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


def write_properties(log: PropertyLog, folder: Path, at_once: int = 1) -> None:
    """All rows, in two parts or as many as it takes for PART_ROWS a part; `at_once` blocks are made side by side."""
    parts = max(2, math.ceil(log.rows / PART_ROWS))
    bounds = [log.rows * part // parts for part in range(parts + 1)]
    with progress("generating properties", log.rows) as advance:
        for part in range(parts):
            with (folder / f"item_properties_part{part + 1}.csv").open("wb") as stream:
                stream.write(b"timestamp,itemid,property,value\n")
                firsts = range(bounds[part], bounds[part + 1], PROPERTY_BLOCK)
                blocks = [(first, min(first + PROPERTY_BLOCK, bounds[part + 1])) for first in firsts]
                for block in in_turn(lambda block: log.block(*block), blocks, at_once):
                    block.write_csv(stream, include_header=False)
                    advance(block.height)
