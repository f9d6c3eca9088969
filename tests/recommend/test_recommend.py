"""A finished run asked for lists: as its evaluation ranked, whatever the sessions come as, filtered by hand."""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import recbole_ext
from recbole_ext.errors import UsageError
from recbole_ext.recommend import Session

from .conftest import FEATURES

ALL = 40  # items of the shop
HRNN = {"embedding_size": 8, "hidden_size": 8, "epochs": 1}


def items_of(frame, session=0):
    return frame[frame["session"] == session]["item"].tolist()


def lists_of(frame):
    return frame.groupby("session", sort=False)["item"].apply(list).to_dict()


# --- the folder ---------------------------------------------------------------------------------------------


def test_a_run_leaves_a_model_that_needs_no_data_and_no_pickle(hrnn, tmp_path):
    model = hrnn.folder / "model"
    assert hrnn.record["files"]["model"].endswith("/model")
    assert {f.name for f in model.iterdir()} == {
        "README.md",
        "SHA256SUMS",
        "items.json",
        "items.safetensors",
        "model.json",
        "weights.safetensors",
    }
    card = (model / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# HRNNFeat on ") and hrnn.folder.name in card
    assert rf"| all \* | {hrnn.record['counts']['test_targets']} |" in card
    assert "| item: " in card and "## Limits" in card
    stated = json.loads((model / "model.json").read_text())
    assert stated["versions"] == hrnn.record["versions"] and stated["model"] == "HRNNFeat"
    shutil.copytree(model, tmp_path / "elsewhere")
    code = (
        "import sys, pickle, recbole_ext\n"
        "def never(*args, **more): raise AssertionError('pickle')\n"
        "pickle.load = pickle.loads = pickle.Unpickler = never\n"
        "r = recbole_ext.load('elsewhere')\n"
        "print(r.recommend([['i1', 'i2']], k=3)['item'].tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(recbole_ext.__file__).parents[1]), "OMP_NUM_THREADS": "1", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected = recbole_ext.load(hrnn.folder).recommend([["i1", "i2"]], k=3)["item"].tolist()
    assert done.stdout.strip() == str(expected) and [f.name for f in tmp_path.iterdir()] == ["elsewhere"]
    record = {
        **hrnn.record,
        "files": {"record": str(hrnn.folder / "record.json")},
    }  # as run returned it where it ran
    assert recbole_ext.load(record).path == hrnn.folder / "model"


def test_loading_draws_no_random_number(vstan, hrnn):
    before = torch.get_rng_state()
    recbole_ext.load(hrnn.folder)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: shutil.rmtree(f), "there is no folder"),
        (lambda f: shutil.rmtree(f / "model"), "holds no model"),
        (lambda f: (f / "model" / "weights.safetensors").write_bytes(b"short"), "cut or changed"),
        (lambda f: (f / "model" / "items.json").unlink(), "items.json is missing"),
    ],
)
def test_a_folder_that_is_not_as_it_was_written_is_refused(vstan, tmp_path, harm, said):
    copy = tmp_path / "run"
    shutil.copytree(vstan.folder, copy)
    harm(copy)
    with pytest.raises(UsageError, match=said):
        recbole_ext.load(copy)


def test_a_folder_of_runs_says_which_one_to_take(vstan, tmp_path):
    for name in ("chosen", "later"):
        shutil.copytree(vstan.folder / "model", tmp_path / name / "model")
    with pytest.raises(
        UsageError, match=r"holds no model of its own: take \S+/chosen \(or another one of 2\)"
    ):
        recbole_ext.load(tmp_path)
    shutil.rmtree(tmp_path / "chosen")
    with pytest.raises(UsageError, match=r"take \S+/later$"):
        recbole_ext.load(tmp_path)


def test_another_version_s_folder_is_refused(vstan, tmp_path):
    from recbole_ext import sealed

    stated = json.loads((vstan.folder / "model" / "model.json").read_text())
    text = json.dumps({**stated, "format": 2, "versions": {"recbole_ext": "9.9"}})
    sealed.write(tmp_path / "model", {"model.json": lambda path: path.write_text(text)})
    with pytest.raises(UsageError, match=r"format 2.*recbole_ext 9\.9"):
        recbole_ext.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "Nobody"}, "the model is the class HRNNFeat of one's own.*--model=FILE.py:HRNNFeat"),
        ({"embedding_size": 16}, "the weights of HRNNFeat are not those of its settings"),
        ({"item_features": ["category"]}, "the weights of HRNNFeat lack"),
        ({"item_features": ["size"]}, "item_features names size"),
    ],
)
def test_a_model_that_the_folder_does_not_describe_is_refused(hrnn, tmp_path, change, said):
    from recbole_ext import sealed

    model = hrnn.folder / "model"
    stated = json.loads((model / "model.json").read_text())
    stated["node"]["config"] |= change
    files = {f.name: (lambda to, f=f: shutil.copy(f, to)) for f in model.iterdir() if f.name != sealed.SUMS}
    sealed.write(tmp_path / "model", {**files, "model.json": lambda to: to.write_text(json.dumps(stated))})
    with pytest.raises(UsageError, match=said):
        recbole_ext.load(tmp_path)


