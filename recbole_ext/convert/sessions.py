"""Steps that converters share on events: what a session is, the order of sessions, and who one belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recbole_ext.convert.engine import np, pl

if TYPE_CHECKING:
    import numpy.typing as npt

MINUTE_MS = 60_000
FLOAT32_EXACT = 2**24  # seconds, 194 days


def number_sessions(events: pl.DataFrame, gap_minutes: float | None, ties: str | None = None) -> pl.DataFrame:
    """Cut each user's events into sessions, numbered from 1 in order of their start, and sort by them.

    `events` has `user_id` (Int64, no nulls) and `time_ms` (Int64); a new session begins where over `gap_minutes`
    lie between two events of a user, with None nowhere. Sessions that start at one moment are numbered by user.
    Returns the events with `session_id` (Int64), by session, then time, then the column `ties` (where named), then as
    they came.
    """
    keys = [events["user_id"].to_numpy(), events["time_ms"].to_numpy()]
    if ties is not None:
        keys.append(events[ties].to_physical().to_numpy())
    order = sort_order(keys)
    user, time = keys[0][order], keys[1][order]
    opens = np.ones(len(order), dtype=bool)
    opens[1:] = user[1:] != user[:-1]
    if gap_minutes is not None:
        opens[1:] |= np.diff(time) > gap_minutes * MINUTE_MS
    first = np.flatnonzero(opens)
    length = np.diff(np.append(first, len(order)))
    by_start = np.argsort(time[first], kind="stable")  # users are in order already
    first, length = first[by_start], length[by_start]
    ends = np.cumsum(length)
    rows = np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - (ends - length), length)
    number = pl.Series("session_id", np.repeat(np.arange(1, len(first) + 1), length), dtype=pl.Int64)
    return events[order[rows]].with_columns(number)


def sort_order(keys: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Stable order by the first key, then the second, …; one sort where all keys fit into 63 bits together."""
    if not len(keys[0]):
        return np.arange(0)
    spans = [(int(key.min()), int(key.max()) - int(key.min())) for key in keys]
    if sum(span.bit_length() for _, span in spans) > 63:
        return np.lexsort(keys[::-1])
    packed = np.zeros(len(keys[0]), dtype=np.int64)
    for key, (low, span) in zip(keys, spans):
        packed <<= span.bit_length()
        packed |= key.astype(np.int64) - low
    return np.argsort(packed, kind="stable")


def without_repeats(events: pl.DataFrame) -> pl.DataFrame:
    """Which events repeat the one before them in their session (same item, same kind): the others are returned.

    `events` stand in session order with `session_id`, `item_id`, `event`.
    """
    same = [pl.col(name) == pl.col(name).shift(1) for name in ("session_id", "item_id", "event")]
    return events.filter(~pl.all_horizontal(same).fill_null(False))


def in_session_order(events: pl.DataFrame) -> pl.DataFrame:
    """Sort events by their session's start (whole seconds), then session, then time (ms), then as they came.

    `events` has `session_id` (integer) and `time_ms` (unix ms), and stands in file order.
    """
    start = (pl.col("time_ms").min().over("session_id") // 1000).alias("_start")
    ordered = events.with_columns(start).sort("_start", "session_id", "time_ms", maintain_order=True)
    return ordered.drop("_start")


def with_session_users(events: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Give every event of a session the session's user, its first known one; `events` stand in session order.

    Returns the events and the notes: how many sessions name two users, and how many events had no user of
    their own.
    """
    known = events.filter(pl.col("user_id").is_not_null())
    users = known.group_by("session_id").agg(
        pl.col("user_id").first().alias("_user"), pl.col("user_id").n_unique().alias("_users")
    )
    joined = events.join(users, on="session_id", how="left", maintain_order="left")
    filled = joined.filter(pl.col("user_id").is_null() & pl.col("_user").is_not_null()).height
    notes = {
        "session with two users (first known one kept)": users.filter(pl.col("_users") > 1).height,
        "event given the user that another event of its session names": filled,
    }
    return joined.with_columns(pl.col("_user").alias("user_id")).drop("_user", "_users"), notes


def with_timestamp(events: pl.DataFrame, notes: dict[str, int]) -> tuple[pl.DataFrame, int]:
    """The events with `timestamp`, whole seconds since the first of them, from `time_ms`; and that one's unix second.

    Adds to `notes` how many events float32, RecBole's type of a time, cannot tell apart by seconds.
    """
    seconds = events["time_ms"] // 1000
    origin = int(seconds.min())  # type: ignore[arg-type]
    events = events.with_columns(timestamp=seconds - origin)
    late = events.filter(pl.col("timestamp") > FLOAT32_EXACT).height
    notes["event over 194 days after the first (float32 rounds its second)"] = late
    return events, origin
