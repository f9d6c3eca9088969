"""Runs side by side: figures on paper, targets in any order, what is refused, old records, and real runs."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recbole_ext.cli import main
from recbole_ext.errors import UsageError
from recbole_ext.evaluate.comparison import METRICS, compare
from recbole_ext.evaluate.intervals import bootstrap_mean, holm, paired_test
from recbole_ext.evaluate.target_metrics import gains
from recbole_ext.report.formats import score
from recbole_ext.report.text import comparison_text

ROOT = Path(__file__).resolve().parents[2]

# five targets of three sessions, over five items
SESSION = np.array(["s1", "s1", "s2", "s2", "s3"])
ITEM = np.array([1, 2, 3, 1, 5])
TOP = np.array([[1, 2], [1, 3], [4, 3], [2, 1], [5, 4]])
FACTS = {
    "item_count": np.array([0, 9, 3, 0, 1, 7]),
    "item_category": np.array([0, 1, 1, 2, 2, 0]),
    "position": np.array([1, 2, 1, 2, 1]),
    "session_events": np.array([3, 3, 3, 3, 2]),
    "repeat": np.array([False, True, False, False, False]),
    "earlier_sessions": np.array([0, 0, 2, 2, -1]),
    "event": np.array(["view", "cart", "view", "view", "cart"]),
}


@pytest.fixture
def write_run(tmp_path):
    """Write a run's folder by hand; `order` puts its targets in another order, `facts` may be fewer."""

    def write(model, rank, seed=1, facts=FACTS, order=None, record=None, drop=(), **arrays):
        order = np.arange(len(rank)) if order is None else np.asarray(order)
        stored = {
            "rank": np.asarray(rank),
            "item": ITEM[: len(rank)],
            "top": TOP[: len(rank)],
            "event_index": 10 + np.arange(len(rank)),
            "session_token": SESSION[: len(rank)],
            "item_token": np.array(["[PAD]", "a", "b", "c", "d", "e"]),
            **facts,
            **arrays,
        }
        of_items = ("item_token", "item_count", "item_category", "held_out")
        stored = {
            name: array if name in of_items else array[order]
            for name, array in stored.items()
            if name not in drop
        }
        folder = tmp_path / "runs" / f"{model}-{seed}-{len(list(tmp_path.glob('runs/*')))}"
        folder.mkdir(parents=True)
        np.savez_compressed(folder / "ranks.npz", **stored)
        plain = {
            "format": 1,
            "model": model,
            "dataset": "toy",
            "seed": seed,
            "protocol": "one ranking per (prefix, target) row",
            "split": "session_time",
            "config": {
                "seed": seed,
                "rewards": None,
                "eval_args": {"mode": {"valid": "full", "test": "full"}},
            },
            "counts": {"items": 5, "test_targets": len(rank)},
            "seconds": {"train": 2.0 * seed, "test": 1.0, "prepare": 0.5},
            "epochs_run": 3,
            **(record or {}),
        }
        (folder / "record.json").write_text(json.dumps(plain))
        return folder

    return write


def without_folders(found):
    return {**found, "models": [{**model, "folders": None} for model in found["models"]]}


