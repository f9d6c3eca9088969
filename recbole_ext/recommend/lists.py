"""Lists for live sessions, whatever ranks: what is asked for is read and checked here, and its answer laid out.

No torch: a folder that was exported is asked by the same code as a run's (recommend/recommender.py).
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from recbole_ext.data.live import LiveSessions, joined
from recbole_ext.data.shelf import Shelf
from recbole_ext.errors import UsageError
from recbole_ext.recommend import asked as questions
from recbole_ext.recommend.asked import Asked, Item, Report, Start, is_frame, item_rows, name_of, row_of
from recbole_ext.recommend.choice import Best, Choice, PerSession, Several, chosen, several
from recbole_ext.recommend.where import matching
from recbole_ext.records import run_name
from recbole_ext.segments import owner_of, start_of

BATCH = 1024  # sessions that are scored at a time
PADDED = 1.5  # times as long as the shortest of them the longest may be
SHORT = 8  # events up to which sessions count as of one length
CONDITIONS = 64  # of `where`, whose items are remembered

Empty = Literal["start", "popular"]


class Ranking(Protocol):
    """What ranks, and what it reads."""

    @property
    def visitors(self) -> bool:
        """Whether it reads a visitor's past."""

    @property
    def longest(self) -> int | None:
        """Events that it reads of a session; None: all of them."""

    @property
    def starts(self) -> bool:
        """Whether it has learnt what it ranks before a first event."""

    def best(
        self, live: LiveSessions, sessions: np.ndarray, choice: Choice | Several, k: int
    ) -> Iterable[tuple[np.ndarray, Best]]:
        """Some of `sessions` at a time, each once, with their best items as `Choice.best` gives them.

        live: the sessions to rank. sessions: (S,) what `choice` calls them.
        """

    def evidence(self, live: LiveSessions, items: np.ndarray) -> dict[str, np.ndarray]:
        """(S, k) what speaks for items (S, k), 0 = none, by column; empty where the model cannot say."""

    def alike(self, items: np.ndarray, choice: Choice, k: int) -> Best | None:
        """The best of items by the cosine of their vectors with those of `items` (B,); None: it has no vectors."""


@dataclass(frozen=True)
class Lists:
    """Lists of S sessions, at most K items each.

    labels: (S,) what the sessions are called. items: (S, K) int64 rows of the catalogue, 0 = none. scores: (S, K)
    float32, nan where an item stands for its popularity alone. evidence: (S, K) float64 by column, empty where nobody
    asked why. names: (n_items,) names of the items. report: what became of the question.
    """

    labels: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    names: np.ndarray
    report: Report
    evidence: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, session: int) -> list[tuple[str, float]]:
        """Name and score of the items of one list, best first; session: its place, from 0."""
        row, there = self.items[session], self.items[session] != 0
        return list(zip(self.names[row[there]].tolist(), self.scores[session][there].tolist()))

    def frame(self) -> pd.DataFrame:
        """One row an item: session, rank (1 = best), item, score, and the evidence; attrs["report"]: the report."""
        row, place = np.nonzero(self.items)
        columns: dict[str, Any] = {
            "session": self.labels[row],
            "rank": place + 1,
            "item": self.names[self.items[row, place]],
            "score": self.scores[row, place],
        }
        for name, values in self.evidence.items():
            columns[name] = values[row, place]
        found = pd.DataFrame(columns)
        found["session"] = found["session"].infer_objects()
        found.attrs["report"] = self.report
        return found


@dataclass(frozen=True)
class Question:
    """One question: the arguments of `Lister.lists`, where they are explained."""

    sessions: Any
    k: int = 20
    exclude: Any = None
    candidates: Any = None
    exclude_seen: bool = False
    where: str | None = None
    history: Any = None
    why: bool = False
    empty: Empty = "start"
    fill: bool = False


@dataclass(frozen=True)
class _Read:
    """A question as arrays: its sessions, and what may stand in their lists."""

    question: Question
    asked: Asked
    choice: Choice

    @property
    def alike(self) -> tuple[bool, ...]:
        """What questions share that one call of the model can answer."""
        live = self.asked.live
        dated = live.earlier is not None and live.earlier.time is not None
        return bool(self.question.why), live.time is None, live.event is None, dated


