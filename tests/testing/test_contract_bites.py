"""Models with one fault each: the clause that is for it fails, and the model without the fault passes."""

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import nn

from recbole_ext.data import negatives
from recbole_ext.errors import UsageError
from recbole_ext.testing import ModelContract


class ToyLast(SequentialRecommender):
    """The last item's vector is the state; nothing is wrong with it."""

    defaults: ClassVar[dict[str, Any]] = {"loss_type": "CE"}

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.item_embedding = nn.Embedding(self.n_items, 16, padding_idx=0)
        self.dense = nn.Linear(16, 16)
        self.loss_fct = nn.CrossEntropyLoss()

    def forward(self, item_seq, item_seq_len):
        return self.dense(self.gather_indexes(self.item_embedding(item_seq), item_seq_len - 1))

    def scores(self, interaction):
        state = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return state @ self.item_embedding.weight.T

    def full_sort_predict(self, interaction):
        return self.scores(interaction)

    def predict(self, interaction):
        return self.scores(interaction).gather(1, interaction[self.ITEM_ID].unsqueeze(1)).squeeze(1)

    def calculate_loss(self, interaction):
        return self.loss_fct(self.scores(interaction), interaction[self.POS_ITEM_ID])


class ToyLearnsNothing(ToyLast):
    def calculate_loss(self, interaction):
        return super().calculate_loss(interaction) * 0


class ToyKeepsToItself(ToyLast):
    """Part of what it learns is in no checkpoint."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.bias = torch.linspace(-0.1, 0.1, self.n_items)

    def full_sort_predict(self, interaction):
        return self.scores(interaction) + self.bias

    def calculate_loss(self, interaction):
        self.bias[interaction[self.POS_ITEM_ID]] += 0.001
        return super().calculate_loss(interaction)


class ToyLooksAround(ToyLast):
    def full_sort_predict(self, interaction):
        scores = self.scores(interaction)
        return scores - scores.mean(0)


class ToyPredictsOtherwise(ToyLast):
    def predict(self, interaction):
        return super().predict(interaction).sigmoid()


class ToyDividesByCounts(ToyLast):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.register_buffer("counts", dataset.training_counts().float())

    def full_sort_predict(self, interaction):
        return self.scores(interaction) * 0 / self.counts


class ToyKnowsItsSession(ToyLast):
    """Scores of a session depend on which it is."""

    def full_sort_predict(self, interaction):
        return self.scores(interaction) * interaction[self.USER_ID].unsqueeze(1)


class ToyForgetsItsSteps(ToyLast):
    """Steps made are in no checkpoint."""

    steps = 0

    def forward(self, item_seq, item_seq_len):
        self.steps += self.training
        return super().forward(item_seq, item_seq_len) * (1 + self.steps * self.training)


class ToyChangesItsSettings(ToyLast):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        config["scores"] = self.item_embedding  # has no plain form, so no checkpoint holds it


class ToyCountsEverything(ToyLast):
    """Popularity of the whole log, test part included."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        everything = torch.bincount(dataset.events["item_id"], minlength=self.n_items)
        self.register_buffer("counts", everything.float())


class ToyDrawsNegatives(ToyLast):
    """A sampler draws its negatives."""

    defaults: ClassVar[dict[str, Any]] = {"loss_type": "BPR"}

    def calculate_loss(self, interaction):
        return super().calculate_loss(interaction) + 0 * interaction["neg_item_id"].sum()


class ToyIsNoEncoder(ToyLast):
    carries_methods = True

    def scores(self, interaction):
        return -torch.log1p(super().scores(interaction).exp())


FAULTS = [
    ("learns_toy", ToyLearnsNothing),
    ("save_and_load", ToyKeepsToItself),
    ("a_row_alone_scores_as_in_its_batch", ToyLooksAround),
    ("predict_is_a_column_of_all_scores", ToyPredictsOtherwise),
    ("unknown_items", ToyDividesByCounts),
    ("a_long_prefix_is_its_last_events", ToyKnowsItsSession),
    ("resume", ToyForgetsItsSteps),
    ("settings_round_trip", ToyChangesItsSettings),
    ("the_test_part_changes_nothing", ToyCountsEverything),
    ("carries_methods", ToyIsNoEncoder),
]


def call(clause, model, factory, **members):
    contract = type("Contract", (ModelContract,), {"model": model, **members})()
    contract._factory = factory
    getattr(contract, f"test_{clause}")()


@pytest.mark.parametrize(("clause", "model"), FAULTS, ids=[model.__name__ for _, model in FAULTS])
def test_a_fault_is_found_by_its_clause(clause, model, tmp_path_factory):
    with pytest.raises((AssertionError, UsageError)):
        call(clause, model, tmp_path_factory)


def test_a_negative_of_the_test_part_is_found(tmp_path_factory, monkeypatch):
    call("training_draws_no_test_item", ToyDrawsNegatives, tmp_path_factory)
    monkeypatch.setattr(negatives, "training_items", lambda train: np.arange(1, train.item_num))
    with pytest.raises(AssertionError):
        call("training_draws_no_test_item", ToyDrawsNegatives, tmp_path_factory)


class TestToyLast(ModelContract):
    model = ToyLast


def test_an_exemption_has_to_be_needed(tmp_path_factory):
    reason = {"predict_is_a_column_of_all_scores": "no reason"}
    with pytest.raises(pytest.fail.Exception, match="take the exemption out"):
        call("predict_is_a_column_of_all_scores", ToyLast, tmp_path_factory, exempt=reason)
    with pytest.raises(pytest.xfail.Exception, match="no reason"):
        call("predict_is_a_column_of_all_scores", ToyPredictsOtherwise, tmp_path_factory, exempt=reason)


def test_an_exemption_from_no_clause_is_named(tmp_path_factory):
    with pytest.raises(AssertionError, match="exempt names predicts"):
        call("one_item", ToyLast, tmp_path_factory, exempt={"predicts": "a misspelt clause"})
