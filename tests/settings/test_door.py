"""Flags as people write them, keys that nothing reads, and right values of all kinds, at the door."""

from __future__ import annotations

import copy
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

import recbole_ext
from recbole_ext import records
from recbole_ext.bridge.names import check_names
from recbole_ext.bridge.stored_config import config_from_plain
from recbole_ext.errors import UsageError
from recbole_ext.files import recbole_folder
from recbole_ext.plain import config_to_plain
from recbole_ext.settings.base import Role
from recbole_ext.settings.command_line import parse_command_line
from recbole_ext.settings.files import configs_dir, load_yaml
from recbole_ext.settings.of_model import _EVALUATED, settings_class
from recbole_ext.settings.run_settings import GENERAL, parse, read_given, settings_of
from recbole_ext.settings.training import Training

_spec = importlib.util.spec_from_file_location("settings_door", Path(__file__).parent / "door.py")
assert _spec and _spec.loader
door = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(door)


@pytest.fixture(scope="module", autouse=True)
def _installed():
    recbole_ext.install()


# --- flags --------------------------------------------------------------------------------------------------

WORDS = {
    "no": False,
    "off": False,
    "0": False,
    0: False,
    "False": False,
    "yes": True,
    "on": True,
    1: True,
    "TRUE": True,
}


@pytest.mark.parametrize(("word", "meant"), WORDS.items())
@pytest.mark.parametrize("key", ["trust_pickle", "cuda_graphs", "length_buckets", "refit", "show_progress"])
def test_flags_mean_what_they_say(key: str, word: Any, meant: bool):
    found = read_given({key: word}, door.prepared("HRNNFeat").model_class)
    assert found[key] is meant


def test_flags_reach_those_who_read_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from recbole_ext.run.run import configure

    monkeypatch.chdir(tmp_path)
    given = {
        "user_to_output": "no",
        "trust_pickle": "off",
        "train_neg_sample_args": {"dynamic": "no"},
        "gpu_id": [0, 1],
    }
    config = configure("HRNNFeat", "diginetica-demo", given)
    assert config["user_to_output"] is False and config["trust_pickle"] is False
    assert config["train_neg_sample_args"]["dynamic"] is False and config["gpu_id"] == "0,1"
    assert config.run_settings.model.user_to_output is False
    assert (
        config.run_settings.place.gpu_id == "0,1"
        and config.run_settings.protocol.split.name == "session_time"
    )


def test_settings_are_those_of_the_values_as_they_are_now():
    """A value that is set anew, a copy, a checkpoint's values of which some are missing, a plain mapping."""
    config = copy.deepcopy(door.prepared("HRNNFeat"))
    config["hidden_size"] = 7
    assert config.run_settings.model.hidden_size == copy.deepcopy(config).run_settings.model.hidden_size == 7
    stored = config_to_plain(config)
    del stored["feature_fusion"], stored["precision"]
    again = config_from_plain(stored).run_settings
    assert (again.model.hidden_size, again.model.feature_fusion, again.training.precision) == (
        7,
        "parallel",
        "fp32",
    )
    assert settings_of({"score": "dot", "hidden_size": 3}, Training) == Training(score="dot")
    config["hidden_size"] = "x"
    with pytest.raises(UsageError, match="hidden_size is 'x': it has to be a whole number of 1 or more"):
        settings_of(config, Training)


def test_a_number_is_no_flag():
    assert door.refusal("HRNNFeat", {"user_to_output": 2}) == "user_to_output is 2: write True or False"
    assert (
        door.refusal("HRNNFeat", {"trust_pickle": "maybe"}) == "trust_pickle is 'maybe': write True or False"
    )


# --- keys that nothing reads --------------------------------------------------------------------------------