@dataclass(frozen=True)
class State:
    """What an answer reads; new items put another one in its place, so that an answer sees one or the other.

    category_field: the column of items' categories.
    """

    catalogue: Shelf
    ranking: Ranking
    category_field: str

    @functools.cached_property
    def matching(self) -> Callable[[str], np.ndarray]:
        """(n_items,) bool, items that meet a condition; the last conditions are remembered."""
        return functools.lru_cache(CONDITIONS)(lambda condition: matching(condition, self.catalogue))

    @functools.cached_property
    def categories(self) -> list[frozenset[Any]] | None:
        """Categories of each item; None where the items have none."""
        if self.category_field not in self.catalogue.features:
            return None
        column = self.catalogue.column(self.category_field)
        return [frozenset(v if isinstance(v, tuple) else (v,)) - {""} for v in column]


class Lister(ABC):
    """What answers with lists. Any number of threads may ask."""

    _state: State
    stated: Mapping[str, Any]  # what the folder says of its model

    @property
    @abstractmethod
    def path(self) -> Path:
        """The folder that was loaded."""

    @abstractmethod
    def add_items(self, features: Any) -> int:
        """Rank new items from now on, by their features; how many there are more. UsageError where it cannot."""

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.stated["model"])

    @property
    def run(self) -> str:
        """Name of the run that the model is of."""
        return run_of(self.stated, self.path)

    @property
    def items(self) -> np.ndarray:
        """(n,) names of all items, added ones last."""
        return self._state.catalogue.item_names[1:]

    @property
    def catalogue(self) -> Shelf:
        """What it knows of all items; `add_items` puts another one in its place."""
        return self._state.catalogue

    @property
    def features(self) -> list[str]:
        """Columns of item features, as `where` and `add_items` know them."""
        return list(self._state.catalogue.features)

    @property
    def reads_history(self) -> bool:
        """Whether it reads what a visitor did before the session."""
        return self._state.ranking.visitors

    @property
    def examples(self) -> list[list[str]]:
        """Items of a few test sessions of the run."""
        return [list(items) for items in self.stated["examples"]]

    def category(self, item: Item) -> str:
        """An item's category as text, such as "category 12"; empty where it has none."""
        state = self._state
        row = row_of(item, state.catalogue)
        if state.categories is None or not state.categories[row]:
            return ""
        return f"{state.category_field} {' '.join(sorted(map(str, state.categories[row])))}"

    def tell(self, report: Report, popular: bool) -> None:
        """Write the notes of a report that counts several answers together; popular: `empty` was so."""
        state = self._state
        _tell(state, report, popular)

    def about(self) -> dict[str, Any]:
        """What it is, as plain values: model, data set, seed, when and by which versions it was trained, its items."""
        keys = ("model", "dataset", "seed", "started", "split", "versions", "commit")
        return {
            **{key: self.stated[key] for key in keys},
            "items": len(self.items),
            "features": self.features,
            "events": list(self._state.catalogue.events),
            "reads_history": self.reads_history,
            "longest": self._state.ranking.longest,
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.model}, {len(self.items):,} items, {self.path}>"

    # --- lists -----------------------------------------------------------------------------------------------

    def recommend(
        self,
        sessions: Any,
        k: int = 20,
        *,
        exclude: Any = None,
        candidates: Any = None,
        exclude_seen: bool = False,
        where: str | None = None,
        history: Any = None,
        why: bool = False,
        empty: Empty = "start",
        fill: bool = False,
    ) -> pd.DataFrame:
        """The k best items of each session: a frame of session, rank, item, score; arguments and errors as for `lists`.

        attrs["report"] of the frame is a `Report` of what was left out.
        """
        return self.lists(
            sessions,
            k,
            exclude=exclude,
            candidates=candidates,
            exclude_seen=exclude_seen,
            where=where,
            history=history,
            why=why,
            empty=empty,
            fill=fill,
        ).frame()

    def lists(
        self,
        sessions: Any,
        k: int = 20,
        *,
        exclude: Any = None,
        candidates: Any = None,
        exclude_seen: bool = False,
        where: str | None = None,
        history: Any = None,
        why: bool = False,
        empty: Empty = "start",
        fill: bool = False,
    ) -> Lists:
        """The k best items of each session, as arrays.

        Args:
            sessions: a list of sessions, each a list of items (the shop's own ids), oldest first, or a `Session`; or a
                pandas or polars frame with one row an event and the columns session and item, and where they are
                known time, event, user, or as the log calls these. Events of a frame with times are put in order,
                others come as they stand; a row without an item is a session without events. Times are dates or Unix
                seconds, or running numbers where the log has such.
            k: items of a list, 1 or more.
            exclude: items that may not stand in the lists: a list for all sessions, a list of lists, one a session, or
                a mapping from a session's name to its list.
            candidates: items that alone may, in the same forms.
            exclude_seen: items of the session may not stand in its list.
            where: a condition on item features, such as "available == 1 and price < 50" (recommend/where.py).
            history: what the visitors did before: a list, one entry a session, of the visitor's earlier sessions,
                oldest first; or with a frame of sessions another one with user, session, item, and where known time.
                Events after the session's first one and events of the session itself are no past.
            why: say what speaks for each item: `in_session`, `same_category` (as the session's last item), and from the
                model `from_session`, `from_past` (the pointer's chance of copying it), `neighbours` (how many of the
                nearest sessions hold it), `pairs` (weight of the rule from the last item).
            empty: what a session without any known item gets: `start`, what the model ranks before a first event,
                which it has learnt under `empty_history` alone, as the report says, or `popular`, the most frequent
                items of the log's last days.
            fill: fill lists that the model leaves short with popular items, whose scores are nan.

        Raises UsageError, in one sentence, for what cannot be read or would do nothing, and for a frame of whose items
        the model knows none; of lists, which may be one visitor who looks at new items, the report says so.
        """
        found = self.answer(
            Question(sessions, k, exclude, candidates, exclude_seen, where, history, why, empty, fill)
        )
        if is_frame(sessions):
            self.require_known(found.report)
        return found

    def require_known(self, report: Report, of: str = "") -> None:
        """UsageError where the model knows none of the items that a report is about. of: what the sentence names."""
        if report.nothing_known:
            raise UsageError(f"{of and f'{of}: '}{report.of_none(self._state.catalogue.item_names)}")

    def answer(self, question: Question) -> Lists:
        """As `lists`, which has the arguments one by one, also where the model knows none of the items of a frame."""
        state = self._state
        read = _read(state, question)
        return _answered(
            state, read, *_ranked(state, read.asked.live, read.choice, int(question.k), question.why)
        )

    def together(self, questions: Sequence[Question]) -> list[Lists | UsageError]:
        """What `lists` gives for each question, or the error that it raises, by as few calls of the model as can be.

        Questions share a call where they agree in whether they ask why and whether their events have times and kinds.
        Scores may differ from those of `lists` in the last digits, as a product of more rows is summed otherwise.
        """
        state = self._state
        found: list[Lists | UsageError | None] = [None] * len(questions)
        groups: dict[tuple[bool, ...], list[tuple[int, _Read]]] = {}
        for place, question in enumerate(questions):
            try:
                one = _read(state, question)
            except UsageError as error:
                found[place] = error
            else:
                groups.setdefault(one.alike, []).append((place, one))
        for group in groups.values():
            for (place, _), answer in zip(group, _of_group(state, [one for _, one in group])):
                found[place] = answer
        return [answer for answer in found if answer is not None]

    def similar(
        self,
        items: Item | Sequence[Item],
        k: int = 20,
        *,
        exclude: Any = None,
        candidates: Any = None,
        where: str | None = None,
    ) -> pd.DataFrame:
        """The k items most like each of `items`: a frame of item, rank, similar, score.

        Of a model with item vectors the score is their cosine; of one that counts it is what a session of that item
        alone is given, without the item itself. exclude, candidates, where: as for `lists`. Raises UsageError for an
        item that the model does not know.
        """
        _check_k(k)
        if not isinstance(items, str | int | Iterable):
            raise UsageError(f"items is {items!r:.60}: write an item or a list of items")
        names = [items] if isinstance(items, str | int | np.integer) else list(items)
        state = self._state
        row = item_rows(names, state.catalogue)
        if (row == 0).any():
            raise UsageError(
                f"item {name_of(names[int(np.argmax(row == 0))])} is not known to the model: add_items adds new ones"
            )
        one = np.ones(len(row), dtype=np.int64)
        asked = Asked(np.array([name_of(n) for n in names], dtype=object), LiveSessions(row, one), Report())
        choice = _choice(state, asked, exclude, candidates, True, where)
        near = state.ranking.alike(row, choice, k)
        if near is None:
            found, scores, _ = _ranked(state, asked.live, choice, k, why=False)
        else:
            found = np.zeros((len(row), k), dtype=np.int64)
            scores = np.full((len(row), k), np.nan, dtype=np.float32)
            _put(found, scores, np.arange(len(row)), near)
        frame = Lists(asked.labels, found, scores, state.catalogue.item_names, asked.report).frame()
        return frame.rename(columns={"item": "similar"}).rename(columns={"session": "item"})


