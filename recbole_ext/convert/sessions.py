"""Steps that converters share on events: what a session is, the order of sessions, and who one belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recbole_ext.convert.engine import np, pl

if TYPE_CHECKING:
    import numpy.typing as npt

MINUTE_MS = 60_000
TWO_USERS = "session with two users (first known one kept)"
GIVEN_USER = "event given the user that another event of its session names"
FLOAT32_EXACT = 2**24  # seconds, 194 days
SLICE = 1 << 22  # rows that are looked up at once


def number_sessions(events: pl.DataFrame, gap_minutes: float | None, ties: str | None = None) -> pl.DataFrame:
    """Cut each user's events into sessions, numbered from 1 in order of their start, and sort by them.

    `events` has `user_id` (whole numbers, no nulls) and `time_ms` (Int64); a new session begins where over
    `gap_minutes` lie between two events of a user, with None nowhere. Sessions that start at one moment are numbered by
    user. Returns the events with `session_id` (UInt32), by session, then time, then the column `ties` (where named),
    then as they came.
    """
    order = sort_order([_whole(events[name]) for name in ("user_id", "time_ms", *([ties] if ties else []))])
    opens = np.ones(len(order), dtype=bool)
    user = _taken(_whole(events["user_id"]), order)
    opens[1:] = user[1:] != user[:-1]
    del user
    time = _taken(_whole(events["time_ms"]), order)
    if gap_minutes is not None:
        opens[1:] |= np.diff(time) > gap_minutes * MINUTE_MS
    first = np.flatnonzero(opens)
    by_start = np.argsort(time[first], kind="stable")  # users are in order already
    del time, opens
    rows, length = _moved(first, by_start, order)
    number = np.repeat(np.arange(1, len(first) + 1, dtype=number_type(len(first))), length)
    return events[_taken(order, rows)].with_columns(pl.Series("session_id", number))


def _moved(
    first: npt.NDArray[Any], by_start: npt.NDArray[Any], order: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Places in `order` when its sessions, which begin at `first`, stand as `by_start` has them; and their lengths."""
    length = np.diff(np.append(first, len(order)))
    first, length = first[by_start], length[by_start]
    moved = (first - (np.cumsum(length) - length)).astype(
        order.dtype
    )  # goes round where sessions move to the front
    rows = np.arange(len(order), dtype=order.dtype)
    rows += np.repeat(moved, length)
    return rows, length


def _whole(numbers: pl.Series) -> npt.NDArray[Any]:
    """The whole numbers of a column, or those that stand for its texts."""
    return numbers.to_physical().to_numpy()


def number_type(most: int) -> type[np.integer[Any]]:
    """What numbers up to `most` fit into: half of int64, where a log of hundreds of millions of rows is numbered."""
    return np.uint32 if most < 2**32 else np.int64


