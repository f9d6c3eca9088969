"""CategoryPop: popular items of the categories that the prefix leads to; a baseline that can rank cold items.

It counts, so there is nothing to train: an item without training events is ranked by its category and a smoothed count.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import FeatureType, InputType, ModelType
from torch import Tensor, nn

from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.errors import UsageError
from recbole_ext.segments import spans
from recbole_ext.settings.base import ModelSettings, Number, Text, key
from recbole_ext.settings.run_settings import settings_of


class CategoryPopSettings(ModelSettings):
    """Keys of CategoryPop."""

    category_field: Text = key("category", "token column of the .item file")
    recency: Number = key(
        0.5,
        "weight of a prefix event beside the one after it; 1: all alike, 0: the last one only",
        ge=0,
        le=1,
    )
    transition_prior: Number = key(
        10, "events by which what follows a category is drawn towards what is popular anywhere", ge=1e-6
    )
    cold_count: Number = key(
        10.0,
        "events that an item without training events counts for in its category (docs/cold_items.md)",
        ge=1e-6,
    )
    other_defaults: ClassVar[dict[str, Any]] = {"train_neg_sample_args": None}


class CategoryPop(GeneralRecommender):
    """Items by the chance of their category after the prefix, times their share of the category's events.

    With n_i training events of item i, N_ab training events of category b right after one of category a, N_a = sum_b
    N_ab, and the categories c_1 … c_L of the prefix:

        m_i = n_i, cold_count for a cold item
        P(b) = sum of m_i in b / sum of all m_i
        P(b | a) = (N_ab + transition_prior P(b)) / (N_a + transition_prior)
        P(b | prefix) = sum_j w_j P(b | c_j) / sum_j w_j,  w_j = recency ** (L - j);  P(b) for an empty prefix
        score_i = log P(b | prefix) + log m_i - log(sum of m_k in b),  b the category of i

    Items without a category are one more category. Raises UsageError where category_field is no token column.
    """

    type = ModelType.TRADITIONAL
    input_type = InputType.POINTWISE
    carries_methods = "counts, and has no states"
    dataset_class = SessionDataset
    settings_class = CategoryPopSettings

    category: Tensor
    prior: Tensor
    follows: Tensor
    leaves: Tensor
    log_share: Tensor

    def __init__(self, config: Any, dataset: Any):
        category = self._set_up(config, dataset)
        before, after = (category[items] for items in _neighbours(dataset))
        self._follow(torch.stack((after, before)), torch.ones(len(before)))

    @classmethod
    def restored(cls, config: Any, catalogue: Any, kept: dict[str, Any]) -> CategoryPop:
        """The model that counted what it `kept`; catalogue: data.catalogue.Catalogue, which may have items more: each
        is one without training events."""
        model = cls.__new__(cls)
        model._set_up(config, catalogue)
        model._follow(torch.as_tensor(kept["pairs"]), torch.as_tensor(kept["number"]))
        return model

    def ranking_kept(self) -> dict[str, Any]:
        """What `restored` needs beside the items: which category follows which, and how often."""
        return {"pairs": self.follows.indices().cpu(), "number": self.follows.values().cpu()}

    def _set_up(self, config: Any, dataset: Any) -> Tensor:
        """All but what follows what; the items' categories."""
        GeneralRecommender.__init__(self, config, dataset)
        self.prefix_field = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]
        settings = settings_of(config, self.settings_class)
        self.recency, self.transition_prior = settings.recency, settings.transition_prior
        category, categories = _categories(dataset, settings.category_field)
        mass = dataset.training_counts().double()
        mass[mass == 0] = settings.cold_count
        mass[0] = 0
        total = torch.zeros(categories, dtype=torch.float64).index_add_(0, category, mass)
        self.register_buffer("category", category, persistent=False)
        self.register_buffer("prior", (total / total.sum()).float(), persistent=False)
        self.register_buffer("log_share", (mass.log() - total[category].log()).float(), persistent=False)
        self.fake_loss = nn.Parameter(torch.zeros(1))
        return category

    def _follow(self, pairs: Tensor, number: Tensor) -> None:
        """pairs: (2, P) category after, category before; number: (P,) float how often, summed where a pair repeats."""
        categories = len(self.prior)
        follows = torch.sparse_coo_tensor(
            pairs,
            number,
            (categories, categories),
            check_invariants=True,  # said outright, as torch warns of who does not say
        ).coalesce()
        leaves = torch.zeros(categories).index_add_(0, pairs[1], number)
        self.register_buffer("follows", follows, persistent=False)  # (categories after, categories before)
        self.register_buffer("leaves", leaves, persistent=False)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """0: everything has been counted."""
        return self.fake_loss.sum() * 0

    def category_chances(self, prefix: Tensor) -> Tensor:
        """(B, categories) P(b | prefix); prefix: (B, L) items, 0 = padding on the right."""
        real = prefix != 0
        place = torch.arange(prefix.shape[1], device=prefix.device)
        age = real.sum(1, keepdim=True) - 1 - place
        weight = torch.where(real, torch.as_tensor(self.recency).float() ** age.clamp_min(0), 0.0)
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-30)
        came = self.category[prefix]
        spread = weight.new_zeros(len(prefix), len(self.prior))
        spread.scatter_add_(1, came, weight / (self.leaves[came] + self.transition_prior))
        chances = torch.sparse.mm(self.follows, spread.T).T
        chances = chances + spread.sum(1, keepdim=True) * self.transition_prior * self.prior
        return torch.where(real.any(1, keepdim=True), chances, self.prior)

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """(B * n_items,) scores of all items for each prefix."""
        chances = self.category_chances(interaction[self.prefix_field])
        return (chances.log()[:, self.category] + self.log_share).view(-1)

    def predict(self, interaction: Any) -> Tensor:
        """(B,) scores of the rows' own items."""
        item = interaction[self.ITEM_ID]
        chances = self.category_chances(interaction[self.prefix_field])
        own = chances.gather(1, self.category[item].unsqueeze(1)).squeeze(1)
        return own.log() + self.log_share[item]


def _categories(dataset: Any, field: str) -> tuple[Tensor, int]:
    """(n_items,) category of every item, 0 = none, and how many categories there are."""
    features = dataset.get_item_feature() if dataset.item_feat is not None else {}
    if field not in features or dataset.field2type[field] != FeatureType.TOKEN:
        tokens = [
            c for c in features if dataset.field2type[c] == FeatureType.TOKEN and c != dataset.iid_field
        ]
        raise UsageError(
            f"category_field is {field}, which is no token column of the .item file: "
            f"it has {', '.join(tokens) or 'none'}"
        )
    return features[field].long(), dataset.num(field)


def _neighbours(dataset: Any) -> tuple[Tensor, Tensor]:
    """(P,) items of training events, and those of the training events right after them in their sessions."""
    place = spans(dataset.session_start, np.maximum(dataset.train_length - 1, 0))
    items = dataset.events[dataset.iid_field]
    return items[torch.from_numpy(place)], items[torch.from_numpy(place + 1)]
