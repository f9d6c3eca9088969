"""A generated shop: categories in a tree, items on shelves, users with tastes, and walks of sessions through it.

Reference: none, the world is ours. What is planted is in the package's docstring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

DAY_MS = 86_400_000

STYLES = 3
MIN_SHELF = 2  # items of one category and one style
MAX_RETURNS = 10  # sessions of a user
MAX_GAP = 15  # days between two sessions of a user; MAX_RETURNS of them have to fit into the log
TASTES = 3  # categories of a user

# What the next event is, after an event of a session.
P_SUCCESSOR, P_CATEGORY, P_REPEAT, P_SWITCH, P_NOISE = 0.52, 0.24, 0.10, 0.06, 0.08
P_OWN_STYLE = 0.9  # an event follows the session's style
P_OWN_TASTE = 0.85  # a session of a known user starts in a category of the user's taste
P_NEW = 0.3  # share of items born after the first day

SIGNALS = {
    "successor": P_SUCCESSOR,
    "category": P_CATEGORY,
    "repeat": P_REPEAT,
    "switch": P_SWITCH,
    "noise": P_NOISE,
    "own_style": P_OWN_STYLE,
    "own_taste": P_OWN_TASTE,
    "new_items": P_NEW,
}


@dataclass(frozen=True)
class Shape:
    """The size of an owner's log at scale 1: days, sessions, items, categories of items; and its skews.

    The n-th most popular item of a shelf has n ** -`skew` of the first one's views.
    `returns(rng, n)` draws how many sessions each of n users has, 1 to MAX_RETURNS.
    """

    days: int
    sessions: int
    items: int
    categories: int
    skew: float
    returns: Callable[[np.random.Generator, int], Ints]


@dataclass(frozen=True)
class World:
    """Categories in their tree, items on their shelves (one for each style of a category), users' tastes.

    Item arrays are sorted by (shelf, birth), so the items of a shelf that are born by some day are one slice
    of it.
    """

    days: int
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


def make_world(rng: np.random.Generator, shape: Shape, scale: float, known_sessions: int) -> World:
    """Draw categories, items and as many users as it takes for `known_sessions` sessions.

    Categories grow more slowly than items, so that a small world still has shelves of some items.
    """
    n_categories = max(6, round(shape.categories * scale**0.7))
    n_items = max(round(shape.items * scale), n_categories * STYLES * MIN_SHELF)
    department = rng.integers(max(2, n_categories // 8), size=n_categories)  # about eight each
    popularity = zipf(n_categories, 0.7)[rng.permutation(n_categories)]

    # Every shelf has its minimum; the rest goes to the popular categories.
    shelf = np.repeat(np.arange(n_categories * STYLES), MIN_SHELF)
    extra = n_items - len(shelf)
    drawn = np.searchsorted(np.cumsum(popularity), rng.random(extra) * (1 - 1e-9))
    shelf = np.concatenate([shelf, drawn * STYLES + rng.integers(STYLES, size=extra)])
    birth = np.where(rng.random(n_items) < P_NEW, rng.integers(1, shape.days, size=n_items), 0)
    birth[: n_categories * STYLES * MIN_SHELF : MIN_SHELF] = 0  # no shelf is ever empty
    order = np.lexsort((birth, shelf))
    shelf, birth = shelf[order], birth[order]

    starts = np.searchsorted(shelf, np.arange(n_categories * STYLES + 1))
    weight = _shelf_weights(rng, shelf, starts, shape.skew)
    category_price = rng.normal(8.0, 2.0, size=n_categories)
    price = category_price[shelf // STYLES] + 1.5 * (shelf % STYLES - 1) + rng.normal(0.0, 0.4, size=n_items)
    successor = _make_successors(rng, shelf, starts, weight)
    weight = weight * popularity[shelf // STYLES]
    taste, style, sessions = _make_users(rng, shape, known_sessions, department, popularity)
    return World(
        days=shape.days,
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


def zipf(n: int, exponent: float) -> Floats:
    """Power-law weights of ranks 1 … n that sum to 1."""
    weight = np.arange(1, n + 1, dtype=np.float64) ** -exponent
    return weight / weight.sum()


def _shelf_weights(rng: np.random.Generator, shelf: Ints, starts: Ints, skew: float) -> Floats:
    """Power-law popularity within each shelf, independent of birth; the weights of a shelf sum to 1."""
    by_luck = np.lexsort((rng.random(len(shelf)), shelf))
    rank = np.empty(len(shelf))
    rank[by_luck] = np.arange(len(shelf)) - starts[shelf] + 1  # by_luck keeps shelves in place
    weight = rank**-skew
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
    rng: np.random.Generator, shape: Shape, known_sessions: int, department: Ints, popularity: Floats
) -> tuple[Ints, Ints, Ints]:
    """Users until their sessions are `known_sessions`: categories of taste, style, and number of sessions."""
    sessions = np.minimum(shape.returns(rng, max(1, known_sessions)), MAX_RETURNS)
    ends = np.cumsum(sessions)
    n_users = int(np.searchsorted(ends, known_sessions)) + 1 if known_sessions else 0
    sessions = sessions[:n_users]
    if n_users:
        sessions[-1] -= ends[n_users - 1] - known_sessions
    taste = np.empty((n_users, TASTES), dtype=np.int64)
    taste[:, 0] = draw(rng, np.cumsum(popularity), n_users)
    taste[:, 1] = _neighbours(rng, department, taste[:, 0])
    taste[:, 2] = draw(rng, np.cumsum(popularity), n_users)
    return taste, rng.integers(STYLES, size=n_users), sessions


def draw(rng: np.random.Generator, cumulative: Floats, n: int) -> Ints:
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


def plan(world: World, n_sessions: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Who comes when, in order of days: (user, day), both (n_sessions,); a user comes at most once a day."""
    user = np.repeat(np.arange(len(world.sessions)), world.sessions)
    gap = np.minimum(rng.geometric(0.18, size=len(user)), MAX_GAP)
    firsts = np.cumsum(world.sessions) - world.sessions
    gap[firsts] = 0
    since_first = np.cumsum(gap)
    since_first -= since_first[firsts][user]
    span = np.zeros(len(world.sessions), dtype=np.int64)
    np.maximum.at(span, user, since_first)
    start = (rng.random(len(span)) * (world.days - span)).astype(np.int64)
    unknown = n_sessions - len(user)
    user = np.concatenate([user, np.full(unknown, -1)])
    day = np.concatenate([start[user[: len(gap)]] + since_first, rng.integers(world.days, size=unknown)])
    order = np.argsort(day, kind="stable")
    return user[order], day[order]


