"""Session lists: the published pairs come back from the atomic files; the unusable is counted or refused."""

import collections
import json
import os
import pickle
from functools import partial

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_ext.convert import __main__ as command_line
from recbole_ext.convert import convert as convert_source
from recbole_ext.convert.atomic import ConvertError
from recbole_ext.convert.plain_pickle import load
from recbole_ext.convert.sources import session_lists
from recbole_ext.convert.sources.session_lists import rebuild_sessions

convert = partial(convert_source, "session-lists")

TRAIN = [[10, 20, 10], [30], [20, 40]]
# Two test sessions, 20 30 40 and 10 50, as SR-GNN writes them.
TEST = ([[20, 30], [20], [10]], [40, 30, 50])


@pytest.fixture
def lists(tmp_path):
    """Write the pickles of a small collection and return its folder."""

    def write(train=TRAIN, test=TEST, features=None):
        folder = tmp_path / "lists"
        folder.mkdir(exist_ok=True)
        (folder / "all_train_seq.txt").write_bytes(pickle.dumps(train))
        (folder / "test.txt").write_bytes(pickle.dumps(test))
        if features is not None:
            (folder / "items.csv").write_text(features)
        return folder

    return write


def pairs_of(folder):
    """(prefix, target) pairs that the atomic files in `folder` stand for, as a multiset."""
    manifest = json.loads((folder / "manifest.json").read_text())
    inter = pl.read_csv(folder / f"{folder.name}.inter", separator="\t")
    test = inter.filter(pl.col("split:token") == "test").sort("timestamp:float")
    sessions = test.group_by("session_id:token", maintain_order=True).agg("item_id:token")["item_id:token"]
    pairs = collections.Counter()
    for session in sessions.to_list():
        first = len(session) - 1 if manifest["eval_targets"] == "last" else 1
        pairs.update((tuple(session[:end]), session[end]) for end in range(first, len(session)))
    return pairs


def test_the_files_are_these(lists, tmp_path):
    features = "item,category,price:float,words:token_seq\n10,7,1.5,a  b\n20,8,,c\n99,7,2,d\n40,,3,\n"
    manifest = convert(lists(features=features), tmp_path / "out" / "toy", item_features="items.csv")

    assert (tmp_path / "out" / "toy" / "toy.inter").read_text().splitlines() == [
        "session_id:token\titem_id:token\ttimestamp:float\tsplit:token",
        "1\t10\t0\ttrain",
        "1\t20\t1\ttrain",
        "1\t10\t2\ttrain",
        "2\t30\t3\ttrain",
        "3\t20\t4\ttrain",
        "3\t40\t5\ttrain",
        "4\t20\t6\ttest",
        "4\t30\t7\ttest",
        "4\t40\t8\ttest",
        "5\t10\t9\ttest",
        "5\t50\t10\ttest",
    ]
    assert (tmp_path / "out" / "toy" / "toy.item").read_text().splitlines() == [
        "item_id:token\tcategory:token\tprice:float\twords:token_seq",
        "10\t7\t1.5\ta b",
        "20\t8\t\tc",
        "30\t\t\t",
        "40\t\t3.0\t",
        "50\t\t\t",
    ]
    assert manifest["eval_targets"] == "all"
    assert manifest["time_origin"] is None
    assert manifest["rows"] == {
        "all_train_seq.txt": {"read": 3, "kept": 3, "dropped": {}},
        "test.txt": {"read": 3, "kept": 3, "dropped": {}},
        "items.csv": {"read": 4, "kept": 3, "dropped": {"item in no session": 1}},
    }
    assert manifest["notes"] == {
        "train session of a single event": 1,
        "item of test sessions only": 1,
        "item without category": 3,
        "item without price": 3,
        "item without words": 3,
    }
    assert manifest["counts"] == {
        "sessions": 5,
        "train_sessions": 3,
        "test_sessions": 2,
        "test_pairs": 3,
        "users": 0,
        "items": 5,
        "events": {"train": 6, "test": 5},
    }
    assert json.loads((tmp_path / "out" / "toy" / "manifest.json").read_text()) == manifest


