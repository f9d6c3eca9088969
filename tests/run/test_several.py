"""One run in two processes, as torchrun starts them: the record of one process; what is for one says so."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_ext import processes
from recbole_ext.errors import UsageError
from recbole_ext.processes import Processes

ROOT = Path(__file__).resolve().parents[2]
HRNN = {"embedding_size": 8, "hidden_size": 8}
NO_DROPOUT = dict.fromkeys(("dropout_input", "dropout_session", "dropout_readout", "id_dropout"), 0.0)
SASREC = {"hidden_size": 8, "n_layers": 1, "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
GRU = {"dropout_prob": 0.0, "embedding_size": 8, "hidden_size": 8}
LEFT_ONE = 1_000_003  # stands for a size that leaves one training row for a last batch
RUNS = {
    "positions": ("HRNNFeat", {**HRNN, **NO_DROPOUT, "recency": 5.0}),
    "users": ("HRNNFeat", {**HRNN, **NO_DROPOUT, "user_state": "init", "pointer": "none"}),
    "causal": ("SASRec", {**SASREC, "train_targets": "all_positions", "weight_average": 0.9}),
    "prefixes": ("SASRec", {**SASREC, "clip_grad_norm": {"max_norm": 0.05}}),
    "no buckets": ("GRU4Rec", {**GRU, "length_buckets": False}),
    # a last batch of one row, a part of the test without a batch for each process
    "one row": ("GRU4Rec", {**GRU, "train_batch_size": LEFT_ONE, "eval_batch_size": 4096}),
    "negatives": ("GRU4Rec", {**GRU, "loss_type": "BPR"}),
    "candidates": ("GRU4Rec", {**GRU, "eval_args": {"mode": "uni20"}}),
    "coverage": ("NARM", {"dropout_probs": [0.0, 0.0], "metrics": ["NDCG", "ItemCoverage", "GAUC"]}),
    "resumed": ("GRU4Rec", {**GRU, "epochs": 1, "eval_args": {"split": {"session_time": [0.8, 0.0, 0.2]}}}),
}
SCRIPT = """
import json, os, sys
import recbole_ext

if __name__ == "__main__":
    found = {}
    for name, (model, settings) in json.load(open(sys.argv[1])).items():
        if settings["train_batch_size"] == LEFT_ONE:
            settings["train_batch_size"] = found["no buckets"]["counts"]["train_rows"] - 1
        found[name] = recbole_ext.run(model, "toy", **settings)
    if os.environ.get("RANK", "0") == "0":
        json.dump(found, open(sys.argv[2], "w"))
