"""Which events of a log stay, which part of it each session belongs to, which items are cold: before ids are given out.

In this order, as far as the protocol asks: sessions beyond the cap of a user go; the split is made, once, of what is
left; sessions and items outside the limits go; items are drawn and taken out of training; the limits again. All of it
are functions from a log to a smaller one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from recbole_ext.data import cold, filters, splits
from recbole_ext.data.codes import Codes
from recbole_ext.data.filters import Limits
from recbole_ext.data.splits import Parting
from recbole_ext.data.tokens import Tokens
from recbole_ext.errors import UsageError
from recbole_ext.segments import start_of
from recbole_ext.settings.protocol_values import ColdItems
from recbole_ext.wording import several


@dataclass(frozen=True)
class Wanted:
    """What the protocol asks; a config key is read only where another one makes it matter.

    sessions_per_user: None: all. limits: on numbers of events of sessions and of items; passes, on_training: of them.
    parting: None where nothing looks at the training part.
    """

    sessions_per_user: int | None
    limits: tuple[Limits | None, Limits | None] | None
    passes: int | None
    on_training: bool
    cold_items: ColdItems | None
    parting: Parting | None

    @classmethod
    def of(cls, config: Any, folder: str) -> Wanted:
        """As the config says it; `folder`: of the atomic files."""
        sessions, items = (filters.parse_limits(config, key) for key in filters.CORE_KEYS)
        limits = None if sessions is items is None else (sessions, items)
        on_training = limits is not None and splits.chosen_part(config) == "train"
        cold_items = cold.settings_of(config)
        return cls(
            config["max_sessions_per_user"],
            limits,
            None if limits is None else config["inter_num_passes"],
            on_training,
            cold_items,
            Parting.of(config, folder) if on_training or cold_items is not None else None,
        )

    @property
    def needs_time(self) -> bool:
        """Whether anything asks when events happened."""
        return self.sessions_per_user is not None or self.parting is not None


@dataclass(frozen=True)
class Log:
    """E events as flat columns, in the order of the file, and whose features there are.

    place: (E,) where each event stands in the file. session, item: (E,) numbers by first occurrence, and the tokens
    that they stand for, (sessions,) and (items,): themselves, or codes of `session_codes` and `item_codes`.
    time: (E,) float64 seconds. user: (E,) numbers, -1 where unknown. split: (E,) the `split` column, places in `kinds`.
    These three are None where nobody asks or there are none.
    session_rows, item_rows: tokens in the tables of features, None without a table. name: for messages.
    """

    name: str
    place: np.ndarray
    session: np.ndarray
    sessions: np.ndarray
    item: np.ndarray
    items: np.ndarray
    time: np.ndarray | None = None
    user: np.ndarray | None = None
    split: np.ndarray | None = None
    kinds: np.ndarray | None = None
    session_rows: np.ndarray | None = None
    item_rows: np.ndarray | None = None
    session_codes: Codes | None = None
    item_codes: Codes | None = None

    @classmethod
    def of(cls, dataset: Any, wanted: Wanted) -> Log:
        """The data frames of a RecBole data set, as far as they are wanted; UsageError where no column has the user."""
        events, column = dataset.inter_feat, splits.SPLIT_COLUMN
        session, sessions = pd.factorize(events[dataset.uid_field])
        item, items = pd.factorize(events[dataset.iid_field])
        given = wanted.parting is not None and wanted.parting.split.name == "given" and column in events
        split, kinds = _places(dataset, column) if given else (None, None)
        time = events[dataset.time_field].to_numpy(dtype=np.float64) if wanted.needs_time else None
        users = None
        if wanted.sessions_per_user is not None:
            users = _users(events, dataset.config["LINK_USER_FIELD"])
        return cls(
            dataset.dataset_name,
            np.arange(len(events)),
            session,
            np.asarray(sessions),
            item,
            np.asarray(items),
            time=time,
            user=users,
            split=split,
            kinds=kinds,
            session_rows=_tokens(dataset.user_feat, dataset.uid_field),
            item_rows=_tokens(dataset.item_feat, dataset.iid_field),
            session_codes=_codes(dataset, dataset.uid_field),
            item_codes=_codes(dataset, dataset.iid_field),
        )

    def session_tokens(self, sessions: np.ndarray) -> Sequence[str] | np.ndarray:
        """Of some of `sessions`."""
        return _named(sessions, self.session_codes)

    def item_tokens(self, items: np.ndarray) -> Sequence[str] | np.ndarray:
        """Of some of `items`."""
        return _named(items, self.item_codes)

    def left(self, keep: np.ndarray) -> Log:
        """The events of `keep` (E,) bool, sessions and items numbered anew."""
        if keep.all():
            return self
        session, sessions = pd.factorize(self.session[keep])
        item, items = pd.factorize(self.item[keep])
        time, user, split = (
            None if column is None else column[keep] for column in (self.time, self.user, self.split)
        )
        return replace(
            self,
            place=self.place[keep],
            session=session,
            sessions=self.sessions[sessions],
            item=item,
            items=self.items[items],
            time=time,
            user=user,
            split=split,
        )

    @property
    def times(self) -> np.ndarray:
        """`time` where somebody has asked for it; every event has one then, see data/times.py."""
        assert self.time is not None
        return self.time


def _users(events: pd.DataFrame, field: str) -> np.ndarray:
    if field not in events:
        raise UsageError(
            f"max_sessions_per_user needs the user of each session, but the .inter file has no column {field}: "
            "set LINK_USER_FIELD, or leave max_sessions_per_user out"
        )
    column = events[field]
    return column.to_numpy() if column.dtype.kind == "i" else pd.factorize(column)[0]


def _places(dataset: Any, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The column's values (E,) as places in its texts, the last one of those that are missing."""
    codes, values = _codes(dataset, column), dataset.inter_feat[column].to_numpy()
    if codes is None:
        return pd.factorize(values.astype(str))
    names = codes.names(np.arange(len(codes))).cast(pl.String)
    return values, np.array([*names, "nan"])


