"""Where config values come from and which win, what typos are answered with, and configs as plain data."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recbole_ext
from recbole_ext import plain
from recbole_ext.bridge import names, stored_config
from recbole_ext.bridge.keys import refuse_unread, unread_keys
from recbole_ext.errors import UsageError
from recbole_ext.settings import command_line, files


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    recbole_ext.install()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(model: str = "GRU4Rec", dataset: str = "toy", **keys: Any) -> Any:
    from recbole.config import Config

    return Config(model, dataset, config_dict=keys)


def put(file: str, text: str) -> str:
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


# --- precedence -------------------------------------------------------------------------------------------


def test_each_source_wins_over_the_ones_before_it():
    assert make()["epochs"] == 300  # RecBole's overall.yaml
    put(
        "configs/overall.yaml",
        "epochs: 1\nstopping_step: 1\nhidden_size: 1\nseed: 1\nworker: 1\neval_step: 1\n",
    )
    put("configs/model/GRU4Rec.yaml", "stopping_step: 2\nhidden_size: 2\nseed: 2\nworker: 2\neval_step: 2\n")
    put("configs/dataset/toy.yaml", "hidden_size: 3\nseed: 3\nworker: 3\neval_step: 3\n")
    given = put("given.yaml", "seed: 4\nworker: 4\neval_step: 4\n")
    from recbole.config import Config

    with command_line.command_line(["--eval_step=6"]):
        conf = Config("GRU4Rec", "toy", [given], {"worker": 5, "eval_step": 5})
    keys = ("epochs", "stopping_step", "hidden_size", "seed", "worker", "eval_step")
    assert [conf[key] for key in keys] == [1, 2, 3, 4, 5, 6]
    assert conf["LINK_USER_FIELD"] == "user_id"  # a user's overall.yaml adds to ours


def test_our_split_wins_over_recboles_quick_start_file():
    put("configs/overall.yaml", "eval_args: {split: {session_time: [0.8, 0.1, 0.1]}}\n")
    assert make("GRU4Rec")["eval_args"]["split"] == {
        "session_time": [0.8, 0.1, 0.1]
    }  # sequential.yaml says LS
    assert make("BPR")["eval_args"]["split"] == {"session_time": [0.8, 0.1, 0.1]}


def test_eval_args_may_be_given_in_part_at_every_level():
    file = put("given.yaml", "eval_args: {mode: uni100, split: {LS: valid_only}}\n")
    from recbole.config import Config

    with command_line.command_line(["--eval_args={split: {RS: [0.5, 0.25, 0.25]}}"]):
        conf = Config("GRU4Rec", "toy", [file], {"eval_args": {"order": "RO"}})
    assert conf["eval_args"] == {
        "split": {"RS": [0.5, 0.25, 0.25]},
        "order": "RO",
        "group_by": "user",
        "mode": {"valid": "uni100", "test": "uni100"},
    }


def test_models_for_click_through_rates_keep_their_own_evaluation():
    for model in ("FM", "DIN"):
        conf = make(model)
        assert conf["metrics"] == ["AUC", "LogLoss"] and conf["valid_metric"] == "AUC"
    assert make("FM")["eval_args"]["mode"] == {"valid": "labeled", "test": "labeled"}
    assert make("FM", "diginetica-demo")["data_layout"] == "pointers"  # the rest of ours is there
    assert make("FM", "diginetica-demo")["metrics"] == ["AUC", "LogLoss"]


ML_100K = ["GRU4RecF", "S3Rec", "DIN", "DeepFM", "KGAT", "BPR", "SASRec", "LightGCN"]


def test_recbole_s_example_data_keep_recbole_s_settings():
    own = set(files.load_files(files.config_files("overall.yaml")))
    code = (
        "import json, sys; sys.argv = ['x']\n"
        "from recbole_ext.bridge import patches as compat\n"
        "compat.apply(skip=['config_files', 'command_line'])\n"
        "from recbole.config import Config\n"
        f"for model in {ML_100K!r}:\n"
        "    c = Config(model, 'ml-100k', None, {'train_neg_sample_args': None}).final_config_dict\n"
        "    print(json.dumps({k: str(v) for k, v in c.items()}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(recbole_ext.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    for model, line in zip(ML_100K, done.stdout.splitlines()[-len(ML_100K) :]):
        upstream = json.loads(line)
        final = make(model, "ml-100k", train_neg_sample_args=None).final_config_dict
        ours = {key: str(value) for key, value in final.items()}
        changed = {k for k in upstream.keys() | ours.keys() if upstream.get(k) != ours.get(k)} - own
        assert not changed, (model, {k: (upstream.get(k), ours.get(k)) for k in changed})


SESSION_KEYS = ("USER_ID_FIELD", "data_layout", "valid_metric", "topk", "repeatable")


def test_only_session_data_have_our_defaults():
    recboles = ["user_id", "recbole", "MRR@10", [10], False]
    ours = ["session_id", "pointers", "NDCG@10", [5, 10, 20], True]
    for dataset in ("ml-100k", "toy"):
        conf = make("BPR", dataset)
        assert [conf[key] for key in SESSION_KEYS] == recboles
        assert conf["eval_args"]["split"] == {"RS": [0.8, 0.1, 0.1]}
    put("atomic_data/toy/toy.inter", "user_id:token\titem_id:token\n")
    assert [make("BPR")[key] for key in SESSION_KEYS] == recboles
    put("atomic_data/toy/toy.inter", "session_id:token\titem_id:token\n")
    assert [make("BPR")[key] for key in SESSION_KEYS] == ours
    put("elsewhere/shop/shop.inter", "item_id:token\tsession_id:token\n")
    assert make("BPR", "shop", data_path="elsewhere")["USER_ID_FIELD"] == "session_id"
    put("configs/dataset/mine.yaml", "epochs: 3\n")
    assert [make("BPR", "mine")[key] for key in SESSION_KEYS] == ours
    assert make("BPR", "diginetica-demo")["eval_args"]["split"] != {"RS": [0.8, 0.1, 0.1]}


def test_cross_entropy_needs_no_negative_samples_unless_the_user_asks_for_them():
    assert make("GRU4Rec")["train_neg_sample_args"]["distribution"] == "none"
    assert make("GRU4Rec", loss_type="BPR")["train_neg_sample_args"]["distribution"] == "uniform"
    assert make("BPR")["train_neg_sample_args"]["distribution"] == "uniform"
    with pytest.raises(ValueError, match="should be None when the loss_type is CE"):
        make("GRU4Rec", train_neg_sample_args={"distribution": "uniform", "sample_num": 1})


def test_the_users_dict_is_left_as_it_was():
    keys = {"topk": "[5]", "eval_args": {"order": "RO"}}
    assert make(**keys)["topk"] == [5]
    assert keys == {"topk": "[5]", "eval_args": {"order": "RO"}}


# --- files ------------------------------------------------------------------------------------------------


def test_configs_are_found_in_a_wheel_and_in_a_checkout(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    package = workplace / "site-packages" / "recbole_ext"
    monkeypatch.setattr(files, "__file__", str(package / "settings" / "files.py"))
    with pytest.raises(UsageError, match="install it again"):
        files.configs_dir()
    put("site-packages/configs/overall.yaml", "")
    assert files.configs_dir() == package.parent / "configs"
    put("site-packages/recbole_ext/configs/overall.yaml", "")
    assert files.configs_dir() == package / "configs"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epochs: 1\nmetrics: [Hit, NDCG\ntopk: 5\n", r"bad\.yaml, line 3 is not valid yaml"),
        ("a: 1\n\tb: 2\n", r"bad\.yaml, line 2 is not valid yaml"),
        ("- epochs\n", r"bad\.yaml, line 1: a config file holds `key: value` lines, not a list"),
    ],
)
def test_bad_yaml_is_answered_with_file_and_line(text: str, sentence: str):
    file = put("bad.yaml", text)
    from recbole.config import Config

    with pytest.raises(UsageError, match=sentence) as caught:
        Config("BPR", "toy", [file])
    assert "\n" not in str(caught.value)


def test_missing_and_binary_config_files():
    with pytest.raises(UsageError, match=r"cannot read config file none\.yaml: No such file"):
        files.load_yaml("none.yaml")
    Path("binary.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(UsageError, match=r"config file binary\.yaml is not UTF-8 text \(byte 3\)"):
        files.load_yaml("binary.yaml")
    assert files.load_yaml(put("empty.yaml", "# nothing\n")) == {}


# --- command line -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("1e-3", 0.001),
        ("True", True),
        ("false", False),
        ("None", None),
        ("null", None),
        ("CE", "CE"),
        ("0,1", [0, 1]),
        ("{max_norm: 1e-3, wide: 1.5, name: '1e-3'}", {"max_norm": 0.001, "wide": 1.5, "name": "1e-3"}),
        ("[5,10]", [5, 10]),
        ("{'LS': 'valid_and_test'}", {"LS": "valid_and_test"}),
        ("{split: {session_time: {test_days: 7}}}", {"split": {"session_time": {"test_days": 7}}}),
        ("[Hit, NDCG]", ["Hit", "NDCG"]),
        ("[0,inf)", "[0,inf)"),
        ("2**3", "2**3"),
        ("max", "max"),
        ("__import__('os').getcwd()", "__import__('os').getcwd()"),
        ("", ""),
        ("b'x'", "b'x'"),
        (7, 7),
    ],
)
def test_values_are_read_not_evaluated(text: Any, value: Any):
    assert command_line.parse_value(text) == value
    assert type(command_line.parse_value(text)) is type(value)


def test_command_line_keeps_what_follows_the_first_equals_sign():
    arguments = ["--raw_path=a=b", "--note=--x", "--epochs=2", "--epochs=2", "--empty="]
    parsed = {"raw_path": "a=b", "note": "--x", "epochs": 2, "empty": ""}
    assert command_line.parse_command_line(arguments) == parsed
    with pytest.raises(UsageError, match="--epochs is given twice, as 2 and as 3"):
        command_line.parse_command_line(["--epochs=2", "--epochs=3"])
    for wrong in ("--epochs", "epochs=2", "--=2"):
        with pytest.raises(UsageError, match=f"argument {wrong} is not of the form --key=value"):
            command_line.parse_command_line(["--seed=1", wrong])


def test_config_warns_of_arguments_it_does_not_use(caplog: pytest.LogCaptureFixture):
    with command_line.command_line(["--epochs=2", "-v"]):
        assert make()["epochs"] == 2
    assert "-v are not used" in caplog.text


def test_sys_argv_is_read_for_scripts_only(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    script = put("run.py", "")
    monkeypatch.setattr(sys, "argv", [script, "--epochs=7"])
    assert make()["epochs"] == 300  # pytest is running
    monkeypatch.delitem(sys.modules, "pytest")
    assert make()["epochs"] == 7
    with command_line.command_line(["--epochs=8"]):
        assert make()["epochs"] == 8
    with command_line.command_line([]):
        assert make()["epochs"] == 300
    notebook = put("ipykernel_launcher.py", "")
    runner = put("pytest/__main__.py", "")
    for program in ("-c", "", "-m", notebook, runner, put("bin/pytest", "")):
        monkeypatch.setattr(sys, "argv", [program, "--epochs=7"])
        assert make()["epochs"] == 300, program
    monkeypatch.setattr(sys, "argv", [put("recbole_ext/__main__.py", ""), "--epochs=7"])
    assert make()["epochs"] == 7  # python -m recbole_ext


# --- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("gru4rec", "GRU4Rec"), ("SASRecc", "SASRec"), ("LightGNC", "LightGCN"), ("POP", "Pop")],
)
def test_unknown_model_is_answered_with_the_one_that_may_be_meant(typed: str, meant: str):
    with pytest.raises(UsageError, match=f"^there is no model {typed}: did you mean {meant}\\?$"):
        names.check_names(typed)
    with pytest.raises(UsageError, match=f"did you mean {meant}"):
        make(typed)  # RecBole's own Config says it too, in place of "No module named 'lightgbm'"


def test_our_models_are_suggested_like_recboles():
    assert {"HRNNFeat"} <= set(names.own_models()) < set(names.known_models())
    with pytest.raises(UsageError, match="did you mean HRNNFeat"):
        names.check_names("HRNFeat")


def test_every_model_with_a_recbole_file_is_known():
    import recbole

    files = (Path(recbole.__file__).parent / "properties" / "model").glob("*.yaml")
    known = {name.lower() for name in names.known_models()}  # LightGBM's file is lightgbm.yaml
    assert {file.stem.lower() for file in files} <= known


def test_a_log_that_is_named_makes_a_data_set_of_a_new_name(workplace: Path):
    """Without a file in configs/dataset its source is any log of events, and its defaults are those of sessions."""
    config = make(dataset="brand-new", raw_path="log.csv")
    assert (config["source"], config["USER_ID_FIELD"]) == ("events", "session_id")
    assert make(dataset="brand-new", raw_path="log.csv", source="diginetica")["source"] == "diginetica"
    put("configs/dataset/mine.yaml", "raw_path: elsewhere")
    assert make(dataset="mine", raw_path="log.csv")["source"] is None
    assert make(dataset="a/b", raw_path="log.csv")["source"] is None  # no name, which is refused


def test_unknown_dataset(workplace: Path):
    (workplace / "atomic_data" / "my-shop").mkdir(parents=True)
    names.check_names("BPR", "my-shop")
    names.check_names("BPR", "diginetica")  # configs/dataset/diginetica.yaml
    names.check_names("BPR", "ml-1m")  # RecBole downloads it
    put("configs/dataset/other.yaml", "")
    names.check_names("BPR", "other")
    with pytest.raises(UsageError, match="there is no dataset my-shpo: did you mean my-shop") as caught:
        names.check_names("BPR", "my-shpo")
    assert "configs/dataset/my-shpo.yaml" in str(caught.value)
    with pytest.raises(
        UsageError, match=r"did you mean my-shop.* in atomic_data or dataset; .* --raw_path=FILE"
    ):
        names.check_names(
            "BPR", "my-shpo", data_path="dataset"
        )  # RecBole's default, of a name that nobody knows
    with pytest.raises(UsageError, match="my-shop lies in atomic_data: set --data_path=atomic_data"):
        names.check_names("BPR", "my-shop", data_path=workplace / "elsewhere")


def test_a_class_or_a_model_entered_by_the_user_is_no_unknown_name(monkeypatch: pytest.MonkeyPatch):
    from types import ModuleType

    from recbole.model.general_recommender import BPR

    monkeypatch.setitem(sys.modules, "recbole.model.general_recommender.mine", ModuleType("mine"))
    names.check_names("Mine")
    assert make(BPR)["model"] == "BPR"


# --- keys -------------------------------------------------------------------------------------------------


def test_an_option_of_the_converter_is_no_key_of_a_run(workplace: Path):
    config = make(dataset="brand-new", raw_path="log.csv", **{"time": "when", "gap-minutes": 20, "zzz": 1})
    said = unread_keys(config)
    assert said["time"].endswith('option of the converter, so write --convert_options="{time: when}"')
    assert said["gap-minutes"].endswith('--convert_options="{gap_minutes: 20}"')
    assert said["zzz"] == "unknown key zzz: nothing reads it"


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"learning_rte": 1}, "unknown key learning_rte: did you mean learning_rate?"),
        ({"Epochs": 1}, "unknown key Epochs: did you mean epochs?"),
        ({"hiden_size": 1}, "unknown key hiden_size: did you mean hidden_size?"),
        ({"xyzzy_plugh": 1}, "unknown key xyzzy_plugh: nothing reads it"),
        (
            {"eval_args": {"spilt": {"LS": "valid_only"}}},
            "unknown key spilt in eval_args: did you mean split?",
        ),
        (
            {"eval_args": {"split": {"session_tiem": {}}}},
            "unknown key session_tiem in eval_args.split: did you mean session_time?",
        ),
        (
            {"eval_args": {"split": {"session_time": {"tset_days": 7}}}},
            "unknown key tset_days in eval_args.split.session_time: did you mean test_days?",
        ),
        (
            {"eval_args": {"split": {"session_random": {"share": [8, 1, 1]}}}},
            "unknown key share in eval_args.split.session_random: did you mean shares?",
        ),
        (
            {"max_session_per_user": 5},
            "unknown key max_session_per_user: did you mean max_sessions_per_user?",
        ),
        (
            {"loss_type": "BPR", "train_neg_sample_args": {"number": 3}},
            "unknown key number in train_neg_sample_args: it may hold "
            "alpha, candidate_num, distribution, dynamic, sample_num",
        ),
    ],
)
def test_unknown_keys(keys: dict[str, Any], sentence: str):
    if "train_neg_sample_args" in keys:
        keys["train_neg_sample_args"]["distribution"] = "uniform"
    with pytest.raises(UsageError) as caught:
        refuse_unread(make(**keys))
    assert str(caught.value) == sentence


def test_unknown_keys_of_files_and_command_line_are_found_too():
    from recbole.config import Config

    with pytest.raises(UsageError, match="unknown key epoch: did you mean epochs"):
        refuse_unread(Config("BPR", "toy", [put("given.yaml", "epoch: 5\n")]))
    with (
        command_line.command_line(["--train_batchsize=5"]),
        pytest.raises(UsageError, match="mean train_batch_size"),
    ):
        refuse_unread(make())


def test_known_keys_pass():
    known: dict[str, Any] = {
        "learning_rate": 0.1,  # RecBole's lists
        "hidden_size": 8,  # the model's yaml
        "cuda_graphs": True,  # ours
        "tail_ratio": 0.1,  # only RecBole's source reads it
        "eval_args": {"split": {"LS": "valid_only"}, "mode": {"valid": "full"}},
    }
    assert unread_keys(make(**known)) == {}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"inter_num_part": "test"}, "inter_num_part is 'test': it has to be one of train, all"),
    ({"inter_num_passes": 0}, "inter_num_passes is 0: it has to be a whole number of 1 or more"),
    ({"max_sessions_per_user": 2.5}, "max_sessions_per_user is 2.5"),
    ({"empty_history": "maybe"}, "empty_history is 'maybe': write True or False"),
    ({"user_inter_num_interval": "5"}, "user_inter_num_interval is 5: write an interval"),
    ({"item_inter_num_interval": "[5,2]"}, "item_inter_num_interval is [5, 2]: write an interval"),
    ({"rewards": {}}, "rewards is {}: write a number an event kind"),
    ({"rewards": [1, 2]}, "rewards is [1, 2]: write a number an event kind"),
    ({"rewards": {"view": "much"}}, "rewards of view is 'much': it has to be a number"),
]


@pytest.mark.parametrize(("keys", "sentence"), WRONG, ids=lambda value: str(value)[:40])
def test_wrong_values_of_log_settings(keys: dict[str, Any], sentence: str):
    with pytest.raises(UsageError) as caught:
        refuse_unread(make(dataset="diginetica-demo", **keys))
    assert str(caught.value).startswith(sentence)


PRESETS = sorted(file.stem for file in (files.configs_dir() / "dataset").glob("*.yaml"))


@pytest.mark.parametrize("dataset", PRESETS)
def test_presets_hold_known_keys_and_usable_values(dataset: str):
    from recbole_ext.bridge.description import describe_split
    from recbole_ext.convert import check_generate, check_options
    from recbole_ext.data.splits import check_limits

    preset = files.load_yaml(files.configs_dir() / "dataset" / f"{dataset}.yaml")
    conf = make("GRU4RecF", dataset, **preset)  # as the user's own, whose keys are checked
    refuse_unread(conf)
    check_limits(conf)
    assert conf["EVENT_FIELD"] == "event" and conf["inter_num_part"] in ("train", "all")
    assert describe_split(conf).startswith(next(iter(conf["eval_args"]["split"])))
    check_options(preset["source"], preset.get("convert_options"))
    if "generate" in preset:
        check_generate(preset["generate"])
    days = conf["eval_args"]["split"].get("session_time")
    if "test_days" in (preset.get("convert_options") or {}):  # features are as of the split's first test day
        assert preset["convert_options"]["test_days"] == days["test_days"]


def test_the_sqn_presets_are_the_released_protocol():
    random, temporal = (make("SASRec", f"retailrocket-sqn{name}") for name in ("", "-temporal"))
    for conf in (random, temporal):
        assert conf["convert_options"]["session"] == "visitor"
        assert conf["convert_options"]["drop_transactions"] is True
        assert conf["inter_num_part"] == "all" and conf["inter_num_passes"] == 1
        assert conf["user_inter_num_interval"] == conf["item_inter_num_interval"] == "[3,inf)"
        assert conf["empty_history"] is True and conf["rewards"] == {"view": 0.2, "addtocart": 1.0}
        assert conf["MAX_ITEM_LIST_LENGTH"] == 10
    assert random["eval_args"]["split"] == {"session_random": {"shares": [0.8, 0.1, 0.1], "seed": 1}}
    split = temporal["eval_args"]["split"]["session_time"]
    assert (
        split["test_days"] == temporal["convert_options"]["test_days"]
    )  # features do not know the test part


# --- plain data -------------------------------------------------------------------------------------------


def is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(is_plain(item) for pair in value.items() for item in pair)
    if isinstance(value, list):
        return all(is_plain(item) for item in value)
    return value is None or type(value) in (bool, int, float, str)


def test_config_survives_as_plain_data(workplace: Path):
    conf = make(
        gpu_id="0",
        range_=(1, (2, "x")),
        chosen={"b", "a"},
        number=np.float64(0.5),
        place=workplace / "a",
        lists=[{"deep": [1, None]}],
        array=np.arange(3),
    )
    stored = plain.config_to_plain(conf)
    assert is_plain(stored) and "device" not in stored
    torch.save(stored, "plain.pth")
    back = stored_config.config_from_plain(torch.load("plain.pth", weights_only=True))
    expected = dict(conf.final_config_dict, place=str(workplace / "a"), array=[0, 1, 2])
    assert back.final_config_dict == expected
    assert type(back["range_"]) is tuple and type(back["chosen"]) is set
    assert back["MODEL_TYPE"] is conf["MODEL_TYPE"] and back["eval_type"] is conf["eval_type"]
    assert (back.model, back.model_class, back.dataset) == (conf.model, conf.model_class, conf.dataset)
    assert "Hyper Parameters" in str(back)


def test_config_of_one_process_comes_back_on_this_machine():
    stored = plain.config_to_plain(make(use_gpu=False))
    stored.update(local_rank=3, single_spec=False)
    back = stored_config.config_from_plain(stored)
    assert back["single_spec"] is True and back["local_rank"] == 0 and back["device"] == torch.device("cpu")


def test_what_has_no_plain_form_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture):
    conf = make()
    conf["callback"] = print
    assert "callback" not in plain.config_to_plain(conf)
    assert "Config key callback holds a builtin_function_or_method and is not stored" in caplog.text


# --- what the data bring ----------------------------------------------------------------------------------


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Session lists whose test pairs are no whole sessions, in a folder of raw logs."""
    import pickle

    raw = tmp_path / "lists"
    raw.mkdir()
    (raw / "all_train_seq.txt").write_bytes(pickle.dumps([[1, 2, 3], [2, 3, 1]] * 10))
    (raw / "test.txt").write_bytes(pickle.dumps(([[1, 2], [2, 3], [3, 1]], [3, 1, 2])))
    return raw