def test_a_column_that_sessions_do_not_say_is_named():
    from recbole_ext.recommend.scoring import reading

    with pytest.raises(UsageError, match="Mine reads timestamp_list of every session"), reading("Mine"):
        {}["timestamp_list"]


@pytest.mark.parametrize(
    ("model", "settings", "said"),
    [
        ("FPMC", {"epochs": 1, "embedding_size": 4}, "FPMC learns a vector for each session"),
        (
            "BPR",
            {"epochs": 1, "embedding_size": 4, "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}}},
            "BPR cannot be asked",
        ),
    ],
)
def test_a_model_that_cannot_be_asked_says_so(shop_run, model, settings, said):
    run = shop_run(model, **settings)
    assert {f.name for f in (run.folder / "model").iterdir()} == {"README.md", "model.json", "SHA256SUMS"}
    with pytest.raises(UsageError, match=said):
        recbole_ext.load(run.folder)


def test_a_folder_that_cannot_be_written_is_noted_and_the_record_is_there(tmp_path, monkeypatch):
    from recbole_ext.run import record
    from recbole_ext.testing import ring_log, write_log

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record, "write_model_folder", full)
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path / "data", "toy", ring_log())
    split = {"split": {"given": {"valid_share": 0}}}
    found = recbole_ext.run("AR", "toy", data_path="data", eval_args=split, use_gpu=False)
    assert any("No space left on device" in note for note in found["notes"]) and "model" not in found["files"]
    assert Path(found["files"]["record"]).is_file()


def test_a_run_on_recbole_s_own_data_set_can_be_asked(shop_run):
    run = shop_run(
        "SASRec",
        "own",
        data_layout="recbole",
        hidden_size=8,
        inner_size=8,
        epochs=1,
        eval_args={"split": {"LS": "valid_and_test"}},
    )
    asker = recbole_ext.load(run.folder)
    kept = run.ranks
    sessions = {name: own["item"].tolist() for name, own in run.log.groupby("session")}
    prefixes = [sessions[s][: int(n)] for s, n in zip(kept["session_token"], kept["item_length"])]
    found = lists_of(asker.recommend(prefixes, 20))
    assert len(found) > 50 and asker.examples == []
    for number, top in enumerate(kept["top"]):
        assert found[number] == kept["item_token"][top].tolist()


# --- lists --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["HRNNFeat", "VSTAN", "chained", "opened", "free", "Blend"])
def test_the_lists_are_the_record_s(shop_run, hrnn, vstan, label):
    made = {
        "HRNNFeat": lambda: hrnn,
        "VSTAN": lambda: vstan,
        "chained": lambda: shop_run("HRNNFeat", "chained", **HRNN, user_state="all", empty_history=True),
        "opened": lambda: shop_run("HRNNFeat", "opened", **HRNN, empty_history=True, pointer="none"),
        "free": lambda: shop_run("SASRecSQN", hidden_size=8, inner_size=8, epochs=1, supervised_head="free"),
        "Blend": lambda: shop_run(
            "Blend",
            blend_models=["HRNNFeat", "VSTAN"],
            blend_settings={"HRNNFeat": HRNN},
            blend_weight=0.4,
            empty_history=False,
        ),
    }
    run = made[label]()
    asker = recbole_ext.load(run.folder)
    asked, past = run.prefixes()
    if label in ("chained", "opened"):  # first events are targets too: sessions without an event
        empty = np.flatnonzero(run.ranks["item_length"] == 0)
        assert len(empty) > 5
        rows = [{"session": n, "user": f"new{n}", "item": None, "time": 1e9} for n in empty]
        asked = pd.concat([asked, pd.DataFrame(rows)]).sort_values(["session", "time"], kind="stable")
        past = past[~past["user"].isin(empty)]
    found = asker.recommend(asked, 20, history=past if asker.reads_history else None)
    kept = run.ranks
    names, expected = kept["item_token"], lists_of(found)
    same = 0
    for number, top in enumerate(kept["top"]):
        own = expected.get(number, [])
        if asker.reads_history and kept["item_length"][number] == 0:
            user = run.log[run.log["session"] == kept["session_token"][number]]["user"].iloc[0]
            if user:  # its visitor's past was not given
                continue
        assert own == names[top][: len(own)].tolist()
        assert len(own) == 20 or label in ("VSTAN",)
        same += 1
    assert same > 40


def test_a_list_holds_all_that_the_model_ranks_and_no_more(asked_hrnn, asked_vstan):
    frame = asked_hrnn.recommend([["i1"]], k=100)
    assert len(frame) == len(set(frame["item"])) == ALL and frame["rank"].tolist() == list(range(1, ALL + 1))
    assert (np.diff(frame["score"]) <= 0).all()
    assert frame.attrs["report"].short == 1
    few = asked_vstan.recommend([["i1"]], k=100)
    assert 0 < len(few) < ALL
    filled = asked_vstan.recommend([["i1"]], k=100, fill=True)
    assert filled["item"].tolist()[: len(few)] == few["item"].tolist()
    assert sorted(filled["item"]) == sorted(frame["item"])
    assert filled["score"].notna().tolist() == [True] * len(few) + [False] * (ALL - len(few))


