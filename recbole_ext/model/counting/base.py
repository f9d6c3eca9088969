"""Models that learn at once, by counting: no gradient, no epochs, few items a row that have a score.

What they share: reading the training events, popularity below the scores, RecBole's two ways of asking for scores.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor

from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.errors import UsageError
from recbole_ext.model.counting.counted import highest_one, popularity_of
from recbole_ext.scores.sparse import SparseScores
from recbole_ext.segments import pointers_of, spans
from recbole_ext.settings.base import ModelSettings, NoneWord, key
from recbole_ext.settings.run_settings import settings_of


class CountingSettings(ModelSettings):
    """Keys of the models that learn at once."""

    fill: Annotated[Literal["popularity", "none"], NoneWord] = key(
        "none",
        "none: items without a score are no candidates, a target among them ranks last; popularity: they follow by "
        "training events",
    )
    other_defaults: ClassVar[dict[str, Any]] = {"train_neg_sample_args": None, "epochs": 1}


@dataclass(frozen=True)
class TrainingSessions:
    """Sessions with training events, in the order of their last one (ties: as in the data set).

    session: (S,) int64 session ids. last_time: (S,) float64 seconds. start: (S + 1,) int64 pointers into
    item: (E,) int64 items of the training events, session by session.
    """

    session: np.ndarray
    last_time: np.ndarray
    start: np.ndarray
    item: np.ndarray

    @classmethod
    def of(cls, dataset: SessionDataset) -> TrainingSessions:
        """The leading `train_length` events of each session; no other event is looked at."""
        trained = np.flatnonzero(dataset.train_length > 0)
        last = dataset.event_time[dataset.session_start[trained] + dataset.train_length[trained] - 1]
        order = np.argsort(last, kind="stable")
        trained, last = trained[order], last[order]
        first, length = dataset.session_start[trained], dataset.train_length[trained]
        start = pointers_of(length)
        place = spans(first, length)
        return cls(
            session=dataset.events[dataset.uid_field].numpy()[first].astype(np.int64),
            last_time=last,
            start=start,
            item=dataset.events[dataset.iid_field].numpy()[place].astype(np.int64),
        )

    @property
    def length(self) -> np.ndarray:
        """(S,) int64 number of training events of each session."""
        return np.diff(self.start)


class CountingModel(SequentialRecommender, ABC):
    """A sequential model that has learnt when it is made; `learnt` is all it knows, and goes into the checkpoint.

    fill: `popularity`: items without a score follow those with one, by their number of training events; `none`: they
    are no candidates, as published, and a target among them ranks last. A row without history is ranked by popularity
    either way.
    """

    settings_class: type[ModelSettings] = CountingSettings
    learns_in_one_pass = True  # which Trainer it gets, see bridge/registry.py
    carries_methods = "counts, and has no states"
    input_type = InputType.POINTWISE
    other_parameter_name = ("learnt",)

    def __init__(self, config: Any, dataset: Any):
        self._set_up(config, dataset)
        if not isinstance(dataset, SessionDataset) or dataset.events is None:
            raise UsageError(
                f"{config['model']} learns from whole sessions, which RecBole's own data sets do not keep: set "
                "data_layout: pointers and leave benchmark_filename out"
            )
        self.look_at(config, dataset)
        learnt = self.learn(TrainingSessions.of(dataset))
        self.learnt = {**learnt, "popularity": dataset.training_counts().numpy()}
        self._prepare()

    def _set_up(self, config: Any, dataset: Any) -> None:
        SequentialRecommender.__init__(self, config, dataset)
        self.notes: list[str] = []  # what a reader of the result has to know
        self.settings: Any = settings_of(config, self.settings_class)
        self.fill = getattr(self.settings, "fill", "popularity")  # a model without that key ranks all items
        self.read_settings()

    @classmethod
    def restored(cls, config: Any, catalogue: Any, kept: dict[str, Any]) -> CountingModel:
        """The model that has learnt what it `kept`; catalogue: data.catalogue.Catalogue, which may have items more."""
        model = cls.__new__(cls)
        model._set_up(config, catalogue)
        model.learnt = model.enlarged(kept["learnt"], catalogue.item_num)
        model._prepare()
        return model

    def read_settings(self) -> None:
        """Work out what the settings alone say."""

    def enlarged(self, learnt: dict[str, Any], n_items: int) -> dict[str, Any]:
        """What is learnt, with the last items as ones that never were in a training session."""
        return {**learnt, "popularity": longer(learnt["popularity"], n_items)}

    def look_at(self, config: Any, dataset: SessionDataset) -> None:
        """Before learning: check settings against the data set; raises UsageError."""

    @abstractmethod
    def learn(self, sessions: TrainingSessions) -> dict[str, Any]:
        """What scoring needs: numpy arrays and scipy matrices by name."""

    @abstractmethod
    def score(self, prefixes: np.ndarray, sessions: np.ndarray | None) -> sp.csr_matrix:
        """(B, n_items) scores above 0 of the items that have one.

        Args:
            prefixes: (B, L) int64 items, oldest first, 0 = padding on the right.
            sessions: (B,) int64 session ids of the rows; None: not known.
        """

    def load_other_parameter(self, para: dict[str, Any] | None) -> None:
        """Take what a checkpoint knows in place of what was learnt."""
        super().load_other_parameter(para)
        self._prepare()

    def _prepare(self) -> None:
        """Work out from `learnt` what need not be stored."""
        self.popularity = popularity_of(self.learnt["popularity"])

    # --- RecBole's ways to ask -------------------------------------------------------------------------

    def sparse_scores(self, interaction: Any) -> SparseScores:
        """Scores of all items for the prefixes of a batch, a row's highest being 1 (see `SparseScores`)."""
        prefixes = interaction[self.ITEM_SEQ].cpu().numpy().astype(np.int64)
        session = interaction[self.USER_ID].cpu().numpy() if self.USER_ID in interaction else None
        known = highest_one(self.score(prefixes, session))
        blank = ~(prefixes != 0).any(axis=1)
        return SparseScores(known, self.popularity - 1, blank | (self.fill == "popularity"), self.device)

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """(B * n_items,) scores of all items for each prefix; the padding's is -inf."""
        return self.sparse_scores(interaction).dense().view(-1)

    def predict(self, interaction: Any) -> Tensor:
        """(B,) score of each row's `item_id`."""
        scores = self.sparse_scores(interaction)
        return scores.of(interaction[self.ITEM_ID].view(-1, 1)).view(-1)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """0: there is nothing left to learn."""
        return torch.zeros((), device=self.device, requires_grad=True)


def longer(column: np.ndarray, size: int) -> np.ndarray:
    """(size,) the column with zeros behind."""
    return np.concatenate((column, np.zeros(size - len(column), dtype=column.dtype)))


def wider(matrix: sp.csr_matrix, n_items: int) -> sp.csr_matrix:
    """(n_items, n_items) the square matrix with empty rows and columns behind."""
    pointers = np.concatenate((matrix.indptr, np.full(n_items - matrix.shape[0], matrix.indptr[-1])))
    return sp.csr_matrix((matrix.data, matrix.indices, pointers), shape=(n_items, n_items))