def test_on_paper(write_run):
    folders = [
        write_run("Weak", [3, 30, 1, 30, 2]),
        write_run("Strong", [1, 1, 2, 1, 30], seed=1, record={"parameters": 64}),
        write_run("Strong", [1, 2, 2, 30, 30], seed=2, record={"parameters": 64}),
    ]
    found = compare(folders, ["MRR@20", "hr@1"])
    assert (found["dataset"], found["targets"], found["sessions"], found["items"]) == ("toy", 5, 3, 5)
    assert found["metrics"] == ["mrr@20", "hit@1"] and found["notes"] == []
    strong, weak = found["models"]  # the best of the first metric first
    assert (strong["model"], strong["name"], strong["seeds"]) == ("Strong", "Strong", [1, 2])
    assert strong["folders"] == [str(folder) for folder in folders[1:]]
    mrr = strong["metrics"]["mrr@20"]
    assert mrr["seed_values"] == pytest.approx([3.5 / 5, 2 / 5]) and mrr["mean"] == pytest.approx(5.5 / 10)
    assert mrr["seed_std"] == pytest.approx(0.3 / np.sqrt(2))
    session = np.array([0, 0, 1, 1, 2])
    seeds_mean = np.array([1, 0.75, 0.5, 0.5, 0])
    assert (mrr["mean"], mrr["low"], mrr["high"]) == pytest.approx(bootstrap_mean(seeds_mean, session))
    assert (
        weak["metrics"]["hit@1"]["mean"] == pytest.approx(1 / 5)
        and weak["metrics"]["hit@1"]["seed_std"] is None
    )
    assert strong["seconds"] == {"train": 3.0, "test": 1.0, "prepare": 0.5} and strong["epochs"] == 3
    assert strong["parameters"] == 64 and weak["parameters"] is None
    assert "reward" not in weak

    # items 1 1 3 2 2 are … recommended: 1 three times, 2 2, 3 2, 4 2, 5 1 of 10
    assert weak["beyond"] == pytest.approx(
        {
            "coverage@20": 1.0,
            "gini@20": (-4 + -2 * 2 + 0 + 2 * 2 + 4 * 3) / 50,
            "popularity@20": (27 + 6 + 2 + 7) / 10,
        }
    )
    # categories 1 1 2 1, the last target's is unknown; top-1 items 1 1 4 2 have 1 1 2 1
    assert weak["category_hit"]["category@1"]["mean"] == 1
    assert (weak["category_hit"]["targets"], weak["category_hit"]["unknown"]) == (4, 1)

    weak_values = np.array([1 / 3, 0, 1, 0, 1 / 2])
    tests = {test["metric"]: test for test in found["tests"]}
    assert list(tests) == ["mrr@20", "hit@20"]
    assert {**tests["mrr@20"], "p_holm": None} == pytest.approx(
        {
            "a": "Strong",
            "b": "Weak",
            "metric": "mrr@20",
            **paired_test(seeds_mean, weak_values, session),
            "p_holm": None,
        }
    )
    assert tests["mrr@20"]["p_holm"] == tests["mrr@20"]["p"]  # one pair
    json.dumps(found, allow_nan=False)


def test_slices_on_paper(write_run):
    found = compare([write_run("A", [1, 30, 2, 1, 4]), write_run("B", [2, 1, 30, 1, 1])], ["hit@1"])
    item = {entry["slice"]: entry for entry in found["slices"]["item"]}
    assert {name: (e["targets"], e["sessions"], e["small"]) for name, e in item.items()} == {
        "cold": (1, 1, True),
        "few-shot 1-5": (1, 1, True),
        "warm": (3, 3, True),
    }
    assert item["warm"]["metrics"]["A"]["hit@1"]["mean"] == pytest.approx(2 / 3)
    assert item["warm"]["metrics"]["B"]["hit@1"]["mean"] == pytest.approx(2 / 3)
    assert item["cold"]["metrics"]["A"]["hit@1"] == {"mean": 0.0, "low": None, "high": None}  # one session
    assert item["warm"]["category_hit"]["A"]["unknown"] == 1
    assert set(found["slices"]) == {
        "event",
        "item",
        "visitor",
        "user",
        "position",
        "session_length",
        "repeat",
    }
    assert [entry["slice"] for entry in found["slices"]["user"]] == ["unknown", "new", "2+ earlier sessions"]
    assert [entry["slice"] for entry in found["slices"]["event"]] == ["view", "cart"]


