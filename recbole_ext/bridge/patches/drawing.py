"""Patches for how RecBole 1.2.1 draws negatives: it ends, and what cannot be drawn is refused before training."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch

from recbole_ext.errors import UsageError

TRIES = 1000  # rounds of drawing again; what is left then is drawn from what may be drawn


def patch_drawing() -> None:
    """Replace the loops of RecBole's samplers and of its masking transform."""
    from recbole.data.transform import MaskItemSequence
    from recbole.sampler import sampler

    used_ids, set_phase = sampler.Sampler.get_used_ids, sampler.Sampler.set_phase
    repeatable_phase = sampler.RepeatableSampler.set_phase

    def get_used_ids(self: Any) -> Any:
        try:
            return used_ids(self)
        except ValueError as error:
            raise UsageError(
                f"negatives cannot be drawn for a {self.uid_field} that has all of the {self.item_num - 1} items: set "
                "user_inter_num_interval to leave such out, or train_neg_sample_args: ~ and eval_args.mode: full"
            ) from error

    def phase_of_users(self: Any, phase: str) -> Any:
        found = set_phase(self, phase)
        drawable = _drawable(found)
        for user, used in enumerate(found.used_ids):
            if len(used) >= len(drawable) and drawable <= used:
                raise UsageError(
                    f"negatives cannot be drawn for {self.uid_field} {_name(self, user)}, which has all of the "
                    f"{len(drawable)} items that may be: set user_inter_num_interval to leave it out, or "
                    "train_neg_sample_args: ~ and eval_args.mode: full"
                )
        return found

    def phase_of_targets(self: Any, phase: str) -> Any:
        found = repeatable_phase(self, phase)
        if len(_drawable(found)) < 2:
            raise UsageError(
                "negatives cannot be drawn, as there is no item beside the target: set train_neg_sample_args: ~ and "
                "eval_args.mode: full"
            )
        return found

    sampler.Sampler.get_used_ids = get_used_ids
    sampler.Sampler.set_phase = phase_of_users
    sampler.RepeatableSampler.set_phase = phase_of_targets
    sampler.AbstractSampler.sample_by_key_ids = sample_by_key_ids
    sampler.SeqSampler.sample_neg_sequence = sample_neg_sequence
    MaskItemSequence._neg_sample = _other_item


def _name(sampler: Any, user: int) -> str:
    return str(sampler.datasets[0].id2token(sampler.uid_field, user))


def _drawable(sampler: Any) -> Collection[int]:
    """The items that a sampler may draw, as something that is compared to sets."""
    if sampler.distribution == "popularity":
        return set(sampler.prob)
    count = getattr(sampler, "item_num", None)
    return set(range(1, sampler.entity_num if count is None else count))


def sample_by_key_ids(self: Any, key_ids: Any, num: int) -> torch.Tensor:
    """RecBole's function of that name: the same draws, `num` for each key, but it ends.

    Raises UsageError for a key whose used ids are all that may be drawn.
    """
    keys = np.tile(np.array(key_ids), num)
    values = np.zeros(len(keys), dtype=np.int64)
    open_ = np.arange(len(keys))
    alike = len(keys) > 0 and bool((keys == keys[0]).all())
    used_by_all = np.array(list(self.used_ids[keys[0]]) if alike else [])
    for _ in range(TRIES):
        values[open_] = drawn = self.sampling(len(open_))
        if alike:
            open_ = open_[np.isin(drawn, used_by_all)]
        else:
            again = [value in used for value, used in zip(drawn, self.used_ids[keys[open_]])]
            open_ = open_[np.array(again, dtype=bool)]
        if not len(open_):
            break
    for place in open_:
        values[place] = _from_the_rest(self, keys[place])
    return torch.tensor(values, dtype=torch.long)


def _from_the_rest(sampler: Any, key: int) -> int:
    """One draw from what the key has not used, each by its weight."""
    rest = sorted(set(_drawable(sampler)) - set(sampler.used_ids[key]))
    if not rest:
        raise UsageError(
            f"negatives cannot be drawn for number {key}, which has all of the {len(_drawable(sampler))} items that "
            "may be: leave it out, or set train_neg_sample_args: ~ and eval_args.mode: full"
        )
    return int(np.random.choice(rest, p=_weights(sampler, rest)))


def _weights(sampler: Any, items: Sequence[int]) -> np.ndarray | None:
    """(n,) shares of the items by popularity; None: all alike. The alias table parts every item's place in two."""
    if sampler.distribution != "popularity":
        return None
    weight = dict.fromkeys(sampler.prob, 0.0)
    for item, own in sampler.prob.items():
        weight[item] += min(own, 1.0)
        if sampler.alias[item] in weight:
            weight[sampler.alias[item]] += 1 - min(own, 1.0)
    found = np.array([weight[item] for item in items])
    return found / found.sum() if found.sum() > 0 else None


def sample_neg_sequence(self: Any, pos_sequence: Any) -> torch.Tensor:
    """RecBole's function of that name: an item other than the one that stands there, for each place (N,)."""
    if len(_drawable(self)) < 2:
        raise UsageError("negatives cannot be drawn, as there is no item beside those of the sequences")
    values = np.zeros(len(pos_sequence), dtype=np.int64)
    open_ = np.arange(len(pos_sequence))
    while len(open_):
        values[open_] = self.sampling(len(open_))
        open_ = open_[np.where(values[open_] == pos_sequence[open_])]
    return torch.tensor(values)


def _other_item(self: Any, item_set: Collection[int], n_items: int) -> int:
    """An item from 1 to `n_items` - 1 outside of `item_set`; UsageError where there is none and the loss needs one."""
    for _ in range(TRIES):
        item = random.randint(1, n_items - 1)
        if item not in item_set:
            return item
    rest = sorted(set(range(1, n_items)) - set(item_set))
    if rest:
        return random.choice(rest)
    if self.config["loss_type"] == "CE":  # which looks at no negative
        return 0
    raise UsageError(
        f"negatives cannot be drawn for a prefix that has all of the {n_items - 1} items: set loss_type: CE, or a "
        "smaller MAX_ITEM_LIST_LENGTH"
    )
