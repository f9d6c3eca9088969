"""Slices of targets, metrics by event kind and rewards, worked out on paper and through a run."""

import json
from pathlib import Path

import numpy as np
import pytest

from recbole_ext.errors import UsageError
from recbole_ext.evaluate.slices import DIMENSIONS, by_kind, hit_and_ndcg, reward_at, slice_means, slices

# five targets: views at ranks 1, 3, 7, carts at 2 and 11
RANK = np.array([1, 3, 2, 7, 11])
KIND = np.array(["view", "view", "addtocart", "view", "addtocart"])


def test_hit_and_ndcg_on_paper():
    found = hit_and_ndcg(RANK, [1, 5])
    # ranks 1, 3, 2 are within 5: discounts 1, 1 / log2(4), 1 / log2(3)
    assert found == pytest.approx(
        {"hit@1": 1 / 5, "hit@5": 3 / 5, "ndcg@1": 1 / 5, "ndcg@5": (1 + 0.5 + 0.6309298) / 5}
    )


def test_by_kind_on_paper():
    found = by_kind(RANK, KIND, [5, 10])
    assert list(found) == ["view", "addtocart"]  # the commonest first
    assert found["view"] == pytest.approx(
        {"targets": 3, "hit@5": 2 / 3, "hit@10": 1, "ndcg@5": 1.5 / 3, "ndcg@10": (1.5 + 1 / 3) / 3}
    )
    assert found["addtocart"]["targets"] == 2 and found["addtocart"]["hit@10"] == 0.5


def test_kinds_weighted_by_their_targets_make_the_whole():
    random = np.random.default_rng(0)
    rank, kind = random.integers(1, 40, 500), random.choice(["a", "b", "c"], 500, p=[0.7, 0.2, 0.1])
    parts = by_kind(rank, kind, [5, 20])
    for name, value in hit_and_ndcg(rank, [5, 20]).items():
        weighted = sum(part[name] * part["targets"] for part in parts.values()) / 500
        assert weighted == pytest.approx(value)


def test_rewards_on_paper():
    found = reward_at(RANK, KIND, {"view": 0.2, "addtocart": 1.0, "transaction": 5}, [1, 5, 10, 20])
    sums = [0.2, 1.4, 1.6, 2.6]
    assert [found[f"reward@{k}"] for k in (1, 5, 10, 20)] == pytest.approx(sums)
    assert [found[f"reward_per_target@{k}"] for k in (1, 5, 10, 20)] == pytest.approx([x / 5 for x in sums])


def test_a_kind_without_reward_is_named():
    with pytest.raises(UsageError, match=r"none for event addtocart, .* it has view, so add addtocart"):
        reward_at(RANK, KIND, {"view": 1}, [5])


# --- slices -----------------------------------------------------------------------------------------------

# six targets of five items, which trained 0, 0, 1, 5 and 6 times; item 2 was held out
ARRAYS = {
    "rank": np.array([1, 2, 3, 4, 30, 6]),
    "item": np.array([1, 2, 3, 4, 5, 5]),
    "item_count": np.array([0, 0, 0, 1, 5, 6]),
    "held_out": np.array([False, False, True, False, False, False]),
    "event": np.array(["view", "cart", "view", "view", "view", "cart"]),
    "earlier_sessions": np.array([-1, 0, 1, 2, 7, 0]),
    "position": np.array([0, 1, 2, 4, 9, 10]),
    "session_events": np.array([1, 2, 3, 5, 10, 11]),
    "repeat": np.array([False, True, False, False, True, False]),
    "session_type": np.array([0, 0, 1, 2, 2, 1]),
}


def test_every_dimension_on_paper():
    found = {
        dimension: {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()}
        for dimension, masks in slices(ARRAYS).items()
    }
    assert found == {
        "event": {"view": [0, 2, 3, 4], "cart": [1, 5]},
        "item": {"cold": [0, 1], "few-shot 1-5": [2, 3], "warm": [4, 5]},
        "cold_item": {"held out": [1], "new in the log": [0]},
        "visitor": {"new": [1, 5], "returning": [2, 3, 4]},
        "user": {"unknown": [0], "new": [1, 5], "1 earlier session": [2], "2+ earlier sessions": [3, 4]},
        "position": {"0": [0], "1": [1], "2": [2], "3-4": [3], "5-9": [4], "10+": [5]},
        "session_length": {"1": [0], "2": [1], "3-4": [2], "5-9": [3], "10+": [4, 5]},
        "repeat": {"repeat": [1, 4], "new to the session": [0, 2, 3, 5]},
        "session_type": {"view-only": [0, 1], "with cart": [2, 5], "with purchase": [3, 4]},
    }
    assert set(found) == set(DIMENSIONS)