def test_slices_are_those_of_the_run_that_knows_most(write_run):
    old = {"event": FACTS["event"]}
    one = write_run("Old", [1, 30, 2, 1, 4], facts=old)
    two = write_run("New", [2, 1, 30, 1, 1], order=[4, 2, 0, 1, 3])
    found = compare([one, two], ["hit@1"])
    repeat = {entry["slice"]: entry["metrics"] for entry in found["slices"]["repeat"]}
    assert repeat["repeat"]["Old"]["hit@1"]["mean"] == 0 and repeat["repeat"]["New"]["hit@1"]["mean"] == 1
    models = {model["model"]: model for model in found["models"]}
    assert (
        models["Old"]["beyond"]["popularity@20"] is None and models["New"]["beyond"]["popularity@20"] == 4.2
    )
    assert "category_hit" in models["New"] and "category_hit" not in models["Old"]
    comparison_text(found)


def test_pairs_of_one_visit_are_drawn_together(write_run):
    """Every target is a session of its own, cut from two visits: the first three targets, and the others."""
    alone = {"session_token": np.array(["p1", "p2", "p3", "p4", "p5"])}
    visit = np.array([0, 0, 0, 1, 1])
    ranks = {"Weak": [3, 30, 1, 30, 2], "Strong": [1, 2, 2, 30, 30]}
    knows = [write_run(name, rank, visit=visit, **alone) for name, rank in ranks.items()]
    found = compare(knows, ["hit@1"])
    assert (found["targets"], found["sessions"], found["notes"]) == (5, 2, [])
    strong = found["models"][0]["metrics"]["hit@1"]
    hits = np.array([1.0, 0, 0, 0, 0])
    assert (strong["mean"], strong["low"], strong["high"]) == pytest.approx(bootstrap_mean(hits, visit))
    # one run that knows it is enough
    old = write_run("Old", [1, 1, 1, 1, 1], **alone)
    assert (
        compare([old, knows[0]], ["hit@1"])["sessions"]
        == compare([knows[0], old], ["hit@1"])["sessions"]
        == 2
    )
    # a record in another order is joined before
    turned = write_run("Turned", ranks["Strong"], order=[4, 2, 0, 1, 3], visit=visit, **alone)
    again = compare([turned], ["hit@1"])["models"][0]["metrics"]["hit@1"]
    assert (again["low"], again["high"]) == pytest.approx((strong["low"], strong["high"]))
    apart = write_run("Apart", ranks["Weak"], visit=np.arange(5), **alone)
    (note,) = compare([apart], ["hit@1"])["notes"]
    assert "too narrow" in note


def test_old_records_compare(write_run):
    folders = [
        write_run(name, rank, facts={}) for name, rank in (("A", [1, 2, 3, 4, 5]), ("B", [2, 1, 9, 9, 9]))
    ]
    found = compare(folders)
    assert found["slices"] == {} and found["metrics"] == list(METRICS)
    assert [model["model"] for model in found["models"]] == ["A", "B"]
    assert all("category_hit" not in model for model in found["models"])
    assert "A - B" in comparison_text(found)


def test_targets_in_another_order_are_joined(write_run):
    ranks = {"A": np.array([1, 30, 2, 1, 4]), "B": np.array([2, 1, 30, 1, 1])}
    straight = compare([write_run(name, rank) for name, rank in ranks.items()])
    shuffled = [
        write_run(name, rank, order=order)
        for (name, rank), order in zip(ranks.items(), ([3, 0, 4, 1, 2], [4, 3, 2, 1, 0]))
    ]
    assert without_folders(compare(shuffled)) == without_folders(straight)


def test_an_item_that_is_a_target_twice_in_a_session_is_joined_by_its_place(write_run):
    twice = {"item": np.array([1, 1, 3, 1, 5])}
    one = write_run("A", [1, 30, 2, 1, 4], **twice)
    two = write_run("B", [1, 30, 2, 1, 4], order=[1, 0, 3, 2, 4], **twice)
    for entry in compare([one, two])["slices"]["position"]:  # in the session's sum they would even out
        assert entry["metrics"]["A"] == entry["metrics"]["B"]