def _codes(dataset: Any, field: str) -> Codes | None:
    """What a column holds codes of; None: it holds tokens."""
    return getattr(dataset, "codes", {}).get(field)


def _named(values: np.ndarray, codes: Codes | None) -> Sequence[str] | np.ndarray:
    """Tokens (n,) of a log, which are these values themselves where it has no codes."""
    return values if codes is None else Tokens(codes.names(values)).some(np.arange(1, len(values) + 1))


def _tokens(table: pd.DataFrame | None, field: str) -> np.ndarray | None:
    return None if table is None else table[field].to_numpy()


@dataclass(frozen=True)
class Parts:
    """The split as it was made. by_session: TRAIN, VALID or TEST by token, or by its place in the log's names.

    held_out_time: under `session_time` the start of the first session that does not train: no event from then on does.
    """

    by_session: pd.Series
    held_out_time: float

    def training(self, log: Log) -> tuple[np.ndarray, np.ndarray]:
        """Which events (E,) train, and which sessions (S,) do."""
        trains = self.by_session.loc[log.sessions].to_numpy() == splits.TRAIN
        return trains[log.session] & (log.times < self.held_out_time), trains


@dataclass(frozen=True)
class Prepared:
    """What is left. parts: None where nothing looked at them. held_out: of the log's items those that are cold.

    notes: sentences that the reader of a result has to know.
    """

    log: Log
    parts: Parts | None
    held_out: np.ndarray | None
    notes: list[str]


def prepare(log: Log, wanted: Wanted) -> Prepared:
    """All that is wanted, in order. Raises UsageError where nothing would be left, or the split cannot be made."""
    notes = []
    parts: Parts | None = None
    held_out: np.ndarray | None = None
    if wanted.sessions_per_user is not None:
        log, note = _capped(log, wanted.sessions_per_user)
        notes.append(note)
    if wanted.parting is not None and wanted.on_training:
        parts = parted(log, wanted.parting)
    log = _limited(log, wanted, parts, ())
    if wanted.parting is not None and wanted.cold_items is not None:
        parts = parts or parted(log, wanted.parting)
        log, held_out, note = _without_cold(log, wanted.cold_items, parts)
        notes.append(note)
        log = _limited(log, wanted, parts, held_out)  # those that were inside may no longer be
    return Prepared(log, parts, held_out, notes)


def _capped(log: Log, most: int) -> tuple[Log, str]:
    """At most so many sessions a user; whose a session is, its first event says."""
    assert log.user is not None
    time = log.times
    by_time = np.lexsort((time, log.session))
    first = by_time[np.searchsorted(log.session[by_time], np.arange(len(log.sessions)))]
    in_order = np.argsort(time[first], kind="stable")
    user = log.user[first]
    keep = np.empty(len(first), dtype=bool)
    keep[in_order] = filters.spread(user[in_order], most)
    left_out, users = int((~keep).sum()), len(np.unique(user[~keep]))
    note = f"at most {several(most, 'session')} a user: "
    note += f"{several(left_out, 'session')} of {several(users, 'user')} left out"
    return log.left(keep[log.session]), note