ZONES = ["", "+01:00", "+02:00"]  # an hour later on the clock each, at the same moment
FORMS = {
    "lists": lambda s: s,
    "tuples": lambda s: tuple(tuple(one) for one in s),
    "sessions": lambda s: [Session(one) for one in s],
    "pandas": lambda s: pd.DataFrame(
        [(n, i) for n, one in enumerate(s) for i in one], columns=["session", "item"]
    ),
    "polars, as the log": lambda s: pl.DataFrame(
        {"session_id": [n for n, one in enumerate(s) for _ in one], "item_id": [i for one in s for i in one]}
    ),
    "shuffled with dates": lambda s: pd.DataFrame(
        [
            (n, i, pd.Timestamp("2026-01-01") + pd.Timedelta(seconds=60 * t))
            for n, one in enumerate(s)
            for t, i in reversed(list(enumerate(one)))
        ],
        columns=["session", "item", "time"],
    ),
    "shuffled with texts of dates": lambda s: pd.DataFrame(
        [
            (n, i, f"2026-01-01T{1 + z:02}:{t:02}:00.5{ZONES[z]}")
            for n, one in enumerate(s)
            for t, i in reversed(list(enumerate(one)))
            for z in [t % len(ZONES)]
        ],
        columns=["session", "item", "time"],
    ),
    "with dates of a zone": lambda s: pd.DataFrame(
        [
            (n, i, pd.Timestamp("2026-01-01", tz="Asia/Tokyo") + pd.Timedelta(seconds=60 * t))
            for n, one in enumerate(s)
            for t, i in reversed(list(enumerate(one)))
        ],
        columns=["session", "item", "time"],
    ),
    "texts beside": lambda s: [Session(one, times=["2026-01-01"] * len(one)) for one in s],
    "with kinds": lambda s: [Session(one, events=["view"] * len(one)) for one in s],
}


@pytest.mark.parametrize("form", FORMS)
def test_sessions_come_in_many_forms(asked_hrnn, form):
    sessions = [["i1", "i2", "i3"], ["i9"], ["i30", "i4", "i30"]]
    expected = asked_hrnn.recommend(sessions, k=7)
    found = asked_hrnn.recommend(FORMS[form](sessions), k=7)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert expected["session"].tolist() == [n for n in range(3) for _ in range(7)]


def test_numbers_are_names(shop_run, tmp_path):
    """A shop's numeric ids, whole or as pandas makes them where a value is missing."""
    from recbole_ext.recommend.asked import name_of

    assert [name_of(x) for x in (17, np.int64(17), 17.0, np.float32(17), "17")] == ["17"] * 5
    for wrong in (True, None, ["17"]):
        with pytest.raises(UsageError, match="is no item"):
            name_of(wrong)


def test_sessions_are_called_as_they_are(asked_vstan):
    frame = pd.DataFrame({"session": ["b", "b", "a"], "item": ["i1", "i2", "i3"]})
    assert asked_vstan.recommend(frame, 3)["session"].tolist() == ["b"] * 3 + ["a"] * 3
    named = asked_vstan.recommend([Session(["i1"], id="x"), ["i2"]], 1)
    assert named["session"].tolist() == ["x", 1]


def test_equal_sessions_get_the_lists_that_each_gets_alone(asked_hrnn, asked_vstan):
    for asked in (asked_hrnn, asked_vstan):
        first, second = asked.items[:2].tolist()
        sessions = [[first], [first, second], [first], [second], [first, second], []]
        together = asked.recommend(sessions, k=5, why=True)
        for place, session in enumerate(sessions):
            alone = asked.recommend([session], k=5, why=True)
            own = together[together["session"] == place]
            assert own["item"].tolist() == alone["item"].tolist()
            np.testing.assert_allclose(own["score"], alone["score"], rtol=1e-5)
            assert own["in_session"].tolist() == alone["in_session"].tolist()


def test_unknown_items_are_left_out_and_counted(asked_hrnn):
    known = asked_hrnn.recommend([["i1", "i2"], ["i3"]], k=5)
    found = asked_hrnn.recommend([["nope", "i1", "never", "i2", "nope"], ["i3", 99]], k=5)
    pd.testing.assert_frame_equal(found, known)
    report = found.attrs["report"]
    assert (report.unknown_items, report.unknown) == (4, ["nope", "never", "99"])
    assert report.notes == ["4 events left out, as the model does not know the item: nope, never, 99"]
    assert known.attrs["report"].notes == []


def test_nothing_known_is_an_error_of_a_frame_and_a_note_of_lists(asked_hrnn):
    said = "none of the 3 items is known to this model: yours look like 6882.0, 7, its own like i0, i1, i2"
    items = ["6882.0", "7", "7"]
    named = ", ".join(asked_hrnn.items[:3])
    said = said.replace("i0, i1, i2", named)
    with pytest.raises(UsageError, match=said):
        asked_hrnn.recommend(pd.DataFrame({"session": [1, 1, 2], "item": items}), 3)
    assert asked_hrnn.recommend([items], 3).attrs["report"].notes[0] == said
    half = pd.DataFrame({"session": [1, 1, 2], "item": ["6882.0", "7", "i3"]})
    assert (
        asked_hrnn.recommend(half, 3).attrs["report"].notes[0].startswith("2 events left out, as the model")
    )