def test_items_may_have_other_numbers(write_run):
    tokens = {"item_token": np.array(["[PAD]", "e", "d", "c", "b", "a"]), "item": 6 - ITEM, "top": 6 - TOP}
    mirrored = {
        name: np.concatenate((array[:1], array[:0:-1])) for name, array in FACTS.items() if "item_" in name
    }
    folders = [write_run("A", [1, 30, 2, 1, 4]), write_run("B", [1, 30, 2, 1, 4], **tokens, **mirrored)]
    found = compare(folders)
    one, two = found["models"]
    assert one["category_hit"] == two["category_hit"] and one["beyond"] == pytest.approx(two["beyond"])
    assert found["notes"] == [] and {test["p"] for test in found["tests"]} == {1.0}


def test_without_event_index_the_place_in_the_session_joins(write_run):
    length = {"item_length": np.array([1, 2, 1, 2, 1])}
    old = write_run("A", [1, 30, 2, 1, 4], facts={}, drop=("event_index",), order=[4, 3, 2, 1, 0], **length)
    new = write_run("B", [1, 30, 2, 1, 4], **length)
    assert compare([old, new])["tests"][0]["difference"] == 0


def test_labels_group_runs(write_run):
    rank = [1, 30, 2, 1, 4]
    one, two = write_run("A", rank, record={"label": "A small"}), write_run("A", rank)
    assert {model["model"]: model["name"] for model in compare([one, two])["models"]} == {
        "A small": "A",
        "A": "A",
    }
    named = compare([one, two], labels=["x", "y"])
    assert [model["model"] for model in named["models"]] == ["x", "y"]
    with pytest.raises(UsageError, match="labels are 1 for 2 folders"):
        compare([one, two], labels=["x"])
    with pytest.raises(UsageError, match=re.escape(f"{one} and {two} are both x with seed 1")):
        compare([one, two], labels=["x", "x"])


def test_runs_of_one_model_are_called_by_the_settings_that_differ(write_run):
    def labels(*configs, **more):
        plain = [{"config": {"seed": c.get("seed", 1), **c}, **more} for c in configs]
        runs = [write_run("A", [1] * 5, seed=p["config"]["seed"], record=p) for p in plain]
        return sorted(model["model"] for model in compare(runs)["models"])

    common = {"size": 8, "runs_dir": "r"}
    assert labels({**common, "user_state": "none"}, {**common, "user_state": "init"}) == [
        "A user_state=init",
        "A user_state=none",
    ]
    both = [
        {**common, "pointer": pointer, "seed": seed} for pointer in ("none", "session") for seed in (1, 2)
    ]
    assert labels(*both) == ["A pointer=none", "A pointer=session"]
    assert labels({**common, "runs_dir": "a"}, {**common, "seed": 2, "new": 1}) == ["A"], "no key of a result"
    assert labels({**common, "metrics": ["Hit"]}, {**common, "metrics": ["NDCG"], "seed": 2}) == ["A"]
    many = [{**common, **dict.fromkeys("wxyz", value)} for value in (1, 2)]
    assert labels(*many) == ["A w=1 x=1 y=1 (1)", "A w=2 x=2 y=2 (2)"]
    long = [{**common, "features": ["a" * 30, end]} for end in "xy"]
    assert labels(*long) == [f"A features=['{'a' * 21}… ({number})" for number in (1, 2)]
    with pytest.raises(UsageError, match="are both A with seed 1: leave one out, or give them labels"):
        labels(common, common)
    with pytest.raises(UsageError, match="are both mine with seed 1"):
        labels({**common, "user_state": 1}, {**common, "user_state": 2}, label="mine")


def test_compare_takes_folders_or_a_list_of_them(write_run):
    import recbole_ext

    folders = [write_run(name, [1, 30, 2, 1, 4]) for name in "AB"]
    assert recbole_ext.compare(folders) == recbole_ext.compare(*folders) == compare(folders)
    assert recbole_ext.compare(folders, labels=["x", "y"])["models"][0]["model"] in ("x", "y")


