"""Transitions (s, a, r, s', done) of reinforcement learning over logged sessions, without copies.

State s_t is the prefix of a session, action a_t its next event's item, reward r_t that event's by its kind, s_{t+1} the
prefix one event longer. The episode ends with the session, or with its training part where a split cuts it (Xin et al.,
SIGIR 2020). All that is stored are a few columns beside the flat column of events; batches point into them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_ext.errors import UsageError
from recbole_ext.segments import place_in
from recbole_ext.settings.checks import number, one_of

SIGNALS = ("event", "shuffled", "history")
PLAIN_KIND = "view"  # what every event is where the log has no kinds


class EventColumns(nn.Module):
    """What a transition needs to know of its target event, by the event's place in the flat column (F,).

    reward: float32 r of the event. closes: bool, the event is the last of its session that trains, so the transition
    that it ends is done. history: int64 events of the session before it. returns: float32 realised discounted return
    from it on. items, kinds: int64 item and kind. `signal` says what the reward is: `event` the kind's; `shuffled`
    those of all training events in random order; `history` min(history, longest) / longest. place: (E,) int64 place of
    each event in the flat column.
    """

    reward: Tensor
    closes: Tensor
    history: Tensor
    returns: Tensor
    items: Tensor
    kinds: Tensor
    place: Tensor

    def __init__(self, config: Any, dataset: Any):
        super().__init__()
        self.signal = one_of(config, "reward_signal", SIGNALS)
        gamma = number(config, "gamma", 0, 1)
        place = dataset.flat_place(np.arange(len(dataset.events)))
        size = int(place[-1]) + 1

        kinds, self.kind_names = event_kinds(config, dataset)
        trains, closes, history = _course(dataset)
        reward = _rewards(config["rewards"], kinds, self.kind_names, trains)
        if self.signal == "shuffled":
            order = np.random.default_rng(config["seed"]).permutation(int(trains.sum()))
            reward[trains] = reward[trains][order]
        elif self.signal == "history":
            longest = config["MAX_ITEM_LIST_LENGTH"]
            reward = np.minimum(history, longest) / longest
        columns = {
            "reward": reward.astype(np.float32),
            "closes": closes,
            "history": history,
            "returns": _returns(reward, gamma, dataset, closes).astype(np.float32),
            "items": dataset.events[dataset.iid_field].numpy(),
            "kinds": kinds,
        }
        for name, column in columns.items():
            flat = np.zeros(size, dtype=column.dtype)
            flat[place] = column
            self.register_buffer(name, torch.from_numpy(flat), persistent=False)
        self.register_buffer("place", torch.from_numpy(place), persistent=False)
        self.largest = float(np.abs(reward[trains]).max(initial=0.0))
        self.notes = [_described(reward[trains], self.signal)]


def event_kinds(config: Any, dataset: Any) -> tuple[np.ndarray, list[str]]:
    """(E,) int64 kind of every event and the kinds' names; a log without kinds has views only."""
    field = config["EVENT_FIELD"]
    known = field in dataset.events and field in dataset.field2id_token
    if not known and "EVENT_FIELD" in config.external_config_dict:
        raise UsageError(
            f"EVENT_FIELD names {field}, which is no token column of the .inter file: name the column of the events' "
            "kinds, or leave EVENT_FIELD out where the log has views only"
        )
    if known:
        names = ["unknown", *map(str, dataset.field2id_token[field][1:])]
        return dataset.events[field].numpy().astype(np.int64), names
    return np.ones(len(dataset.events), dtype=np.int64), ["unknown", PLAIN_KIND]


def _rewards(rewards: Any, kinds: np.ndarray, names: list[str], trains: np.ndarray) -> np.ndarray:
    if not isinstance(rewards, Mapping):
        raise UsageError(
            "reinforcement learning needs rewards: write a number an event kind, as in rewards: "
            "{view: 0.2, addtocart: 1.0}"
        )
    for kind in np.unique(kinds[trains]):
        if names[kind] not in rewards:
            raise UsageError(
                f"rewards has none for event {names[kind]}, which training events hold: it has "
                f"{', '.join(map(str, rewards))}, so add {names[kind]}"
            )
    return np.array([float(rewards.get(name, 0.0)) for name in names])[kinds]


def _course(dataset: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(E,) whether an event trains, whether it is its session's last that does, and how many come before it."""
    history = place_in(dataset.session_length)
    trained = np.repeat(dataset.train_length, dataset.session_length)
    return history < trained, history == trained - 1, history


def _returns(reward: np.ndarray, gamma: float, dataset: Any, closes: np.ndarray) -> np.ndarray:
    """(E,) r_j + gamma r_{j+1} + … to the end of the session's training part."""
    returns = reward.astype(np.float64).copy()
    length = dataset.train_length
    for back in range(2, int(length.max(initial=0)) + 1):  # from the last event but one to the first
        last = dataset.session_start[length >= back] + length[length >= back] - back
        returns[last] += gamma * returns[last + 1]
    return returns


def _described(reward: np.ndarray, signal: str) -> str:
    values, counts = np.unique(reward, return_counts=True)
    if signal == "history":
        return "rewards are the length of the history (HIST), not what happened"
    text = ", ".join(f"{count:,} of {value:g}" for value, count in zip(values, counts))
    return f"rewards of training events{' in shuffled order' if signal == 'shuffled' else ''}: {text}"


def next_rows(rows: Interaction, config: Any) -> Interaction:
    """The prefixes one event longer, their target taken in: `<column>_list` (B, L + 1 at most) for every column.

    A prefix of MAX_ITEM_LIST_LENGTH events loses its first. `event_index` becomes that of the event after the target,
    by which models that read the log themselves find the prefix, so these rows' sessions have to go on.
    """
    item, suffix = config["ITEM_ID_FIELD"], config["LIST_SUFFIX"]
    length_field, longest = config["ITEM_LIST_LENGTH_FIELD"], config["MAX_ITEM_LIST_LENGTH"]
    sequence = rows[item + suffix]
    length = (sequence != 0).sum(1)
    full = length >= longest
    width = min(sequence.shape[1] + 1, longest)
    last = torch.where(full, longest - 1, length)
    moved = {}
    for field, column in rows.interaction.items():
        base = field[: -len(suffix)] if field.endswith(suffix) else None
        if base is None or base not in rows:
            moved[field] = column
            continue
        grown = column.new_zeros(len(column), width, *column.shape[2:])
        kept = column[:, :width]
        grown[:, : kept.shape[1]] = kept
        shifted = torch.cat((column[:, 1:], torch.zeros_like(column[:, :1])), 1)[:, :width]
        grown[full, : shifted.shape[1]] = shifted[full]
        grown[torch.arange(len(column), device=column.device), last] = rows[base].to(column.dtype)
        moved[field] = grown
    moved[length_field] = torch.where(full, longest, length + 1)
    if "event_index" in rows:
        moved["event_index"] = rows["event_index"] + 1
    return Interaction(moved)
