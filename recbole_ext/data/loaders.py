"""Loaders of (prefix, target) rows: batches of prefixes of like length, each row ranked on its own.

RecBole's loaders rank row by row for sequential models under full ranking only: general models get one ranking per
user, and with sampled negatives (uni100, pop100) all targets of a session share one, in which later rows overwrite
earlier ones; there each candidate repeats its row's whole sequence, here a row is encoded once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from logging import getLogger
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader, NegSampleEvalDataLoader, TrainDataLoader
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from recbole.data.transform import Equal
from recbole.utils import InputType
from torch.utils.data import DataLoader

from recbole_ext.data.recency import WEIGHT
from recbole_ext.data.replay import Replay
from recbole_ext.errors import UsageError
from recbole_ext.processes import current, own, own_batches
from recbole_ext.segments import holder_of


def draws(loader: Any) -> bool:
    """Whether making a batch draws negatives or masks: in processes of their own these would be others."""
    sampling = getattr(loader, "neg_sample_args", None) or {}
    samples = sampling.get("distribution", "none") != "none" and sampling.get("sample_num", "none") != "none"
    return samples or not isinstance(loader.transform, Equal)


def worker_note(loaders: Iterable[Any]) -> str | None:
    """What to know of RecBole's own loaders under `worker`, which draw in each of these processes; None: nothing."""
    for loader in loaders:
        workers = getattr(loader, "num_workers", 0)
        if (
            workers
            and isinstance(loader, AbstractDataLoader)
            and draws(loader)
            and not isinstance(loader, OURS)
        ):
            return f"worker {workers}: negatives and masks are drawn in each process, and others than with worker 0"
    return None


class RowTrainLoader(TrainDataLoader):
    """RecBole's training loader: the same rows, order (for one seed) and negatives, without a list of row numbers.

    With `length_buckets`, where the data set is `trimmed`, a batch holds prefixes of about one length: an epoch
    shuffles the rows, sorts them by length (ties stay shuffled), cuts batches and shuffles these, so which prefixes
    of a length meet is random, and when a batch comes does not depend on its length.
    """

    weighed = False
    replay: Replay | None = None
    kept: np.ndarray | None = None  # rows that are in the epoch's batches; None: all

    def keep(self, replay: Replay) -> None:
        """From now on an epoch has the sessions that `replay` draws for it, the first ones drawn now.

        Raises UsageError where torch's processes make the batches.
        """
        if self.config["worker"]:
            raise UsageError(
                f"worker is {self.config['worker']}, and a share of the sessions is drawn without: set it to 0"
            )
        self.replay = replay
        self._draw()

    def _draw(self) -> None:
        if self.replay is None:
            return
        rows, dataset = self._dataset.inter_feat, self._dataset
        session = holder_of(rows[dataset.event_field].numpy(), dataset.session_start)
        self.kept = np.flatnonzero(self.replay.draw()[session])
        self.sample_size = len(self.kept)

    def __len__(self) -> int:
        return super().__len__() if self.kept is None else -(-self.sample_size // self.step)

    def weigh(self, recency: float) -> None:
        """From now on rows have a column of what their target weighs, see data/recency.py."""
        if self.weighed:
            return
        self.weighed = True
        rows, dataset = self._dataset.inter_feat, self._dataset
        session = holder_of(rows[dataset.event_field].numpy(), dataset.session_start)
        rows.update(Interaction({WEIGHT: torch.from_numpy(dataset.target_weights(recency)[session])}))

    def __iter__(self) -> Iterator[Any]:
        """Batches as `collate_fn` makes them, the same whether or not `worker` processes make them."""
        torch.empty((), dtype=torch.int64).random_(
            generator=self.generator
        )  # torch's loader draws this first
        batches = self._batches(self._order())
        self._draw()  # for the next epoch
        if draws(self):  # for the whole batch, so that each row has what it would have in one process
            whole = map(self.collate_fn, batches)
            yield from (
                whole if current().count == 1 else (batch[own(np.arange(len(batch)))] for batch in whole)
            )
        else:
            batches = [own(rows) for rows in batches]
            # a generator of its own: the one of all draws a seed for the workers otherwise
            yield from DataLoader(
                batches,  # type: ignore[arg-type]
                batch_size=None,
                collate_fn=self.collate_fn,
                num_workers=self.config["worker"],
                generator=torch.Generator(),
            )
        if self.shuffle:
            torch.randperm(
                self.sample_size, generator=self.generator
            )  # and its sampler another order, after the last

    def _order(self) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.sample_size) if self.kept is None else self.kept
        order = torch.randperm(self.sample_size, generator=self.generator).numpy()
        return order if self.kept is None else self.kept[order]

    def _batches(self, order: np.ndarray) -> list[np.ndarray]:
        if not (self.config["length_buckets"] and self.shuffle and getattr(self._dataset, "trimmed", False)):
            return np.split(order, np.arange(self.step, len(order), self.step))
        length = self._dataset.inter_feat[self._dataset.item_list_length_field].numpy()
        order = order[np.argsort(-length[order], kind="stable")]
        batches = np.split(order, np.arange(self.step, len(order), self.step))
        return [batches[place] for place in torch.randperm(len(batches), generator=self.generator).tolist()]


