"""Blend: a component is what it is alone, the weight is the best on validation, and what cannot be blended."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import recbole_ext
from recbole_ext.errors import UsageError

SMALL = {"HRNNFeat": {"embedding_size": 8, "hidden_size": 8}, "SASRec": {"hidden_size": 8, "inner_size": 8}}
PAIR = {"blend_models": ["HRNNFeat", "SASRec"], "blend_settings": SMALL}


@pytest.fixture
def toy(tmp_path, monkeypatch, write_log, random_log):
    """Atomic files of a small log as data set `toy`; settings of a run on it."""
    monkeypatch.chdir(tmp_path)
    items = [{"item_id": f"i{i}", "category": f"c{i % 4}"} for i in range(30)]
    write_log(random_log(sessions=120, ties=False), items=items)
    return {
        "data_path": "data",
        "epochs": 2,
        "use_gpu": False,
        "topk": [1, 5, 10],
        "eval_args": {"split": {"session_time": [7, 1.5, 1.5]}},
        "state": "ERROR",
        "metric_decimal_place": 9,
    }


def run(toy, model="Blend", **settings):
    keys = {**toy, **settings}
    if model in (
        "Pop",
        "ItemKNN",
        "EASE",
        "VSTAN",
        "AR",
    ):  # they learn in one pass: more epochs would be refused
        keys.pop("epochs")
    return recbole_ext.run(model, "toy", **keys)


def ranks(record):
    return np.load(record["files"]["ranks"])


@pytest.mark.usefixtures("no_curves")
@pytest.mark.parametrize(
    "pair", [("HRNNFeat", "SASRec"), ("GRU4Rec", "ItemKNN"), ("SASRecSQN", "Pop"), ("BERT4Rec", "EASE")]
)
def test_weights_0_and_1_are_the_models_alone(toy, pair):
    own = [run(toy, model) for model in pair]
    for weight in (0, 1):
        blend = run(toy, blend_models=list(pair), blend_weight=weight)
        alone = own[weight]
        assert blend["test"] == alone["test"] and blend["valid"] == alone["valid"]
        assert (ranks(blend)["rank"] == ranks(alone)["rank"]).all()
        assert (ranks(blend)["top"] == ranks(alone)["top"]).all()
    scores = [[e["valid_score"] for e in record["epochs"]] for record in own]
    assert [e["valid_score"] for e in blend["epochs"]] == scores[0] + scores[1]
    assert [e["component"] for e in blend["epochs"]] == [1] * len(scores[0]) + [2] * len(scores[1])


@pytest.mark.usefixtures("no_curves")
@pytest.mark.parametrize("saved", [True, False])
def test_a_component_ranks_by_its_averaged_weights(toy, saved):
    from recbole_ext.run.run import run as run_with

    settings = {**toy, "recency": 0.5, "hidden_size": 8, "train_batch_size": 32, "learning_rate": 0.02}
    alone = run_with("GRU4Rec", "toy", {**settings, "weight_average": 0.95}, saved=saved)
    pair = {"blend_models": ["GRU4Rec", "SASRec"], "blend_weight": 0}
    blend = run_with("Blend", "toy", {**settings, **pair, "weight_average": 0.95}, saved=saved)
    assert blend["test"] == alone["test"] != run_with("GRU4Rec", "toy", settings, saved=saved)["test"]


@pytest.mark.parametrize("split", [{"LS": "valid_and_test"}, {"session_random": {"shares": [0.8, 0.1, 0.1]}}])
def test_other_splits(toy, split):
    settings = {**toy, "eval_args": {"split": split}}
    alone = run(settings, "GRU4Rec", hidden_size=8)
    blend = run(settings, blend_models=["GRU4Rec", "HRNNFeat"], blend_weight=0, hidden_size=8)
    assert blend["test"] == alone["test"]


@pytest.mark.usefixtures("no_curves")
@pytest.mark.parametrize(
    "scale", ["softmax", *(pytest.param(name, marks=pytest.mark.slow) for name in ("zscore", "rank"))]
)
def test_the_weight_is_the_best_of_validation(toy, scale):
    record = run(toy, **PAIR, blend_scale=scale, blend_weights=[0, 0.25, 0.5, 0.75, 1])
    found = record["blend"]
    assert found["weights"] == [0, 0.25, 0.5, 0.75, 1] and found["scale"] == scale
    curve = {}
    sides = [side["checkpoint"] for side in found["components"]]
    for weight in found["weights"]:  # a run of its own for every weight
        temperatures = {"blend_temperatures": found["temperatures"]} if scale == "softmax" else {}
        again = run(toy, blend_from=sides, blend_weight=weight, blend_scale=scale, **temperatures)
        curve[weight] = again["valid"]
        if weight == found["weight"]:
            assert again["test"] == record["test"]
    assert list(curve.values()) == found["valid"]
    best = max(result["ndcg@10"] for result in curve.values())
    assert curve[found["weight"]]["ndcg@10"] == best == round(record["best_valid_score"], 9)
    assert any(found["valid"][0] != result for result in found["valid"])
    assert any(note.startswith(f"{1 - found['weight']:g} HRNNFeat") for note in record["notes"])


def test_sampled_candidates(toy):
    settings = {**toy, "eval_args": {**toy["eval_args"], "mode": "uni20"}}
    record = run(settings, **PAIR)
    scores = [result["ndcg@10"] for result in record["blend"]["valid"]]
    assert round(record["best_valid_score"], 9) == max(scores) and len(set(scores)) > 2
    assert record["test"]["hit@10"] > 0.2  # of 21 candidates; of 30 items a chance ranking has a third


def test_two_models_that_know_different_halves_are_better_together(toy, write_log):
    """On a ring order tells what follows, which ItemKNN does not see; GRU4Rec has not learnt rare pairs."""
    rows, draw = [], np.random.default_rng(0)
    for session in range(400):
        pair, start = int(draw.integers(60)), int(draw.integers(10))
        ring = [f"ring{(start + step) % 10}" for step in range(4)]
        for place, item in enumerate(ring if session % 2 else [f"left{pair}", f"right{pair}"]):
            rows.append({"session_id": f"s{session}", "item_id": item, "timestamp": 10 * session + place})
    write_log(rows)
    settings = {**toy, "epochs": 5, "learning_rate": 0.01, "valid_metric": "Hit@1", "train_batch_size": 64}
    gru = {"hidden_size": 16, "embedding_size": 16, "dropout_prob": 0}
    record = run(settings, blend_models=["GRU4Rec", "ItemKNN"], blend_settings={"GRU4Rec": gru})
    hit = {}
    for weight in (0, 1):
        sides = [side["checkpoint"] for side in record["blend"]["components"]]
        hit[weight] = run(settings, blend_from=sides, blend_weight=weight)["test"]["hit@1"]
    assert record["test"]["hit@1"] > max(hit.values()) + 0.05
    assert 0 < record["blend"]["weight"] < 1


def test_checkpoint_round_trip(toy):
    pair = {"blend_models": ["GRU4Rec", "ItemKNN"], "blend_scale": "softmax"}
    record = run(toy, **pair, blend_settings={"GRU4Rec": {"hidden_size": 8}})
    from recbole.quick_start import load_data_and_model  # ours, once a run has installed it
    from recbole.utils import get_trainer

    config, model, _, _, _, test = load_data_and_model(record["checkpoint"])
    assert model.weight == record["blend"]["weight"]
    assert list(model.temperatures) == record["blend"]["temperatures"]
    trainer = get_trainer(config["MODEL_TYPE"], "Blend")(config, model)
    assert dict(trainer.evaluate(test, load_best_model=False)) == pytest.approx(record["test"], abs=0)
    batch = next(iter(test))[0]
    scores = model.full_sort_predict(batch)
    assert scores.shape == (len(batch), model.n_items) and (scores[:, 0] == -torch.inf).all()
    own = model.predict(batch)
    assert torch.equal(own, scores[torch.arange(len(batch)), batch["item_id"]])


def test_resume_keeps_what_is_trained_and_goes_on(toy, monkeypatch):
    whole = run(toy, **PAIR)
    from recbole_ext.blend.part import Component

    fit, calls = Component.fit, []

    def interrupted(self, *args):
        calls.append(self.label)
        if self.label == "SASRec":
            raise KeyboardInterrupt
        fit(self, *args)

    monkeypatch.setattr(Component, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(toy, **PAIR, checkpoint_dir="stopped")
    monkeypatch.setattr(Component, "fit", lambda self, *args: calls.append(self.label) or fit(self, *args))
    (file,) = [f for f in Path("stopped").glob("Blend-*.pth") if "HRNNFeat" not in f.name]
    resumed = run(toy, **PAIR, checkpoint_dir="stopped", resume_from=str(file))
    assert calls == ["HRNNFeat", "SASRec", "SASRec"]
    assert resumed["test"] == whole["test"] and resumed["blend"]["valid"] == whole["blend"]["valid"]


def test_resume_from_another_blend_is_refused(toy):
    record = run(toy, blend_models=["GRU4Rec", "Pop"])
    with pytest.raises(UsageError, match=r"resume_from .* GRU4Rec and Pop"):
        run(toy, blend_models=["Pop", "GRU4Rec"], resume_from=record["checkpoint"])


def test_resuming_with_other_settings_of_a_model_is_refused(toy):
    pair = {"blend_models": ["GRU4Rec", "Pop"]}
    record = run(toy, **pair, blend_settings={"GRU4Rec": {"hidden_size": 8}})
    with pytest.raises(UsageError, match=r"is of a run with other settings .*blend_settings was"):
        run(
            toy,
            **pair,
            blend_settings={"GRU4Rec": {"hidden_size": 8, "learning_rate": 0.1}},
            resume_from=record["checkpoint"],
        )
    again = run(
        toy,
        **pair,
        blend_settings={"GRU4Rec": {"hidden_size": 8}},
        blend_weight=0.5,
        resume_from=record["checkpoint"],
    )
    assert again["blend"]["weight"] == 0.5


def test_one_model_twice(toy):
    settings = [{"hidden_size": 8, "seed": 1}, {"hidden_size": 8, "seed": 2}]
    alone = run(toy, "GRU4Rec", **settings[1])
    record = run(toy, blend_models=["GRU4Rec", "GRU4Rec"], blend_settings=settings)
    assert record["blend"]["valid"][-1] == alone["valid"] != record["blend"]["valid"][0]


def test_settings_reach_their_model_and_shared_keys_both(toy):
    record = run(toy, **PAIR, learning_rate=0.005, feature_fusion="sum")
    first, second = (side["config"] for side in record["blend"]["components"])
    assert (first["hidden_size"], second["inner_size"]) == (8, 8) and first["feature_fusion"] == "sum"
    assert first["learning_rate"] == second["learning_rate"] == 0.005
    assert first["learner"] == "adamw" and second["learner"] == "adam"  # each its own yaml
    json.dumps(record)


def test_without_validation_the_weight_has_to_be_given(toy, make_config):
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer

    def trainer(**settings):
        config = make_config("Blend", blend_models=["GRU4Rec", "Pop"], **settings)
        train, _, _ = data_preparation(config, create_dataset(config))
        model = get_model("Blend")(config, train._dataset)
        return get_trainer(config["MODEL_TYPE"], "Blend")(config, model), train

    for settings, words in (({}, "blend_weight is ~"), ({"blend_weight": 0.3}, "blend_temperatures are ~")):
        ours, train = trainer(blend_scale="softmax", **settings)
        with pytest.raises(UsageError, match=words):
            ours.fit(train, None)
    ours, train = trainer(blend_weight=0.3, blend_scale="zscore")
    assert ours.fit(train, None)[1] is None and ours.model.weight == 0.3
    assert ours.for_record["blend"]["weights"] == []


def test_checkpoints_of_other_runs_are_refused(toy):
    runs = {
        "own": run(toy, "GRU4Rec", hidden_size=8),
        "pop": run(toy, "Pop"),
        "seed": run(toy, "Pop", seed=7, checkpoint_dir="seed"),
        "split": run(
            {**toy, "eval_args": {"split": {"session_time": [6, 2, 2]}}}, "Pop", checkpoint_dir="split"
        ),
    }
    files = {name: record["checkpoint"] for name, record in runs.items()}
    for other, word in (("seed", "seed 7"), ("split", "eval_args")):
        with pytest.raises(UsageError, match=word):
            run(toy, blend_from=[files["own"], files[other]])
    with pytest.raises(UsageError, match="hidden_size 8, and this run has hidden_size 16"):
        run(toy, blend_from=[files["own"], files["pop"]], hidden_size=16)
    with pytest.raises(UsageError, match="blend_models are Pop, GRU4Rec, and the checkpoints"):
        run(toy, blend_from=[files["own"], files["pop"]], blend_models=["Pop", "GRU4Rec"])
    blend = run(toy, blend_from=[files["own"], files["pop"]], hidden_size=8)
    assert blend["blend"]["valid"][0] == runs["own"]["valid"]
    assert blend["blend"]["valid"][-1] == runs["pop"]["valid"]
    with pytest.raises(UsageError, match="which is a blend"):
        run(toy, blend_from=[files["own"], blend["checkpoint"]])


def test_a_checkpoint_of_other_data_is_refused(toy, write_log, random_log):
    file = run(toy, "GRU4Rec", hidden_size=8)["checkpoint"]
    write_log(random_log(sessions=120, items=40, ties=False))
    other = run(toy, "Pop")["checkpoint"]
    with pytest.raises(UsageError, match=r"was made with another numbering of item_id"):
        run(toy, blend_from=[file, other])


def test_a_checkpoint_that_scores_otherwise_here_is_noted(toy, write_log, random_log):
    files = [run(toy, model)["checkpoint"] for model in ("GRU4Rec", "Pop")]
    same = run(toy, blend_from=files)
    assert not any("other data" in note for note in same["notes"])
    rows = random_log(sessions=120, ties=False)
    for row in rows[len(rows) // 4 :]:  # the same items, numbered alike, in other sessions
        row["item_id"] = f"i{(7 * int(row['item_id'][1:]) + 1) % 30}"
    write_log(rows)
    with pytest.raises(UsageError, match="made with other data or another split"):
        run(toy, blend_from=files)
    for file in files:  # as they were written before checkpoints knew what they were trained on
        stored = torch.load(file, weights_only=True)
        del stored["trained_on"]
        torch.save(stored, file)
    other = run(toy, blend_from=files)
    assert sum("it was trained on other data" in note for note in other["notes"]) == 2


def test_off_policy_of_a_blend(toy):
    settings = {
        **toy,
        "rewards": {"view": 0.2, "purchase": 1.0},
        "off_policy": {"bootstrap": 100},
        "blend_weights": [0, 0.5, 1],
    }
    pair = {"blend_models": ["GRU4Rec", "Pop"]}
    own = [run({**settings, "blend_weights": [0.5]}, **pair, blend_weight=w)["off_policy"] for w in (0, 1)]
    alone = run({k: v for k, v in settings.items() if k != "blend_weights"}, "Pop")["off_policy"]
    assert own[1] == alone
    softmax = {"blend_scale": "softmax", "blend_temperatures": [1, 1]}
    mixture = run(settings, **pair, **softmax, blend_weight=0.5)["off_policy"]
    # chances of the mixture are the mean of the two, so the mean weight is between theirs
    low, high = sorted(side["mean_weight"] for side in own)
    assert low < mixture["mean_weight"] < high


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "Blend needs two models"),
        ({"blend_models": ["GRU4Rec"]}, "blend_models is .* a list of two models"),
        ({"blend_models": "GRU4Rec"}, "a list of two models"),
        ({"blend_models": ["GRU4Rec", "NoModel"]}, "there is no model NoModel"),
        ({"blend_models": ["GRU4Rec", "Blend"]}, "made of two other models"),
        ({"blend_models": ["GRU4Rec", "GRU4Rec"]}, "twice with the same settings"),
        ({"blend_models": ["GRU4Rec", "BPR"]}, "BPR learns a vector per training session"),
        ({"blend_weight": 1.5}, "blend_weight is 1.5"),
        ({"blend_weights": [0, 2]}, "blend_weights is"),
        ({"blend_weights": []}, "blend_weights is"),
        ({"blend_scale": "minmax"}, "blend_scale is 'minmax'"),
        ({"blend_temperatures": [1, 0], "blend_scale": "softmax"}, "blend_temperatures is"),
        ({"blend_temperatures": [1, 1], "blend_scale": "rank"}, "blend_temperatures are for"),
        ({"blend_settings": {"NARM": {}}}, "blend_settings holds NARM"),
        ({"blend_settings": [{}]}, "blend_settings is"),
        ({"blend_settings": {"Pop": {"hidden_sise": 3}}}, "Pop in the blend: unknown key hidden_sise"),
        ({"blend_settings": {"Pop": {"epochs": -1}}}, "Pop in the blend: epochs is -1"),
        ({"blend_settings": {"GRU4Rec": {"MAX_ITEM_LIST_LENGTH": 3}}}, None),
        ({"blend_settings": {"GRU4Rec": {"eval_targets": "last"}}}, "GRU4Rec has other valid targets"),
        (
            {"blend_settings": {"GRU4Rec": {"user_inter_num_interval": "[4,inf)"}}},
            "GRU4Rec has other events, items or training part",
        ),
        ({"hidden_sise": 3}, "unknown key hidden_sise"),
        ({"blend_from": ["a.pth", "b.pth"]}, "a.pth, which does not exist"),
        ({"data_layout": "recbole"}, "data_layout"),
    ],
)
def test_what_cannot_be_blended(toy, settings, words):
    given = {"blend_models": ["GRU4Rec", "Pop"], "epochs": 1, **settings} if settings else {}
    if words is None:
        assert run(toy, **given)["test"]
        return
    with pytest.raises(UsageError, match=words):
        run(toy, **given)


@pytest.mark.parametrize("epochs", [1, 3])
def test_an_interrupted_blend_names_the_checkpoint_that_goes_on(
    tmp_path, monkeypatch, capsys, write_log, random_log, epochs
):
    """Interrupted in the first model and in the second."""
    from recbole_ext.report.text import result_table
    from recbole_ext.run import record
    from recbole_ext.run.run import run

    monkeypatch.chdir(tmp_path)
    write_log(random_log(sessions=80, ties=False))
    settings = {
        "data_path": "data",
        "blend_models": ["GRU4Rec", "SASRec"],
        "blend_settings": [{"hidden_size": 8, "embedding_size": 8}, {"hidden_size": 8, "inner_size": 8}],
        "epochs": 2,
        "use_gpu": False,
        "state": "ERROR",
        "eval_args": {"split": {"session_time": [7, 1, 2]}},
    }

    def stop_after(epochs):
        def epoch(self, trainer):
            def note(index, score):
                if index + 1 == epochs:
                    raise KeyboardInterrupt

            return note

        return epoch

    with monkeypatch.context() as stopping:
        stopping.setattr(record.Run, "epoch", stop_after(epochs))
        with pytest.raises(KeyboardInterrupt, match=r"continue with --resume_from=") as stopped:
            run("Blend", "toy", settings)
    file = str(stopped.value).partition("=")[2]
    went_on = run("Blend", "toy", {**settings, "resume_from": file})
    assert re.search(
        r"[\d.]+ GRU4Rec \+ [\d.]+ SASRec by zscore, chosen on validation", result_table(went_on)
    )
    assert went_on["epochs_run"] == 4 and went_on["test"] == run("Blend", "toy", settings)["test"]