def test_unknown_items_of_the_past_are_counted(asked_hrnn):
    """Of the visitors that are asked about alone."""
    said = "2 events of the visitors' pasts left out, as the model does not know their items"
    lists = asked_hrnn.recommend([Session(["i1"], history=[["no", "i3"], ["never"]]), ["i2"]], 3)
    columns = ["user", "session", "item"]
    past = [("u", "p", "no"), ("u", "p", "i3"), ("u", "q", "never"), ("w", "r", "no")]
    now = pd.DataFrame([("u", 0, "i1"), ("v", 1, "i2")], columns=columns)
    frame = asked_hrnn.recommend(now, 3, history=pd.DataFrame(past, columns=columns))
    assert lists.attrs["report"].notes == frame.attrs["report"].notes == [said]
    pd.testing.assert_frame_equal(lists, frame)


def test_whole_numbers_with_a_point_are_read_where_they_are_known():
    """pandas writes 6882.0 into a file where a column of numbers has blanks; an item of that very name comes first."""
    from types import SimpleNamespace

    from recbole_ext.recommend.asked import item_rows

    shelf = SimpleNamespace(rows={"6882": 1, "7": 2, "7.0": 3, "a": 4, "-5": 5})
    items = ["6882.0", "6882", 6882.0, "7.0", "7", "a.0", "6882.00", "6882.5", ".0", "-5.0", "a"]
    expected = [1, 1, 1, 3, 2, 0, 0, 0, 0, 5, 4]
    assert item_rows(items, shelf).tolist() == expected
    assert item_rows(np.array(items * 7, dtype=object), shelf).tolist() == expected * 7


def test_milliseconds_are_refused_where_the_log_has_seconds():
    from types import SimpleNamespace

    from recbole_ext.recommend.asked import _seconds

    now = np.array([1_764_000_000.0])
    assert _seconds(now, SimpleNamespace(time_origin=1_764_000_000.0)).tolist() == [0.0]
    with pytest.raises(UsageError, match=r"hold 1764000000000.*after 2199: write Unix seconds"):
        _seconds(now * 1000, SimpleNamespace(time_origin=1.0))
    for own in (0.0, None):
        assert _seconds(now * 1000, SimpleNamespace(time_origin=own)).tolist() == [1_764_000_000_000.0]


@pytest.mark.parametrize(
    ("model", "label", "settings", "learnt"),
    [
        ("HRNNFeat", "HRNNFeat", FEATURES, False),
        ("HRNNFeat", "starts", {**FEATURES, "empty_history": True, "epochs": 1}, True),
        ("VSTAN", "VSTAN", {}, True),
        ("Pop", "Pop", {}, True),
        ("EASE", "EASE", {}, False),
    ],
)
def test_a_start_that_was_not_learnt_is_said(shop_run, model, label, settings, learnt):
    asker = recbole_ext.load(shop_run(model, label, **settings).folder)
    said = "1 session without a known item: what "
    (note,) = asker.recommend([[], ["i1"]], 3).attrs["report"].notes
    assert note.startswith(said) and "--empty popular" in note and ("never learnt" in note) == (not learnt)
    assert "never" not in asker.recommend([[]], 3, empty="popular").attrs["report"].notes[0]
    assert asker.recommend([["i1"]], 3).attrs["report"].notes == []
    if learnt and model != "HRNNFeat":
        counts = np.asarray(asker.catalogue.counts)
        best = asker.recommend([[]], 3)["item"]
        assert [counts[asker.catalogue.rows[item]] for item in best] == sorted(counts)[::-1][:3]


def test_a_session_of_nothing_gets_the_start_or_what_was_popular(hrnn, asked_hrnn, asked_vstan):
    found = asked_hrnn.recommend([[], ["nope"], ["i1"]], k=5)
    assert items_of(found, 0) == items_of(found, 1) != items_of(found, 2)
    assert found.attrs["report"].without_known_item == 2
    popular = asked_hrnn.recommend([["i1"], ["nope"]], k=5, empty="popular")
    assert (
        items_of(popular, 0) == items_of(found, 2)
        and popular["score"].isna().tolist() == [False] * 5 + [True] * 5
    )
    start = hrnn.log.groupby("session", sort=False)["time"].min()
    trained = hrnn.log[hrnn.log["session"].isin(start.index[:84])]  # 0.7 of 120 sessions, in order of time
    last_days = trained[trained["time"] > trained["time"].max() - 7 * 86400]
    assert 10 < len(last_days) < len(trained)
    often = last_days["item"].value_counts()
    assert [often.get(i, 0) for i in items_of(popular, 1)] == sorted(often, reverse=True)[:5]


