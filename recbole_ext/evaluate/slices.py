"""Test metrics of some of the targets, and rewards, from the targets' ranks.

Every target is one ranking, so over T targets with ranks r: HR@k = mean(r <= k), NDCG@k = mean((r <= k) / log2(r + 1)).
The cumulative reward of SQN (Xin et al., SIGIR 2020) is reward@k = sum of the targets' rewards where r <= k.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from recbole_ext.config import UsageError


def hit_and_ndcg(rank: np.ndarray, topk: Iterable[int]) -> dict[str, float]:
    """`hit@k` and `ndcg@k` of targets with ranks (T,), 1 = best; T > 0."""
    found = {}
    for name, gain in (("hit", np.ones(len(rank))), ("ndcg", 1 / np.log2(rank + 1.0))):
        for k in topk:
            found[f"{name}@{k}"] = float((gain * (rank <= k)).mean())
    return found


def by_kind(rank: np.ndarray, kind: np.ndarray, topk: Sequence[int]) -> dict[str, dict[str, float]]:
    """`targets`, `hit@k`, `ndcg@k` of the targets (T,) of each kind (T,) of str, commonest kind first."""
    names, counts = np.unique(kind, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {
        str(names[i]): {"targets": int(counts[i]), **hit_and_ndcg(rank[kind == names[i]], topk)}
        for i in order
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


def target_rewards(kind: np.ndarray, rewards: Mapping[str, float]) -> np.ndarray:
    """(T,) float64 reward of targets of kinds (T,) of str, each of which has one."""
    names, place = np.unique(kind, return_inverse=True)
    return np.array([float(rewards[str(name)]) for name in names])[place.reshape(-1)]


def event_kinds(dataset: Any, field: str, ids: np.ndarray) -> np.ndarray:
    """Event kinds (T,) of ids (T,) as they are called in the log, "unknown" where it says nothing."""
    names = ["unknown", *dataset.field2id_token[field][1:]]
    return np.asarray(names, dtype=str)[ids]


def check_rewards(rewards: Mapping[str, Any], kinds: Iterable[str], holders: str = "test targets") -> None:
    """Raise UsageError for the first of the event kinds that has no reward; `holders`: where they come from."""
    for kind in np.unique(np.asarray(list(kinds), dtype=str)):
        if str(kind) not in rewards:
            raise UsageError(
                f"rewards has none for event {kind}, which {holders} hold: it has "
                f"{', '.join(map(str, rewards))}, so add {kind}"
            )