def run_of(stated: Mapping[str, Any], path: Path) -> str:
    """Name of the run that a folder's model is of, by what it says; folders of before said nothing."""
    if "run" in stated:
        return str(stated["run"])
    place = path.resolve()
    return run_name(place.parent if place.name == "model" else place)


# --- how --------------------------------------------------------------------------------------------------


def _read(state: State, question: Question) -> _Read:
    """Raises UsageError for what cannot be read."""
    k, empty = question.k, question.empty
    _check_k(k)
    if empty not in ("start", "popular"):
        raise UsageError(f"empty is {empty!r}: write start or popular")
    asked = questions.asked(question.sessions, question.history, state.catalogue, state.ranking.visitors)
    choice = _choice(
        state, asked, question.exclude, question.candidates, question.exclude_seen, question.where
    )
    asked.report.unknown_in_choice = choice.unknown
    return _Read(question, asked, choice)


def _check_k(k: Any) -> None:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise UsageError(f"k is {k!r}: write a whole number from 1")


def _choice(
    state: State, asked: Asked, exclude: Any, candidates: Any, exclude_seen: bool, where: str | None
) -> Choice:
    seen = PerSession(asked.live.item, asked.live.length) if exclude_seen else None
    meets = None if where is None else state.matching(where)
    return chosen(exclude, candidates, seen, meets, asked.labels, state.catalogue)