def test_a_filter_takes_out_and_never_shortens(hrnn, asked_hrnn, asked_vstan):
    sessions = [["i1", "i2"], ["i7"], ["i20", "i21", "i20"]]
    features = hrnn.items.set_index("item")
    cheap = {i for i in features.index if features.price[i] != "" and float(features.price[i]) < 9}
    there = {i for i in features.index if features.available[i] == "1"}
    some = ["i2", "i3", "i4", "i21", "i22", "i9", "i8", "nope"]
    lost = ["i3", "i21", "i8", "i30", "nope"]
    cases = [
        ({"exclude": lost}, lambda n, i: i not in lost),
        ({"exclude": [["i3"], ["i8"], []]}, lambda n, i: (n, i) not in {(0, "i3"), (1, "i8")}),
        ({"exclude": {1: ["i8"]}}, lambda n, i: (n, i) != (1, "i8")),
        ({"candidates": some}, lambda n, i: i in some),
        ({"candidates": [some, [], ["i7"]]}, lambda n, i: i in ([some, [], ["i7"]][n])),
        ({"exclude_seen": True}, lambda n, i: i not in sessions[n]),
        ({"where": "available == 1 and price < 9"}, lambda n, i: i in cheap & there),
        (
            {"where": "price < 9", "exclude": lost, "candidates": some},
            lambda n, i: i in cheap & set(some) - set(lost),
        ),
    ]
    for asker in (asked_hrnn, asked_vstan):
        whole = lists_of(asker.recommend(sessions, ALL))
        for given, allowed in cases:
            expected = {n: [i for i in items if allowed(n, i)][:6] for n, items in whole.items()}
            found = asker.recommend(sessions, 6, **given)
            assert lists_of(found) == {n: items for n, items in expected.items() if items}, given
        assert asker.recommend(sessions, 6, candidates=some).attrs["report"].unknown_in_choice == 1
        filled = asker.recommend(sessions, 6, fill=True, where="price < 9", exclude_seen=True)
        for n, items in lists_of(filled).items():
            assert len(items) == 6 and set(items) <= cheap - set(sessions[n])


def test_a_long_session_is_its_last_events(shop_run):
    asker = recbole_ext.load(
        shop_run("GRU4Rec", epochs=1, hidden_size=8, embedding_size=8, MAX_ITEM_LIST_LENGTH=4).folder
    )
    long = [f"i{n}" for n in range(9)]
    found = asker.recommend([long, long[-4:], long[-3:]], k=5)
    assert items_of(found, 0) == items_of(found, 1)
    scores = found["score"].to_numpy().reshape(3, 5)
    assert np.array_equal(scores[0], scores[1]) and not np.array_equal(scores[1], scores[2])
    assert found.attrs["report"].cut == 1 and asker.about()["longest"] == 4


# --- a visitor's past ---------------------------------------------------------------------------------------


def test_the_past_counts_before_the_session_only(asked_hrnn):
    columns = ["session", "item", "time", "user"]
    now = pd.DataFrame([("now", "i1", 1000, "u"), ("now", "i2", 1010, "u")], columns=columns)
    past = pd.DataFrame(
        [("a", "i30", 10, "u"), ("a", "i31", 20, "u"), ("b", "i5", 500, "u")], columns=columns
    )
    expected = asked_hrnn.recommend(now, 10, history=past)
    alone = asked_hrnn.recommend(now, 10)
    assert not np.array_equal(expected["score"], alone["score"])
    more = [
        ("c", "i7", 1005, "u"),
        ("now", "i1", 1000, "u"),
        ("d", "i9", 10, "other"),
        ("e", "nope", 10, "u"),
    ]
    noisy = pd.concat([past, pd.DataFrame(more, columns=columns)]).sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(asked_hrnn.recommend(now, 10, history=noisy), expected)
    listed = asked_hrnn.recommend([Session(["i1", "i2"], history=[["i30", "i31"], ["i5"]])], 10)
    assert np.array_equal(listed["score"], expected["score"])
    assert np.array_equal(
        asked_hrnn.recommend([["i1", "i2"]], 10, history=[[["i30", "i31"], ["i5"]]])["score"],
        expected["score"],
    )
    two = pd.concat([now, now.assign(session="twin")])  # one visitor, two sessions
    both = asked_hrnn.recommend(two, 10, history=past)
    assert items_of(both, "now") == items_of(both, "twin") == expected["item"].tolist()


def test_only_the_newest_of_the_past_are_read(shop_run):
    asker = recbole_ext.load(shop_run("HRNNFeat", "short", **HRNN, look_back_past=2).folder)
    one, other, third = (
        asker.recommend([["i1"]], 10, history=[past])["score"].to_numpy()
        for past in ([["i9", "i3", "i4"]], [["i8"], ["i3", "i4"]], [["i9", "i4", "i3"]])
    )
    assert np.array_equal(one, other) and not np.array_equal(one, third)


# --- why, alike, new ----------------------------------------------------------------------------------------


def test_why_of_a_pointer(asked_hrnn):
    frame = asked_hrnn.recommend([["i1", "i2", "i1"]], ALL, history=[[["i30"], ["i2"]]], why=True).set_index(
        "item"
    )
    assert (
        set(frame.index[frame["in_session"]]) == {"i1", "i2"} == set(frame.index[frame["from_session"] > 0])
    )
    assert set(frame.index[frame["from_past"] > 0]) == {"i30", "i2"}
    copied = frame["from_session"].sum() + frame["from_past"].sum()
    assert 0 < copied < 1
    same = {i for i in frame.index if int(i[1:]) % 5 == 1}  # the category of i1
    assert set(frame.index[frame["same_category"]]) == same
    nobody = asked_hrnn.recommend([["i1"]], ALL, why=True)
    assert (nobody["from_past"] == 0).all() and (nobody["from_session"] > 0).sum() == 1