def test_compare_takes_what_run_returns(write_run):
    import recbole_ext

    folders = [write_run(name, [1, 30, 2, 1, 4]) for name in "AB"]
    records = [{"model": "A", "files": {"record": str(folder / "record.json")}} for folder in folders]
    assert recbole_ext.compare(records) == recbole_ext.compare(records[0], folders[1]) == compare(folders)
    for unwritten in ({"model": "A", "files": {}}, {}):
        with pytest.raises(UsageError, match="the record names no folder: give one that"):
            recbole_ext.compare(records[0], unwritten)


def test_every_pair_or_those_with_a_baseline(write_run):
    ranks = {"A": [1, 1, 1, 1, 1], "B": [2, 2, 1, 1, 3], "C": [3, 2, 9, 9, 9]}
    folders = [write_run(name, rank) for name, rank in ranks.items()]
    tests = [t for t in compare(folders)["tests"] if t["metric"] == "ndcg@10"]
    assert [(t["a"], t["b"]) for t in tests] == [("A", "B"), ("A", "C"), ("B", "C")]
    assert [t["p_holm"] for t in tests] == pytest.approx(holm(np.array([t["p"] for t in tests])).tolist())
    tests = compare(folders, ["hit@20"], baseline="C")["tests"]
    assert [(t["a"], t["b"], t["metric"]) for t in tests] == [("A", "C", "hit@20"), ("B", "C", "hit@20")]
    with pytest.raises(UsageError, match="baseline D is none of the models: choose one of A, B, C"):
        compare(folders, baseline="D")
    assert compare(folders[:1])["tests"] == []


def test_many_pairs_get_so_many_flips_that_a_clear_difference_stays_clear(write_run, monkeypatch):
    from recbole_ext.evaluate import comparison

    monkeypatch.setattr(comparison, "FLIPS", 100)
    many = np.arange(200)
    arrays = {"item": np.full(200, 1), "top": np.full((200, 20), 1), "session_token": many.astype(str)}
    ranks = {label: np.full(200, rank) for label, rank in zip("ABCDEF", (1, 2, 3, 4, 5, 6))}
    found = compare(
        [write_run(label, rank, facts={}, **arrays) for label, rank in ranks.items()], ["ndcg@10"]
    )
    assert (
        max(t["p_holm"] for t in found["tests"] if t["metric"] == "ndcg@10") < 0.005
    )  # 15 pairs; of 100 flips each it would be .15


def test_rewards_come_from_any_run_that_has_them(write_run):
    paid = {"config": {"seed": 1, "rewards": {"view": 0.5, "cart": 2.0}}}
    found = compare([write_run("A", [1, 30, 12, 1, 4]), write_run("B", [2, 1, 30, 1, 1], record=paid)])
    rewards = {model["model"]: model["reward"] for model in found["models"]}
    # view 0.5, cart 2, view 0.5, view 0.5, cart 2
    assert rewards["A"]["reward@10"]["sum"] == pytest.approx(3) and rewards["A"]["reward@20"][
        "sum"
    ] == pytest.approx(3.5)
    assert rewards["B"]["reward@10"]["mean"] == pytest.approx(5 / 5)
    other = {"config": {"seed": 1, "rewards": {"view": 1.0, "cart": 2.0}}}
    notes = compare([write_run("A", [1] * 5, record=paid), write_run("B", [1] * 5, record=other)])["notes"]
    assert notes == [
        "the runs' rewards differ: those of the first that has any are used, {'view': 0.5, 'cart': 2.0}"
    ]