@pytest.mark.parametrize(
    ("pairs", "sessions"),
    [
        ([[1, 2, 3], [1, 2], [4, 5]], [[1, 2, 3], [4, 5]]),
        ([[1, 1, 1], [1, 1], [1, 1]], [[1, 1, 1], [1, 1]]),
        ([[1, 2], [1, 2]], [[1, 2], [1, 2]]),
        ([[1, 2, 3]], None),  # cut off before its prefix of one item
        ([[1, 2, 3], [4, 5]], None),
        ([[1, 2], [1, 2, 3]], [[1, 2, 3]]),  # shortest first
        ([[1, 2], [4, 5], [4, 5, 6], [7, 8]], [[1, 2], [4, 5, 6], [7, 8]]),
        ([[1, 2, 3], [1, 2], [4, 5], [4, 5, 6]], None),  # both ways
        ([[1, 2, 3], [1, 9]], None),  # another session's pair in between
    ],
)
def test_sessions_are_rebuilt_only_from_whole_ladders(pairs, sessions):
    assert rebuild_sessions(pairs) == sessions


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=6), min_size=1, max_size=8))
def test_any_sessions_survive_the_way_through_pairs(sessions):
    pairs = [session[:end] for session in sessions for end in range(len(session), 1, -1)]
    assert rebuild_sessions(pairs) == sessions


@pytest.mark.parametrize(
    ("train", "sessions"),
    [
        (([[10, 20], [10], [20]], [30, 20, 40]), [[10, 20, 30], [20, 40]]),  # every prefix
        (([[10], [10, 20], [20]], [20, 30, 40]), [[10, 20, 30], [20, 40]]),
        (([[10, 20, 30], [20, 40]], [40, 10]), [[10, 20, 30, 40], [20, 40, 10]]),  # whole sessions
    ],
)
def test_training_pairs_are_sessions(lists, tmp_path, train, sessions):
    convert(lists(train=train), tmp_path / "toy")
    inter = pl.read_csv(tmp_path / "toy" / "toy.inter", separator="\t")
    inter = inter.filter(pl.col("split:token") == "train")
    found = inter.group_by("session_id:token", maintain_order=True).agg("item_id:token")
    assert found["item_id:token"].to_list() == sessions


def test_pairs_that_are_no_sessions_stay_as_they_are(lists, tmp_path):
    test = ([[20, 30], [10, 20, 30]], [40, 20])  # no prefix of one item, as COTREC has it
    manifest = convert(lists(test=test), tmp_path / "toy")
    assert manifest["eval_targets"] == "last"
    assert manifest["notes"][session_lists.OWN_PAIR] == 2
    assert manifest["counts"]["test_sessions"] == manifest["counts"]["test_pairs"] == 2
    assert pairs_of(tmp_path / "toy") == {((20, 30), 40): 1, ((10, 20, 30), 20): 1}