def test_the_split_of_session_lists_holds_whatever_their_folder_is_called(lists: Path):
    from recbole_ext.bridge.description import describe_split
    from recbole_ext.convert import convert

    convert("session-lists", lists, "atomic_data/rr2")
    line = "given valid_share 0.1: the data's own split, no session straddles; targets: last"
    assert describe_split(make(dataset="rr2")) == line
    record = recbole_ext.run("SR", "rr2", show_progress=False)
    assert record["counts"]["test_targets"] == 3
    asked = make(dataset="rr2", eval_args={"split": {"given": {"valid_share": 0.2}}}, eval_targets="all")
    assert asked["eval_args"]["split"] == {"given": {"valid_share": 0.2}}
    put("configs/dataset/rr2.yaml", "eval_args: {split: {session_time: [0.8, 0.1, 0.1]}}\n")
    assert list(make(dataset="rr2")["eval_args"]["split"]) == ["session_time"]


def test_the_split_of_session_lists_holds_before_they_are_converted(lists: Path):
    config = make(dataset="rr2", source="session-lists", raw_path=str(lists))
    assert config["eval_args"]["split"] == {"given": {"valid_share": 0.1}}
    config = make(dataset="log", source="csv", raw_path=str(lists))
    assert list(config["eval_args"]["split"]) == ["session_time"]