def parted(log: Log, parting: Parting) -> Parts:
    """The split, made of the log as it is, which knows its times, and its `split` column where that is the split.

    Raises UsageError as `splits.session_parts` does.
    """
    start = np.full(len(log.sessions), np.inf)
    np.minimum.at(start, log.session, log.times)
    in_order = np.argsort(start, kind="stable")
    labels = None if log.split is None else _labels(log, log.split)[in_order]
    parts = np.empty(len(start), dtype=np.int8)
    names = log.session_tokens(log.sessions[in_order])
    parts[in_order] = splits.session_parts(parting, start[in_order], labels, names)
    by_time = parting.split.name == "session_time"
    held_out_time = start[parts != splits.TRAIN].min() if by_time else np.inf
    return Parts(pd.Series(parts, index=log.sessions), held_out_time)


def _labels(log: Log, split: np.ndarray) -> np.ndarray:
    by_session = np.argsort(log.session, kind="stable")
    length = np.bincount(log.session)
    assert log.kinds is not None
    names = log.session_tokens(log.sessions)
    return splits.session_labels(split[by_session], log.kinds, start_of(length), length, names)


def _limited(log: Log, wanted: Wanted, parts: Parts | None, held_out: Sequence[str] | np.ndarray) -> Log:
    """Without sessions and items outside the limits, and their features, which would be candidates without an event.

    held_out: items that stay however many events they have.
    """
    if wanted.limits is None:
        return log
    counted, removable = np.ones(len(log.session), dtype=bool), np.ones(len(log.sessions), dtype=bool)
    if wanted.on_training and parts is not None:
        counted, removable = parts.training(log)
    exempt = pd.Index(log.items).isin(held_out)
    of_sessions, of_items = wanted.limits
    keep = filters.core(
        log.session, log.item, counted, removable, of_sessions, of_items, wanted.passes, exempt
    )
    if not keep.any():
        raise UsageError(
            f"{' and '.join(filters.CORE_KEYS)} leave no event of {log.name}: lower their limits"
        )
    left = log.left(keep)
    return replace(
        left,
        session_rows=_rows_left(log.session_rows, log.sessions, left.sessions, of_sessions, ()),
        item_rows=_rows_left(log.item_rows, log.items, left.items, of_items, held_out),
    )


def _rows_left(
    rows: np.ndarray | None,
    before: np.ndarray,
    after: np.ndarray,
    limits: Limits | None,
    exempt: Sequence[str] | np.ndarray,
) -> np.ndarray | None:
    """Tokens of a table of features whose events are left, or who had none and may have none."""
    if rows is None or limits is None:
        return rows
    tokens = pd.Index(rows)
    stays = tokens.isin(after) | tokens.isin(exempt)
    if filters.within(np.zeros(1), limits)[0]:
        stays |= ~tokens.isin(before)
    return rows[stays]


def _without_cold(log: Log, wanted: ColdItems, parts: Parts) -> tuple[Log, np.ndarray, str]:
    """Draw items of training events, and take all events of theirs out of the sessions that train."""
    counted, trains = parts.training(log)
    trained = np.unique(log.item[counted])
    items = log.items[trained]
    chosen = cold.drawn(log.item_tokens(items), wanted)
    leaves = trains[log.session] & np.isin(log.item, trained[chosen])
    if not (counted & ~leaves).any():
        written = wanted.model_dump(exclude_unset=True)
        raise UsageError(f"cold_items {written} leaves no training event: lower holdout")
    note = (
        f"cold_items: {int(chosen.sum()):,} of {several(len(items), 'training item')} ({wanted}) and their "
    )
    note += f"{several(int(leaves.sum()), 'training event')} held out"
    return log.left(~leaves), items[chosen], note


def time_order(session: np.ndarray, time: np.ndarray, start: np.ndarray) -> np.ndarray | None:
    """(E,) the order of events by session start, session, time; None where they have it. start: by session."""
    keys = (time, session, start[session])  # last one first
    undecided = np.ones(max(len(session) - 1, 0), dtype=bool)
    for key in reversed(keys):
        before, after = key[:-1], key[1:]
        if (undecided & (before > after)).any():
            return np.lexsort(keys)
        undecided &= before == after
    return None
