"""Training batches of whole sessions with a target at every position, for models whose states know no later event.

RecBole trains on one padded row a prefix. A causal model's state at position t of a session is that of the prefix that
ends there, so one row a session holds the same (prefix, target) pairs. Rows are (start, length) into one flat column;
on a GPU that column lies there, and a batch is gathered there.

With `length_buckets` a batch holds sessions of about one length, so hardly anything is padded: each epoch shuffles the
sessions, sorts them by length (ties stay shuffled), cuts batches and shuffles these. So which sessions of a length meet
in a batch is random, and when in the epoch a batch comes does not depend on its length; only that sessions of a batch
are alike in length is not random.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_ext.data.past import PastPointers
from recbole_ext.data.replay import Replay
from recbole_ext.errors import UsageError
from recbole_ext.processes import current, own
from recbole_ext.segments import owner_of, place_in

EXACT_LENGTHS = 16  # up to here every length is a bucket of its own; longer ones differ by at most a quarter


@dataclass(frozen=True)
class PositionBatch:
    """Some sessions, by pointers into one flat column of items.

    flat: (E,) int64 item of every event. start: (n,) index of a row's first event. length: (n,) its positions, 0: an
    empty row. first: (n,) positions before it are read, not learnt (they are learnt in another row). steps: L, the
    number of positions that the batch is padded to. count: targets to be learnt; None: not known on the host. past: of
    the session of each row; None: it is not read. weight: (n,) float32 of each row's targets; None: all weigh 1.
    """

    flat: Tensor
    start: Tensor
    length: Tensor
    first: Tensor
    steps: int
    count: int | None = None
    past: PastPointers | None = None
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.start)

    def _step(self) -> Tensor:
        return torch.arange(self.steps, device=self.start.device)

    @property
    def places(self) -> Tensor:
        """(n, L) int64 place of every position's event in the flat column; of padding, some place."""
        return (self.start.unsqueeze(1) + self._step()).clamp_max(len(self.flat) - 1)

    @property
    def items(self) -> Tensor:
        """(n, L) int64 item at every position, 0 = padding."""
        return self._gather(self.start, self._step() < self.length.unsqueeze(1))

    @property
    def targets(self) -> Tensor:
        """(n, L) int64 the next item of the session, 0 = nothing to be learnt there."""
        step = self._step()
        learnt = (step < self.length.unsqueeze(1)) & (step >= self.first.unsqueeze(1))
        return self._gather(self.start + 1, learnt)

    @property
    def past_items(self) -> Tensor | None:
        """(n, K) int64 items of the past of each row's session, column 0 the newest, 0 = none; None: it is not read."""
        return None if self.past is None else self.past.items

    @property
    def of_rows(self) -> list[Tensor]:
        """The tensors (n,) that tell rows apart; a row of zeros in each is an empty one."""
        return [
            *(self.start, self.length, self.first),
            *(() if self.past is None else (self.past.begin, self.past.length)),
            *(() if self.weight is None else (self.weight,)),
        ]

    def empty(self, rows: int) -> PositionBatch:
        """A batch of `rows` empty rows over the same columns, of the same shape otherwise."""
        start, length, first = (self.start.new_zeros(rows) for _ in range(3))
        past, weight = self.past, self.weight
        if past is not None:
            past = replace(past, begin=past.begin.new_zeros(rows), length=past.length.new_zeros(rows))
        if weight is not None:
            weight = weight.new_zeros(rows)
        return replace(self, start=start, length=length, first=first, count=None, past=past, weight=weight)

    def _gather(self, start: Tensor, wanted: Tensor) -> Tensor:
        place = torch.where(wanted, start.unsqueeze(1) + self._step(), 0)
        return torch.where(wanted, self.flat[place], 0)

    def to(self, device: torch.device | str) -> PositionBatch:
        """The same batch with its tensors on `device`."""
        moved = {name: getattr(self, name).to(device) for name in ("flat", "start", "length", "first")}
        past = None if self.past is None else self.past.to(device)
        weight = None if self.weight is None else self.weight.to(device)
        return replace(self, **moved, past=past, weight=weight)