def test_a_split_column_that_is_not_read_is_told(lists: Path):
    from recbole.data import create_dataset

    from recbole_ext.convert import convert

    convert("session-lists", lists, "atomic_data/rr2")
    split = {"session_time": [0.8, 0.1, 0.1]}
    dataset = create_dataset(make(dataset="rr2", eval_args={"split": split}))
    dataset.build()
    assert dataset.notes == ["column split of the .inter file is not read: eval_args.split is session_time"]


def test_parts_in_files_are_the_split_that_is_told():
    from recbole_ext.bridge.description import describe_split

    line = describe_split(make(benchmark_filename=["train", "valid", "test"]))
    assert line == "the files train, valid, test: the rows that they hold are the targets"


def test_a_result_on_edited_files_says_so(lists: Path):
    from recbole_ext.convert import convert

    convert("session-lists", lists, "atomic_data/rr2")
    assert recbole_ext.run("SR", "rr2", show_progress=False)["notes"] == []
    file = Path("atomic_data/rr2/rr2.inter")
    file.write_text(file.read_text().replace("\ttrain\n", "\ttest\n", 3))
    [note] = recbole_ext.run("SR", "rr2", show_progress=False)["notes"]
    assert note.startswith("rr2.inter changed since the conversion that manifest.json tells of")