def test_why_of_counts(vstan, asked_vstan, shop_run):
    start = vstan.log.groupby("session", sort=False)["time"].min()
    trained = vstan.log[vstan.log["session"].isin(start.index[:84])]
    with_item = trained[trained["item"] == "i3"]["session"].unique()
    assert 0 < len(with_item) < 200  # all of them are neighbours
    held = (
        trained[trained["session"].isin(with_item)]
        .drop_duplicates(["session", "item"])["item"]
        .value_counts()
    )
    frame = asked_vstan.recommend([["i3"]], ALL, why=True).set_index("item")
    assert len(frame) > 3 and frame["neighbours"].to_dict() == {i: held[i] for i in frame.index}
    rules = recbole_ext.load(shop_run("AR").folder).recommend([["i9", "i3"]], ALL, why=True).set_index("item")
    pairs = {}
    for _, items in trained.groupby("session")["item"]:
        items = items.tolist()
        for a in range(len(items)):
            for b in range(len(items)):
                if a != b and items[a] == "i3":
                    pairs[items[b]] = pairs.get(items[b], 0) + 1
    assert rules["pairs"].to_dict() == pairs


def test_similar(asked_hrnn, asked_vstan):
    frame = asked_hrnn.similar("i3", 5)
    assert frame.columns.tolist() == ["item", "rank", "similar", "score"] and (frame["item"] == "i3").all()
    vectors = asked_hrnn._state.ranking.scorer.vectors().numpy()
    rows = asked_hrnn._state.catalogue.rows
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    cosine = unit @ unit[rows["i3"]]
    expected = sorted((i for i in rows if i != "i3"), key=lambda i: -cosine[rows[i]])[:5]
    assert frame["similar"].tolist() == expected
    np.testing.assert_allclose(frame["score"], [cosine[rows[i]] for i in expected], atol=1e-5)
    several = asked_vstan.similar(["i3", "i4"], 3, where="available == 1")
    assert several["item"].tolist() == ["i3"] * 3 + ["i4"] * 3
    assert all(int(i[1:]) % 2 for i in several["similar"])
    alone = asked_vstan.recommend([["i3"]], 3, where="available == 1", exclude_seen=True)
    assert several["similar"].tolist()[:3] == alone["item"].tolist()
    with pytest.raises(UsageError, match="item i99 is not known"):
        asked_hrnn.similar(["i3", "i99"])


@pytest.mark.parametrize("label", ["HRNNFeat", "CategoryPop", "Blend"])
def test_new_items_are_ranked_by_their_features_at_once(shop_run, hrnn, label):
    if label == "CategoryPop":
        hrnn = shop_run("CategoryPop")
    if label == "Blend":
        hrnn = shop_run(
            "Blend",
            blend_models=["HRNNFeat", "VSTAN"],
            blend_settings={"HRNNFeat": HRNN},
            blend_weight=0.4,
            empty_history=False,
        )
    asker = recbole_ext.load(hrnn.folder)
    sessions = [["i1", "i2"], ["i7"]]
    before = asker.recommend(sessions, ALL)
    frame = pd.DataFrame(
        {"item": ["new", "twin", "bare"], "category": ["c1", "c1", None], "price": [3.0, 3.0, None]}
    )
    assert asker.add_items(frame) == 3 and len(asker.items) == ALL + 3
    after = asker.recommend(sessions, ALL + 3)
    if label == "HRNNFeat":  # of the others a score depends on what all items are given
        own = ["i1", "i2", "i7"]  # and so does that of what is copied
        old, was = (f[~f["item"].isin(["new", "twin", "bare", *own])] for f in (after, before))
        assert old["item"].tolist() == was["item"].tolist()
        np.testing.assert_allclose(old["score"], was["score"], atol=1e-5)
        assert "bare" not in set(after["item"])  # nothing is known of it
    for _, own in after.groupby("session"):
        ranked = own.set_index("item")
        assert ranked.score["new"] == ranked.score["twin"]
        assert ranked["rank"]["twin"] == ranked["rank"]["new"] + 1
        assert ranked["rank"]["new"] < len(own) - 2
    found = asker.recommend([["new", "i7"]], 5)
    assert found.attrs["report"].unknown_items == 0
    assert set(asker.recommend(sessions, 9, where="price == 3 and category == 'c1'")["item"]) >= {
        "new",
        "twin",
    }
    with pytest.raises(UsageError, match="item new is there already"):
        asker.add_items([{"item": "new"}])
    assert asker.add_items([]) == 0


def test_a_model_of_ids_says_that_it_cannot_rank_new_items(shop_run, asked_vstan):
    with pytest.raises(UsageError, match="VSTAN knows items by their ids alone"):
        asked_vstan.add_items([{"item": "new"}])
    small = {"hidden_size": 8, "embedding_size": 8, "epochs": 1}
    pair = {"blend_models": ["HRNNFeat", "GRU4Rec"], "blend_settings": {"HRNNFeat": small, "GRU4Rec": small}}
    asker = recbole_ext.load(shop_run("Blend", "of ids", **pair, blend_weight=0.5).folder)
    with pytest.raises(UsageError, match="HRNNFeat or GRU4Rec knows items by their ids alone"):
        asker.add_items([{"item": "new", "category": "c1"}])
    assert len(asker.items) == ALL


