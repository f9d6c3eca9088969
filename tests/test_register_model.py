"""A class of a user's, known by its name."""

import pytest
from recbole.model.abstract_recommender import KnowledgeRecommender, SequentialRecommender
from recbole.model.sequential_recommender import GRU4Rec

from recbole_ext.bridge.names import actor_critics, check_names
from recbole_ext.bridge.registry import register_model
from recbole_ext.errors import UsageError


def whole(name, base=SequentialRecommender, **members):
    def unused(self, interaction):
        raise NotImplementedError

    methods = dict.fromkeys(("calculate_loss", "predict", "full_sort_predict"), unused)
    return type(name, (base,), {**methods, **members})


def test_it_is_found_by_its_name_and_may_be_made_anew():
    from recbole.utils import get_model

    first = register_model(whole("OfMyOwn"))
    assert get_model("OfMyOwn") is first is register_model(first)
    second = register_model(whole("OfMyOwn"))
    assert get_model("OfMyOwn") is second is not first
    check_names("OfMyOwn")


def test_methods_are_offered_where_the_class_says_so():
    register_model(whole("Carrier", carries_methods=True))
    assert actor_critics()["CarrierSQN"] == ("Carrier", "SQN")
    register_model(whole("Bystander", carries_methods="scores by a distance"))
    with pytest.raises(
        UsageError, match=r"^there is no BystanderSQN: Bystander scores by a distance, so it can"
    ):
        check_names("BystanderSQN")


def test_a_class_of_recboles_is_there_already():
    assert register_model(GRU4Rec) is GRU4Rec


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        (dict, "^dict is no model: subclass RecBole's SequentialRecommender"),
        ("GRU4Rec", "^GRU4Rec is no model"),
        (whole("Knows", KnowledgeRecommender), "^Knows is no model"),
        (type("Half", (SequentialRecommender,), {}), "^Half has no calculate_loss, which RecBole asks"),
        (whole("Listed", defaults=["a"]), "^defaults of Listed is no dict"),
        (whole("SASRec"), "^there is a model SASRec already: call the class otherwise than SASRec"),
        (whole("gru4rec"), "^there is a model GRU4Rec already"),
        (whole("SASRecSQN"), "^there is a model SASRecSQN already"),
    ],
    ids=lambda value: "" if isinstance(value, str) else getattr(value, "__name__", ""),
)
def test_what_cannot_be_registered(cls, sentence):
    with pytest.raises(UsageError, match=sentence):
        register_model(cls)