@pytest.mark.parametrize("missing", sorted(set(ARRAYS) - {"rank"}))
def test_a_dimension_without_its_facts_is_left_out(missing):
    found = slices({name: array for name, array in ARRAYS.items() if name != missing})
    assert (
        set(DIMENSIONS) - set(found)
        == {name for name, d in DIMENSIONS.items() if missing in d.needs}
        != set()
    )


def test_means_of_slices():
    found = slice_means(ARRAYS, [5])
    warm = found["item"]["warm"]
    assert warm == {"targets": 2, "small": True, "hit@5": 0, "ndcg@5": 0}
    assert found["repeat"]["repeat"]["hit@5"] == 0.5
    assert slice_means({**ARRAYS, "repeat": np.zeros(6, dtype=bool)}, [5])["repeat"].keys() == {
        "new to the session"
    }
    many = slice_means({"rank": np.ones(100), "repeat": np.arange(100) < 0}, [1])
    assert many["repeat"]["new to the session"] == {"targets": 100, "small": False, "hit@1": 1, "ndcg@1": 1}


# --- through a run ----------------------------------------------------------------------------------------


@pytest.fixture
def toy(tmp_path, monkeypatch, write_log, random_log):
    monkeypatch.chdir(tmp_path)
    rows = random_log(sessions=80, ties=False)
    write_log(rows)
    return {
        "data_path": "data",
        "epochs": 1,
        "use_gpu": False,
        "eval_args": {"split": {"session_time": [7, 1, 2]}},
    }, rows


def read_back(rows, kept):
    """Event kinds of the kept targets, looked up in the log by session and place."""
    log = {}
    for row in rows:
        log.setdefault(row["session_id"], []).append(row)
    found = []
    for session, length, item in zip(
        kept["session_token"], kept["item_length"], kept["item_token"][kept["item"]]
    ):
        target = log[session][length]
        assert target["item_id"] == item
        found.append(target["event"])
    return found


@pytest.mark.parametrize("model", ["GRU4Rec", "Pop"])
@pytest.mark.parametrize("empty_history", [False, True])
def test_a_run_records_events_and_rewards(toy, model, empty_history):
    import recbole_ext
    from recbole_ext.report.tables import result_table

    settings, rows = toy
    rewards = {"view": 0.2, "purchase": 1.0}
    record = recbole_ext.run(model, "toy", rewards=rewards, empty_history=empty_history, **settings)
    kept = np.load(record["files"]["ranks"])
    kinds = read_back(rows, kept)  # item_length is 0 for a first event
    assert (0 in kept["item_length"]) == empty_history
    assert kept["event"].tolist() == kinds
    events = record["test_by_event"]
    assert set(events) == {"view", "purchase"}
    assert sum(part["targets"] for part in events.values()) == record["counts"]["test_targets"] == len(kinds)
    for name in ("hit@5", "ndcg@20"):
        whole = sum(part[name] * part["targets"] for part in events.values()) / len(kinds)
        assert whole == pytest.approx(record["test"][name], abs=1e-6)
    gained = sum(rewards[kind] for kind, rank in zip(kinds, kept["rank"]) if rank <= 10)
    assert record["test_reward"]["reward@10"] == pytest.approx(gained)
    assert json.loads(Path(record["files"]["record"]).read_text())["test_reward"] == record["test_reward"]
    lines = result_table(record).splitlines()
    place = lines.index(f"  purchase: {events['purchase']['targets']:,} targets")
    assert lines[place + 1].split() == ["HR", *(f"{events['purchase'][f'hit@{k}']:.4f}" for k in (5, 10, 20))]
    place = lines.index("  reward (view 0.2, purchase 1)")
    assert lines[place + 1].split()[1] == f"{record['test_reward']['reward@5']:.1f}"
    assert lines[place + 2].split()[2] == f"{record['test_reward']['reward_per_target@5']:.4f}"