def test_answers_while_items_are_added_know_the_old_or_the_new_ones(hrnn):
    asker = recbole_ext.load(hrnn.folder)
    sizes, errors = set(), []

    def ask():
        try:
            for _ in range(30):
                sizes.add(len(asker.recommend([["i1"]], 100)))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(5):
        asker.add_items([{"item": f"new{number}", "category": "c1"}])
    for thread in threads:
        thread.join()
    assert not errors and sizes <= set(range(ALL, ALL + 6))


# --- what is wrong is said ----------------------------------------------------------------------------------


WRONG = [
    (dict(sessions="i1"), "sessions are str"),
    (dict(sessions=["i1", "i2"]), "session 0 is 'i1'"),
    (dict(sessions=[{"i1"}, {"a": 1}]), "session 1 is"),
    (dict(sessions=[[["i1"]]]), "is no item"),
    (dict(sessions=pd.DataFrame({"session": [1]})), "no column item"),
    (dict(sessions=pd.DataFrame({"sesion": [1], "item": ["i1"]})), "did you mean sesion"),
    (dict(sessions=pd.DataFrame({"session": [1, None], "item": ["i1", "i2"]})), "row 1 of the sessions"),
    (
        dict(sessions=pd.DataFrame({"session": [1], "item": ["i1"], "time": ["noon"]})),
        "the times hold 'noon'",
    ),
    (dict(sessions=pd.DataFrame({"session": [1], "item": ["i1"], "time": [np.nan]})), "has no time"),
    (dict(sessions=[Session(["i1"] * 2, times=["2026-01-01", "1767225600"])]), "the times hold '1767225600'"),
    (dict(sessions=[Session(["i1"], times=["2026-13-01"])]), "the times hold '2026-13-01'.*write all as"),
    (dict(sessions=[Session(["i1"], times=[1, 2])]), "1 item and 2 times"),
    (dict(k=0), "k is 0"),
    (dict(k=True), "k is True"),
    (dict(exclude="i1"), "exclude is 'i1'"),
    (dict(exclude=["i1", ["i2"]]), "mixes items and lists"),
    (dict(candidates=[["i1"], ["i2"]]), "2 lists for 1 sessions"),
    (dict(where="prise < 3"), "did you mean price"),
    (dict(empty="random"), "empty is 'random'"),
    (dict(history=[[["i1"]], []]), "2 entries for 1 sessions"),
    (dict(history=[["i1", ["i2"]]]), "mixes items and sessions"),
    (dict(history=pd.DataFrame({"user": [1]})), "history is a frame, and the sessions are lists"),
    (
        dict(sessions=pd.DataFrame({"session": [1], "item": ["i1"]}), history=pd.DataFrame({"user": [1]})),
        "the sessions have no column user",
    ),
    (
        dict(
            sessions=pd.DataFrame({"session": [1], "item": ["i1"], "user": ["u"]}),
            history=pd.DataFrame({"user": ["u"], "session": [2]}),
        ),
        "history's rows have no column item",
    ),
]


@pytest.mark.parametrize(("given", "said"), WRONG, ids=[said for _, said in WRONG])
def test_mistakes(asked_hrnn, given, said):
    with pytest.raises(UsageError, match=said):
        asked_hrnn.recommend(**{"sessions": [["i1"]], **given})


def test_a_session_is_named_by_its_place_as_text_too(asked_hrnn):
    (first,) = asked_hrnn.recommend([["i1"]], k=1)["item"]
    for key in (0, "0"):
        assert first not in set(asked_hrnn.recommend([["i1"]], k=3, exclude={key: [first]})["item"])
    with pytest.raises(UsageError, match="names session 'zz'"):
        asked_hrnn.recommend([["i1"]], exclude={"zz": [first]})


def test_what_is_no_list_of_items_and_no_finite_number_is_refused(asked_hrnn, shop_run):
    with pytest.raises(UsageError, match="write a list"):
        asked_hrnn.recommend([Session("i1")])
    with pytest.raises(UsageError, match="price of item new is inf: write a finite number"):
        asked_hrnn.add_items([{"item": "new", "price": float("inf")}])
    with pytest.raises(UsageError, match="k is 0"):
        asked_hrnn.similar("i1", k=0)
    with pytest.raises(UsageError, match="write an item"):
        asked_hrnn.similar(None)
    with pytest.raises(UsageError, match="where is 5"):
        asked_hrnn.recommend([["i1"]], where=5)


def test_a_past_that_nobody_reads_is_refused(asked_vstan):
    with pytest.raises(UsageError, match="reads no visitor's past"):
        asked_vstan.recommend([["i1"]], history=[[["i2"]]])


# --- checkpoints --------------------------------------------------------------------------------------------