def _by_length(dataset: Any) -> np.ndarray:
    """Rows in order of the length of their prefix, so that trimmed batches hold little padding."""
    field = getattr(dataset, "item_list_length_field", None)
    if field is None or field not in dataset.inter_feat:
        return np.arange(len(dataset))
    return np.argsort(dataset.inter_feat[field].numpy(), kind="stable")


class RowFullSortEvalDataLoader(FullSortEvalDataLoader):
    """Full ranking of every row, no history masked, whatever the model's type; rows by length of their prefix."""

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False):
        self.logger = getLogger()
        self.uid_field, self.iid_field = dataset.uid_field, dataset.iid_field
        self.sample_size = len(dataset)
        self.row_order = _by_length(dataset)
        AbstractDataLoader.__init__(self, config, dataset, sampler, shuffle=False)
        if draws(self):
            self.num_workers = 0
        self.is_sequential = True  # full_sort_scores then asks for rows, not for a user's history

    def _init_batch_size_and_step(self) -> None:
        self.step = self.config["eval_batch_size"]
        self.set_batch_size(self.step)

    def __iter__(self) -> Iterator[Any]:
        if current().count == 1 or draws(self):
            return own_batches(super().__iter__())
        begins = own_batches(iter(range(0, self.sample_size, self.step)))
        return iter(
            DataLoader(
                [np.arange(begin, min(begin + self.step, self.sample_size)) for begin in begins],  # type: ignore[arg-type]
                batch_size=None,
                collate_fn=self.collate_fn,
                num_workers=self.num_workers,
                generator=torch.Generator(),
            )
        )

    def collate_fn(self, index: Any) -> tuple[Any, None, torch.Tensor, torch.Tensor]:
        """Rows, no history to mask, and per row its number and its target."""
        rows = self.transform(self._dataset, self._dataset[self.row_order[index]])
        return rows, None, torch.arange(len(rows)), rows[self.iid_field]


class RowNegSampleEvalDataLoader(NegSampleEvalDataLoader):
    """Every row's target against sampled negatives of its own."""

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False):
        self.logger = getLogger()
        phase = sampler.phase if sampler is not None else "test"
        self._set_neg_sample_args(config, dataset, InputType.POINTWISE, config[f"{phase}_neg_sample_args"])
        self.sample_size = len(dataset)
        AbstractDataLoader.__init__(self, config, dataset, sampler, shuffle=False)
        if draws(self):
            self.num_workers = 0

    def _init_batch_size_and_step(self) -> None:
        self.step = max(1, self.config["eval_batch_size"] // self.times)
        self.set_batch_size(self.step * self.times)

    def __iter__(self) -> Iterator[Any]:
        return own_batches(super().__iter__())

    def collate_fn(self, index: list[int]) -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rows with their negatives, the row each belongs to, and per row its number and its target."""
        rows = self.transform(self._dataset, self._dataset[np.array(index)])
        number = torch.arange(len(rows))
        target = rows[self.iid_field]
        return self._neg_sampling(rows), number.repeat(self.times), number, target


class CandidateEvalDataLoader(RowNegSampleEvalDataLoader):
    """The same for SessionTrainer: a row's sequence comes once, with a row of candidates, not once a candidate."""

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False):
        self.row_order = _by_length(dataset)
        super().__init__(config, dataset, sampler, shuffle)

    def _init_batch_size_and_step(self) -> None:
        self.step = self.config["eval_batch_size"]
        self.set_batch_size(self.step)

    def collate_fn(self, index: list[int]) -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rows (B), their candidates (B, 1 + negatives), the target first, and per row its number and its target."""
        rows = self.transform(self._dataset, self._dataset[self.row_order[index]])
        number = torch.arange(len(rows))
        target = rows[self.iid_field]
        drawn = self._sampler.sample_by_user_ids(
            rows[self.uid_field].numpy(), target.numpy(), self.neg_sample_num
        )
        candidates = torch.cat((target, drawn)).view(self.times, len(rows)).T
        return rows, candidates, number, target


OURS = (RowTrainLoader, RowFullSortEvalDataLoader, RowNegSampleEvalDataLoader)
