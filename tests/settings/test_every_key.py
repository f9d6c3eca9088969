"""The measure: every (model, key) pair with a value of a wrong type, a wrong word and one out of range is refused.

Before any data are touched, in one sentence that names the key: no data set's folder exists here. `taken` lists what
only the data can refuse, and why; rows of wrong_settings.csv that have a meaning stand in MEANT.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import recbole_ext
from recbole_ext.bridge.names import actor_critics, own_models
from recbole_ext.errors import UsageError
from recbole_ext.settings.of_model import settings_class
from recbole_ext.settings.run_settings import GENERAL

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("settings_door", HERE / "door.py")
assert _spec and _spec.loader
door = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(door)

# free text, where any word is right until a file or a log says otherwise
COLUMNS = {
    *("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD", "RATING_FIELD", "LINK_USER_FIELD", "EVENT_FIELD"),
    *("category_field", "numerical_features", "normalize_field", "item_features", "selected_features"),
    *("alias_of_user_id", "alias_of_item_id", "alias_of_entity_id", "alias_of_relation_id"),
    *("HEAD_ENTITY_ID_FIELD", "TAIL_ENTITY_ID_FIELD", "RELATION_ID_FIELD", "ENTITY_ID_FIELD"),
}
NAMES = {  # of columns that RecBole makes, of kinds of events, of files and places
    *("LABEL_FIELD", "NEG_PREFIX", "ITEM_LIST_LENGTH_FIELD", "LIST_SUFFIX", "POSITION_FIELD"),
    *("cart_events", "purchase_events", "additional_feat_suffix", "benchmark_filename"),
    *("field_separator", "seq_separator"),
    *("data_path", "raw_path", "runs_dir", "checkpoint_dir", "resume_from", "dataset_save_path"),
    *(
        "dataloaders_save_path",
        "wandb_project",
        "label",
        "ip",
        "port",
        "config_file",
        "config_files",
        "config_file_list",
    ),
}
BANANA = COLUMNS | NAMES
WRONG_TYPE: list[Any] = [[[[]]], {"no": {"such": [1]}}]
OUT_OF_RANGE: list[Any] = [math.nan, math.inf, -1e9, -(10**9), 1e300]


def values_for(key: str) -> Iterator[Any]:
    yield from WRONG_TYPE
    yield from OUT_OF_RANGE
    if key not in BANANA:
        yield "banana"


# large numbers that a key may hold: nothing is out of range upwards
UNBOUNDED = {
    *("temperature", "clip", "lambda_spw", "lambda_snh", "lambda_inh", "lambda_ipw", "lambda_idf"),
    *("idf_weighting", "transition_prior", "cold_count", "learning_rate", "tail_ratio"),
}


@pytest.fixture(scope="module", autouse=True)
def _installed():
    recbole_ext.install()


def _refused(model: str, key: str, value: Any) -> None:
    said = door.refusal(model, {key: value})
    named = key in said or (key == "source" and said.startswith("there is no converter for"))
    assert named and "\n" not in said, (model, key, value, said)


def _tried(model: str, keys: Any) -> int:
    tried = 0
    for key in keys:
        for value in values_for(key):
            if value == 1e300 and key in UNBOUNDED:
                continue
            _refused(model, key, value)
            tried += 1
    return tried


@pytest.mark.parametrize("model", own_models())
def test_every_key_of_our_models(model: str):
    from recbole.utils import get_model

    cls = settings_class(get_model(model))
    keys = [*cls.model_fields, *(key for key in cls.other_defaults if key not in cls.model_fields)]
    assert not keys or _tried(model, keys) >= 7 * len(keys)


FREE = {  # what any mapping is right for: what it holds is another's to check
    "blend_components": "written by a blend into its own checkpoint",
}


def test_every_key_of_protocol_training_and_place():
    keys = [key for group in GENERAL for key in group.model_fields]
    assert len(keys) > 120 and _tried("SASRec", keys) > 900


@pytest.mark.parametrize(
    "model", ["SASRec", "GRU4Rec", "SASRecF", "CORE", "SRGNN", "NARM", "BERT4Rec", "ItemKNN"]
)
def test_every_key_of_recbole_s_models(model: str):
    """By what RecBole's yaml says of its keys: numbers are numbers, words among those it lists, sizes 1 or more."""
    from recbole.utils import get_model

    from recbole_ext.settings.base import allowed

    for key, field in settings_class(get_model(model)).model_fields.items():
        if allowed(field) == "anything":
            continue  # its source reads it and nothing says what it may be
        for value in (*WRONG_TYPE[:1], math.nan, math.inf):
            _refused(model, key, value)
        if key not in BANANA and allowed(field) != "text, or ~ for none":
            _refused(model, key, "banana")


