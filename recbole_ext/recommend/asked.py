"""What is asked: sessions as a shop has them, by the shop's own ids, as the arrays that a model reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from recbole_ext.data.live import Earlier, LiveSessions
from recbole_ext.data.shelf import Shelf
from recbole_ext.errors import UsageError, did_you_mean
from recbole_ext.segments import owner_of, runs, spans, start_of
from recbole_ext.wording import several

NAMED = 5  # unknown items that a report names
SHOWN = 3  # names that show what names look like
LATEST = 7_258_118_400  # Unix time of the first second after 2199, which milliseconds of today are behind

Item = str | int
Start = Literal["popular", "learnt", "not learnt"]
_POPULAR = "--empty popular lists popular items instead (empty='popular' in Python and over HTTP)"
_STARTS: Mapping[Start, str] = {
    "popular": "popular items are listed",
    "learnt": f"what the model ranks before a first event is listed; {_POPULAR}",
    "not learnt": "what is listed is no more than a guess, as the model never learnt to begin a session (networks do "
    f"with empty_history: True); {_POPULAR}",
}


@dataclass(frozen=True)
class Session:
    """One session of now.

    items: the shop's ids, oldest first. id: what the list is called; None: its place among the sessions. history: the
    visitor's earlier sessions, oldest first, each its items. times: when each event happened, Unix seconds or what the
    log has. events: the kind of each event, as the log calls it.
    """

    items: Sequence[Item]
    id: Any = None
    history: Sequence[Sequence[Item]] = ()
    times: Sequence[float] | None = None
    events: Sequence[str] | None = None


@dataclass
class Report:
    """What became of a question.

    items: events with an item. unknown_items: of these, events whose item the model does not know; they were left out.
    unknown: some of these items. unknown_in_choice: items of exclude and candidates that it does not know.
    unknown_in_history: events of the visitors' pasts whose item it does not know; they were left out.
    without_known_item: sessions of which nothing was left. cut: sessions longer than the model reads. short: lists with
    fewer than k items. unknown_events: events of a kind that the log does not have. notes: the same in sentences.
    """

    sessions: int = 0
    items: int = 0
    unknown_items: int = 0
    unknown: list[str] = field(default_factory=list)
    unknown_in_choice: int = 0
    unknown_in_history: int = 0
    without_known_item: int = 0
    cut: int = 0
    short: int = 0
    unknown_events: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def nothing_known(self) -> bool:
        """Whether there are items, and the model knows none of them."""
        return 0 < self.items == self.unknown_items

    def of_none(self, names: np.ndarray) -> str:
        """What to say where nothing is known; names: (n_items,) of the model's items."""
        said = "the item is not" if self.items == 1 else f"none of the {self.items:,} items is"
        own = ", ".join(names[1 : 1 + SHOWN])
        return f"{said} known to this model: yours look like {', '.join(self.unknown[:SHOWN])}, its own like {own}"

    def tell(self, longest: int | None, start: Start, names: np.ndarray) -> None:
        """Write the notes. longest: events that the model reads. start: what a session without a known item gets.
        names: (n_items,) of the model's items."""
        said = (
            (
                self.unknown_items,
                "event",
                f"left out, as the model does not know the item: {', '.join(self.unknown)}",
            ),
            (self.unknown_events, "event", "of a kind that the log does not have"),
            (
                self.unknown_in_history,
                "event",
                "of the visitors' pasts left out, as the model does not know their items",
            ),
            (self.unknown_in_choice, "item", "of exclude and candidates that the model does not know"),
            (self.without_known_item, "session", f"without a known item: {_STARTS[start]}"),
            (
                self.cut,
                "session",
                f"with more than the {longest} events that the model reads: the last ones count",
            ),
            (
                self.short,
                "list",
                "shorter than asked, as no more items can stand there: --fill adds popular ones (over HTTP fill)",
            ),
        )
        self.notes = [f"{several(count, one)} {sentence}" for count, one, sentence in said if count]
        if self.nothing_known:
            self.notes[0] = self.of_none(names)

    def add(self, other: Report) -> None:
        """Count what became of another question too."""
        for name in (
            "sessions",
            "items",
            "unknown_items",
            "unknown_in_choice",
            "unknown_in_history",
            "without_known_item",
            "cut",
            "short",
            "unknown_events",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.unknown = list(dict.fromkeys([*self.unknown, *other.unknown]))[:NAMED]


@dataclass(frozen=True)
class Asked:
    """labels: (S,) what each list is called. live: the sessions. report: what was left out so far."""

    labels: np.ndarray
    live: LiveSessions
    report: Report


def asked(sessions: Any, history: Any, catalogue: Shelf, visitors: bool) -> Asked:
    """Sessions in any of the ways of `Recommender.recommend`.

    visitors: whether the model reads a visitor's past. Raises UsageError for what cannot be read.
    """
    if is_frame(sessions):
        return _of_frame(sessions, history, catalogue, visitors)
    if isinstance(sessions, str | bytes | Mapping | Session) or not isinstance(sessions, Iterable):
        raise UsageError(
            f"sessions are {type(sessions).__name__}: give a list of sessions, each a list of items, or a frame with "
            "the columns session and item"
        )
    return _of_lists(
        [_session(one, place) for place, one in enumerate(sessions)], history, catalogue, visitors
    )


# --- lists --------------------------------------------------------------------------------------------------


def _session(given: Any, place: int) -> Session:
    if isinstance(given, Session):
        if isinstance(given.items, str | bytes):
            raise UsageError(
                f"items of session {place} are {given.items!r:.60}: write a list, such as ['4711', '42']"
            )
        return given
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise UsageError(f"session {place} is {given!r:.60}: write a list of items, such as ['4711', '42']")
    return Session(list(given))


def _of_lists(sessions: list[Session], history: Any, catalogue: Shelf, visitors: bool) -> Asked:
    report = Report(sessions=len(sessions))
    labels = np.empty(len(sessions), dtype=object)
    labels[:] = [place if one.id is None else one.id for place, one in enumerate(sessions)]
    flat = [name_of(item) for one in sessions for item in one.items]
    length = np.array([len(one.items) for one in sessions], dtype=np.int64)
    time = _listed(sessions, "times", length)
    kinds = _listed(sessions, "events", length)
    earlier = _earlier_of_lists(sessions, history, catalogue, visitors, report)
    return _asked(labels, flat, length, _seconds(time, catalogue), kinds, earlier, catalogue, report)


def _listed(sessions: list[Session], name: str, length: np.ndarray) -> np.ndarray | None:
    """(E,) one value an event, where every session that has events has them."""
    given = [getattr(one, name) for one in sessions]
    if all(values is None for values in given):
        return None
    for place, (values, count) in enumerate(zip(given, length)):
        if len(values or ()) != count:
            has = f"{several(int(count), 'item')} and {several(len(values or ()), name.removesuffix('s'))}"
            raise UsageError(f"session {place} has {has}: give one an item")
    return np.array([value for values in given for value in values or ()])


def _earlier_of_lists(
    sessions: list[Session], history: Any, catalogue: Shelf, visitors: bool, report: Report
) -> Earlier | None:
    if history is None:
        pasts: list[Any] = [one.history for one in sessions]
        if not any(len(past) for past in pasts):
            return None
    elif is_frame(history):
        raise UsageError(
            "history is a frame, and the sessions are lists: give frames both, with a column user"
        )
    else:
        pasts = list(history)
        if len(pasts) != len(sessions):
            raise UsageError(
                f"history has {len(pasts)} entries for {len(sessions)} sessions: give each session the list of its "
                "visitor's earlier sessions, which may be empty"
            )
    _require_visitors(visitors)
    owner, length, item = [], [], []
    for place, past in enumerate(pasts):
        for session in _sessions_of(past):
            known = [row for row in item_rows(session, catalogue).tolist() if row]
            report.unknown_in_history += len(session) - len(known)
            if known:
                owner.append(place)
                length.append(len(known))
                item += known
    return Earlier(*(np.array(column, dtype=np.int64) for column in (owner, length, item)))


def _sessions_of(past: Any) -> list[list[Any]]:
    """A visitor's earlier sessions; a plain list of items is one session."""
    if isinstance(past, str) or not isinstance(past, Iterable):
        raise UsageError(
            f"history holds {past!r:.60}: give each session the list of its visitor's earlier sessions"
        )
    past = list(past)
    if past and all(isinstance(one, str | int | np.integer) for one in past):
        return [past]
    for session in past:
        if isinstance(session, str | int) or not isinstance(session, Iterable):
            raise UsageError(
                "history mixes items and sessions: give a list of sessions, each a list of items"
            )
    return [list(session) for session in past]


# --- frames -------------------------------------------------------------------------------------------------


def is_frame(value: Any) -> bool:
    """Whether a value is a frame of pandas or polars."""
    return hasattr(value, "columns") and hasattr(value, "shape")


def _column(frame: Any, name: str) -> np.ndarray:
    return np.asarray(frame[name].to_numpy())


def _names(frame: Any, catalogue: Shelf, user_field: str = "user_id") -> dict[str, str]:
    """Columns of a frame by what they are: session, item, time, event, user, or as the log calls them."""
    known = {
        "session": catalogue.session_field,
        "item": catalogue.item_field,
        "time": catalogue.time_field,
        "event": catalogue.event_field or "event",
        "user": user_field,
    }
    columns = [str(name) for name in frame.columns]
    found = {}
    for name, of_log in known.items():
        there = [column for column in dict.fromkeys((name, of_log)) if column in columns]
        if there:
            found[name] = there[0]
    return found


def _require(columns: Mapping[str, str], wanted: Sequence[str], frame: Any, what: str) -> None:
    for name in wanted:
        if name not in columns:
            there = [str(column) for column in frame.columns]
            hint = did_you_mean(name, there) or f": it has {', '.join(there) or 'none'}"
            raise UsageError(f"{what} have no column {name}{hint}")


def _of_frame(frame: Any, history: Any, catalogue: Shelf, visitors: bool) -> Asked:
    columns = _names(frame, catalogue)
    _require(columns, ("session", "item"), frame, "the sessions")
    code, labels = pd.factorize(_column(frame, columns["session"]))
    if (code < 0).any():
        raise UsageError(
            f"row {int(np.argmax(code < 0))} of the sessions names no session: fill the column session"
        )
    time = _seconds(_column(frame, columns["time"]), catalogue) if "time" in columns else None
    order = np.argsort(code, kind="stable") if time is None else np.lexsort((time, code))
    code = code[order]
    items = _column(frame, columns["item"])[order]
    there = ~pd.isna(items)  # a session without an event has a row without an item
    length = np.bincount(code[there], minlength=len(labels))
    time = None if time is None else time[order][there]
    kinds = _column(frame, columns["event"])[order][there] if "event" in columns else None
    report = Report(sessions=len(labels))
    owned = np.empty(len(labels), dtype=object)
    owned[:] = list(labels)
    earlier = None
    if history is not None:
        _require_visitors(visitors)
        opened = np.full(len(labels), np.inf)
        if time is not None:
            np.minimum.at(opened, code[there], time)
        earlier = _earlier_of_frame(frame, columns, history, code, order, owned, opened, catalogue, report)
    return _asked(owned, items[there], length, time, kinds, earlier, catalogue, report)


def _earlier_of_frame(
    frame: Any,
    columns: Mapping[str, str],
    history: Any,
    code: np.ndarray,
    order: np.ndarray,
    labels: np.ndarray,
    opened: np.ndarray,
    catalogue: Shelf,
    report: Report,
) -> Earlier:
    """What `history` has of the visitors, before `opened` (S,) and in other sessions than theirs.

    code: (E,) ascending session of each row of `frame` in `order`.
    """
    if not is_frame(history):
        raise UsageError(
            "the sessions are a frame, and history is none: give a frame with user, session and item"
        )
    _require(columns, ("user",), frame, "the sessions")
    past = _names(history, catalogue)
    _require(past, ("user", "session", "item"), history, "history's rows")
    first = np.searchsorted(code, np.arange(len(labels)))
    own_user = _column(frame, columns["user"])[order][first]
    row = item_rows(_column(history, past["item"]), catalogue)
    user = pd.Index(pd.unique(own_user[~pd.isna(own_user)]))
    whose = user.get_indexer(_column(history, past["user"]))
    session, session_labels = pd.factorize(_column(history, past["session"]))
    time = _seconds(_column(history, past["time"]), catalogue) if "time" in past else None
    kept = (whose >= 0) & (session >= 0)
    report.unknown_in_history = int((kept & (row == 0)).sum())
    kept &= row > 0
    row, whose, session = row[kept], whose[kept], session[kept]
    begin = np.full(len(session_labels), np.inf)
    if time is None:
        time_kept = None
        np.minimum.at(begin, session, np.arange(len(session)))
    else:
        time_kept = time[kept]
        np.minimum.at(begin, session, time_kept)
    keys = (np.arange(len(row)) if time_kept is None else time_kept, session, begin[session], whose)
    sorted_ = np.lexsort(keys)
    row, whose, session = row[sorted_], whose[sorted_], session[sorted_]
    when = None if time_kept is None else time_kept[sorted_]
    # each session has a copy of its visitor's events
    have = np.bincount(whose, minlength=len(user))
    mine = user.get_indexer(own_user)
    count = np.where(mine >= 0, have[np.maximum(mine, 0)] if len(user) else 0, 0)
    place = spans(
        start_of(have)[np.maximum(mine, 0)] if len(user) else np.zeros(len(mine), dtype=np.int64), count
    )
    owner = owner_of(count)
    own_label = pd.Index(session_labels).get_indexer(labels)
    kept = session[place] != own_label[owner]
    if when is not None:
        kept &= when[place] <= opened[owner]
    place, owner = place[kept], owner[kept]
    start, length = runs(owner * (len(session_labels) + 1) + session[place])
    return Earlier(owner[start], length, row[place], None if when is None else when[place])


# --- what both become ---------------------------------------------------------------------------------------


def _asked(
    labels: np.ndarray,
    items: Any,
    length: np.ndarray,
    time: np.ndarray | None,
    kinds: np.ndarray | None,
    earlier: Earlier | None,
    catalogue: Shelf,
    report: Report,
) -> Asked:
    """Unknown items left out and counted."""
    row = item_rows(items, catalogue)
    known = row > 0
    report.items = len(row)
    if not known.all():
        report.unknown_items = int((~known).sum())
        names = [str(items[place]) for place in np.flatnonzero(~known)[: 10 * NAMED]]
        report.unknown = list(dict.fromkeys(names))[:NAMED]
        length = np.bincount(owner_of(length)[known], minlength=len(length))
        row = row[known]
        time, kinds = (None if column is None else column[known] for column in (time, kinds))
    report.without_known_item = int((length == 0).sum())
    event = None
    if kinds is not None:
        event = np.array([catalogue.events.get(str(kind), 0) for kind in kinds], dtype=np.int64)
        report.unknown_events = int((event == 0).sum())
    return Asked(labels, LiveSessions(row, length.astype(np.int64), time, event, earlier), report)


def item_rows(items: Any, catalogue: Shelf) -> np.ndarray:
    """(E,) int64 row of each item, 0 where it is unknown."""
    if isinstance(items, np.ndarray) and len(items) > 64:  # each name once
        code, names = pd.factorize(items)
        rows = np.array([*(row_of(name, catalogue) for name in names), 0], dtype=np.int64)
        return rows[code]
    return np.array([row_of(item, catalogue) for item in items], dtype=np.int64)


def row_of(item: Any, catalogue: Shelf) -> int:
    """Row of an item, 0 where it is unknown. A text such as 17.0, which pandas makes of 17 where a column has blanks,
    is item 17 where there is no item of that very name."""
    name = name_of(item)
    row = catalogue.rows.get(name, 0)
    if row or not name.endswith(".0"):
        return row
    return catalogue.rows.get(name[:-2], 0) if name[:-2].removeprefix("-").isdecimal() else 0


def name_of(item: Any) -> str:
    """An item's name as the log writes it: whole numbers without a point."""
    if isinstance(item, str):
        return item
    if isinstance(item, float | np.floating):
        return str(int(item)) if float(item).is_integer() else str(item)
    if isinstance(item, bool | np.bool_) or not isinstance(item, int | np.integer):
        raise UsageError(f"{item!r:.60} is no item: write its id as text or a whole number")
    return str(item)


def _seconds(time: np.ndarray | None, catalogue: Shelf) -> np.ndarray | None:
    """(E,) float64 timestamps of the log: seconds since its origin, or running numbers where it has no times.

    time: dates, texts of dates as ISO 8601 writes them (UTC where no zone is named), or Unix seconds.
    """
    if time is None:
        return None
    dates = time.dtype.kind == "M"
    if dates:
        seconds = time.astype("datetime64[ns]").astype(np.int64) / 1e9
        seconds[np.isnat(time)] = np.nan
    else:
        try:
            seconds = time.astype(np.float64)
        except (TypeError, ValueError):
            seconds, dates = _seconds_of_texts(time), True
    if dates and catalogue.time_origin is None:
        raise UsageError("the times are dates, and the log has running numbers: leave the column time out")
    if np.isnan(seconds).any():
        raise UsageError("an event has no time: fill the column time, or leave it out")
    if not catalogue.time_origin:  # running numbers, or a log without a manifest, whose unit is its own
        return seconds
    late = np.abs(seconds) > LATEST
    if late.any():
        raise UsageError(
            f"the times hold {time[np.argmax(late)]!s:.40}, which is after 2199: write Unix seconds, not milliseconds"
        )
    return seconds - catalogue.time_origin


def _seconds_of_texts(time: np.ndarray) -> np.ndarray:
    """(E,) float64 Unix seconds, nan where there is no time, of texts of dates; UsageError where one is none."""
    texts = pd.Series(time, dtype=object)
    given = texts.notna()
    texts = texts[given].astype(str).str.strip().str.replace(r" ?UTC$", "Z", regex=True)
    # pandas would read 1000 as a year
    whole = texts.str.fullmatch(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")
    read = pd.to_datetime(texts.where(whole), utc=True, format="ISO8601", errors="coerce")
    if read.isna().any():
        wrong = str(time[given.to_numpy()][int(np.argmax(read.isna()))])
        raise UsageError(
            f"the times hold {wrong!r:.40}: write all as Unix seconds, "
            "or all as dates such as 2026-11-28 or 2026-11-28T21:45:00+01:00 (UTC where no zone is named)"
        )
    seconds = np.full(len(time), np.nan)
    seconds[given.to_numpy()] = read.dt.tz_localize(None).to_numpy("datetime64[ns]").astype(np.int64) / 1e9
    return seconds


def _require_visitors(visitors: bool) -> None:
    if not visitors:
        raise UsageError("this model reads no visitor's past: leave history out")
