"""Which test targets are alike (slices), and metrics and rewards of some of them, from the targets' ranks.

A slice is a mask over the T targets of a run, made of what its record keeps (`evaluate.facts`); a dimension is a few
slices by one question. To add one, write a function and enter it into DIMENSIONS: runs that have been done know it.
Metrics are those of `evaluate.target_metrics`. The cumulative reward of SQN (Xin et al., SIGIR 2020) is reward@k = sum
of the targets' rewards where r <= k.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recbole_ext.evaluate.target_metrics import gains
from recbole_ext.rewards import check_rewards, target_rewards

Arrays = Mapping[str, np.ndarray]
Masks = dict[str, np.ndarray]

SMALL = 100  # a slice with fewer targets says little: it is marked wherever it is shown
FEW_SHOT = 5  # training events up to which an item is a few-shot one


class Dimension(NamedTuple):
    """needs: arrays of a record without which nothing can be said; masks: name to (T,) bool of each slice."""

    needs: tuple[str, ...]
    masks: Callable[[Arrays], Masks]


def slices(arrays: Arrays) -> dict[str, Masks]:
    """Every dimension that the arrays of a run allow, and its slices, (T,) bool each; some may hold no target."""
    return {
        name: dimension.masks(arrays)
        for name, dimension in DIMENSIONS.items()
        if all(need in arrays for need in dimension.needs)
    }


def _event(arrays: Arrays) -> Masks:
    """By the kind of the target's event, the commonest first."""
    kind = arrays["event"]
    names, counts = np.unique(kind, return_counts=True)
    return {str(names[i]): kind == names[i] for i in np.argsort(-counts, kind="stable")}


def _item(arrays: Arrays) -> Masks:
    """By the number of training events of the target's item."""
    count = arrays["item_count"][arrays["item"]]
    names = {"cold": 0, f"few-shot 1-{FEW_SHOT}": 1, "warm": FEW_SHOT + 1}
    return _ranges(count, names)


def _cold(arrays: Arrays) -> Masks:
    """Items without training events: those that were held out of training, and those that are new in the log."""
    held_out = arrays["held_out"].astype(bool)[arrays["item"]]
    new = arrays["item_count"][arrays["item"]] == 0
    return {"held out": held_out, "new in the log": new & ~held_out}


def _user(arrays: Arrays) -> Masks:
    """By the number of earlier sessions of the target's user."""
    earlier = arrays["earlier_sessions"]
    return {
        "unknown": earlier < 0,
        **_ranges(earlier, {"new": 0, "1 earlier session": 1, "2+ earlier sessions": 2}),
    }


def _visitor(arrays: Arrays) -> Masks:
    """New and returning users; of unknown ones nothing is said."""
    return _ranges(arrays["earlier_sessions"], {"new": 0, "returning": 1})


def _position(arrays: Arrays) -> Masks:
    """By the number of events of the session before the target."""
    return _ranges(arrays["position"], {"0": 0, "1": 1, "2": 2, "3-4": 3, "5-9": 5, "10+": 10})


def _session_length(arrays: Arrays) -> Masks:
    """By the number of events of the whole session, those after the target counted."""
    return _ranges(arrays["session_events"], {"1": 1, "2": 2, "3-4": 3, "5-9": 5, "10+": 10})


def _repeat(arrays: Arrays) -> Masks:
    """Whether the target's item occurred before in its session."""
    repeat = arrays["repeat"].astype(bool)
    return {"repeat": repeat, "new to the session": ~repeat}


def _session_type(arrays: Arrays) -> Masks:
    """By what happened in the session before the target."""
    return _ranges(arrays["session_type"], {"view-only": 0, "with cart": 1, "with purchase": 2})


def _ranges(values: np.ndarray, starts: Mapping[str, int]) -> Masks:
    """Slices of values (T,) from each start, ascending, to below the next one; the last one is open."""
    ends = [*list(starts.values())[1:], np.inf]
    return {name: (values >= start) & (values < end) for (name, start), end in zip(starts.items(), ends)}


DIMENSIONS: dict[str, Dimension] = {
    "event": Dimension(("event",), _event),
    "item": Dimension(("item", "item_count"), _item),
    "cold_item": Dimension(("item", "item_count", "held_out"), _cold),
    "visitor": Dimension(("earlier_sessions",), _visitor),
    "user": Dimension(("earlier_sessions",), _user),
    "position": Dimension(("position",), _position),
    "session_length": Dimension(("session_events",), _session_length),
    "repeat": Dimension(("repeat",), _repeat),
    "session_type": Dimension(("session_type",), _session_type),
}


def slice_means(arrays: Arrays, topk: Sequence[int]) -> dict[str, dict[str, dict[str, Any]]]:
    """`targets`, `small`, `hit@k` and `ndcg@k` of every slice that holds a target, by dimension."""
    rank = arrays["rank"]
    return {
        dimension: {
            name: {
                "targets": int(mask.sum()),
                "small": is_small(mask.sum()),
                **hit_and_ndcg(rank[mask], topk),
            }
            for name, mask in masks.items()
            if mask.any()
        }
        for dimension, masks in slices(arrays).items()
    }


def is_small(targets: int) -> bool:
    """Whether a slice of so many targets is to be marked."""
    return bool(targets < SMALL)


def hit_and_ndcg(rank: np.ndarray, topk: Iterable[int]) -> dict[str, float]:
    """`hit@k` and `ndcg@k` of targets with ranks (T,), 1 = best; T > 0."""
    return {f"{name}@{k}": float(gains(rank, name, k).mean()) for name in ("hit", "ndcg") for k in topk}


def by_kind(rank: np.ndarray, kind: np.ndarray, topk: Sequence[int]) -> dict[str, dict[str, float]]:
    """`targets`, `hit@k`, `ndcg@k` of the targets (T,) of each kind (T,) of str, commonest kind first."""
    return {
        name: {"targets": int(mask.sum()), **hit_and_ndcg(rank[mask], topk)}
        for name, mask in _event({"event": kind}).items()
    }


def reward_at(
    rank: np.ndarray, kind: np.ndarray, rewards: Mapping[str, float], topk: Iterable[int]
) -> dict[str, float]:
    """`reward@k`, the sum over targets that rank k or better, and `reward_per_target@k`, that over T targets.

    Raises UsageError for a kind without reward.
    """
    check_rewards(rewards, kind)
    reward = target_rewards(kind, rewards)
    total = {k: float(reward[rank <= k].sum()) for k in topk}
    return {
        **{f"reward@{k}": value for k, value in total.items()},
        **{f"reward_per_target@{k}": value / len(rank) for k, value in total.items()},
    }