def test_one_kind_needs_no_table(toy, write_log):
    import recbole_ext

    settings, rows = toy
    write_log([{**row, "event": "view"} for row in rows], "views")
    record = recbole_ext.run("Pop", "views", **settings)
    assert "test_by_event" not in record and "test_reward" not in record
    write_log([{k: v for k, v in row.items() if k != "event"} for row in rows], "silent")
    record = recbole_ext.run("Pop", "silent", **settings)
    assert "test_by_event" not in record and "event" not in np.load(record["files"]["ranks"])
    with pytest.raises(UsageError, match="no token column event"):
        recbole_ext.run("Pop", "silent", rewards={"view": 1}, **settings)


def test_rewards_are_checked_before_training(toy, monkeypatch):
    import recbole_ext
    from recbole_ext.run.record import Run

    settings, _ = toy
    monkeypatch.setattr(Run, "trained", lambda *_: pytest.fail("trained before the rewards were checked"))
    with pytest.raises(UsageError, match="none for event purchase"):
        recbole_ext.run("Pop", "toy", rewards={"view": 1}, **settings)


def test_a_protocol_without_targets_events_says_so(toy):
    import recbole_ext

    settings, _ = toy
    settings = {**settings, "eval_args": {"split": {"LS": "valid_and_test"}}}
    record = recbole_ext.run("BPR", "toy", rewards={"view": 1, "purchase": 2}, **settings)
    assert any(note.startswith("no rewards") for note in record["notes"])
    assert "test_reward" not in record


def test_notes_of_the_data_stand_beside_the_models(toy):
    import recbole_ext
    from recbole_ext.report.tables import result_table

    settings, _ = toy
    small = {"embedding_size": 4, "hidden_size": 4, "max_sessions_per_user": 2}
    record = recbole_ext.run("HRNNFeat", "toy", **small, **settings)
    assert record["notes"][0].startswith("at most 2 sessions a user: ")
    assert any(note.startswith("item features in use") for note in record["notes"])
    assert "at most 2 sessions a user" in record["split"] and record["notes"][0] in result_table(record)


def test_a_run_shows_cold_items_and_returning_visitors(toy):
    import recbole_ext
    from recbole_ext.report.tables import result_table

    settings, _ = toy
    record = recbole_ext.run("Pop", "toy", topk=[5, 10], **settings)
    kept = np.load(record["files"]["ranks"])
    assert record["test_slices"] == slice_means(kept, [5, 10])
    assert json.loads(Path(record["files"]["record"]).read_text())["test_slices"] == record["test_slices"]
    returning = record["test_slices"]["visitor"]["returning"]
    rank = kept["rank"][kept["earlier_sessions"] > 0]
    assert returning["targets"] == len(rank) > 0 and returning["hit@10"] == pytest.approx((rank <= 10).mean())
    lines = result_table(record).splitlines()
    shown = [line.split() for line in lines if line.startswith("  returning visitors")]
    mark = "*" if len(rank) < 100 else ""
    assert shown == [
        [
            "returning",
            "visitors",
            f"{len(rank)}{mark}",
            f"{returning['hit@10']:.4f}",
            f"{returning['ndcg@10']:.4f}",
        ]
    ]
    assert ("  * under 100 targets" in lines) == any(
        part["small"] for name in ("item", "visitor") for part in record["test_slices"][name].values()
    )
    del record["test_slices"]  # as in a record of before
    assert not any(line.startswith("  returning") for line in result_table(record).splitlines())


def test_a_slice_is_added_as_the_docs_say(monkeypatch):
    import re

    from recbole_ext.evaluate.slices import Dimension

    text = (Path(__file__).resolve().parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    monkeypatch.setitem(DIMENSIONS, "depth", None)  # put back to what it was afterwards
    exec(block, {"DIMENSIONS": DIMENSIONS, "Dimension": Dimension})
    found = slices(ARRAYS)["depth"]
    # 0/1, 1/2, 2/3, 4/5, 9/10, 10/11
    assert found["first half"].tolist() == [True] + [False] * 5
    assert found["second half"].tolist() == [False] + [True] * 5