@dataclass(frozen=True)
class PositionRows:
    """Rows that hold every training target once; arrays (R,). length counts positions, that is inputs with a target.

    session: of those that the rows were made of.
    """

    start: np.ndarray
    length: np.ndarray
    first: np.ndarray
    session: np.ndarray

    @property
    def targets(self) -> np.ndarray:
        """(R,) targets learnt in each row."""
        return self.length - self.first


def position_rows(
    start: np.ndarray, length: np.ndarray, longest: int | None, overlap: int = 0
) -> PositionRows:
    """One row a session; one with more than `longest` positions becomes several, half a row further each.

    A later row reads `longest` positions and learns those that the row before it did not hold, so a target of a long
    session knows between half of `longest` and all of the last `longest` events, where a prefix row knows all.
    overlap: targets that a later row learns although the row before it holds them; 1 where learning at a position
    takes the state after it, which a row does not have at its end.
    """
    kept = np.flatnonzero(length > 0)
    start, length = start[kept], length[kept]
    if longest is None or not (length > longest).any():
        return PositionRows(start, length, np.zeros_like(length), kept)
    stride = max(1, longest // 2)
    more = np.maximum(0, -(-(length - longest) // stride))  # rows beyond the first
    session, number = owner_of(more + 1), place_in(more + 1)
    whole = length[session]
    offset = np.minimum(number * stride, np.maximum(whole - longest, 0))
    known = np.where(number == 0, 0, np.minimum((number - 1) * stride, whole - longest) + longest)
    first = np.where(number == 0, 0, np.maximum(known - overlap - offset, 0))
    return PositionRows(start[session] + offset, np.minimum(whole - offset, longest), first, kept[session])


def bucket(length: int, longest: int | None = None) -> int:
    """The padded length of a batch whose longest row has `length` positions: few enough for one graph each."""
    if length <= EXACT_LENGTHS:
        return length
    size = EXACT_LENGTHS
    while size < length:
        size += size // 4
    return size if longest is None else min(size, longest)


def length_batches(
    lengths: np.ndarray, budget: int, generator: torch.Generator | None, longest: int | None = None
) -> list[tuple[np.ndarray, int, int]]:
    """Batches of rows of about one length: (rows, padded length L, rows that a full batch of that length holds).

    A batch holds `budget` positions. generator: shuffles; None: rows in order of falling length.
    """
    count = len(lengths)
    order = np.arange(count) if generator is None else torch.randperm(count, generator=generator).numpy()
    length = lengths[order]
    if lengths.max(initial=0) < 1 << 15:
        length = length.astype(np.int16)  # numpy sorts 16 bits several times faster
    order = order[np.argsort(-length, kind="stable")]
    batches, begin = [], 0
    while begin < count:
        steps = bucket(int(lengths[order[begin]]), longest)
        rows = max(1, -(-budget // steps))
        batches.append((order[begin : begin + rows], steps, rows))
        begin += rows
    if generator is None:
        return batches
    return [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]


def mixed_batches(targets: np.ndarray, budget: int, generator: torch.Generator | None) -> list[np.ndarray]:
    """Batches of about `budget` targets (sum over rows), rows in random order; generator None: in order."""
    count = len(targets)
    order = np.arange(count) if generator is None else torch.randperm(count, generator=generator).numpy()
    filled = np.cumsum(targets[order])
    batches = max(1, round(filled[-1] / budget))
    middle = filled - targets[order] / 2  # a row goes where the middle of its targets falls
    batch_of = np.minimum((middle * batches / filled[-1]).astype(np.int64), batches - 1)
    return [p for p in np.split(order, np.flatnonzero(np.diff(batch_of)) + 1) if targets[p].sum()]


class PositionTrainLoader:
    """Batches of whole sessions, about `train_batch_size` targets each, in a new order every epoch.

    It has what RecBole's Trainer and Collector ask of a loader: iteration, length, `dataset`, `shuffle`.
    """

    def __init__(self, config: Any, dataset: Any, sampler: Any = None, shuffle: bool = True):
        self.config = config
        self.dataset = self._dataset = dataset
        self.shuffle = shuffle
        self.generator = torch.Generator().manual_seed(config["seed"])
        flat, start, length, self.longest = dataset.training_positions()
        overlap = int(getattr(getattr(config, "model_class", None), "learns_transitions", False))
        if overlap and self.longest == 1:
            raise UsageError(
                f"{config['model']} learns from two positions in a row, which MAX_ITEM_LIST_LENGTH 1 does not hold: "
                "set it to 2 or more, or train_targets: prefixes"
            )
        self.rows = position_rows(start, length, self.longest, overlap)
        if not len(self.rows.start):
            raise UsageError("no training session has two events: check the split and the filters")
        self.buckets = bool(config["length_buckets"])
        self.columns = [
            torch.as_tensor(c) for c in (flat, self.rows.start, self.rows.length, self.rows.first)
        ]
        self.past: PastPointers | None = None  # of every row
        self.weight: Tensor | None = None  # likewise
        self._batch_count: int | None = None
        self.replay: Replay | None = None
        self.kept: np.ndarray | None = None  # rows that are in the epoch's batches; None: all

    def read_past(self, limit: int) -> None:
        """From now on batches hold the last `limit` training events of their sessions' pasts."""
        if self.past is None or self.past.limit != limit:
            session = torch.from_numpy(self.rows.session).to(self.columns[0].device)
            self.past = self.dataset.past.pointers(session, limit, training=True)

    def weigh(self, recency: float) -> None:
        """From now on batches say what their targets weigh, see data/recency.py."""
        if self.weight is None:
            weight = self.dataset.target_weights(recency)[self.rows.session]
            self.weight = torch.from_numpy(weight).to(self.columns[0].device)

    def keep(self, replay: Replay) -> None:
        """From now on an epoch has the sessions that `replay` draws for it, the first ones drawn now."""
        self.replay = replay
        self._draw()

    def _draw(self) -> None:
        if self.replay is not None:
            self.kept = np.flatnonzero(self.replay.draw()[self.rows.session])
        self._batch_count = None

    def to(self, device: torch.device) -> None:
        """Keep the flat column and the pointers on `device`, where batches are then gathered."""
        self.columns = [column.to(device) for column in self.columns]
        self.past = None if self.past is None else self.past.to(device)
        self.weight = None if self.weight is None else self.weight.to(device)

    def __len__(self) -> int:
        if self._batch_count is None:
            self._batch_count = len(self._cut(None))
        return self._batch_count

    def __iter__(self) -> Iterator[PositionBatch]:
        generator = self.generator if self.shuffle else None
        flat, *pointers = self.columns
        device = flat.device
        batches = [(own(rows), steps, full) for rows, steps, full in self._cut(generator)]
        self._draw()  # for the next epoch
        chosen = torch.from_numpy(np.concatenate([rows for rows, _, _ in batches])).to(device)
        start, length, first = (column[chosen] for column in pointers)  # once an epoch, then slices
        past = None if self.past is None else self.past.rows(chosen)
        weight = None if self.weight is None else self.weight[chosen]
        targets, begin = self.rows.targets, 0
        for rows, steps, _ in batches:
            piece = slice(begin, begin + len(rows))
            count = int(targets[rows].sum())
            yield PositionBatch(
                *(flat, start[piece], length[piece], first[piece], steps, count),
                past=None if past is None else past.rows(piece),
                weight=None if weight is None else weight[piece],
            )
            begin = piece.stop

    def full_rows(self, steps: int) -> int:
        """Rows that a process has of a full batch that is padded to `steps`."""
        return max(1, -(-self.config["train_batch_size"] // steps // current().count))

    def _cut(self, generator: torch.Generator | None) -> list[tuple[np.ndarray, int, int]]:
        size = self.config["train_batch_size"]
        kept = slice(None) if self.kept is None else self.kept
        length, targets = self.rows.length[kept], self.rows.targets[kept]
        if self.buckets:
            found = length_batches(length, size, generator, self.longest)
        else:
            mixed = mixed_batches(targets, size, generator)
            found = [(rows, int(length[rows].max()), len(rows)) for rows in mixed]
        if self.kept is None:
            return found
        return [(self.kept[rows], steps, full) for rows, steps, full in found]
