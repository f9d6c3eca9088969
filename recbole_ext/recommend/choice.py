"""Which items may stand in a list: for all sessions alike, and for each of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_ext.data.catalogue import Catalogue
from recbole_ext.errors import UsageError
from recbole_ext.recommend.asked import item_rows
from recbole_ext.scores.top import best_items
from recbole_ext.segments import owner_of, spans, start_of

FEW = 0.25  # share of the items up to which the scores of those that may stand are taken out
MANY_HIDDEN = 0.05  # share from which hiding all items' scores at once is quicker than one by one


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

    def best(self, scores: Tensor, sessions: np.ndarray, k: int) -> tuple[Tensor, Tensor]:
        """(n, K) items and scores of the best that may stand, K at most k; what may not, or is no candidate, has -inf.

        scores: (n, n_items) of `sessions` (n,), which are overwritten.
        """
        device = scores.device
        for part in self.without:
            row, item = (torch.from_numpy(x).to(device) for x in part.pairs(sessions))
            scores[row, item] = -torch.inf
        if self.only is not None:
            row, item = (torch.from_numpy(x).to(device) for x in self.only.pairs(sessions))
            alone = torch.full_like(scores, -torch.inf)
            alone[row, item] = scores[row, item]
            scores = alone
        if self.open is None:
            return best_items(scores, min(k, scores.shape[1]))
        count = int(self.open.sum())
        if count <= FEW * scores.shape[1]:
            kept = torch.from_numpy(np.flatnonzero(self.open)).to(device)
            if not count:
                nothing = scores.new_empty(len(scores), 0)
                return nothing.long(), nothing
            items, values = best_items(scores[:, kept], min(k, count))
            return kept[items], values
        hidden = torch.from_numpy(np.flatnonzero(~self.open)).to(device)
        if len(hidden) > MANY_HIDDEN * scores.shape[1]:
            bias = torch.zeros(scores.shape[1], device=device)
            bias[hidden] = -torch.inf
            scores.add_(bias)
        else:
            scores[:, hidden] = -torch.inf
        return best_items(scores, min(k, scores.shape[1]))

    def allowed(self, session: int) -> np.ndarray | None:
        """(n_items,) bool, items that may stand in one session's list; None: all."""
        one = np.array([session])
        if self.open is None and not self.without and self.only is None:
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

    def best(self, scores: Tensor, sessions: np.ndarray, k: int) -> tuple[Tensor, Tensor]:
        """As that of Choice."""
        which, place = self.which[sessions], self.place[sessions]
        if len(self.choices) == 1:
            return self.choices[0].best(scores, place, k)
        width = min(k, scores.shape[1])
        items = torch.zeros(len(scores), width, dtype=torch.int64, device=scores.device)
        values = torch.full((len(scores), width), -torch.inf, dtype=scores.dtype, device=scores.device)
        for number, choice in enumerate(self.choices):
            own = np.flatnonzero(which == number)
            if not len(own):
                continue
            rows = torch.from_numpy(own).to(scores.device)
            best, worth = choice.best(scores[rows], place[own], k)
            items[rows, : best.shape[1]], values[rows, : best.shape[1]] = best, worth
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
    catalogue: Catalogue,
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
    given: Any, name: str, labels: np.ndarray, catalogue: Catalogue
) -> tuple[np.ndarray, PerSession | None, int]:
    """(P,) rows of items for all, or those of each session, and how many are unknown."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise UsageError(f"{name} is {given!r:.60}: give a list of items, or one a session")
    if isinstance(given, Mapping):
        lists = [list(given.get(label, ())) for label in labels]
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
