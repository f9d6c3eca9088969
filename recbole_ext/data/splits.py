"""Which sessions train, validate and test: `eval_args.split` read, checked, applied and described.

`LS`, `RS` and `TS` are RecBole's and cut inside sessions. The others keep sessions whole: `session_time` cuts by
session start, `given` takes the `split` column that the data brings, `session_random` puts sessions at random. Session
splits by time are those of Quadrana et al. 2017 and of SR-GNN's preprocessing (last days of the log are the test part),
random ones those of SQN (Xin et al. 2020).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_ext.data.filters import CORE_KEYS, limits
from recbole_ext.data.manifest import manifest, time_origin
from recbole_ext.errors import UsageError
from recbole_ext.segments import owner_of
from recbole_ext.settings import split
from recbole_ext.settings.split import Split, straddles

TRAIN, VALID, TEST = 0, 1, 2
NO_PART = -1  # an event that neither trains nor is ranked
SPLIT_COLUMN = "split"  # .inter column of train, valid, test; read by split `given`, never by a model
PARTS = {"train": TRAIN, "valid": VALID, "test": TEST}
DAY = 86400


def split_of(config: Any) -> Split:
    """Name and value of `eval_args.split`; raises UsageError when it is none of these."""
    return split.named(config["eval_args"]["split"])


def chosen_part(config: Any) -> str:
    """The key `inter_num_part`, whatever the model: what our own data sets follow."""
    return str(config["inter_num_part"] or "all")


def check_limits(config: Any) -> None:
    """Raise UsageError when limits are to look at the training part of a split that cuts inside sessions."""
    name, _ = split_of(config)
    if config["cold_items"] is not None and straddles(name):
        raise UsageError(
            f"cold_items takes items out of training sessions, but split {name} puts parts of one session into "
            "training and test: use session_time, given or session_random"
        )
    for key in CORE_KEYS:
        if limits(config[key]) and config["inter_num_part"] == "train" and straddles(name):
            raise UsageError(
                f"{key} {config[key]} looks at training sessions, but split {name} puts parts of one session into "
                "training and test: set inter_num_part: all, which looks at the whole log"
            )


def refits(config: Any) -> bool:
    """The key `refit`: whether validation sessions train. Raises UsageError where the split has no such sessions."""
    if not config["refit"]:
        return False
    name, _ = split_of(config)
    if straddles(name) or config["benchmark_filename"]:
        part = (
            "benchmark_filename names the parts"
            if config["benchmark_filename"]
            else f"split {name} cuts sessions"
        )
        raise UsageError(
            f"refit makes validation sessions training sessions, but {part}: use session_time, given or "
            "session_random, or leave refit out"
        )
    return True


@dataclass(frozen=True)
class Parting:
    """How a log's sessions are parted, kept whole. refit: validation sessions train. folder: of the atomic files.

    The manifest there says what time 0 is.
    """

    split: Split
    refit: bool
    folder: str

    @classmethod
    def of(cls, config: Any, folder: str) -> Parting:
        """As `eval_args.split` and `refit` say it."""
        return cls(split_of(config), refits(config), folder)


def session_parts(
    parting: Parting, starts: np.ndarray, labels: np.ndarray | None, names: Sequence[str] | np.ndarray
) -> np.ndarray:
    """TRAIN, VALID or TEST of every session, (S,) int8, under a split that keeps sessions whole; with `refit` no VALID.

    Args:
        starts: (S,) float64 seconds, ascending: first event of each session.
        labels: (S,) int8 of the `split` column, None where the data has none.
        names: (S,) session tokens.

    Raises UsageError when a value cannot be used, or leaves the training or the test part empty.
    """
    name, value = parting.split
    if name == "given":
        parts = _given(value, labels)
    elif name == "session_random":
        parts = by_chance(names, *split.shares_and_seed(value))
    elif isinstance(value, Mapping):
        parts = by_days(starts, *split.days_of(value), time_origin(parting.folder))
    else:
        parts = by_share(starts, split.shares_of(value))
    check_parts(parts, name, value)
    if parting.refit:
        parts[parts == VALID] = TRAIN
    return parts


def check_parts(parts: np.ndarray, name: str, value: Any, filtered: bool = False) -> None:
    """Raise UsageError when no session (S,) trains or none tests; `filtered`: limits took some since the split."""
    for label, part in (("training", TRAIN), ("test", TEST)):
        if not (parts == part).any():
            left, mend = (
                (" that the limits on events leave", "them or its value") if filtered else ("", "its value")
            )
            raise UsageError(
                f"eval_args.split {{{name}: {value}}} leaves no {label} session of {len(parts)}{left}: change {mend}"
            )


def by_chance(names: Sequence[str] | np.ndarray, shares: tuple[float, float, float], seed: int) -> np.ndarray:
    """Parts at random, (S,) int8: whatever the order of the sessions (S,), a session's part is the same.

    Valid and test shares are rounded down, to one session at least where the share is not 0.
    """
    by_name = np.argsort(np.asarray(names, dtype=str), kind="stable")
    drawn = by_name[np.random.default_rng(seed).permutation(len(names))]
    valid, test = _held_out(len(names), shares)
    parts = np.full(len(names), TRAIN, dtype=np.int8)
    parts[drawn[:test]] = TEST
    parts[drawn[test : test + valid]] = VALID
    return parts


def _held_out(count: int, shares: tuple[float, float, float]) -> list[int]:
    """Validation and test sessions of `count`."""
    return [max(1, math.floor(share * count + 1e-9)) if share else 0 for share in shares[1:]]


def by_share(starts: np.ndarray, shares: tuple[float, float, float]) -> np.ndarray:
    """Parts by share of sessions in order of start, (S,) int8.

    Valid and test shares are rounded down, to one session at least where the share is not 0. Sessions that
    start at the same instant as the first one after a cut all fall after the cut.
    """
    count = len(starts)
    held_out = _held_out(count, shares)
    parts = np.full(count, TRAIN, dtype=np.int8)
    if sum(held_out) >= count:
        return parts  # nothing to train on: the caller says so
    for part, cut in ((VALID, count - sum(held_out)), (TEST, count - held_out[1])):
        if cut < count:
            parts[np.searchsorted(starts, starts[cut], side="left") :] = part
    if shares[1] and not (parts == VALID).any():
        raise UsageError(
            "eval_args.split session_time leaves no validation session, as too many sessions start at one "
            "instant: raise the second share"
        )
    return parts


def by_days(starts: np.ndarray, test_days: int, valid_days: int, origin: float) -> np.ndarray:
    """Parts by calendar day of the session start in UTC, (S,) int8.

    Day 1 of the test part, counted back, is the calendar day (00:00 to 24:00 UTC) of the last session start,
    also if the log ends early that day; the `valid_days` days before the test days are validation. A session
    belongs to the day it starts on. `origin` is the unix time of timestamp 0.
    """
    day = np.floor((starts + origin) / DAY)
    back = day.max(initial=0) - day  # 0 on the last day
    parts = np.where(back < test_days, TEST, np.where(back < test_days + valid_days, VALID, TRAIN))
    return parts.astype(np.int8)


def by_label(labels: np.ndarray, valid_share: float) -> np.ndarray:
    """Parts by the data's labels (S,); without valid ones, the last `valid_share` of train sessions are."""
    parts = labels.astype(np.int8)
    train = np.flatnonzero(parts == TRAIN)
    if (parts == VALID).any() or not valid_share:
        return parts
    held_out = max(1, math.floor(valid_share * len(train) + 1e-9))
    parts[train[-held_out:]] = VALID
    return parts


