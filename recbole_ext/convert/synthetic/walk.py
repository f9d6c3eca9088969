"""Walks of many sessions through a world at once, each for its own number of steps, at a cost that items do not raise.

The moves are those of `world.walk_items`; an item of a shelf is drawn by the formula of the power law in place of a
search among all items, and one that is not born yet is drawn anew.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recbole_ext.convert.synthetic.world import (
    P_CATEGORY,
    P_OWN_STYLE,
    P_OWN_TASTE,
    P_REPEAT,
    P_SUCCESSOR,
    P_SWITCH,
    STYLES,
    TASTES,
    Ints,
    World,
    draw,
)

Items = npt.NDArray[np.int32]


class Shelves:
    """Draws items of shelves by popularity: the one of rank r (0 the first) with the integral of x ** -skew over
    r + 1 … r + 2.
    """

    def __init__(self, world: World, skew: float) -> None:
        """skew: not 1."""
        self._birth = world.birth
        self._by_rank = np.lexsort((-world.weight, world.shelf)).astype(np.int32)
        starts = np.searchsorted(world.shelf, np.arange(world.shelf[-1] + 2))
        self._start, size = starts[:-1], np.diff(starts)
        self._power = 1 - skew
        self._span = (size + 1.0) ** self._power - 1
        self._last = size - 1

    def draw(self, rng: np.random.Generator, shelf: Ints, day: Ints) -> Items:
        """(N,) an item of each shelf that is born by the day; after two that are not, the one that always was."""
        item = self._any(rng, shelf)
        early = np.flatnonzero(self._birth[item] > day)
        if len(early):
            item[early] = self._any(rng, shelf[early])
            early = early[self._birth[item[early]] > day[early]]
            item[early] = self._start[shelf[early]]  # the first of a shelf is born on the first day
        return item

    def _any(self, rng: np.random.Generator, shelf: Ints) -> Items:
        place = (1 + rng.random(len(shelf)) * self._span[shelf]) ** (1 / self._power)
        rank = np.minimum(place.astype(np.int64) - 1, self._last[shelf])
        return self._by_rank[self._start[shelf] + rank]


def walk(
    world: World, shelves: Shelves, rng: np.random.Generator, user: Items, day: Ints, steps: Ints
) -> Items:
    """Items of N sessions, one after the other: (steps.sum(),). `steps`: (N,) 1 or more of each session."""
    first = np.cumsum(steps) - steps
    order = np.argsort(-steps, kind="stable")  # so that the sessions that go on are the first ones
    crowd = _Crowd(world, shelves, rng, user[order], day[order])
    first, steps = first[order], steps[order]
    going = np.searchsorted(-steps, -np.arange(int(steps[0])), side="left")  # longer than 0, 1, 2 …
    items = np.empty(int(steps.sum()), dtype=np.int32)
    items[first] = crowd.enter()
    for step in range(1, len(going)):
        items[first[: going[step]] + step] = crowd.go_on(step, int(going[step]), items, first)
    return items


class _Crowd:
    """Sessions on their way, of which fewer and fewer go on; those of one step are the first of those before."""

    def __init__(
        self, world: World, shelves: Shelves, rng: np.random.Generator, user: Items, day: Ints
    ) -> None:
        self._world, self._shelves, self._rng, self._day = world, shelves, rng, day
        self._popular = np.cumsum(world.category_weight)
        self._taste, self._style = world.taste[user], world.style[user]

    def enter(self) -> Items:
        """The first items, of any style: which one is the user's shows over time only."""
        rng, count = self._rng, len(self._day)
        dear = np.searchsorted([0.6, 0.85], rng.random(count), side="right")
        self._intent = self._taste[np.arange(count), dear]
        stray = np.flatnonzero(rng.random(count) >= P_OWN_TASTE)
        self._intent[stray] = draw(rng, self._popular, len(stray))
        self._item = self._shelves.draw(
            rng, self._intent * STYLES + rng.integers(STYLES, size=count), self._day
        )
        return self._item

    def go_on(self, step: int, count: int, items: Items, first: Ints) -> Items:
        """The next item of the first `count` sessions, whose `items` so far begin at `first`."""
        rng, world, day = self._rng, self._world, self._day
        bounds = np.cumsum([P_SUCCESSOR, P_CATEGORY, P_REPEAT, P_SWITCH])
        move = np.searchsorted(bounds, rng.random(count), side="right")  # 0 … 4, in the order of the P_ above
        worn = np.where(
            rng.random(count) < P_OWN_STYLE, self._style[:count], rng.integers(STYLES, size=count)
        )
        switch = np.flatnonzero(move == 3)
        self._intent[switch] = self._taste[switch, rng.integers(TASTES, size=len(switch))]

        item = world.successor[self._item[:count], worn].astype(np.int32)
        move[(move == 0) & (world.birth[item] > day[:count])] = 1  # not yet born: the category instead
        own = np.flatnonzero((move == 1) | (move == 3))
        item[own] = self._shelves.draw(rng, self._intent[own] * STYLES + worn[own], day[own])
        again = np.flatnonzero(move == 2)
        item[again] = items[first[again] + (rng.random(len(again)) * step).astype(np.int64)]
        lost = np.flatnonzero(move == 4)
        shelf = draw(rng, self._popular, len(lost)) * STYLES + rng.integers(STYLES, size=len(lost))
        item[lost] = self._shelves.draw(rng, shelf, day[lost])
        self._item = item
        return item