UNREAD: list[tuple[str, dict[str, Any], str]] = [
    ("SASRec", {"dropout_prob": 0.9}, "SASRec does not read dropout_prob: did you mean hidden_dropout_prob?"),
    ("SASRec", {"num_layers": 6}, "SASRec does not read num_layers: did you mean n_layers?"),
    ("SASRec", {"embedding_size": 4}, "SASRec does not read embedding_size: did you mean hidden_size?"),
    (
        "SASRec",
        {"selected_features": ["x"]},
        "SASRec does not read selected_features: it is read by FDSA, GRU4RecF",
    ),
    (
        "SASRec",
        {"item_features": ["x"]},
        "SASRec does not read item_features: it is read by GRU4RecFeat, HRNNFeat and",
    ),
    ("GRU4Rec", {"n_heads": 2}, "GRU4Rec does not read n_heads: it is read by SASRecFeat, "),
    ("HRNNFeat", {"dropout_prob": 0.1}, "HRNNFeat does not read dropout_prob: "),
    ("HRNNFeat", {"hidden_sise": 4}, "unknown key hidden_sise: did you mean hidden_size?"),
    ("HRNNFeat", {"xyzzy_plugh": 4}, "unknown key xyzzy_plugh: nothing reads it"),
    (
        "HRNNFeat",
        {"neg_sampling": 4},
        "neg_sampling is an old name of RecBole's: write train_neg_sample_args",
    ),
    ("HRNNFeat", {"data_cache": True}, "data_cache is gone, as a log is read about as fast"),
    ("HRNNFeat", {"single_spec": False}, "single_spec is worked out from other keys: leave it out"),
    ("VSTAN", {"epochs": 3}, "epochs is 3, but VSTAN learns in one pass: leave epochs out, or write 1"),
    ("VSTAN", {"learning_rate": 0.1}, "VSTAN learns in one pass and does not read learning_rate: leave"),
    ("Pop", {"epochs": 2}, "epochs is 2, but Pop learns in one pass"),
    ("Pop", {"recency": 0.5}, "Pop learns in one pass and does not read recency: leave recency out"),
    ("VSTAN", {"weight_average": 0.9}, "VSTAN learns in one pass and does not read weight_average: leave"),
    (
        "BPR",
        {"recency": 0.5, "eval_args": {"split": {"LS": "valid_and_test"}}},
        "recency is for sequential models that train on our rows",
    ),
    ("S3Rec", {"weight_average": 0.9}, "weight_average is for sequential models that train on our rows"),
    ("CategoryPop", {"precision": "bf16"}, "CategoryPop learns in one pass and does not read precision"),
    (
        "SASRec",
        {"negatives": 5},
        "negatives would do nothing, as train_loss is none: set sampled_softmax, bce, gbce",
    ),
    (
        "SASRec",
        {"train_loss": "bce", "gbce_t": 0.5},
        "gbce_t would do nothing, as train_loss is bce: set gbce",
    ),
    (
        "SASRec",
        {"train_loss": "gbce", "negative_power": 1},
        "negative_power would do nothing, as train_loss is gbce",
    ),
    (
        "SASRec",
        {"train_loss": "gbce", "batch_negatives": True},
        "batch_negatives would do nothing, as train_loss is gbce: set sampled_softmax",
    ),
    (
        "SASRec",
        {"row_updates": True},
        "row_updates would do nothing, as train_loss is none: set sampled_softmax, bce, gbce",
    ),
    ("SASRec", {"temperature": 0.1}, "temperature would do nothing, as score is none: set score: cosine"),
    ("SASRec", {"off_policy": {}}, "off_policy estimates rewards, and there are none: set rewards"),
    (
        "SASRec",
        {"save_dataset": True},
        "save_dataset is of RecBole's own data sets, and SASRec here is on our rows",
    ),
    (
        "SASRec",
        {
            "data_layout": "recbole",
            "eval_args": {"split": {"LS": "valid_and_test"}},
            "cold_items": {"holdout": 0.2},
        },
        "cold_items is for SASRec on (prefix, target) rows only",
    ),
    (
        "BPR",
        {"eval_args": {"split": {"LS": "valid_and_test"}}, "length_buckets": False},
        "length_buckets is for sequential models that train on our rows",
    ),
]


@pytest.mark.parametrize(("model", "given", "sentence"), UNREAD, ids=lambda value: str(value)[:40])
def test_a_key_that_nothing_reads_is_refused(model: str, given: dict[str, Any], sentence: str):
    if model == "BPR":
        from recbole_ext.errors import UsageError
        from recbole_ext.run.run import configure

        with pytest.raises(UsageError) as caught:
            configure(model, "diginetica-demo", given)
        assert str(caught.value).startswith(sentence)
        return
    assert door.refusal(model, given).startswith(sentence)