def test_a_data_set_of_the_checkout_is_found_from_any_folder(workplace, monkeypatch, caplog):
    from recbole_ext.bridge.prepare import prepare_atomic_files
    from recbole_ext.run.run import configure

    checkout = workplace / "checkout"
    shutil.copytree(files.configs_dir(), checkout / "configs")
    monkeypatch.setattr(files, "__file__", str(checkout / "recbole_ext" / "settings" / "files.py"))
    for place in ("checkout/atomic_data/mine", "elsewhere"):
        (workplace / place).mkdir(parents=True)
    inter = checkout / "atomic_data" / "mine" / "mine.inter"
    inter.write_text("session_id:token\titem_id:token\ttimestamp:float\na\tx\t1\na\ty\t2\n")
    monkeypatch.chdir(workplace / "elsewhere")
    config = configure("Pop", "mine")
    assert config["data_path"] == str(inter.parent) and config["USER_ID_FIELD"] == "session_id"
    prepare_atomic_files(config)
    assert (
        f"mine is not in the working directory: its atomic files are those of {inter.parent}" in caplog.text
    )
    shutil.copytree(inter.parent, "atomic_data/mine")
    assert configure("Pop", "mine")["data_path"] == os.path.join("atomic_data", "mine"), "here goes first"
    with pytest.raises(UsageError, match="there is no dataset other"):
        configure("Pop", "other")