def _of_group(state: State, group: Sequence[_Read]) -> list[Lists | UsageError]:
    """Answers to questions that one call of the model can answer."""
    lives = [one.asked.live for one in group]
    choice = several([one.choice for one in group], [len(live) for live in lives])
    k, why = max(int(one.question.k) for one in group), bool(group[0].question.why)
    try:
        items, scores, evidence = _ranked(state, joined(lives), choice, k, why)
    except UsageError as error:
        return [error] * len(group)
    found: list[Lists | UsageError] = []
    first = 0
    for one, live in zip(group, lives):
        own = slice(first, first + len(live)), slice(int(one.question.k))
        mine = {name: values[own] for name, values in evidence.items()}
        found.append(_answered(state, one, items[own], scores[own], mine))
        first += len(live)
    return found


def _answered(
    state: State, read_: _Read, items: np.ndarray, scores: np.ndarray, evidence: dict[str, np.ndarray]
) -> Lists:
    """Lists of a question of what the model ranks: (S, k) items and scores, which are overwritten."""
    question, asked, choice = read_.question, read_.asked, read_.choice
    if question.empty == "popular":
        for session in np.flatnonzero(asked.live.length == 0):
            items[session], scores[session] = 0, np.nan
            _popular(state, choice, items[session], int(session))
    found = items != 0
    if question.fill:
        for session in np.flatnonzero(~found.all(axis=1)):
            scores[session, ~found[session]] = np.nan
            _popular(state, choice, items[session], int(session))
    if question.why:
        evidence = {**_plain_evidence(state, asked.live, items), **evidence}
    report, longest = asked.report, state.ranking.longest
    report.cut = 0 if longest is None else int((asked.live.length > longest).sum())
    report.short = int((items == 0).any(axis=1).sum())
    _tell(state, report, question.empty == "popular")
    return Lists(asked.labels, items, scores, state.catalogue.item_names, report, evidence)