def test_every_method_of_reinforcement_learning():
    """Keys of the encoder on a method; those of a method are tried with it."""
    chosen = [name for name in ("SASRecSQN", "SASRecSA2C", "HRNNFeatSNQN") if name in actor_critics()]
    assert len(chosen) == 3
    for model in chosen:
        keys = settings_class(door.prepared(model).model_class).model_fields
        assert _tried(model, [key for key in keys if key not in UNBOUNDED_OF_METHODS]) > 50


UNBOUNDED_OF_METHODS: set[str] = set()

# --- the list of values that went wrong before --------------------------------------------------------------

DATA = "a name or value that only the log can refuse, in one sentence: data/columns.py"
LARGE = "large is allowed: as many as there are, or as good as no decay"
MEANT = {
    ("EVENT_FIELD", '"nosuch"'): DATA,
    ("USER_ID_FIELD", '"nosuch"'): DATA,
    ("ITEM_ID_FIELD", '"nosuch"'): DATA,
    ("field_separator", '","'): DATA,
    ("seq_separator", '";"'): "the log may have no sequence column at all, so it cannot be told",
    ("val_interval", '{"price": "[1e9,inf)"}'): DATA,
    ("threshold", '{"nosuch": 1}'): DATA,
    ("numerical_features", '["nosuch"]'): DATA,
    ("alias_of_item_id", '["nosuch"]'): DATA,
    ("additional_feat_suffix", '["nosuch"]'): DATA,
    ("unused_col", '{"inter": ["nosuch"]}'): "warned of when the log is read",
    ("normalize_field", '["nosuch"]'): DATA,
    ("preload_weight", '{"nosuch": "x"}'): DATA,
    ("encoding", '"utf-16"'): DATA,
    ("purchase_events", '"purchase"'): "a single kind may stand alone",
    ("metrics", '"NDCG"'): "a single metric may stand alone",
    ("metrics", '["NDCG", "Hit", "ItemCoverage", "AveragePopularity"]'): "RecBole's metrics of lists",
    ("topk", "10"): "a single k may stand alone",
    ("cold_items", '{"holdout": 0.99}'): "nearly all items are held out",
    ("eval_args.group_by", '{"group_by": "none"}'): "RecBole's RS cuts the whole log then",
    ("eval_args.mode", '{"mode": "uni100000"}'): "every item is a candidate where there are fewer",
    ("train_batch_size", "1"): "one target a batch",
    ("eval_batch_size", "1000000000"): LARGE,
    ("eval_step", "0"): "no evaluation while training",
    ("eval_step", "5"): "an evaluation every five epochs",
    ("stopping_step", "0"): "the first evaluation that is no better stops training",
    ("MAX_ITEM_LIST_LENGTH", "1"): "the last item alone; HRNNFeat reads a session from its first event on",
    ("MAX_ITEM_LIST_LENGTH", "1000000"): LARGE,
    ("gpu_id", "[0]"): "GPU 0, as a list",
    ("gpu_id", '"99"'): "only the machine knows its GPUs",
    ("gpu_id", "-1"): "CUDA's way to say no GPU",
    ("enable_amp", "true"): "RecBole's autocast",
    ("rm_dup_inter", '"first"'): "of equal rows the first one stays",
    ("epochs", "0"): "the untrained model is ranked",
    ("id_dropout", "1.0"): "features alone",
    ("cold_bias", "-1"): "unseen items are ranked lower",
    ("sample_size", "0"): "all sessions",
    ("warm_up_steps", "0"): "no warm-up",
}
LARGE_KEYS = {
    *(
        "rules_per_item",
        "steps",
        "max_user_sessions",
        "lambda_spw",
        "lambda_ipw",
        "lambda_idf",
        "idf_weighting",
    ),
    *(
        "transition_prior",
        "cold_count",
        "q_weight",
        "warm_up_steps",
        "negative_weight",
        "cql_weight",
        "target_every",
    ),
    *("rl_negatives",),
}
ROWS = list(csv.DictReader((HERE / "wrong_settings.csv").open(encoding="utf-8")))


