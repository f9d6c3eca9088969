"""Steps that converters share on events: the order of sessions, and who a session belongs to."""

from __future__ import annotations

import polars as pl


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