def sort_order(keys: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Stable order by the first key, then the second, … of whole numbers.

    Keys are sorted from the last to the first, as many at once as fit into 63 bits beside the number of the row:
    numbers in one array are sorted several times faster than an order is found.
    """
    count = len(keys[0])
    order = np.arange(count, dtype=number_type(count))
    bits = max(count - 1, 0).bit_length()
    groups = _packed_together(keys, 63 - bits) if count else []
    if any(width > 63 - bits for group in groups for _, _, width in group):
        return np.lexsort(keys[::-1])
    for group in reversed(groups):
        packed = np.zeros(count, dtype=np.int64)
        for key, low, width in group:  # in place, as each array of a long log takes a good part of the memory
            packed <<= width
            np.add(packed, key, out=packed, casting="unsafe")
            packed -= low
        if group is not groups[-1]:
            packed = _taken(packed, order)
        if (packed[1:] >= packed[:-1]).all():  # as a log in order of time is by it
            continue
        packed <<= bits
        for start in range(0, count, SLICE):
            packed[start : start + SLICE] |= np.arange(start, min(start + SLICE, count))
        packed.sort()
        packed &= (1 << bits) - 1
        order = order[packed]
    return order


def _taken(values: npt.NDArray[Any], places: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The values at some places, slice by slice: numpy makes 64-bit places of all that it is given at once."""
    taken = np.empty(len(places), dtype=values.dtype)
    for start in range(0, len(places), SLICE):
        taken[start : start + SLICE] = values[places[start : start + SLICE]]
    return taken


def _packed_together(
    keys: Sequence[npt.NDArray[Any]], room: int
) -> list[list[tuple[npt.NDArray[Any], int, int]]]:
    """Keys in groups of `room` bits together, each key with its least value and its bits; a wide one is alone."""
    groups: list[list[tuple[npt.NDArray[Any], int, int]]] = []
    left = 0
    for key in keys:
        low = int(key.min())
        width = (int(key.max()) - low).bit_length()
        if not groups or width > left:
            groups.append([])
            left = room
        groups[-1].append((key, low, width))
        left -= width
    return groups


def without_repeats(events: pl.DataFrame) -> pl.DataFrame:
    """Which events repeat the one before them in their session (same item, same kind): the others are returned.

    `events` stand in session order with `session_id`, `item_id`, `event`.
    """
    same = [pl.col(name) == pl.col(name).shift(1) for name in ("session_id", "item_id", "event")]
    return events.filter(~pl.all_horizontal(same).fill_null(False))


def in_session_order(events: pl.DataFrame) -> pl.DataFrame:
    """Sort events by their session's start (whole seconds), then session, then time (ms), then as they came.

    `events` has `session_id` (whole numbers, or an Enum in the order of its texts) and `time_ms` (unix ms), and stands
    in file order.
    """
    order = sort_order([_whole(events[name]) for name in ("session_id", "time_ms")])
    session = _taken(_whole(events["session_id"]), order)
    first = np.flatnonzero(np.append(True, session[1:] != session[:-1])[: len(order)])
    start = _whole(events["time_ms"])[order[first]] // 1000
    rows, _ = _moved(first, np.argsort(start, kind="stable"), order)
    return events[_taken(order, rows)]


def users_differ(events: pl.DataFrame) -> bool:
    """Whether a session has events of two users, or of one and of none; `events` stand in session order."""
    same = pl.col("session_id") == pl.col("session_id").shift()
    return bool(events.select((same & pl.col("user_id").ne_missing(pl.col("user_id").shift())).any()).item())


def with_session_users(events: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Give every event of a session the session's user, its first known one; `events` stand in session order.

    Returns the events and the notes: how many sessions name two users, and how many events had no user of
    their own.
    """
    if not users_differ(events):  # the usual case, in the memory of no table of sessions
        return events, dict.fromkeys((TWO_USERS, GIVEN_USER), 0)
    known = events.filter(pl.col("user_id").is_not_null())
    users = known.group_by("session_id").agg(
        pl.col("user_id").first().alias("_user"), pl.col("user_id").n_unique().alias("_users")
    )
    joined = events.join(users, on="session_id", how="left", maintain_order="left")
    filled = joined.filter(pl.col("user_id").is_null() & pl.col("_user").is_not_null()).height
    notes = {
        TWO_USERS: users.filter(pl.col("_users") > 1).height,
        GIVEN_USER: filled,
    }
    return joined.with_columns(pl.col("_user").alias("user_id")).drop("_user", "_users"), notes


def with_timestamp(events: pl.DataFrame, notes: dict[str, int]) -> tuple[pl.DataFrame, int]:
    """The events with `timestamp`, whole seconds since the first of them, from `time_ms`; and that one's unix second.

    Adds to `notes` how many events float32, RecBole's type of a time, cannot tell apart by seconds.
    """
    seconds = events["time_ms"] // 1000
    origin = int(seconds.min())  # type: ignore[arg-type]
    events = events.with_columns(timestamp=seconds - origin)
    late = (events["timestamp"] > FLOAT32_EXACT).sum()
    notes["event over 194 days after the first (float32 rounds its second)"] = int(late)
    return events, origin
