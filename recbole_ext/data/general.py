"""Non-sequential models on the sequential models' (prefix, target) rows.

Pop, Random, ItemKNN, EASE (Steck 2019), SLIMElastic (Ning and Karypis 2011) and ADMMSLIM (Steck et al. 2020)
need no trained user vector: they learn from the training part's session × item matrix and score any prefix.
What differs from RecBole's own: the prefix takes the place of the user's row of that matrix (an item seen
twice counts twice, as there), one ranking per row, history not masked. On RecBole's data sets they are as
RecBole's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.general_recommender import admmslim, ease, itemknn, pop, random, slimelastic

from recbole_ext.data.light import Rows
from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.segments import place_in


class SessionEventsDataset(SessionDataset):
    """SessionDataset whose training rows are the training events, first ones of sessions included."""

    def _as_training(self) -> None:
        index = torch.from_numpy(self._training_events())
        self.inter_feat = Rows(self.events, index, list(self.events.interaction), {})


class _RowModel:
    """What the adapters share: the prefix column; where a batch lacks it, RecBole's own scores are used."""

    USER_ID: str
    ITEM_ID: str
    n_items: int
    device: torch.device
    kept_names: ClassVar[tuple[str, ...]] = ()  # attributes that ranking needs

    def __init__(self, config: Any, dataset: Any):
        self.prefix_field = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]
        super().__init__(config, dataset)  # type: ignore[call-arg]

    @classmethod
    def restored(cls, config: Any, catalogue: Any, kept: dict[str, Any]) -> Any:
        """The model that learnt what it `kept`; catalogue: data.catalogue.Catalogue."""
        model: Any = cls.__new__(cls)
        GeneralRecommender.__init__(model, config, catalogue)
        model.prefix_field = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]
        vars(model).update(kept)
        model._set_up(config)
        return model

    def _set_up(self, config: Any) -> None:
        """Of a restored model what its constructor reads of the config."""

    def ranking_state(self) -> dict[str, torch.Tensor]:
        """No weights: RecBole's classes have one for the optimizer's sake."""
        return {}

    def ranking_kept(self) -> dict[str, Any]:
        """What `restored` needs."""
        return {name: getattr(self, name) for name in self.kept_names}


class _MatrixModel(_RowModel):
    """A model whose scores are a user's matrix row times item-item weights, with the prefix as that row."""

    rows_attribute = "interaction_matrix"
    kept_names: ClassVar[tuple[str, ...]] = ("item_similarity",)

    def _set_up(self, config: Any) -> None:
        setattr(self, self.rows_attribute, None)

    def prefix_matrix(self, interaction: Interaction) -> sp.csr_matrix:
        """(B, n_items) float32: how often each item occurs in each prefix of up to MAX_ITEM_LIST_LENGTH."""
        prefix = interaction[self.prefix_field].cpu().numpy()
        row, column = np.nonzero(prefix)
        ones = np.ones(len(row), dtype=np.float32)
        counts = sp.csr_matrix((ones, (row, prefix[row, column])), shape=(len(prefix), self.n_items))
        counts.sum_duplicates()
        return counts

    def _rows(self, interaction: Interaction) -> sp.csr_matrix:
        return self.prefix_matrix(interaction)

    @contextmanager
    def _prefixes_as_users(self, interaction: Interaction) -> Iterator[Interaction]:
        trained = getattr(self, self.rows_attribute)
        setattr(self, self.rows_attribute, self._rows(interaction))
        users = Interaction({self.USER_ID: torch.arange(len(interaction[self.prefix_field]))})
        if self.ITEM_ID in interaction:  # a live session has no next item yet
            users.update(Interaction({self.ITEM_ID: interaction[self.ITEM_ID]}))
        try:
            yield users
        finally:
            setattr(self, self.rows_attribute, trained)

    def full_sort_predict(self, interaction: Interaction) -> torch.Tensor:
        """(B * n_items,) scores of all items for each prefix."""
        if self.prefix_field not in interaction:
            return super().full_sort_predict(interaction)  # type: ignore[misc]
        with self._prefixes_as_users(interaction) as users:
            return super().full_sort_predict(users).to(self.device)  # type: ignore[misc]

    def predict(self, interaction: Interaction) -> torch.Tensor:
        """(B,) score of each row's `item_id` for its prefix."""
        if self.prefix_field not in interaction:
            return super().predict(interaction)  # type: ignore[misc]
        with self._prefixes_as_users(interaction) as users:
            return super().predict(users).to(self.device)  # type: ignore[misc]


class EASE(_MatrixModel, ease.EASE):
    """RecBole's EASE, scoring prefixes."""


class SLIMElastic(_MatrixModel, slimelastic.SLIMElastic):
    """RecBole's SLIMElastic, scoring prefixes."""


