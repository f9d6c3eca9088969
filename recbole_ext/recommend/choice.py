"""Which items may stand in a list: for all sessions alike, and for each of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from recbole_ext.data.shelf import Shelf
from recbole_ext.errors import UsageError
from recbole_ext.recommend.asked import item_rows
from recbole_ext.segments import owner_of, spans, start_of

FEW = 0.25  # share of the items up to which the scores of those that may stand are taken out
MANY_HIDDEN = 0.05  # share from which hiding all items' scores at once is quicker than one by one

Best = tuple[np.ndarray, np.ndarray]  # (n, K) int64 items and (n, K) float32 scores


class Means(NamedTuple):
    """What tensors and arrays do each in their own way.

    best: `scores.top.best_items` of scores (n, n_items) and k. add: a bias (n_items,) onto scores, in place.
    """

    best: Callable[[Any, int], Best]
    add: Callable[[Any, np.ndarray], None]


@dataclass(frozen=True)
class PerSession:
    """Items of each of S sessions: (P,) rows of items, session by session, and how many each has (S,)."""

    item: np.ndarray
    length: np.ndarray

    def pairs(self, sessions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(Q,) number among `sessions` (n,), and item, of all items of these sessions."""
        length = self.length[sessions]
        place = spans(start_of(self.length)[sessions], length)
        return owner_of(length), self.item[place]


@dataclass(frozen=True)
class Choice:
    """open: (n_items,) bool, items that may stand in every list; None: all. without, only: of each session, items that
    may not stand, and the ones that alone may; None: nothing of the kind. unknown: named items that the model does not
    know.
    """

    open: np.ndarray | None = None
    without: tuple[PerSession, ...] = ()
    only: PerSession | None = None
    unknown: int = 0

    @property
    def same_for_all(self) -> bool:
        """Whether no session has a choice of its own."""
        return not self.without and self.only is None

    def best(self, scores: Any, sessions: np.ndarray, k: int, means: Means) -> Best:
        """The best that may stand: (n, K) items and scores, K at most k; what may not, or is no candidate, has -inf.

        scores: (n, n_items) of `sessions` (n,), a tensor or an array, which are overwritten. means: of what they
        are.
        """
        for part in self.without:
            row, item = part.pairs(sessions)
            scores[row, item] = -np.inf
        if self.only is not None:
            row, item = self.only.pairs(sessions)
            own = scores[row, item]
            scores[:] = -np.inf
            scores[row, item] = own
        if self.open is None:
            return means.best(scores, min(k, scores.shape[1]))
        count = int(self.open.sum())
        if count <= FEW * scores.shape[1]:
            kept = np.flatnonzero(self.open)
            if not count:
                return np.zeros((len(scores), 0), dtype=np.int64), np.zeros(
                    (len(scores), 0), dtype=np.float32
                )
            items, values = means.best(scores[:, kept], min(k, count))
            return kept[items], values
        if scores.shape[1] - count > MANY_HIDDEN * scores.shape[1]:
            means.add(scores, np.where(self.open, np.float32(0), np.float32(-np.inf)))
        else:
            scores[:, np.flatnonzero(~self.open)] = -np.inf
        return means.best(scores, min(k, scores.shape[1]))

    def allowed(self, session: int) -> np.ndarray | None:
        """(n_items,) bool, items that may stand in one session's list; None: all."""
        one = np.array([session])
        if self.open is None and self.same_for_all:
            return None
        size = len(self.open) if self.open is not None else self._size()
        found = np.ones(size, dtype=bool) if self.open is None else self.open.copy()
        if self.only is not None:
            mine = np.zeros(size, dtype=bool)
            mine[self.only.pairs(one)[1]] = True
            found &= mine
        for part in self.without:
            found[part.pairs(one)[1]] = False
        return found

    def _size(self) -> int:
        parts = [*self.without, *([self.only] if self.only is not None else [])]
        return 1 + max((int(part.item.max(initial=0)) for part in parts), default=0)


@dataclass(frozen=True)
class Several:
    """Choices of questions whose S sessions are scored together.

    choices: those that differ. which: (S,) number of each session's choice. place: (S,) number of the session among
    those of its choice.
    """

    choices: tuple[Choice, ...]
    which: np.ndarray
    place: np.ndarray

    def best(self, scores: Any, sessions: np.ndarray, k: int, means: Means) -> Best:
        """As that of Choice."""
        which, place = self.which[sessions], self.place[sessions]
        if len(self.choices) == 1:
            return self.choices[0].best(scores, place, k, means)
        width = min(k, scores.shape[1])
        items = np.zeros((len(scores), width), dtype=np.int64)
        values = np.full((len(scores), width), -np.inf, dtype=np.float32)
        for number, choice in enumerate(self.choices):
            own = np.flatnonzero(which == number)
            if not len(own):
                continue
            best, worth = choice.best(scores[own], place[own], k, means)
            items[own, : best.shape[1]], values[own, : best.shape[1]] = best, worth
        return items, values