READ: list[tuple[str, dict[str, Any]]] = [
    ("VSTAN", {"epochs": 1, "k": 50, "lambda_snh": None, "fill": None, "remind": "no"}),
    ("Pop", {"rewards": {"view": 0.2, "addtocart": 1}}),  # reward@k is of every model on our rows
    ("SASRec", {"train_loss": "sampled_softmax", "negatives": 64, "negative_power": 0.0}),
    ("SASRec", {"score": "cosine", "temperature": 0.1, "train_targets": "all_positions"}),
    ("HRNNFeat", {"temperature": 0.1, "user_state": None, "item_features": [], "embedding_size": 16}),
    ("SASRec", {"rewards": {"view": 0.2}, "off_policy": {"policy": "greedy", "epsilon": 0.2}}),
    (
        "SASRec",
        {"eval_args": {"mode": {"valid": "uni100", "test": "full"}}, "topk": 5, "valid_metric": "NDCG@5"},
    ),
    (
        "SASRec",
        {"train_neg_sample_args": None, "clip_grad_norm": {"max_norm": 5}, "stopping_step": 0, "epochs": 0},
    ),
    ("SASRec", {"user_inter_num_interval": "[2,inf)", "cold_items": {"holdout": 0.2, "seed": 1, "fold": 4}}),
    ("GRU4RecF", {"selected_features": ["category"], "pooling_mode": "mean"}),
    ("CORE", {"temperature": 0.1, "dnn_type": "ave"}),
    ("NARM", {"dropout_probs": [0.1, 0.3]}),
    ("SASRecSQN", {"gamma": 0.5, "hidden_size": 32, "target_network": "lagged"}),
    ("Blend", {"blend_models": ["HRNNFeat", "VSTAN"], "hidden_size": 32, "k": 50, "epochs": 2}),
]


@pytest.mark.parametrize(("model", "given"), READ, ids=lambda value: str(value)[:40])
def test_right_values_pass(model: str, given: dict[str, Any]):
    assert door.refusal(model, given) == ""


@pytest.mark.parametrize(
    "file", sorted((configs_dir() / "dataset").glob("*.yaml")), ids=lambda file: file.stem
)
def test_a_data_set_s_own_file_is_right(file: Path):
    """As a file of the user's too, for a model that reads features."""
    assert door.refusal("GRU4RecF", load_yaml(file), file.stem) == ""


def test_every_default_of_recbole_is_right():
    """Of every model that RecBole knows, as its own Config has it."""
    from recbole_ext.bridge.names import _recbole_models

    for model in sorted(_recbole_models() - {"LightGBM", "XGBoost"}):
        config = door.prepared(model, "ml-100k")
        assert parse(config.final_config_dict, config.model_class).training.epochs >= 0


