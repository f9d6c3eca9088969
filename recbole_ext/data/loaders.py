"""Evaluation loaders that rank each (prefix, target) row on its own, whatever the model's type.

RecBole's loaders do so for sequential models under full ranking only: general models get one ranking per
user, and with sampled negatives (uni100, pop100) all targets of a session share one, in which later rows
overwrite earlier ones.
"""

from __future__ import annotations

from logging import getLogger
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader, NegSampleEvalDataLoader
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.utils import InputType


class RowFullSortEvalDataLoader(FullSortEvalDataLoader):
    """Full ranking of every row, no history masked; for models that RecBole would evaluate per user."""

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False):
        self.logger = getLogger()
        self.uid_field, self.iid_field = dataset.uid_field, dataset.iid_field
        self.sample_size = len(dataset)
        AbstractDataLoader.__init__(self, config, dataset, sampler, shuffle=False)

    def _init_batch_size_and_step(self) -> None:
        self.step = self.config["eval_batch_size"]
        self.set_batch_size(self.step)

    def collate_fn(self, index: list[int]) -> tuple[Any, None, torch.Tensor, torch.Tensor]:
        """Rows, no history to mask, and per row its number and its target."""
        rows = self.transform(self._dataset, self._dataset[np.array(index)])
        return rows, None, torch.arange(len(rows)), rows[self.iid_field]


class RowNegSampleEvalDataLoader(NegSampleEvalDataLoader):
    """Every row's target against sampled negatives of its own."""

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False):
        self.logger = getLogger()
        phase = sampler.phase if sampler is not None else "test"
        self._set_neg_sample_args(config, dataset, InputType.POINTWISE, config[f"{phase}_neg_sample_args"])
        self.sample_size = len(dataset)
        AbstractDataLoader.__init__(self, config, dataset, sampler, shuffle=False)

    def _init_batch_size_and_step(self) -> None:
        self.step = max(1, self.config["eval_batch_size"] // self.times)
        self.set_batch_size(self.step * self.times)

    def collate_fn(self, index: list[int]) -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rows with their negatives, the row each belongs to, and per row its number and its target."""
        rows = self.transform(self._dataset, self._dataset[np.array(index)])
        number = torch.arange(len(rows))
        target = rows[self.iid_field]
        return self._neg_sampling(rows), number.repeat(self.times), number, target