def test_the_listed_wrong_values_are_refused_or_have_a_meaning():
    taken = []
    for row in ROWS:
        key, value = row["key"], json.loads(row["value"])
        given = {"eval_args": value} if key.startswith("eval_args.") else {key: value}
        said = door.refusal(row["model"], given)
        large = key in LARGE_KEYS and isinstance(value, int | float) and value >= 1e9
        if not said and not large and (key, row["value"]) not in MEANT:
            taken.append((row["model"], key, row["value"]))
        assert "\n" not in said
    assert not taken and len(ROWS) > 220


# --- through the door itself --------------------------------------------------------------------------------

SAMPLE: list[tuple[str, dict[str, Any], str]] = [
    ("SASRec", {"gpu_id": "x"}, "gpu_id is 'x'"),
    ("SASRec", {"topk": [0]}, "topk is 0"),
    ("SASRec", {"metrics": ["NDCGG"]}, "metrics names NDCGG, which is no metric: did you mean NDCG?"),
    ("SASRec", {"metrics": ["HR"]}, "metrics names HR, which is no metric: write Hit"),
    ("SASRec", {"eval_args": 5}, "eval_args is 5"),
    ("SASRec", {"data_path": 5}, "data_path is 5"),
    ("SASRec", {"source": "diginetika"}, "source is 'diginetika': did you mean diginetica?"),
    ("SASRec", {"precision": "fp16"}, "precision is 'fp16': it has to be one of fp32, bf16"),
    ("SASRec", {"hidden_size": 30, "n_heads": 4}, "n_heads is 4, which does not divide the 30 of a state"),
    ("HRNNFeat", {"train_targets": "banana"}, "train_targets is 'banana': it has to be one of prefixes"),
    ("HRNNFeat", {"learning_rate": math.nan}, "learning_rate is nan: it has to be a number above 0"),
    ("HRNNFeat", {"convert_options": {"views": 5}}, "convert_options.views is 5"),
    ("HRNNFeat", {"generate": {"nosuch": 1}}, "generate.source is missing: it has to be one of"),
    (
        "HRNNFeat",
        {"feature_fusion": "som"},
        "feature_fusion is 'som': it has to be one of sum, gate, parallel",
    ),
    ("HRNNFeat", {"pointer": "banana"}, "pointer is 'banana': it has to be one of none, session, user"),
    ("SASRecFeat", {"readout": "banana"}, "readout is 'banana': write True or False"),
    ("GRU4RecFeat", {"look_back": 0}, "look_back is 0: it has to be a whole number from 1 to 10000"),
    ("HRNNFeat", {"look_back_past": 0}, "look_back_past is 0: it has to be a whole number from 1 to 10000"),
    (
        "SASRec",
        {"pointer": "user"},
        "SASRec does not read pointer: it is read by GRU4RecFeat, HRNNFeat and SASRecFeat",
    ),
    ("VSTAN", {"k": 0}, "k is 0: it has to be a whole number of 1 or more"),
    ("CategoryPop", {"recency": 2}, "recency is 2: it has to be a number from 0 to 1"),
    ("Blend", {"blend_models": ["Pop"]}, "blend_models is ['Pop']"),
    ("Blend", {"blend_models": ["HRNNFeat", "VSTAN"], "k": "x"}, "VSTAN in the blend: k is 'x'"),
]


@pytest.mark.parametrize(("model", "given", "sentence"), SAMPLE, ids=lambda value: str(value)[:40])
def test_configure_refuses_before_data_are_touched(
    model: str, given: dict[str, Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from recbole_ext.run.run import configure

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        configure(model, "diginetica-demo", {"raw_path": "none", **given})
    assert str(caught.value).startswith(sentence) and not any(tmp_path.iterdir())