""".replace("LEFT_ONE", repr(LEFT_ONE))


FEW = ("positions", "prefixes", "resumed")


def both(place, random_log, names):
    """Records of RUNS of these names in one process and in two, by name; `resumed` goes on in `again`: 1 in one
    process, 12 in two what one has begun, 21 in one what two have. They are made in the folder `place`."""
    (place / "data" / "toy").mkdir(parents=True)
    rows = random_log(sessions=120)
    types = {"session_id": "token", "user_id": "token", "item_id": "token", "timestamp": "float"}
    text = ["\t".join(f"{name}:{kind}" for name, kind in types.items())]
    text += ["\t".join(str(row[name]) for name in types) for row in rows]
    (place / "data" / "toy" / "toy.inter").write_text("\n".join(text) + "\n")
    (place / "script.py").write_text(SCRIPT)
    common = {
        **{
            "data_path": str(place / "data"),
            "use_gpu": False,
            "state": "ERROR",
            "topk": [5, 10],
            "epochs": 2,
        },
        **{
            "valid_metric": "NDCG@5",
            "train_batch_size": 64,
            "eval_batch_size": 16,
            "metric_decimal_place": 12,
        },
    }
    split = {"split": {"session_time": [0.7, 0.1, 0.2]}}
    runs = {
        name: (model, {**common, **settings, "eval_args": {**split, **settings.get("eval_args", {})}})
        for name, (model, settings) in RUNS.items()
        if name in names
    }
    for name, (_, settings) in runs.items():
        settings["label"] = name.replace(" ", "_")

    def going_on(record):
        model, settings = runs["resumed"]
        return model, {**settings, "epochs": 2, "resume_from": str(place / record["resumed"]["checkpoint"])}

    alone = started(place, 1, runs)
    two = started(place, 2, {**runs, "12": going_on(alone)})
    more = started(place, 1, {"1": going_on(alone), "21": going_on(two)})
    return {1: alone, 2: two, "again": {"12": two.pop("12"), **more}}


def started(place, count, runs):
    """Their records, by `count` processes in a folder."""
    (place / "runs.json").write_text(json.dumps(runs))
    start = [] if count == 1 else ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *start, "script.py", "runs.json", "found.json"],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(Path(place, "found.json").read_text())


@pytest.mark.parametrize(
    "names", [FEW, pytest.param(tuple(RUNS), marks=pytest.mark.slow)], ids=["few", "all"]
)
def test_two_processes_are_one(tmp_path, random_log, names):
    found = both(tmp_path, random_log, names)
    for name in names:
        same_run(found[1][name], found[2][name], tmp_path)
    one_process_wrote(found, tmp_path)
    went_on_in_one_and_back(found["again"])


def same_run(alone, two, place):
    assert (alone["processes"], two["processes"]) == (1, 2)
    assert alone["counts"] == two["counts"]
    for key in ("train_loss", "valid_score"):
        losses = [[epoch[key] for epoch in record["epochs"]] for record in (alone, two)]
        assert None in losses[0] or losses[1] == pytest.approx(losses[0], rel=1e-5), key
    assert two["test"] == pytest.approx(alone["test"], rel=1e-5)
    assert two["valid"] == pytest.approx(alone["valid"], rel=1e-5)
    assert alone["epochs"][0]["train_loss"] != alone["epochs"][-1]["train_loss"] or len(alone["epochs"]) == 1
    ranks = [np.load(place / record["files"]["ranks"]) for record in (alone, two)]
    for key in ("rank", "item", "event_index"):
        assert np.array_equal(ranks[0][key], ranks[1][key]), key


def one_process_wrote(found, place):
    files = [Path(record["files"]["record"]) for records in found.values() for record in records.values()]
    left = sorted(path.relative_to(place) for path in (place / "runs").glob("*/*/record.json"))
    assert left == sorted(files)
    assert len(list((place / "log").glob("*/*.log"))) == len(left)
    assert len(list((place / "log_tensorboard").iterdir())) == len(left)


def went_on_in_one_and_back(again):
    whole = again["1"]
    assert [epoch["epoch"] for epoch in whole["epochs"]] == [0, 1]
    for name in ("12", "21"):
        record = again[name]
        assert record["test"] == pytest.approx(whole["test"], rel=1e-5)
        losses = [[epoch["train_loss"] for epoch in one["epochs"]] for one in (whole, record)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.fixture
def in_two(monkeypatch):
    """As if this process were the first of two, as far as it asks nothing of the other."""
    monkeypatch.setattr(processes, "_current", Processes(0, 2))
    monkeypatch.setattr(processes, "together", lambda device: nullcontext())
    monkeypatch.setattr(processes, "first_before_others", nullcontext)


LS = {"split": {"LS": "valid_and_test"}}
REFUSED = {
    "off_policy": (
        "SASRec",
        {"off_policy": {"seed": 1}, "rewards": {"view": 0.2, "purchase": 1.0}},
        "off_policy is for one process",
    ),
    "rl": ("SASRecSQN", {}, "SASRecSQN trains in one process, as it has a trainer of its own"),
    "counting": ("SKNN", {}, "SKNN trains in one process, as .* learns at once: start it without torchrun"),
    "general": ("BPR", {"eval_args": LS}, "BPR trains in one process"),
    "in-batch": ("HRNNFeat", {"loss_type": "TOP1", "pointer": "none"}, "loss_type TOP1 is for one process"),
    "sparse": ("GRU4Rec", {"learner": "sparse_adam"}, "sparse_adam"),
}


@pytest.mark.parametrize(("model", "settings", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_for_one_process_says_so(
    in_two, write_log, random_log, tmp_path, monkeypatch, model, settings, said
):
    import recbole_ext

    write_log(random_log())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=said):
        recbole_ext.run(model, "toy", data_path=str(tmp_path / "data"), use_gpu=False, **settings)


def test_a_grid_is_for_one_process(monkeypatch, capsys):
    from recbole_ext.cli import main

    for key, value in {
        "RANK": 0,
        "WORLD_SIZE": 2,
        "LOCAL_RANK": 0,
        "MASTER_ADDR": "x",
        "MASTER_PORT": 1,
    }.items():
        monkeypatch.setenv(key, str(value))
    assert main(["run", "--model=Pop", "--dataset=toy", "--seed=1,2"]) == 2
    assert "a grid runs in one process" in capsys.readouterr().err


def test_half_an_environment_is_named(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for key in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(key, raising=False)
    with pytest.raises(UsageError, match=r"WORLD_SIZE 2 and no number for RANK, LOCAL_RANK, .*torchrun"):
        processes.started()


@pytest.mark.parametrize(
    ("given", "card"),
    [(None, "1"), ("0,3", "3"), ([2, 5], "5"), ("7", None), ("7,7", None)],
    ids=["none", "text", "list", "too few", "one twice"],
)
def test_a_process_has_a_gpu_of_its_own(monkeypatch, given, card):
    from recbole_ext.run import several

    monkeypatch.setattr(several, "started", lambda: Processes(1, 2, 1))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(several, "_visible", None)
    if card is None:
        with pytest.raises(
            UsageError, match=r"gpu_id is 7.*, and process 1 of this machine has none of them"
        ):
            several.of_this_process({"gpu_id": given})
    else:
        assert several.of_this_process({"gpu_id": given})["gpu_id"] == card


def test_it_is_one_of_those_that_are_visible(monkeypatch):
    from recbole_ext.run import several

    monkeypatch.setattr(several, "started", lambda: Processes(1, 2, 1))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(several, "_visible", "4,6")
    assert several.of_this_process({})["gpu_id"] == "6"
    assert several.of_this_process({"gpu_id": "0,1"})["gpu_id"] == "1"
    monkeypatch.setattr(several, "_visible", "4")
    with pytest.raises(UsageError, match="CUDA_VISIBLE_DEVICES is 4, and process 1 of this machine has none"):
        several.of_this_process({})
    assert several.of_this_process({"use_gpu": "False"}) == {
        "use_gpu": "False"
    }  # as the variable says nothing then
    monkeypatch.setattr(torch.version, "cuda", None)
    assert several.of_this_process({}) == {}


def test_parts_hold_every_row_once(monkeypatch):
    rows, parts = np.arange(7), []
    for number in range(3):
        monkeypatch.setattr(processes, "_current", Processes(number, 3))
        parts.append(processes.own(rows))
        assert processes.own(rows[:2]).tolist() == [0, 1]  # fewer than processes: each has them all
        assert list(processes.own_batches(iter("abcd"))) == list("abcd"[number::3])
    assert sorted(np.concatenate(parts)) == rows.tolist()