def several(choices: Sequence[Choice], count: Sequence[int]) -> Several:
    """Choices of several questions, of `count` sessions each, those together that hide the same items of all."""
    groups: dict[tuple[str, int], list[int]] = {}
    for number, choice in enumerate(choices):
        alone = choice.only is not None
        groups.setdefault(("alone", number) if alone else ("open", id(choice.open)), []).append(number)
    which, place = (np.zeros(sum(count), dtype=np.int64) for _ in range(2))
    first = np.concatenate(([0], np.cumsum(count)))
    found = []
    for label, group in enumerate(groups.values()):
        have = 0
        for number in group:
            own = slice(first[number], first[number + 1])
            which[own] = label
            place[own] = np.arange(have, have + count[number])
            have += count[number]
        own_choices = [choices[number] for number in group]
        found.append(_merged(own_choices, [count[number] for number in group]))
    return Several(tuple(found), which, place)


def _merged(choices: Sequence[Choice], count: Sequence[int]) -> Choice:
    """One choice for the sessions of several that are open to the same items."""
    if len(choices) == 1:
        return choices[0]
    without = []
    for layer in range(max(len(choice.without) for choice in choices)):
        parts = [
            choice.without[layer]
            if layer < len(choice.without)
            else PerSession(np.zeros(0, dtype=np.int64), np.zeros(sessions, dtype=np.int64))
            for choice, sessions in zip(choices, count)
        ]
        without.append(
            PerSession(np.concatenate([p.item for p in parts]), np.concatenate([p.length for p in parts]))
        )
    return Choice(choices[0].open, tuple(without))


def chosen(
    exclude: Any,
    candidates: Any,
    seen: PerSession | None,
    where: np.ndarray | None,
    labels: np.ndarray,
    catalogue: Shelf,
) -> Choice:
    """What the arguments of `Recommender.recommend` say.

    exclude, candidates: items for all sessions, a list of such lists, one a session, or a mapping from a session to its
    list. seen: the sessions' own items, which may not stand; None: they may. where: (n_items,) bool. Raises UsageError
    for what is none of these.
    """
    open_, without, only, unknown = where, [], None, 0
    if exclude is not None:
        common, own, lost = _items(exclude, "exclude", labels, catalogue)
        unknown += lost
        if own is not None:
            without.append(own)
        elif len(common):
            open_ = np.ones(catalogue.item_num, dtype=bool) if open_ is None else open_.copy()
            open_[common] = False
    if candidates is not None:
        common, own, lost = _items(candidates, "candidates", labels, catalogue)
        unknown += lost
        if own is not None:
            only = own
        else:
            mine = np.zeros(catalogue.item_num, dtype=bool)
            mine[common] = True
            open_ = mine if open_ is None else open_ & mine
    if seen is not None:
        without.append(seen)
    if open_ is not None:
        open_[0] = False
    return Choice(open_, tuple(without), only, unknown)


def _items(
    given: Any, name: str, labels: np.ndarray, catalogue: Shelf
) -> tuple[np.ndarray, PerSession | None, int]:
    """(P,) rows of items for all, or those of each session, and how many are unknown."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise UsageError(f"{name} is {given!r:.60}: give a list of items, or one a session")
    if isinstance(given, Mapping):
        own = {str(label): one for label, one in given.items()}  # JSON's keys are text
        strange = own.keys() - {str(label) for label in labels}
        if strange:
            raise UsageError(
                f"{name} names session {min(strange)!r:.60}, which is none of those asked for: call them by their ids, "
                "or by their places from 0 where they have none"
            )
        lists = [list(own.get(str(label), ())) for label in labels]
    else:
        given = list(given)
        if not any(_is_list(one) for one in given):
            row = item_rows(np.array(given, dtype=object) if len(given) > 64 else given, catalogue)
            return row[row > 0], None, int((row == 0).sum())
        if not all(_is_list(one) for one in given):
            raise UsageError(f"{name} mixes items and lists: give a list of items, or one list a session")
        if len(given) != len(labels):
            raise UsageError(f"{name} has {len(given)} lists for {len(labels)} sessions: give one a session")
        lists = [list(one) for one in given]
    row = item_rows([item for one in lists for item in one], catalogue)
    owner = owner_of(np.array([len(one) for one in lists], dtype=np.int64))
    known = row > 0
    length = np.bincount(owner[known], minlength=len(lists))
    return np.zeros(0, dtype=np.int64), PerSession(row[known], length), int((~known).sum())


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)