def _tell(state: State, report: Report, popular: bool) -> None:
    start: Start = "popular" if popular else "learnt" if state.ranking.starts else "not learnt"
    report.tell(state.ranking.longest, start, state.catalogue.item_names)


def _ranked(
    state: State, live: LiveSessions, choice: Choice | Several, k: int, why: bool
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """(S, k) items, 0 = none, their scores and, by column, what the model says for them."""
    items = np.zeros((len(live), k), dtype=np.int64)
    scores = np.full((len(live), k), np.nan, dtype=np.float32)
    evidence: dict[str, np.ndarray] = {}
    if isinstance(choice, Choice) and choice.same_for_all:
        some, which = live.distinct()
        if len(some) < len(live):
            items, scores, evidence = _ranked(state, live.chosen(some), choice, k, why)
            return items[which], scores[which], {name: values[which] for name, values in evidence.items()}
    for sessions in _batches(live.length):
        batch = live if len(sessions) == len(live) == 1 else live.chosen(sessions)
        for some, best in state.ranking.best(batch, sessions, choice, k):
            _put(items, scores, some, best)
        if why:
            for name, values in state.ranking.evidence(batch, items[sessions]).items():
                evidence.setdefault(name, np.zeros((len(live), k)))[sessions] = values
    return items, scores, evidence


def _batches(length: np.ndarray) -> Iterator[np.ndarray]:
    """Numbers of some sessions of lengths (S,) at a time, short ones first, so that they hold little padding."""
    in_order = np.argsort(length, kind="stable")
    ordered = length[in_order]
    first = 0
    while first < len(in_order):
        most = PADDED * max(int(ordered[first]), SHORT)
        last = min(first + BATCH, int(np.searchsorted(ordered, most, side="right")))
        yield in_order[first:last]
        first = last


def _put(items: np.ndarray, scores: np.ndarray, rows: np.ndarray, best: Best) -> None:
    """Write lists down, less what is no candidate."""
    found, values = best
    there, width = values > -np.inf, found.shape[1]
    items[rows, :width] = found * there
    scores[rows, :width] = np.where(there, values, np.nan)


def _popular(state: State, choice: Choice, row: np.ndarray, session: int) -> None:
    """Fill the free places of one list (k,), which come last, with popular items."""
    have = row[row != 0]
    free = len(row) - len(have)
    allowed = choice.allowed(session)
    popular = state.catalogue.popular
    if allowed is not None:
        whole = np.ones(state.catalogue.item_num, dtype=bool)
        whole[: len(allowed)] = allowed
        if choice.only is not None or choice.open is not None:
            whole[len(allowed) :] = False
        popular = popular[whole[popular]]
    more = popular[~np.isin(popular, have)][:free]
    row[len(have) : len(have) + len(more)] = more


def _plain_evidence(state: State, live: LiveSessions, items: np.ndarray) -> dict[str, np.ndarray]:
    """in_session, and same_category as the session's last item, where items have categories."""
    sets: list[set[int]] = [set() for _ in range(len(live))]
    for session, item in zip(owner_of(live.length).tolist(), live.item.tolist()):
        sets[session].add(item)
    found = {
        "in_session": np.array([[i in own for i in row] for own, row in zip(sets, items.tolist())], bool)
    }
    categories = state.categories
    if categories is not None:
        last = np.where(live.length > 0, start_of(live.length) + live.length - 1, -1)
        own = [categories[live.item[place]] if place >= 0 else frozenset() for place in last]
        same = [[bool(mine & categories[i]) for i in row] for mine, row in zip(own, items.tolist())]
        found["same_category"] = np.array(same, dtype=bool)
    return {name: values.reshape(items.shape) for name, values in found.items()}