BENCHMARKS = {
    "diginetica": {
        "eval_targets": "all",
        "train_sessions": 186_670,
        "test_sessions": 15_963,
        "test_pairs": 60_858,
        "items": 43_097,
        "train": 906_140,
    },
    "retailrocket": {
        "eval_targets": "last",
        "train_sessions": 126_168,
        "test_sessions": 15_132,
        "test_pairs": 15_132,
        "items": 36_968,
        "train": 685_984,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_the_published_pairs_come_back(shared_data, tmp_path, benchmark):
    folder = shared_data / benchmark / "sessions"
    features = "item_category.csv" if benchmark == "diginetica" else None
    manifest = convert(folder, tmp_path / benchmark, item_features=features)
    counts = manifest["counts"] | manifest["counts"]["events"] | {"eval_targets": manifest["eval_targets"]}
    assert {key: counts[key] for key in BENCHMARKS[benchmark]} == BENCHMARKS[benchmark]

    prefixes, targets = load(folder / "test.txt")
    published = collections.Counter((tuple(prefix), target) for prefix, target in zip(prefixes, targets))
    assert pairs_of(tmp_path / benchmark) == published

    inter = pl.read_csv(tmp_path / benchmark / f"{benchmark}.inter", separator="\t")
    train = inter.filter(pl.col("split:token") == "train")
    sessions = train.group_by("session_id:token", maintain_order=True).agg("item_id:token")
    assert sessions["item_id:token"].to_list() == load(folder / "all_train_seq.txt")
    assert inter["timestamp:float"].to_list() == list(range(inter.height))

    if features is None:
        assert not (tmp_path / benchmark / f"{benchmark}.item").exists()
        return
    assert manifest["notes"]["item without category"] == 43_097 - 41_738
    item = pl.read_csv(tmp_path / "diginetica" / "diginetica.item", separator="\t")
    assert item.height == 43_097
    source = pl.read_csv(folder / "item_category.csv")
    written = item.drop_nulls().rename({"item_id:token": "item", "category:token": "category"})
    assert written.sort("item").equals(source.sort("item"))


BAD = {
    "empty session": [],
    "item is not a whole number": [1, "2"],
    "item number is negative": [1, -2],
    "item number has over 18 digits": [1, 10**18],
}


@pytest.mark.parametrize("reason", BAD)
def test_bad_sessions_are_counted_and_named(lists, tmp_path, reason):
    train = [*TRAIN, BAD[reason], [20, 30]]
    with pytest.raises(ConvertError, match=f"1 of 5 rows is bad.*line 4 .{reason}"):
        convert(lists(train=train), tmp_path / "toy")
    assert not (tmp_path / "toy").exists()
    manifest = convert(lists(train=train), tmp_path / "toy", max_bad_rows=0.2)
    assert manifest["rows"]["all_train_seq.txt"] == {"read": 5, "kept": 4, "dropped": {reason: 1}}
    assert [(e["file"], e["line"], e["reason"]) for e in manifest["examples"]] == [
        ("all_train_seq.txt", 4, reason)
    ]
    with pytest.raises(ConvertError, match="--strict allows none"):
        convert(lists(train=train), tmp_path / "toy", strict=True)


@pytest.mark.parametrize("item", [True, 2.0, None, b"2", (1, 5), pytest.param(1 << 100_000, id="huge")])
def test_an_item_is_an_int_and_nothing_like_it(lists, tmp_path, item):
    manifest = convert(lists(train=[*TRAIN, [1, item]]), tmp_path / "toy", max_bad_rows=0.5)
    assert sum(manifest["rows"]["all_train_seq.txt"]["dropped"].values()) == 1


def test_a_session_that_holds_itself_is_refused(lists, tmp_path):
    circle = [1]
    circle.append(circle)
    with pytest.raises(ConvertError, match="1 of 1 row is bad"):
        convert(lists(train=[circle]), tmp_path / "toy")


def test_bad_pairs_break_the_ladder_and_are_counted(lists, tmp_path):
    test = ([[20, 30], [20], [], [10]], [True, 30, 3, 50])
    manifest = convert(lists(test=test), tmp_path / "toy", max_bad_rows=0.5)
    assert manifest["rows"]["test.txt"] == {
        "read": 4,
        "kept": 2,
        "dropped": {"empty prefix": 1, "item is not a whole number": 1},
    }
    assert pairs_of(tmp_path / "toy") == {((20,), 30): 1, ((10,), 50): 1}


@pytest.mark.parametrize(
    ("train", "test", "sentence"),
    [
        ({"a": 1}, TEST, "holds no list of sessions"),
        ([1, 2], TEST, "holds no list of sessions"),
        (([[1, 2, 3], [1, 2]], [4, 3]), TEST, "some are of one session, but not all of its prefixes"),
        ([[]] * 3, TEST, "3 of 3 rows are bad"),
        ([], TEST, "no usable session"),
        (TRAIN, TRAIN, "does not hold \\(prefixes, targets\\)"),
        (TRAIN, ([[1]], [2, 3]), "as many targets"),
        (TRAIN, ([1], [2]), "as many targets"),
        (TRAIN, ([], []), "no usable session"),
    ],
)
def test_other_pickles_are_refused_with_a_sentence(lists, tmp_path, train, test, sentence):
    with pytest.raises(ConvertError, match=sentence):
        convert(lists(train=train, test=test), tmp_path / "toy")
    assert not (tmp_path / "toy").exists()


def test_a_small_pickle_of_many_shared_lists_is_refused(lists, tmp_path):
    folder = lists(train=[list(range(2000))] * 10_000)  # 20 million events
    assert (folder / "all_train_seq.txt").stat().st_size < 50_000
    with pytest.raises(ConvertError, match="20,000,000 events"):
        convert(folder, tmp_path / "toy")


def test_events_that_float32_cannot_number_are_refused(lists, tmp_path, monkeypatch):
    monkeypatch.setattr(session_lists, "MAX_EVENTS", 11)
    with pytest.raises(ConvertError, match="11 events"):
        convert(lists(), tmp_path / "toy")
    monkeypatch.setattr(session_lists, "MAX_EVENTS", 12)
    assert convert(lists(), tmp_path / "toy")["counts"]["sessions"] == 5


def test_a_hostile_pickle_changes_nothing(lists, tmp_path, monkeypatch):
    class Attack:
        def __reduce__(self):
            return (os.system, ("touch trace",))

    monkeypatch.chdir(tmp_path)
    convert(lists(), tmp_path / "toy")
    before = {path.name: path.read_bytes() for path in (tmp_path / "toy").iterdir()}
    for hostile in ({"train": [[1], Attack()]}, {"test": ([[1]], Attack())}):
        with pytest.raises(ConvertError, match="system, which could run code"):
            convert(lists(**hostile), tmp_path / "toy")
    assert {path.name: path.read_bytes() for path in (tmp_path / "toy").iterdir()} == before
    assert sorted(os.listdir(tmp_path)) == ["lists", "toy"]


def test_item_rows_are_counted(lists, tmp_path):
    features = "itemid,brand\n10,a\nten,b\n10,c\n20,\n77,x\n,y\n30,z,z\n"
    manifest = convert(
        lists(features=features), tmp_path / "toy", item_features="items.csv", max_bad_rows=0.5
    )
    assert manifest["rows"]["items.csv"] == {
        "read": 7,
        "kept": 2,
        "dropped": {
            "item in no session": 1,
            "item has another row already": 1,
            "itemid is not a whole number": 2,
            "wrong number of fields": 1,
        },
    }
    named = {(example["line"], example["reason"]) for example in manifest["examples"]}
    assert {
        (4, "item has another row already"),
        (6, "item in no session"),
        (3, "itemid is not a whole number"),
    } < named
    assert "10\ta" in (tmp_path / "toy" / "toy.item").read_text().splitlines()
    everything = convert(
        lists(features=features),
        tmp_path / "all",
        item_features="items.csv",
        max_bad_rows=0.5,
        all_items=True,
    )
    assert "77\tx" in (tmp_path / "all" / "all.item").read_text().splitlines()
    assert everything["rows"]["items.csv"]["kept"] == 3
    with pytest.raises(ConvertError, match=r"items\.csv: 3 of 7 rows are bad"):
        convert(lists(features=features), tmp_path / "toy", item_features="items.csv")


@pytest.mark.parametrize(
    "header",
    [
        "thing,brand",
        "item",
        "item,item_id,brand",
        "item,brand,brand",
        "item,brand:word",
        "item,:token",
        "item;brand",
        "item,split",
    ],
)
def test_item_headers_that_say_too_little_are_refused(lists, tmp_path, header):
    with pytest.raises(ConvertError, match=r"items\.csv, line 1.*mend the header"):
        convert(lists(features=f"{header}\n10,a\n"), tmp_path / "toy", item_features="items.csv")


def test_number_lists_are_checked(lists, tmp_path):
    features = "item_id,place:float_seq\n10,1 2.5\n20,1 two\n"
    manifest = convert(
        lists(features=features), tmp_path / "toy", item_features="items.csv", max_bad_rows=0.5
    )
    assert manifest["rows"]["items.csv"]["dropped"] == {
        "place:float_seq is not numbers with blanks between": 1
    }
    assert "10\t1 2.5" in (tmp_path / "toy" / "toy.item").read_text().splitlines()


def test_command_line(lists, tmp_path, capsys):
    folder = lists(features="\ufeffitem,category:token\r\n10,7\r\n")
    (folder / "test.txt").rename(folder / "held_out.pkl")
    out = tmp_path / "toy"
    arguments = [
        "session-lists",
        str(folder),
        "--out",
        str(out),
        "--item-features",
        str(folder / "items.csv"),
    ]
    assert command_line.main(arguments) == 2
    sentence = capsys.readouterr().err
    assert "test.txt" in sentence and "--test" in sentence and sentence.count("\n") == 1
    assert command_line.main([*arguments, "--test", "held_out.pkl"]) == 0
    assert pairs_of(out) == {((20, 30), 40): 1, ((20,), 30): 1, ((10,), 50): 1}
    assert "10\t7" in (out / "toy.item").read_text().splitlines()
