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
    """Replace the loops of RecBole's samplers and of its masking transform; loaders look before they draw."""
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.transform import MaskItemSequence
    from recbole.model.sequential_recommender.s3rec import S3Rec
    from recbole.sampler import sampler

    start = AbstractDataLoader.__init__

    def __init__(self: Any, config: Any, dataset: Any, sampler: Any, shuffle: bool = False) -> None:
        start(self, config, dataset, sampler, shuffle)
        check_drawing(self)

    AbstractDataLoader.__init__ = __init__
    sampler.Sampler.get_used_ids = get_used_ids
    sampler.AbstractSampler.sample_by_key_ids = sample_by_key_ids
    sampler.SeqSampler.sample_neg_sequence = sample_neg_sequence
    MaskItemSequence._neg_sample = _other_item
    S3Rec._neg_sample = _other_item


def get_used_ids(self: Any) -> dict[str, np.ndarray]:
    """RecBole's function of that name, which refuses a user that has all items, also where none is drawn for it."""
    used: dict[str, np.ndarray] = {}
    last: list[set[int]] = [set() for _ in range(self.user_num)]
    for phase, dataset in zip(self.phases, self.datasets):
        last = [set(items) for items in last]
        users, items = (dataset.inter_feat[field].numpy() for field in (self.uid_field, self.iid_field))
        for user, item in zip(users, items):
            last[user].add(item)
        used[phase] = np.array(last, dtype=object)
    return used


def check_drawing(loader: Any) -> None:
    """Raise UsageError where the loader will draw negatives and one of its rows has none."""
    from recbole.sampler import RepeatableSampler, Sampler

    drawing, sampler, dataset = (
        getattr(loader, "neg_sample_args", None) or {},
        loader._sampler,
        loader._dataset,
    )
    if drawing.get("distribution", "none") == "none" or drawing.get("sample_num", "none") == "none":
        return
    training = getattr(sampler, "phase", None) == "train"
    if training and getattr(loader.config.model_class, "learns_in_one_pass", False):
        return  # it has a loader of training and reads no batch of it
    cure = "set train_neg_sample_args: ~" if training else "set eval_args.mode: full"
    if isinstance(sampler, RepeatableSampler) and len(_drawable(sampler)) < 2:
        raise UsageError(f"negatives cannot be drawn, as there is no item beside the target: {cure}")
    if not isinstance(sampler, Sampler):
        return
    drawable = _drawable(sampler)
    for user in np.unique(dataset.inter_feat[dataset.uid_field].numpy()):
        used = sampler.used_ids[user]
        if len(used) >= len(drawable) and set(drawable) <= used:
            raise UsageError(
                f"negatives cannot be drawn for {dataset.uid_field} {dataset.id2token(dataset.uid_field, user)}, which "
                f"has all of the {len(drawable)} items that may be: leave it out by user_inter_num_interval, or {cure}"
            )


def _drawable(sampler: Any) -> Collection[int]:
    """The items that a sampler may draw, as something that is compared to sets."""
    if sampler.distribution == "popularity":
        return set(sampler.prob)
    if getattr(sampler, "trained", None) is not None and getattr(sampler, "phase", None) == "train":
        return set(sampler.trained.tolist())
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


def _other_item(self: Any, item_set: Collection[int], n_items: int | None = None) -> int:
    """An item that trains outside of `item_set`; UsageError where there is none and the loss needs one.

    n_items: items from 1 on, where nobody has said which ones train.
    """
    trained = getattr(self, "trained", None)
    items = np.arange(1, n_items) if trained is None else trained
    for _ in range(TRIES):
        item = int(items[random.randint(1, len(items)) - 1])
        if item not in item_set:
            return item
    rest = sorted(set(items.tolist()) - set(item_set))
    if rest:
        return random.choice(rest)
    config = getattr(self, "config", None)
    if config is not None and config["loss_type"] == "CE":  # which looks at no negative
        return 0
    raise UsageError(
        f"negatives cannot be drawn for a prefix that has all of the {len(items)} items that train: set loss_type: CE, "
        "or a smaller MAX_ITEM_LIST_LENGTH"
    )
