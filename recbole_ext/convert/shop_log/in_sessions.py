"""A shop's events in order of their sessions, which the log names or idle time cuts."""

from __future__ import annotations

from recbole_ext.convert.engine import pl
from recbole_ext.convert.guesses import NONE, no_session_column
from recbole_ext.convert.sessions import in_session_order, number_sessions, users_differ, with_session_users
from recbole_ext.convert.shop_log.options import Options
from recbole_ext.convert.shop_log.plan import Plan, unread
from recbole_ext.errors import ConvertError
from recbole_ext.wording import several

SHARED_SESSIONS = 0.1  # beyond this share of ids with two users, ids hardly are those of sessions
MS_NS = 10**6


def in_sessions(
    log: pl.DataFrame,
    plan: Plan,
    options: Options,
    notes: dict[str, int],
    guessed: dict[str, str],
) -> pl.DataFrame:
    """The events in order of their sessions: those of the log, of a user and an id, or of a user and idle time."""
    columns, gap_minutes = plan.columns, options.gap_minutes
    if "session" not in columns:
        others = [] if options.session == NONE else unread(plan)
        others = [name for name in others if repr(name) not in guessed.get("empty", "")]
        guessed["session"] = no_session_column(others, gap_minutes)
        return _number_sessions(log, gap_minutes)
    if options.session_per_user or plan.per_visitor:
        log = _number_sessions(log, None)
        if "split" in columns:
            _check_parts(log, plan.place)
        return log
    log = in_session_order(log)
    if "split" in columns:
        _check_parts(log, plan.place)
    if "user" in columns:
        _check_shared_sessions(log, plan.place)
        log, user_notes = with_session_users(log)
        notes |= user_notes
    return log


def _number_sessions(log: pl.DataFrame, gap_minutes: float | None) -> pl.DataFrame:
    """Numbered sessions of each user: cut by idle time, or with None by the users' own `session_id`."""
    code = pl.col("user_id").to_physical()  # in the order of the texts
    if gap_minutes is None:
        session = pl.col("session_id").to_physical().cast(pl.Int64)
        code = code.cast(pl.Int64) * (session.max() + 1) + session
    coded = log.with_columns(code.alias("user_id"), pl.col("user_id").alias("_user"))
    numbered = number_sessions(coded.drop("session_id", strict=False), gap_minutes)
    return numbered.with_columns(user_id=pl.col("_user")).drop("_user")


def in_time_units(log: pl.DataFrame) -> pl.DataFrame:
    """The log with `time_ms` for `time_ns`; where times are finer than that, in order of time, which steps that sort by
    milliseconds keep."""
    if (log["time_ns"] % MS_NS != 0).any():
        log = log.sort("time_ns", maintain_order=True)
    return log.with_columns(time_ms=pl.col("time_ns") // MS_NS).drop("time_ns")


def _check_shared_sessions(log: pl.DataFrame, place: str) -> None:
    """ConvertError where so many sessions name two users that their ids must be counted for each user."""
    if not users_differ(log):
        return
    users = log.drop_nulls("user_id").group_by("session_id").agg(pl.col("user_id").n_unique())["user_id"]
    shared = int((users > 1).sum())
    if shared > SHARED_SESSIONS * len(users):
        name = "names" if shared == 1 else "name"
        raise ConvertError(
            f"{place}: {shared:,} of {several(len(users), 'session id')} {name} two users or more: give "
            f"--session-per-user if ids count anew for each user, or leave users out with --user {NONE}."
        )


def _check_parts(log: pl.DataFrame, place: str) -> None:
    """ConvertError where events of one session are of two parts."""
    parts = log.group_by("session_id", maintain_order=True).agg(pl.col("split").n_unique())
    mixed = parts.filter(pl.col("split") > 1)["session_id"]
    if len(mixed):
        raise ConvertError(
            f"{place}: {_of_two_parts(mixed)} of two parts: give each one, "
            f"or leave the parts out with --split {NONE}."
        )


def _of_two_parts(mixed: pl.Series) -> str:
    if len(mixed) == 1:
        return f"session {mixed[0]} is"
    return f"{several(len(mixed), 'session')}, the first of them {mixed[0]}, are"