class Stock:
    """Draws items by popularity among those born by a day, from one shelf or from the whole world."""

    def __init__(self, world: World) -> None:
        self._days = world.days
        self._shelf_birth = world.shelf * world.days + world.birth  # sorted, as World says
        self._shelf_sum = np.concatenate([[0.0], np.cumsum(world.weight)])
        self._shelf_start = np.searchsorted(world.shelf, np.arange(world.shelf[-1] + 2))
        self._by_birth = np.argsort(world.birth, kind="stable")
        self._birth = world.birth[self._by_birth]
        self._birth_sum = np.concatenate([[0.0], np.cumsum(world.weight[self._by_birth])])

    def from_shelf(self, luck: Floats, shelf: Ints, day: Ints) -> Ints:
        """One item for each (shelf, day), by popularity; `luck` lies in [0, 1)."""
        first = self._shelf_start[shelf]
        end = np.searchsorted(self._shelf_birth, shelf * self._days + day, side="right")
        low, high = self._shelf_sum[first], self._shelf_sum[end]
        drawn = np.searchsorted(self._shelf_sum, low + luck * (high - low), side="right") - 1
        return np.clip(drawn, first, end - 1)

    def from_world(self, luck: Floats, day: Ints) -> Ints:
        """One item for each day, by popularity; `luck` lies in [0, 1)."""
        end = np.searchsorted(self._birth, day, side="right")
        drawn = np.searchsorted(self._birth_sum, luck * self._birth_sum[end], side="right") - 1
        return self._by_birth[np.clip(drawn, 0, end - 1)]


def walk_items(
    world: World, stock: Stock, rng: np.random.Generator, user: Ints, day: Ints, steps: int
) -> Ints:
    """(S, steps) items of sessions that all go on for `steps` events; the caller cuts them to length."""
    n = len(user)
    known = user >= 0
    popular = np.cumsum(world.category_weight)
    # The sessions of nobody are those of users seen once: a taste and a style of their own.
    taste = np.stack([draw(rng, popular, n) for _ in range(TASTES)], axis=1)
    taste[:, 1] = _neighbours(rng, world.department, taste[:, 0])
    style = rng.integers(STYLES, size=n)
    taste[known], style[known] = world.taste[user[known]], world.style[user[known]]

    dear = np.searchsorted([0.6, 0.85], rng.random(n), side="right")
    intent = taste[np.arange(n), dear]
    stray = rng.random(n) >= P_OWN_TASTE
    intent = np.where(stray, draw(rng, popular, n), intent)

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
