"""Sessions chained by user, packed for a recurrent network: the data side of hierarchical RNNs (Quadrana et al. 2017).

A user is a chain of sessions in time order. A batch holds some users' sessions step by step: step m has every user's
m-th session, longest first, its events in time-major order, which is the layout of torch's PackedSequence. So one GRU
call runs one step of all users, nothing is padded, and there is no loop over items.

A session whose user is unknown is a user with one session.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_ext.data.positions import mixed_batches
from recbole_ext.data.replay import Replay
from recbole_ext.data.users import users_of
from recbole_ext.errors import UsageError
from recbole_ext.processes import own
from recbole_ext.segments import (
    earlier_of_group,
    holder_of,
    owner_of,
    place_in,
    pointers_of,
    runs,
    spans,
    start_of,
)


@dataclass
class UserBatch:
    """Packed sessions of some users; E events, S sessions, M steps, R rows to be scored.

    items: (E,) int64 item of each event. targets: (E,) int64 next item of the session, 0 = none to be learnt.
    sessions: (S,) int64 the log's session that each one is, -1 where it is none. session_user: (S,) int64 in [0,
    users). session_step: (S,) int64, 0 = the user's first session of the batch. event_session: (E,) int64 session
    of each event. state_event: (S,) int64 the event whose hidden state the user level takes over (the last one
    before the user's next session starts). rows: (R,) int64 event that ends the prefix to be scored. places: (E,)
    int64 place of each event in the flat column, -1 where it has none. following: (E,) int64 the next event of the
    session in this order, 0 where there is none. place_in_session: (E,) int64. by_session: (E,) int64 the events
    session by session, each session's in order; session_start: (S,) int64 the place there of each one's first.
    batch_sizes: per step, PackedSequence's batch sizes (CPU). step_events, step_sessions: (M,) counts. weight: (E,)
    float32 of each target; None: all weigh 1.
    """

    items: Tensor
    targets: Tensor
    sessions: Tensor
    session_user: Tensor
    session_step: Tensor
    event_session: Tensor
    state_event: Tensor
    rows: Tensor
    places: Tensor
    following: Tensor
    place_in_session: Tensor
    by_session: Tensor
    session_start: Tensor
    batch_sizes: list[Tensor]
    step_events: list[int]
    step_sessions: list[int]
    users: int
    weight: Tensor | None = None

    def to(self, device: torch.device | str) -> UserBatch:
        """The same batch with its index tensors on `device`; batch sizes stay on the CPU, as PackedSequence wants."""
        moved: dict[str, Any] = {
            f.name: getattr(self, f.name).to(device, non_blocking=True)
            for f in fields(self)
            if isinstance(getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    def __len__(self) -> int:
        return int(self.items.shape[0])

    def last_events(self, events: Tensor, count: int) -> Tensor:
        """(B, W) the last events of the prefixes that `events` (B,) end, oldest first, -1 = none; W: as many as there
        are, at most `count`."""
        own = self.place_in_session[events]
        width = min(count, int(own.max()) + 1) if len(own) else 1
        place = own.unsqueeze(1) - torch.arange(width - 1, -1, -1, device=own.device)
        first = self.session_start[self.event_session[events]].unsqueeze(1)
        return torch.where(place >= 0, self.by_session[first + place.clamp_min(0)], -1)


def pack(
    items: np.ndarray,
    targets: np.ndarray,
    lengths: np.ndarray,
    users: np.ndarray,
    steps: np.ndarray,
    state_lengths: np.ndarray,
    rows: np.ndarray,
    places: np.ndarray | None = None,
    sessions: np.ndarray | None = None,
) -> UserBatch:
    """Lay sessions out step by step, longest first, time-major.

    Args:
        items: (E,) items of the events of the sessions, one session after the other.
        targets: (E,) the items that they lead to.
        lengths: (S,) events.
        users: (S,) users of the batch.
        steps: (S,) steps.
        state_lengths: (S,) events that count for the user state.
        rows: (R,) positions in `items` whose hidden state is wanted.
        places: (E,) of the events in the flat column; None: they are not from there.
        sessions: (S,) of the log that they are; None: they are none of them.
    """
    count = len(lengths)
    order = np.lexsort((-lengths, steps))  # step by step, longest first
    place = np.empty(count, dtype=np.int64)
    place[order] = np.arange(count)
    starts, session_of, position = start_of(lengths), owner_of(lengths), place_in(lengths)
    packed = np.lexsort((place[session_of], position, steps[session_of]))
    where = np.empty(len(items), dtype=np.int64)
    where[packed] = np.arange(len(items))

    ends = np.append(session_of[1:] != session_of[:-1], True) if len(items) else np.empty(0, dtype=bool)
    following = np.where(ends, 0, np.append(where[1:], 0))[packed]
    places = np.full(len(items), -1) if places is None else places
    sessions = np.full(count, -1) if sessions is None else sessions
    step_count = int(steps.max()) + 1 if count else 0
    step_events = np.bincount(steps[session_of], minlength=step_count)
    step_sessions = np.bincount(steps, minlength=step_count)
    of_steps = np.split(position[packed], np.cumsum(step_events)[:-1]) if step_count else ()
    return UserBatch(
        items=torch.from_numpy(items[packed]),
        targets=torch.from_numpy(targets[packed]),
        sessions=torch.from_numpy(sessions[order].astype(np.int64)),
        session_user=torch.from_numpy(users[order].astype(np.int64)),
        session_step=torch.from_numpy(steps[order].astype(np.int64)),
        event_session=torch.from_numpy(place[session_of][packed]),
        state_event=torch.from_numpy(where[(starts + state_lengths - 1)[order]]),
        rows=torch.from_numpy(where[rows]),
        places=torch.from_numpy(places[packed]),
        following=torch.from_numpy(following),
        place_in_session=torch.from_numpy(position[packed]),
        by_session=torch.from_numpy(where),
        session_start=torch.from_numpy(starts[order]),
        batch_sizes=[torch.from_numpy(np.bincount(places_of)) for places_of in of_steps],
        step_events=step_events.tolist(),
        step_sessions=step_sessions.tolist(),
        users=int(users.max()) + 1 if count else 0,
    )


class UserSequences:
    """Every session of a SessionDataset, chained by user in order of session start."""

    def __init__(self, dataset: Any):
        """Read the flat columns of a SessionDataset (events, session_start, session_length, train_length).

        items: (E,) or, with a start step in front of every session, (E + S,).
        """
        config = dataset.config
        events = dataset.events
        self.start = np.asarray(dataset.session_start, dtype=np.int64)
        self.length = np.asarray(dataset.session_length, dtype=np.int64)
        self.train_length = np.asarray(dataset.train_length, dtype=np.int64)
        # with empty_history a session is read from a start step, whose item is padding and whose target its first event
        self.lead = int(bool(getattr(dataset, "empty_history", False)))
        self.items: np.ndarray = events[config["ITEM_ID_FIELD"]].numpy()
        if self.lead:
            self.items = np.insert(self.items, self.start, 0)
        self.user = users_of(events, self.start, config["LINK_USER_FIELD"])
        self.chain = np.argsort(self.user, kind="stable")  # sessions are in time order, so chains are too
        self.first = pointers_of(np.bincount(self.user))  # of each user into `chain`
        self.rank = earlier_of_group(self.user)  # how many earlier sessions the session's user has
        self.state_length = self._state_lengths(np.asarray(dataset.event_time))

    def _state_lengths(self, times: np.ndarray) -> np.ndarray:
        """Events of each session up to the start of its user's next one: later ones must not reach that one."""
        has_next = self.user[self.chain][1:] == self.user[self.chain][:-1]
        limit = np.full(len(self.start), np.inf)
        limit[self.chain[:-1][has_next]] = times[self.start[self.chain[1:][has_next]]]
        in_time = times <= np.repeat(limit, self.length)
        return np.maximum(np.add.reduceat(in_time, self.start), 1) if len(self.start) else self.length

    @property
    def returning_users(self) -> int:
        """Users with more than one session."""
        return int((np.diff(self.first) > 1).sum())

    def session_of(self, event_index: np.ndarray) -> np.ndarray:
        """(R,) session that holds each flat event index."""
        return holder_of(event_index, self.start)

    def flat_place(self, event_index: np.ndarray) -> np.ndarray:
        """(R,) place in `items` of each flat event index."""
        return event_index + self.lead * (self.session_of(event_index) + 1)

    def train_chains(self, max_sessions: int) -> list[np.ndarray]:
        """Training sessions by user, at most `max_sessions` in a chain; a longer one is cut and starts anew."""
        sessions = self.chain[self.train_length[self.chain] > 0]
        user = self.user[sessions]
        if not len(sessions):
            return []
        cuts = np.flatnonzero(place_in(runs(user)[1]) % max_sessions == 0)
        chains = np.split(sessions, cuts[1:])
        # a chain without a single (prefix, target) pair teaches nothing
        useful = np.add.reduceat((self._targets(sessions) > 0).astype(np.int64), cuts) > 0
        return [c for c, keep in zip(chains, useful) if keep]

    def _targets(self, sessions: np.ndarray) -> np.ndarray:
        """Training targets of sessions that train."""
        return self.train_length[sessions] - 1 + self.lead

    def targets(self, chain: np.ndarray) -> int:
        """Training targets of a chain of `train_chains`."""
        return int(self._targets(chain).sum())

    def _steps(self, sessions: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places in `items`, lengths and lengths for the user state of the leading `lengths` events, start steps
        included."""
        state = np.minimum(self.state_length[sessions], lengths) + self.lead
        lengths = lengths + self.lead
        begin = self.start[sessions] + self.lead * sessions
        return spans(begin, lengths), lengths, state

    def positions(self) -> tuple[Tensor, np.ndarray, np.ndarray, int | None]:
        """As SessionDataset.training_positions, start steps included and without limit of length."""
        start = self.start + self.lead * np.arange(len(self.start))
        count = np.where(self.train_length > 0, self.train_length - 1 + self.lead, 0)
        return torch.from_numpy(self.items), start, count, None

    def train_batch(self, chains: list[np.ndarray]) -> UserBatch:
        """Whole chains with the next item of every event as target."""
        sessions = np.concatenate(chains)
        chained = np.array([len(chain) for chain in chains])
        users, steps = owner_of(chained), place_in(chained)
        places, lengths, state = self._steps(sessions, self.train_length[sessions])
        items = self.items[places]
        targets = np.append(items[1:], 0)
        targets[np.cumsum(lengths) - 1] = 0  # a session's last event has no target
        return pack(
            items, targets, lengths, users, steps, state, np.empty(0, dtype=np.int64), places, sessions
        )

    def eval_batch(self, event_index: np.ndarray, with_history: bool = True) -> UserBatch:
        """The prefixes before the target events `event_index` (R,), each after its user's earlier sessions.

        One chain serves all rows of a user: a recurrent state only knows what came before it.
        """
        session = self.session_of(event_index)
        if with_history:
            owner = self.user[session]
            chain_user, row_user = np.unique(owner, return_inverse=True)
            last = np.zeros(len(chain_user), dtype=np.int64)
            np.maximum.at(last, row_user.reshape(-1), self.rank[session])
            sessions = self.chain[spans(self.first[chain_user], last + 1)]
            users = owner_of(last + 1)
            steps = self.rank[sessions]
        else:
            sessions = np.unique(session)
            users, steps = np.arange(len(sessions)), np.zeros(len(sessions), dtype=np.int64)
        places, lengths, state = self._steps(sessions, self.length[sessions])
        items = self.items[places]
        slot = np.full(len(self.start), -1, dtype=np.int64)
        slot[sessions] = start_of(lengths)
        rows = slot[session] + (event_index - self.start[session]) - 1 + self.lead
        return pack(items, np.zeros_like(items), lengths, users, steps, state, rows, places, sessions)


def rows_batch(item_seq: Tensor, item_length: Tensor, start_step: bool = False) -> UserBatch:
    """Rows that carry only their own prefix (B, L), 0 = padding on the right: each is an unknown user's session.

    With `start_step` each is read from a start step on, as by UserSequences under `empty_history`.
    """
    lengths = item_length.cpu().numpy().astype(np.int64)
    sequence = item_seq.cpu().numpy()
    if start_step:
        lengths = (
            np.where(sequence[:, 0] == 0, 0, lengths) + 1
        )  # an empty prefix is one step of padding already
        sequence = np.pad(sequence, ((0, 0), (1, 0)))
    items = sequence[np.arange(sequence.shape[1])[None, :] < lengths[:, None]]
    ends = np.cumsum(lengths) - 1
    index = np.arange(len(lengths))
    return pack(items, np.zeros_like(items), lengths, index, np.zeros_like(index), lengths, ends)


class UserTrainLoader:
    """Training batches of whole user chains, about `train_batch_size` targets each, shuffled by user every epoch.

    It has what RecBole's Trainer and Collector ask of a loader: iteration, length, `dataset`, `shuffle`.
    """

    def __init__(self, config: Any, dataset: Any, sampler: Any = None, shuffle: bool = True):
        self.config = config
        self.dataset = self._dataset = dataset
        self.shuffle = shuffle
        self.generator = torch.Generator().manual_seed(config["seed"])
        self.sequences: UserSequences = dataset.user_sequences
        chained = config["user_state"] not in (None, "none")
        longest = config["max_user_sessions"]
        self.chains = self.sequences.train_chains(longest if chained else 1)
        self.targets = np.array([self.sequences.targets(c) for c in self.chains], dtype=np.int64)
        self.sessions = np.array([len(c) for c in self.chains], dtype=np.int64)
        self.weight: Tensor | None = None  # of a target of each session
        self.replay: Replay | None = None
        self.kept: np.ndarray | None = None  # chains that are in the epoch's batches; None: all
        if not self.targets.sum():
            raise UsageError("no training session has two events: check the split and the filters")

    def weigh(self, recency: float) -> None:
        """From now on batches say what their targets weigh, see data/recency.py."""
        if self.weight is None:
            self.weight = torch.from_numpy(self.dataset.target_weights(recency))

    def keep(self, replay: Replay) -> None:
        """From now on an epoch has the chains that hold one of the sessions that `replay` draws, each of them whole."""
        self.replay = replay
        self._draw()

    def _draw(self) -> None:
        if self.replay is not None:
            drawn = self.replay.draw()
            self.kept = np.flatnonzero([drawn[chain].any() for chain in self.chains])

    def __len__(self) -> int:
        targets = self.targets if self.kept is None else self.targets[self.kept]
        return max(1, round(targets.sum() / self.config["train_batch_size"]))

    def __iter__(self) -> Iterator[UserBatch]:
        batches = self._batches()
        self._draw()  # for the next epoch
        for chosen in batches:
            batch = self.sequences.train_batch([self.chains[i] for i in own(chosen)])
            if self.weight is not None:
                batch.weight = self.weight[batch.sessions[batch.event_session]]
            yield batch

    def _cut(self, generator: torch.Generator | None) -> list[np.ndarray]:
        """Chains of each batch; with `length_buckets` those of about as many sessions, as a batch takes as many steps
        as its longest chain."""
        size = self.config["train_batch_size"]
        order = np.arange(len(self.chains)) if self.kept is None else self.kept
        if not self.config["length_buckets"]:
            return [order[part] for part in mixed_batches(self.targets[order], size, generator)]
        if generator is not None:
            order = order[torch.randperm(len(order), generator=generator).numpy()]
        order = order[np.argsort(-self.sessions[order], kind="stable")]
        parts = [order[part] for part in mixed_batches(self.targets[order], size, None)]
        if generator is None:
            return parts
        return [parts[place] for place in torch.randperm(len(parts), generator=generator).tolist()]

    def _batches(self) -> list[np.ndarray]:
        return self._cut(self.generator if self.shuffle else None)