class ADMMSLIM(_MatrixModel, admmslim.ADMMSLIM):
    """RecBole's ADMMSLIM, scoring prefixes."""

    kept_names = ("item_similarity", "item_means")

    def _set_up(self, config: Any) -> None:
        super()._set_up(config)
        self.center_columns = config["center_columns"]


class ItemKNN(_MatrixModel, itemknn.ItemKNN):
    """RecBole's ItemKNN (knn_method item), scoring prefixes; it keeps no session × item score matrix.

    The weights are those of RecBole's ComputeSimilarity, computed from the sparse co-occurrence matrix.
    """

    rows_attribute = "pred_mat"
    kept_names = ("w",)

    def __init__(self, config: Any, dataset: Any):
        if not isinstance(dataset, SessionDataset):
            super().__init__(config, dataset)
            return
        GeneralRecommender.__init__(self, config, dataset)
        self.prefix_field = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]
        self.k, self.method = config["k"], "item"
        self.shrink = config["shrink"] or 0.0
        self.w = item_similarity(dataset.inter_matrix(form="csr").astype(np.float32), self.k, self.shrink)
        self.pred_mat = None
        self.fake_loss = torch.nn.Parameter(torch.zeros(1))
        self.other_parameter_name = ["w"]

    def _rows(self, interaction: Interaction) -> sp.csr_matrix:
        return self.prefix_matrix(interaction).dot(self.w).tocsr()

    def predict(self, interaction: Interaction) -> torch.Tensor:
        """(B,) score of each row's `item_id` for its prefix."""
        if self.prefix_field not in interaction:
            return super().predict(interaction)
        scores = self._rows(interaction)
        item = np.array(interaction[self.ITEM_ID].cpu())  # a copy, as scipy asks for memory of numpy's own
        return torch.from_numpy(np.asarray(scores[np.arange(len(item)), item]).ravel()).to(self.device)


def item_similarity(matrix: sp.csr_matrix, k: int, shrink: float) -> sp.csc_matrix:
    """Cosine similarity of the columns of `matrix` (sessions × items), float32: each column's k largest.

    w[i, j] = x_i·x_j / (|x_i||x_j| + shrink + 1e-6), w[j, j] = 0; values must not be negative.
    """
    norm = np.sqrt(np.asarray(matrix.power(2).sum(axis=0)).ravel())
    together = (matrix.T @ matrix).tocoo()
    off_diagonal = together.row != together.col
    row, column = together.row[off_diagonal], together.col[off_diagonal]
    value = together.data[off_diagonal] * (1 / (norm[column] * norm[row] + np.float32(shrink + 1e-6)))
    order = np.lexsort((-value, column))
    row, column, value = row[order], column[order], value[order]
    kept = place_in(np.bincount(column)) < k
    shape = (matrix.shape[1], matrix.shape[1])
    return sp.csc_matrix((value[kept].astype(np.float32), (row[kept], column[kept])), shape=shape)


class Pop(_RowModel, pop.Pop):
    """RecBole's Pop, counting every training event once.

    RecBole's counts an item once a batch, however often it occurs there, and counts sampled negatives too.
    """

    kept_names = ("item_cnt", "max_cnt")

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.counts_events = isinstance(dataset, SessionDataset)
        self.label_field = config["LABEL_FIELD"]

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Count the batch's items; the loss is 0."""
        if not self.counts_events:
            return super().calculate_loss(interaction)
        item = interaction[self.ITEM_ID]
        if self.label_field in interaction:
            item = item[interaction[self.label_field] > 0]
        self.item_cnt.index_add_(0, item, torch.ones_like(item).unsqueeze(-1))
        self.max_cnt = self.item_cnt.max(dim=0)[0]
        return torch.nn.Parameter(torch.zeros(1)).to(self.device)

    def full_sort_predict(self, interaction: Interaction) -> torch.Tensor:
        """(B * n_items,) share of the most popular item's count."""
        if self.prefix_field not in interaction:
            return super().full_sort_predict(interaction)
        # float32 tells any two counts below 8 million apart and takes half of RecBole's float64
        score = (self.item_cnt.double() / self.max_cnt.double()).float()
        return score.view(1, -1).repeat(len(interaction[self.prefix_field]), 1).view(-1)


class Random(_RowModel, random.Random):
    """RecBole's Random, with a new order for every row; RecBole draws one for a whole batch."""

    def full_sort_predict(self, interaction: Interaction) -> torch.Tensor:
        """(B * n_items,) uniform random scores."""
        if self.prefix_field not in interaction:
            return super().full_sort_predict(interaction)
        return torch.rand(len(interaction[self.prefix_field]) * self.n_items, device=self.device)


_MODELS: tuple[type, ...] = (Pop, Random, ItemKNN, EASE, SLIMElastic, ADMMSLIM)
PREFIX_MODELS: dict[str, type] = {cls.__name__: cls for cls in _MODELS}