def _given(value: Any, labels: np.ndarray | None) -> np.ndarray:
    share = split.valid_share(value)
    if labels is None:
        raise UsageError(
            f"eval_args.split is given, but the .inter file has no column {SPLIT_COLUMN}:token (or load_col "
            "leaves it out): add it with train, valid and test, or use session_time"
        )
    return by_label(labels, share)


def eval_targets(config: Any, folder: str) -> str:
    """`all` or `last`: the key `eval_targets`, or `last` where the data's own split has one target a session.

    Some published (prefix, target) pairs are not all prefixes of a session; the converter then writes each
    pair as a session and says so in manifest.json.
    """
    return "last" if of_pairs(config, folder) else str(config["eval_targets"] or "all")


def of_pairs(config: Any, folder: str) -> bool:
    """Whether the data's own test sessions are published pairs, several of which may be of one visit."""
    return split_of(config)[0] == "given" and manifest(folder).get("eval_targets") == "last"


def session_labels(
    column: np.ndarray,
    kinds: np.ndarray,
    first: np.ndarray,
    length: np.ndarray,
    names: Sequence[str] | np.ndarray,
) -> np.ndarray:
    """The `split` column per session, (S,) int8.

    Args:
        column: (E,) one value per event, places in `kinds`, the texts; `first`, `length`: (S,) events of each session.
        names: (S,) session tokens, for messages.

    Raises UsageError for another value than train, valid, test, and for a session with two values.
    """
    per_session = column[first]
    wrong = ~np.isin(kinds, list(PARTS))[per_session]
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise UsageError(
            f"column {SPLIT_COLUMN} of session {names[at]} holds {str(kinds[per_session[at]])!r}: "
            "it may hold train, valid or test"
        )
    mixed = column != np.repeat(per_session, length)
    if mixed.any():
        at = int(owner_of(length)[np.flatnonzero(mixed)[0]])
        raise UsageError(
            f"column {SPLIT_COLUMN} of session {names[at]} changes within the session: give it one value"
        )
    return np.array([PARTS.get(str(kind), NO_PART) for kind in kinds], dtype=np.int8)[per_session]