def test_what_the_reader_has_to_know(write_run):
    def config(seed, **keys):
        return {"config": {"seed": seed, "runs_dir": f"r{seed}", **keys}}

    wide = [write_run("A", [1] * 5, seed=s, record=config(s, hidden_size=64 * s)) for s in (1, 2)]
    assert compare(wide, labels=["A", "A"])["notes"] == [
        "A: its runs differ in hidden_size, not in their seed only"
    ]
    alike = [write_run("A", [1] * 5, seed=s, record=config(s, hidden_size=64)) for s in (1, 2)]
    assert compare(alike)["notes"] == []
    found = [
        config(s, epochs=s, refit=True, hidden_size=64) for s in (1, 2)
    ]  # each seed's validation found its own
    refitted = [write_run("R", [1] * 5, seed=s, record=found[s - 1]) for s in (1, 2)]
    assert compare(refitted)["notes"] == []
    found[1]["config"]["hidden_size"] = 65
    refitted = [write_run("R", [1] * 5, seed=s, record=found[s - 1]) for s in (1, 2)]
    assert compare(refitted, labels=["R", "R"])["notes"] == [
        "R: its runs differ in hidden_size, not in their seed only"
    ]
    counts = {**FACTS, "item_count": np.array([0, 9, 3, 4, 1, 7])}
    one, two = write_run("A", [1] * 5), write_run("B", [1] * 5, facts=counts, record={"split": "other"})
    notes = compare([one, two])["notes"]
    assert notes[0].startswith("the runs' splits differ") and notes[1].startswith(
        "A and B were trained on different"
    )
    users = {"protocol": "RecBole user-wise protocol"}
    assert (
        "every target is one ranking here" in compare([write_run("BPR", [1] * 5, record=users)])["notes"][0]
    )


def test_sampled_candidates_say_nothing_of_all_items(write_run):
    sampled = {"config": {"eval_args": {"mode": {"valid": "uni100", "test": "uni100"}}}}
    found = compare([write_run("A", [1, 2, 3, 4, 5], record=sampled)])
    (model,) = found["models"]
    assert set(model["beyond"].values()) == {None} and "category_hit" not in model
    assert "Coverage" in comparison_text(found)
    with pytest.raises(UsageError, match=r"kinds of candidates differ \(uni100 and full\)"):
        compare([write_run("A", [1] * 5, record=sampled), write_run("B", [1] * 5)])


REFUSED = {
    "data sets differ": {"record": {"dataset": "other"}},
    "protocols differ": {"record": {"protocol": "RecBole user-wise protocol"}},
    "numbers of ranked items differ": {"record": {"counts": {"items": 6}}},
    "test sessions are not the same": {"session_token": np.array(["s1", "s1", "s2", "s2", "s4"])},
    "test targets are not the same": {"item": np.array([1, 2, 3, 1, 4])},
    "targets are not the same": {"session_token": np.array(["s1", "s2", "s2", "s2", "s3"])},
}


@pytest.mark.parametrize("says", REFUSED)
def test_other_targets_are_refused(write_run, says):
    one, two = write_run("A", [1] * 5), write_run("B", [1] * 5, **REFUSED[says])
    with pytest.raises(UsageError, match=says) as refused:
        compare([one, two])
    assert str(one) in str(refused.value) and str(two) in str(refused.value)


def test_fewer_targets_are_refused(write_run):
    facts = {"event": FACTS["event"][:4]}
    with pytest.raises(UsageError, match=r"numbers of test targets differ \(5 and 4\)"):
        compare([write_run("A", [1] * 5), write_run("B", [1] * 4, facts=facts)])