def test_a_class_of_a_user_has_the_keys_of_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Their values are anybody's; those of the RecBole model that it extends are checked."""
    import sys

    source = (
        "from recbole.model.sequential_recommender.gru4rec import GRU4Rec\n"
        "class Mine(GRU4Rec):\n"
        "    def __init__(self, config, dataset):\n"
        "        super().__init__(config, dataset)\n"
        "        self.depth = config['depth_of_mine']\n"
    )
    (tmp_path / "mine.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("mine")
    from recbole_ext.settings.of_model import settings_class

    keys = settings_class(module.Mine).model_fields
    assert "depth_of_mine" in keys and "hidden_size" in keys and "n_heads" not in keys
    assert read_given({"depth_of_mine": [1]}, module.Mine) == {"depth_of_mine": [1]}
    del sys.modules["mine"]


# --- roles --------------------------------------------------------------------------------------------------


def test_place_and_what_ranks_can_say_are_no_part_of_the_identity():
    from recbole_ext.settings import roles

    same = {"learning_rate": 0.1, "eval_args": {}, "k": 3}
    place = {
        "gpu_id": "0",
        "eval_batch_size": 5,
        "cuda_graphs": True,
        "reproducibility": True,
        "runs_dir": "x",
    }
    asked = {"metrics": ["NDCG"], "topk": [5]}
    assert roles.identity({**same, **place, **asked}) == same
    protocol = {key for key in {**same, **asked} if roles.role_of(key) is Role.PROTOCOL}
    assert protocol == {"eval_args", *asked}
    assert roles.shown_settings({**same, **place, "seed": 1, "model": "VSTAN"}) == {
        "learning_rate": 0.1,
        "k": 3,
    }
    assert roles.role_of("valid_metric") is Role.PROTOCOL and roles.role_of("epochs") is Role.TRAINING
    assert roles.role_of("anything_of_long_ago") is Role.MODEL
    assert roles.role_of("category_field", door.prepared("CategoryPop").model_class) is Role.MODEL


def test_a_finished_run_says_another_metric_from_its_ranks(tmp_path: Path):

    import numpy as np

    from recbole_ext.experiment.measured import measured

    np.savez(tmp_path / "ranks.npz", rank=np.array([1, 3, 12]))
    record = {
        "test": {"ndcg@10": 0.5},
        "protocol": "one ranking per (prefix, target) row",
        "config": {"metric_decimal_place": 6},
        "notes": [],
    }
    assert measured(record, tmp_path, ["NDCG"], [10]) is record and not (tmp_path / "record.json").exists()
    found = measured(record, tmp_path, ["NDCG", "Hit"], [10, 20])
    assert found is not None and found["test"] == {
        "ndcg@10": 0.5,  # as it was measured
        "ndcg@20": pytest.approx((1 + 0.5 + 1 / np.log2(13)) / 3, abs=1e-6),
        "hit@10": pytest.approx(2 / 3, abs=1e-6),
        "hit@20": 1.0,
    }
    assert records.read(tmp_path) == {**found, "format": records.FORMAT}
    assert (
        measured(record, tmp_path, ["ItemCoverage"], [10]) is None
    )  # lists of all users say that, ranks do not
    assert measured({**record, "protocol": "RecBole user-wise protocol"}, tmp_path, ["Hit"], [5]) is None


# --- nothing is evaluated, and nothing expands without end ---------------------------------------------------

CODE = "__import__('pathlib').Path('evaluated').touch()"


@pytest.mark.parametrize("model", ["KD_DAGFM", "SASRec", "HRNNFeat", "DIN"])
def test_no_setting_is_evaluated_as_code(model, tmp_path, monkeypatch):
    from recbole.utils import get_model

    monkeypatch.chdir(tmp_path)
    keys = {key for group in GENERAL for key in group.model_fields} | set(
        settings_class(get_model(model)).model_fields
    )
    for key in keys:
        door.refusal(model, parse_command_line([f"--{key}={CODE}"]))
    assert not list(tmp_path.iterdir())


def test_the_one_key_that_recbole_evaluates_takes_names_of_its_networks_only():
    said = door.refusal("KD_DAGFM", {"teacher": CODE})
    assert said.startswith("teacher is") and "one of DAGFM, CrossNet, CINComp, CIN" in said
    assert "teacher" not in door.refusal("KD_DAGFM", {"teacher": "CIN"})
    evaluated = {}
    for file in (recbole_folder() / "model").rglob("*.py"):
        for line in file.read_text(encoding="utf-8").splitlines():
            if re.search(r"(?<![.\w])(eval|exec)\(", line):
                evaluated[file.stem] = _EVALUATED.findall(line)
    assert evaluated == {"kd_dagfm": ["teacher"]}, "another key is run as code by a model of RecBole's"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("topk: !!python/object/apply:pathlib.Path.touch [evaluated]", "is not valid yaml"),
        ("a: &a [*a]", "a.yaml has an alias of what it stands in"),
        (
            "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n"
            + "\n".join(
                f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefgh", "bcdefghi")
            ),
            "values with its aliases: 100,000 is the most",
        ),
        ("a: " + "[" * 5000 + "]" * 5000, "a.yaml nests lists and mappings too deeply"),
    ],
)
def test_a_yaml_file_that_would_run_or_expand_is_refused(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UsageError, match=re.escape(said)):
        load_yaml("a.yaml")
    assert [file.name for file in tmp_path.iterdir()] == ["a.yaml"]


def test_aliases_that_stay_small_are_read(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a [1, 2]\nb: [*a, *a]\n")
    assert load_yaml(tmp_path / "a.yaml") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


def test_a_value_of_the_command_line_does_not_expand_either():
    bomb = "{" + "a: &a [1,2,3,4,5,6,7,8,9,10]"
    bomb += (
        "".join(f", {new}: &{new} [{','.join([f'*{old}'] * 10)}]" for old, new in zip("abcdef", "bcdefg"))
        + "}"
    )
    with pytest.raises(UsageError, match=r"a value holds 12,\S+ values with its aliases"):
        parse_command_line([f"--eval_args={bomb}"])


@pytest.mark.parametrize("name", ["../toy", "a/b", "..", "a\\b", "a\x1b[31m"])
def test_a_data_set_is_a_name_and_no_path(name):
    with pytest.raises(UsageError, match="write a name, not a path"):
        check_names("Pop", name)
