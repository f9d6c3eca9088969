"""The contract of recbole_ext.testing, for every model of ours and some of RecBole's, with reasons where they fail."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import recbole_ext
from recbole_ext.bridge import encoders, names
from recbole_ext.errors import UsageError
from recbole_ext.run.run import configure
from recbole_ext.testing import ModelContract, fit, odd_log, write_log

recbole_ext.install()


@dataclass(frozen=True)
class Case:
    """One model; see ModelContract."""

    settings: dict[str, Any] = field(default_factory=dict)
    learns_toy: bool | str = True
    toy: dict[str, Any] = field(default_factory=dict)
    exempt: dict[str, str] = field(default_factory=dict)


GRU = {"embedding_size": 16, "hidden_size": 16, "dropout_prob": 0.0}
LAYERS = {"inner_size": 16, "n_layers": 1, "n_heads": 1, "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
ATTENTION = {"hidden_size": 16, **LAYERS}
FEATURES = {"id_dropout": 0.0, "weight_decay": 0.0, "learner": "adam", "learning_rate": 0.01}
HRNN = {"embedding_size": 16, "hidden_size": 16, "dropout_input": 0.0, **FEATURES}

NO_REMINDER = {"remind": False}  # or what is in the prefix comes first
BOTH_WAYS = "an item before the last one counts as much as the one after it"
FROM_THE_FIRST = {"a_long_prefix_is_its_last_events": "a session is read from its first event on"}
SESSION_VECTOR = {
    "a_long_prefix_is_its_last_events": "each session has a vector of its own beside its events",
    "lists_are_the_evaluation_s": "a session of now has no vector, so it cannot be asked",
}

CASES: dict[str, Case] = {
    # --- ours
    "AR": Case(),
    "CategoryPop": Case(learns_toy="it knows categories, not what follows an item"),
    "GRU4RecFeat": Case({**GRU, **FEATURES}),
    "HRNNFeat": Case(HRNN, exempt=FROM_THE_FIRST),
    "LINK": Case(toy={"alpha": 0.0}),  # as sets, sessions of the ring tell their own items first
    "RepeatLast": Case(learns_toy="the next item of the ring is not in the prefix"),
    "SASRecFeat": Case({**ATTENTION, **FEATURES}),
    "SKNN": Case(toy=NO_REMINDER),
    "SR": Case(),
    "STAN": Case(toy=NO_REMINDER, learns_toy=BOTH_WAYS),
    "SessionPop": Case(learns_toy="the next item of the ring is not in the prefix"),
    "VSKNN": Case(toy=NO_REMINDER),
    "VSTAN": Case(toy=NO_REMINDER, learns_toy=BOTH_WAYS),
    "Blend": Case(
        {"blend_models": ["SASRec", "SR"], "blend_settings": {"SASRec": ATTENTION}},
        exempt={
            "resume": "needs a validation part, and goes on by the model that it was training",
            "settings_round_trip": "its models' settings are plain data in the run and read back as values",
        },
    ),
    # --- ours, with a method of reinforcement learning
    "SASRecSQN": Case(ATTENTION),
    "GRU4RecSA2C": Case({**GRU, "target_network": "lagged", "target_tau": 0.1, "warm_up_epochs": 1}),
    "HRNNFeatSNQN": Case(HRNN, exempt=FROM_THE_FIRST),
    # --- RecBole's
    "Pop": Case(learns_toy="all items are as popular"),
    "ItemKNN": Case(learns_toy="it knows no order"),
    "GRU4Rec": Case(GRU),
    "SASRec": Case(ATTENTION),
    "NARM": Case({"embedding_size": 16, "hidden_size": 16, "dropout_probs": [0.0, 0.0]}),
    "CORE": Case(
        {**LAYERS, "embedding_size": 16, "sess_dropout": 0.0, "item_dropout": 0.0},
        learns_toy="its state is a mean of the prefix's own items, which is nearest to one of them",
        exempt={"predict_is_a_column_of_all_scores": "RecBole's predict leaves the cosine out"},
    ),
    "SRGNN": Case({"embedding_size": 16, "step": 1}),
    "STAMP": Case({"embedding_size": 16}),
    "Caser": Case(
        {"embedding_size": 16, "dropout_prob": 0.0, "nv": 2, "nh": 4},
        toy={"learning_rate": 0.03, "epochs": 30},
        exempt=SESSION_VECTOR,
    ),
    "FPMC": Case(
        {"embedding_size": 16},
        exempt={
            **SESSION_VECTOR,
            "one_item": "there is no other item to draw as a negative",
        },
    ),
}


for name, case in CASES.items():
    members = {"model": name, "settings": case.settings, "learns_toy": case.learns_toy}
    members |= {"toy_settings": case.toy, "exempt": case.exempt, "__module__": __name__}
    globals()[f"Test{name}"] = type(f"Test{name}", (ModelContract,), members)


def test_all_models_of_ours_are_here():
    assert set(names.own_models()) <= CASES.keys()
    assert {method for _, method in encoders.actor_critics().values()} == set(names.methods())


# --- reinforcement learning is offered where it passes -------------------------------------------------------

SEQUENTIAL = names.recbole_sequential()
OFFERED = [name for name in SEQUENTIAL if name not in encoders.WITHOUT_METHODS]
FOUND = {  # what comparing numbers has to say of a model that is left out for it
    encoders.NO_PRODUCT: {"factored": False},
    encoders.OWN_LOSS: {"factored": True, "softmax": False, "weight_terms": False},
}


@pytest.mark.parametrize("encoder", OFFERED)
def test_an_encoder_that_is_offered_carries_a_method(tmp_path, encoder):
    method = sorted(names.methods())[OFFERED.index(encoder) % len(names.methods())]
    common = {"selected_features": ["category"], "warm_up_epochs": 0, "rl_negatives": 2}
    run = fit(f"{encoder}{method}", tmp_path, odd_log(), {"epochs": 1}, common=common)
    assert np.isfinite(run.trainer.train_loss_dict[0]) and not np.isnan(run.ranked.scores).any()
    assert run.trainer.epoch_values[0]["td_loss"] > 0


@pytest.mark.parametrize("encoder", encoders.WITHOUT_METHODS)
def test_one_that_is_not_has_the_reason_that_is_said(tmp_path, encoder):
    import recbole.data.dataset
    import recbole.trainer

    reason = encoders.WITHOUT_METHODS[encoder]
    assert encoder in SEQUENTIAL
    if reason == encoders.OWN_DATA:
        assert hasattr(recbole.data.dataset, f"{encoder}Dataset")
    elif reason == encoders.STAGES:
        assert issubclass(getattr(recbole.trainer, f"{encoder}Trainer"), recbole.trainer.PretrainTrainer)
    else:
        found = vars(examined(encoder, tmp_path))
        assert {key: found[key] for key in FOUND[reason]} == FOUND[reason]


def examined(model, folder):
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model

    from recbole_ext.model.factored import examine

    write_log(folder, "toy", odd_log())
    split = {"split": {"given": {"valid_share": 0}}}
    few = {"reranker_CAN_NUM": 5} if model.endswith("CPR") else {}  # of twelve items
    if model == "FEARec":
        few = {"contrast": "us", "sim": "dot", "tau": 1.0}  # RecBole's own file of it leaves the contrast out
    conf = configure(model, "toy", {"data_path": str(folder), "eval_args": split, "state": "ERROR", **few})
    train, *_ = data_preparation(conf, create_dataset(conf))
    return examine(get_model(model)(conf, train._dataset), train._dataset)


@pytest.mark.parametrize("name", ["COREHSQN", "CORESQN", "SKNNSA2C", "BlendSAC", "CategoryPopSNQN"])
def test_who_asks_for_one_that_is_not_is_told_why(name):
    """Of a name that is no encoder's nothing is said."""
    with pytest.raises(UsageError) as caught:
        configure(name, "toy")
    said = "did you mean" if name == "COREHSQN" else "so it can carry no"
    assert said in str(caught.value)