def test_a_checkpoint_refuses_data_that_number_items_otherwise(tmp_path):
    """After the same events in another line order, and after other items of the same number."""
    from recbole_ext.testing import write_log
    from recbole_ext.testing.toys import Session as Logged
    from recbole_ext.testing.toys import ring_log

    def run(log, **settings):
        write_log(tmp_path / "data", "toy", log)
        given = {"eval_args": {"split": {"given": {"valid_share": 0}}}, "data_path": "data", "use_gpu": False}
        with contextlib.chdir(tmp_path):
            return recbole_ext.run("GRU4Rec", "toy", **given, hidden_size=8, embedding_size=8, **settings)

    log = ring_log()
    file = run(log, epochs=1)["checkpoint"]
    assert run(log, epochs=2, resume_from=file)["epochs_run"] == 2
    renamed = [Logged(s.part, tuple(i.replace("i3", "j3") for i in s.items)) for s in log]
    for other, said in (
        (log[::-1], "number 1 was i0 and is i9 now"),
        (renamed, "number 4 was i3 and is j3 now"),
    ):
        with pytest.raises(UsageError, match=f"another numbering of item_id .{said}"):
            run(other, epochs=2, resume_from=file)


def test_a_checkpoint_refuses_data_that_train_otherwise(tmp_path):
    """One visitor fewer, events in another order, another feature: the items are numbered alike; lines of the file in
    another order, and another test part, change nothing."""
    from recbole_ext.testing import write_log
    from recbole_ext.testing.toys import Session as Logged
    from recbole_ext.testing.toys import ring_log

    def run(model="GRU4Rec", **settings):
        given = {"eval_args": {"split": {"given": {"valid_share": 0}}}, "data_path": "data", "use_gpu": False}
        if model == "GRU4Rec":
            settings = {"hidden_size": 8, "embedding_size": 8, **settings}
        with contextlib.chdir(tmp_path):
            return recbole_ext.run(model, "toy", **given, **settings)

    def load():
        from recbole.quick_start import load_data_and_model

        with contextlib.chdir(tmp_path):
            return load_data_and_model(file)

    log = ring_log()
    write_log(tmp_path / "data", "toy", log)
    file, counted = run(epochs=1)["checkpoint"], run("Pop", epochs=1)["checkpoint"]
    saved = (tmp_path / file).read_bytes()
    first = [*log[:12], *log[13:]]
    swapped = [*log[:12], Logged("train", log[12].items[::-1]), *log[13:]]
    item = tmp_path / "data" / "toy" / "toy.item"
    features = item.read_text()
    for other, table, said in (
        (first, features, "150 training events, and here are 145; other values of .*item_id"),
        (swapped, features, "150 training events, and here are 150; other values of item_id"),
        (log, features.replace("i5\tc2", "i5\tc0"), "category of items"),
    ):
        write_log(tmp_path / "data", "toy", other)
        item.write_text(table)
        for attempt in (
            lambda: run(epochs=2, resume_from=file),
            load,
            lambda: run("Blend", blend_from=[file, counted], blend_weight=0.5, blend_scale="rank"),
        ):
            with pytest.raises(UsageError, match=f"made with other data or another split.*{said}"):
                attempt()
    write_log(tmp_path / "data", "toy", [*log[:-1], Logged("test", log[0].items)])
    item.write_text(features)
    again = run(epochs=2, resume_from=file)
    assert again["epochs_run"] == 2 and again["checkpoint"] != file
    assert (tmp_path / file).read_bytes() == saved, "what training goes on from stays as it is"
    load()


def test_a_resumed_run_that_has_nothing_left_to_train_tests_what_it_was_given(tmp_path):
    from recbole_ext.testing import write_log
    from recbole_ext.testing.toys import ring_log

    write_log(tmp_path / "data", "toy", ring_log())
    given = {"eval_args": {"split": {"given": {"valid_share": 0}}}, "data_path": "data", "use_gpu": False}
    with contextlib.chdir(tmp_path):
        whole = recbole_ext.run("GRU4Rec", "toy", epochs=2, **given)
        again = recbole_ext.run("GRU4Rec", "toy", epochs=2, resume_from=whole["checkpoint"], **given)
    assert again["test"] == whole["test"]


def test_what_a_model_keeps_in_a_form_of_its_own_is_said_and_the_run_has_its_record(tmp_path, monkeypatch):
    from recbole.model.sequential_recommender.gru4rec import GRU4Rec

    from recbole_ext.bridge.registry import register_model
    from recbole_ext.testing import ring_log, write_log

    class KeepsAnObject(GRU4Rec):
        other_parameter_name = ("secret",)
        secret = object()

    register_model(KeepsAnObject)
    small = {"embedding_size": 4, "hidden_size": 4, "num_layers": 1, "dropout_prob": 0.0, "loss_type": "CE"}
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path / "data", "toy", ring_log())
    given = {"eval_args": {"split": {"given": {"valid_share": 0}}}, "data_path": "data", "use_gpu": False}
    found = recbole_ext.run("KeepsAnObject", "toy", **given, **small, epochs=1, trust_pickle=True)
    with pytest.raises(UsageError, match="KeepsAnObject cannot be kept in a model folder, as its secret"):
        recbole_ext.load(found["files"]["model"])