def test_what_is_no_run_is_refused(write_run, tmp_path):
    with pytest.raises(UsageError, match="there is no run to compare"):
        compare([])
    with pytest.raises(UsageError, match=r"nowhere is no run, as there is no folder .*nowhere"):
        compare([tmp_path / "nowhere"])
    folder = write_run("A", [1] * 5)
    with pytest.raises(UsageError, match="metric auc is not known"):
        compare([folder], ["auc"])
    with pytest.raises(UsageError, match="metrics is empty"):
        compare([folder], [])
    with pytest.raises(UsageError, match="has no session_token"):
        compare([write_run("A", [1] * 5, drop=("session_token",))])
    whole, expected = (folder / "ranks.npz").read_bytes(), compare([folder])
    for place in range(
        0, len(whole), 61
    ):  # in the numbers, their header, or where the archive says what it holds
        changed = bytearray(whole)
        changed[place] ^= 16
        (folder / "ranks.npz").write_bytes(changed)
        with contextlib.suppress(UsageError):  # some bytes mean nothing
            assert compare([folder]) == expected
    (folder / "ranks.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UsageError, match="is not the folder of a run that can be read"):
        compare([folder])
    (folder / "ranks.npz").unlink()
    with pytest.raises(UsageError, match=r"is no run, as there is no file .*ranks\.npz: name"):
        compare([folder])
    other = write_run("B", [1] * 5)
    (other / "record.json").write_text("[]")
    with pytest.raises(UsageError, match=r"record\.json was cut or changed"):
        compare([other])


# --- the command --------------------------------------------------------------------------------------------


def test_the_command_prints_and_writes(write_run, tmp_path, capsys):
    folders = [
        write_run("A", [1, 30, 2, 1, 4]),
        write_run("A", [1, 1, 2, 1, 4], seed=2),
        write_run("B", [2, 1, 30, 1, 1]),
    ]
    file = tmp_path / "out.json"
    assert main(["compare", *map(str, folders), "--metric", "mrr@20", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    found = compare(folders, ["mrr@20"])
    assert json.loads(file.read_text()) == found and not list(tmp_path.glob("*.tmp"))
    assert printed.startswith("toy: 5 test targets of 3 sessions, 5 items ranked")
    lines = {line.split("  ")[0]: line for line in printed.splitlines()}
    value = found["models"][0]["metrics"]["mrr@20"]
    assert f"{value['mean']:.4f} [{value['low']:.4f}, {value['high']:.4f}]" in printed
    assert "±" in next(line for line in printed.splitlines() if line.startswith("A "))
    test = found["tests"][0]
    assert f"{test['p_holm']:.4f}" in lines[f"{test['a']} - {test['b']}"]
    assert "1*" in lines["cold"] and printed.rstrip().endswith("* under 100 targets: says little")
    assert main(["compare", str(tmp_path)]) == 2
    assert "error: " in capsys.readouterr().err
    assert main(["compare", *map(str, folders), "--labels", "x,y"]) == 2
    assert "labels are 2 for 3 folders" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["compare", "--metric"])


def test_the_command_writes_the_page_of_an_experiment(write_run, tmp_path, capsys):
    folders = [write_run("A <b>", [1, 30, 2, 1, 4]), write_run("B", [2, 1, 30, 1, 1])]
    words = ["compare", *map(str, folders), "--baseline", "B", "--out", str(tmp_path / "page")]
    assert main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    files = {file.relative_to(tmp_path / "page").as_posix(): file for file in tmp_path.glob("page/**/*.*")}
    pictures = {name for name in files if name.startswith("figures/1-toy-")}
    assert pictures and set(files) == {"index.html", "report.md", "report.csv", *pictures}
    assert {f"  {file}" for file in files.values()} <= set(printed) and printed[-1] != ""
    text, page = (files[name].read_text(encoding="utf-8") for name in ("report.md", "index.html"))
    value = compare(folders, baseline="B")["models"][0]["metrics"]["ndcg@10"]
    assert score(value["mean"]) in text and text.startswith("# Runs on toy compared")
    assert shlex.join(["recbole-ext", *words]) in text and str(folders[1]) in page
    assert "A &lt;b&gt;" in page and "A <b>" not in page
    for word in ("None", "refit", "last call", "experiment commit"):
        assert word not in text
    (tmp_path / "file").write_text("in the way")
    assert main([*words[:-1], str(tmp_path / "file")]) == 2
    assert "error: the report cannot be written to" in capsys.readouterr().err


def test_the_command_needs_numpy_only(write_run):
    folder = write_run("A", [1, 30, 2, 1, 4])
    code = (
        "import sys, runpy\n"
        "for name in ('torch', 'recbole', 'yaml', 'pandas', 'scipy', 'polars'): sys.modules[name] = None\n"
        f"sys.argv = ['evaluate', {str(folder)!r}]\n"
        "runpy.run_module('recbole_ext.evaluate', run_name='__main__')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and "NDCG@10 by item" in done.stdout, done.stderr


# --- real runs ----------------------------------------------------------------------------------------------


def test_metrics_are_those_of_the_records_and_of_ir_measures(tmp_path, monkeypatch, write_log, random_log):
    import ir_measures
    from ir_measures import RR, Success, nDCG

    import recbole_ext

    monkeypatch.chdir(tmp_path)
    items = [{"item_id": f"i{i}", "category": f"c{i % 4}"} for i in range(30)]
    write_log(random_log(sessions=80, ties=False), items=items)
    settings = {
        "data_path": "data",
        "epochs": 1,
        "use_gpu": False,
        "eval_args": {"split": {"session_time": [7, 1, 2]}},
    }
    records = [
        recbole_ext.run(model, "toy", seed=seed, **settings)
        for model, seed in (("Pop", 1), ("GRU4Rec", 1), ("GRU4Rec", 2))
    ]
    metrics = [f"{name}@{k}" for name in ("ndcg", "hit", "mrr", "recall") for k in (5, 10, 20)]
    folders = [Path(record["files"]["record"]).parent for record in records]
    found = compare(folders, metrics)
    models = {model["model"]: model for model in found["models"]}
    for metric in metrics:
        assert models["Pop"]["metrics"][metric]["mean"] == pytest.approx(records[0]["test"][metric], abs=1e-6)
        seeds = models["GRU4Rec"]["metrics"][metric]["seed_values"]
        assert seeds == pytest.approx([record["test"][metric] for record in records[1:]], abs=1e-6)

    kept = np.load(folders[0] / "ranks.npz")
    truth = [ir_measures.Qrel(str(row), "target", 1) for row in range(len(kept["rank"]))]
    ranking = [
        ir_measures.ScoredDoc(str(row), "target" if place == rank else f"other{place}", -float(place))
        for row, rank in enumerate(kept["rank"])
        for place in range(1, 31)
    ]
    measures = {"ndcg@10": nDCG @ 10, "hit@20": Success @ 20, "mrr@20": RR @ 20}
    theirs = ir_measures.calc_aggregate(measures.values(), truth, ranking)
    for metric, measure in measures.items():
        assert models["Pop"]["metrics"][metric]["mean"] == pytest.approx(theirs[measure])

    assert models["GRU4Rec"]["parameters"] == records[1]["parameters"] > 30 * 64
    for entries in found["slices"].values():
        for entry in entries:
            assert entry["small"] == (entry["targets"] < 100)
            for label in models:
                one = entry["metrics"][label]["hit@20"]
                assert one["low"] is None or one["low"] <= one["mean"] <= one["high"]
    whole = {metric: values["mean"] for metric, values in models["Pop"]["metrics"].items()}
    for dimension in ("event", "item", "user", "position", "session_length", "repeat"):
        entries = found["slices"][dimension]
        assert sum(entry["targets"] for entry in entries) == found["targets"]
        for metric in metrics:
            parts = [entry["metrics"]["Pop"][metric]["mean"] * entry["targets"] for entry in entries]
            assert sum(parts) / found["targets"] == pytest.approx(whole[metric])
    rank = kept["rank"]
    assert whole["ndcg@10"] == pytest.approx(gains(rank, "ndcg", 10).mean())
    category = kept["item_category"]
    best = category[kept["top"][:, 0]] == category[kept["item"]]
    assert models["Pop"]["category_hit"]["category@1"]["mean"] == pytest.approx(best.mean())
    comparison_text(found)
