"""Transitions (s, a, r, s', done) of reinforcement learning over logged sessions, without copies.

State s_t is the prefix of a session, action a_t its next event's item, reward r_t that event's by its kind, s_{t+1} the
prefix one event longer. The episode ends with the session, or with its training part where a split cuts it (Xin et al.,
SIGIR 2020). All that is stored are a few columns beside the flat column of events; batches point into them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_ext.data.columns import given_now
from recbole_ext.data.positions import PositionBatch
from recbole_ext.data.recency import weight_of
from recbole_ext.data.user_sequences import UserBatch
from recbole_ext.errors import UsageError
from recbole_ext.rewards import UNKNOWN, check_rewards, kind_names
from recbole_ext.segments import place_in

PLAIN_KIND = "view"  # what every event is where the log has no kinds


class EventColumns(nn.Module):
    """What a transition needs to know of its target event, by the event's place in the flat column (F,).

    reward: float32 r of the event. closes: bool, the event is the last of its session that trains, so the transition
    that it ends is done. history: int64 events of the session before it. returns: float32 realised discounted return
    from it on. items: int64. place: (E,) int64 place of each event in the flat column.

    signal says what the reward is: `event` the kind's; `shuffled` those of all training events in random order;
    `history` min(history, longest) / longest. Raises UsageError where rewards do not fit the training events.
    """

    reward: Tensor
    closes: Tensor
    history: Tensor
    returns: Tensor
    items: Tensor
    place: Tensor

    def __init__(self, config: Any, dataset: Any, gamma: float, signal: str = "event"):
        super().__init__()
        self.signal = signal
        place = dataset.flat_place(np.arange(len(dataset.events)))
        trains, closes, history = _course(dataset)
        reward = _rewards(config, dataset, trains)
        if signal == "shuffled":
            order = np.random.default_rng(config["seed"]).permutation(int(trains.sum()))
            reward[trains] = reward[trains][order]
        elif signal == "history":
            longest = config["MAX_ITEM_LIST_LENGTH"]
            reward = np.minimum(history, longest) / longest
        columns = {
            "reward": reward.astype(np.float32),
            "closes": closes,
            "history": history,
            "returns": _returns(reward, gamma, dataset, closes).astype(np.float32),
            "items": dataset.events[dataset.iid_field].numpy(),
        }
        for name, column in columns.items():
            flat = np.zeros(int(place[-1]) + 1, dtype=column.dtype)
            flat[place] = column
            self.register_buffer(name, torch.from_numpy(flat), persistent=False)
        self.register_buffer("place", torch.from_numpy(place), persistent=False)
        self.largest = float(np.abs(reward[trains]).max(initial=0.0))
        self.notes = [_described(reward[trains], signal)]

    def after(self, column: Tensor, event: Tensor) -> Tensor:
        """(N,) what a column (F,) says of the event after each (N,); of the last one, its own."""
        return column[(event + 1).clamp_max(len(column) - 1)]


def _rewards(config: Any, dataset: Any, trains: np.ndarray) -> np.ndarray:
    """(E,) float64 reward of every event by its kind; a log without kinds has views only."""
    rewards, field = config["rewards"], config["EVENT_FIELD"]
    if not isinstance(rewards, Mapping):
        raise UsageError(
            "reinforcement learning needs rewards: write a number an event kind, as in rewards: "
            "{view: 0.2, addtocart: 1.0}"
        )
    known = field in dataset.events and field in dataset.field2id_token
    if not known and "EVENT_FIELD" in given_now(config):
        raise UsageError(
            f"EVENT_FIELD names {field}, which is no token column of the .inter file: name the column of the events' "
            "kinds, or leave EVENT_FIELD out where the log has views only"
        )
    names = kind_names(dataset, field) if known else [UNKNOWN, PLAIN_KIND]
    kinds = dataset.events[field].numpy() if known else np.ones(len(dataset.events), dtype=np.int64)
    check_rewards(rewards, [names[kind] for kind in np.unique(kinds[trains])], "training events")
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


# --- the transitions of a batch -----------------------------------------------------------------------------


@dataclass
class Transitions:
    """N transitions of a batch.

    now: (N,) place of s_t among the states of the batch. following: (N,) that of s_{t+1}; rows have none of it, see
    `next_rows`. event: (N,) place of the target event in the flat column. action: (N,) item. share: (N,) of each in the
    mean, times its weight under `recency`; 0 where nothing is to be learnt.
    """

    now: Tensor
    following: Tensor
    event: Tensor
    action: Tensor
    share: Tensor


def transitions_of(batch: Any, columns: EventColumns, item_field: str, select: bool = True) -> Transitions:
    """The transitions of a PositionBatch, UserBatch or Interaction.

    select: those of a PositionBatch with a target only; False keeps every position, so that shapes do not depend on the
    data (a CUDA graph wants that).
    """
    if isinstance(batch, PositionBatch):
        return _position_transitions(batch, columns, weight_of(batch), select)
    if isinstance(batch, UserBatch):
        now = torch.nonzero(batch.targets).squeeze(1)
        weight = None if batch.weight is None else batch.weight[now]
        return _shared(now, batch.following[now], batch.places[now] + 1, batch.targets[now], weight)
    action = batch[item_field]
    now = torch.arange(len(action), device=action.device)
    return _shared(now, now, columns.place[batch["event_index"]], action, weight_of(batch))


def _position_transitions(
    batch: PositionBatch, columns: EventColumns, weight: Tensor | None, select: bool
) -> Transitions:
    targets = batch.targets
    event = (batch.places + 1).clamp_max(len(columns.items) - 1)
    # at the end of a row that is no session's the next state is unknown; the next row learns this transition
    last = torch.arange(batch.steps, device=targets.device) == (batch.length - 1).unsqueeze(1)
    targets = torch.where(last & ~columns.closes[event], 0, targets).flatten()
    now = torch.nonzero(targets).squeeze(1) if select else torch.arange(len(targets), device=targets.device)
    following = (now + 1).clamp_max(len(targets) - 1)
    return _shared(
        now, following, event.flatten()[now], targets[now], None if weight is None else weight[now]
    )


def _shared(
    now: Tensor, following: Tensor, event: Tensor, action: Tensor, weight: Tensor | None
) -> Transitions:
    learnt = action != 0
    share = learnt / learnt.sum().clamp_min(1)
    return Transitions(now, following, event, action, share if weight is None else share * weight)


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
