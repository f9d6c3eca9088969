"""Facts of targets: a log worked out on paper, a plain loop over a random one, settings and logs that lack columns."""

import numpy as np
import pytest
import yaml

from recbole_ext.errors import UsageError
from recbole_ext.evaluate.facts import DEFAULTS, check_log, target_facts
from recbole_ext.settings.files import configs_dir

# session, user, whose part of the log, start, its items and events; V view, C cart, P purchase
LOG = [
    ("s1", "u1", "train", 0, "a b", "VV"),
    ("s2", "u2", "train", 10, "a c", "VV"),
    ("s3", "", "train", 20, "b b", "VV"),
    ("s4", "u1", "train", 30, "a b", "VP"),
    ("s5", "u1", "test", 50, "a b c a d a", "VCVPVV"),
    ("s6", "u3", "test", 60, "e e", "VV"),
    ("s7", "", "test", 70, "b d", "CV"),
    ("s8", "u1", "test", 80, "c a", "VV"),
]
KINDS = {"V": "view", "C": "addtocart", "P": "transaction"}
ITEMS = [
    {"item_id": "a", "category": "shoes"},
    {"item_id": "b", "category": "hats"},
    {"item_id": "c", "category": ""},
    {"item_id": "d", "category": "hats"},
]


def rows():
    return [
        {
            "session_id": session,
            "user_id": user,
            "item_id": item,
            "timestamp": start + place,
            "event": KINDS[kind],
            "split": part,
        }
        for session, user, part, start, items, kinds in LOG
        for place, (item, kind) in enumerate(zip(items.split(), kinds))
    ]


@pytest.fixture
def paper(write_log, make_config):
    """Facts of the log above, with settings and columns as asked for, and the test part."""
    from recbole.data import create_dataset, data_preparation

    def facts(log=None, items=ITEMS, model="GRU4Rec", manifest=None, **settings):
        write_log(log or rows(), items=items, manifest=manifest)
        config = make_config(model, split={"given": {"valid_share": 0}}, MAX_ITEM_LIST_LENGTH=2, **settings)
        test = data_preparation(config, create_dataset(config))[2]._dataset
        check_log(test, config)
        return target_facts(test, {"event_index": test.inter_feat["event_index"].numpy()}, config), test

    return facts


def by_token(test, values, field="item_id"):
    return dict(zip(map(str, test.field2id_token[field][1:]), values.tolist()[1:]))


@pytest.mark.parametrize("model", ["GRU4Rec", "HRNNFeat", "Pop"])
def test_on_paper(paper, model):
    found, test = paper(model=model)
    assert by_token(test, found["item_count"]) == {"a": 3, "b": 4, "c": 1, "d": 0, "e": 0}
    # s5: b c a d a, then s6: e, s7: d, s8: a; MAX_ITEM_LIST_LENGTH is 2
    assert found["position"].tolist() == [1, 2, 3, 4, 5, 1, 1, 1]
    assert found["session_events"].tolist() == [6, 6, 6, 6, 6, 2, 2, 2]
    assert found["repeat"].tolist() == [False, False, True, False, True, True, False, False]
    # the target's own event does not count: b is a cart, the second a is the purchase
    assert found["session_type"].tolist() == [0, 1, 1, 2, 2, 0, 1, 0]
    assert found["earlier_sessions"].tolist() == [2, 2, 2, 2, 2, 0, -1, 3]
    category = by_token(test, found["item_category"])
    assert category["b"] == category["d"] != category["a"] and category["a"] > 0
    assert category["c"] == category["e"] == 0  # an empty cell, and no row
    assert {name: fact.dtype for name, fact in found.items()} == {
        **dict.fromkeys(found, np.dtype("int32")),
        "repeat": np.dtype(bool),
    }


@pytest.mark.parametrize(
    ("pairs", "visit"),
    [
        ("abcd abc ab", [0, 0, 0]),  # longest first, as SR-GNN writes them
        ("ab abc abcd", [0, 0, 0]),  # shortest first
        ("abc abc", [0, 1]),  # two visits alike
        ("abcd ab", [0, 0]),  # a pair between them was dropped
        ("ab bc ab abd cab", [0, 1, 2, 2, 3]),
        ("ab", [0]),
    ],
)
def test_pairs_of_one_visit(paper, pairs, visit):
    log = rows()[:5] + [
        {
            "session_id": f"p{number}",
            "user_id": "u1",
            "item_id": item,
            "timestamp": 100 + number,
            "event": "view",
            "split": "test",
        }
        for number, own in enumerate(pairs.split())
        for item in own
    ]
    facts, _ = paper(log, manifest={"eval_targets": "last"})
    assert facts["visit"].tolist() == visit
    plain, _ = paper(log, manifest={"eval_targets": "all"})  # nobody says that its sessions are pairs
    assert "visit" not in plain


def test_first_events_are_targets_under_empty_history(paper):
    found, _ = paper(empty_history=True)
    assert found["position"].tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 0, 1, 0, 1]
    assert found["repeat"].tolist() == [False, False, False, True, False, True, False, True] + [False] * 4
    assert found["session_type"].tolist() == [0, 0, 1, 1, 2, 2, 0, 0, 0, 1, 0, 0]
    assert found["session_events"].tolist() == [6] * 6 + [2] * 6


def test_a_repeat_is_one_of_its_own_session(paper):
    again = [{**row, "session_id": "s6b", "timestamp": 65 + n} for n, row in enumerate(rows()[14:16])]
    assert [row["item_id"] for row in again] == ["e", "e"]
    found, _ = paper(log=rows() + again, empty_history=True)
    assert found["repeat"].tolist()[6:10] == [False, True, False, True]


def test_the_first_of_several_categories(paper):
    items = [
        {"item_id": "a", "tags": "shoes red"},
        {"item_id": "b", "tags": ""},
        {"item_id": "c", "tags": "red"},
    ]
    found, test = paper(items=items, category_field="tags")
    category = by_token(test, found["item_category"])
    names = [str(test.field2id_token["tags"][category[item]]) for item in "abc"]
    assert names == ["shoes", "[PAD]", "red"]


def test_other_names_of_events(paper):
    log = [
        {**row, "event": {"addtocart": "basket", "transaction": "paid"}.get(row["event"], "view")}
        for row in rows()
    ]
    found, _ = paper(log=log)
    assert "session_type" not in found  # nothing says which kinds are carts
    found, _ = paper(log=log, cart_events="basket", purchase_events=["paid", "transaction"])
    assert found["session_type"].tolist() == [0, 1, 1, 2, 2, 0, 1, 0]
    found, _ = paper(log=log, purchase_events=["paid"])
    assert found["session_type"].tolist() == [0, 0, 0, 2, 2, 0, 0, 0]


def test_columns_that_the_log_lacks(paper):
    bare = [{k: v for k, v in row.items() if k not in ("user_id", "event")} for row in rows()]
    found, _ = paper(log=bare, items=None)
    assert set(found) == {"item_count", "position", "session_events", "repeat"}
    found, _ = paper(category_field=None, cart_events=None, purchase_events=[])
    assert not {"item_category", "session_type"} & set(found)


def test_a_float_category_is_none(paper, write_log):
    items = [{"item_id": "a", "price": 3.0}]
    with pytest.raises(UsageError, match="category_field is price, which is no token column"):
        paper(items=items, category_field="price")


def test_no_facts_without_the_targets_events(paper):
    _, test = paper()
    assert target_facts(test, {"rank": np.array([1])}, {}) == {}
    assert target_facts(object(), {"event_index": np.array([1])}, {}) == {}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"category_field": "catgory"},
            "category_field is catgory, which is no token column .* it has category",
        ),
        ({"category_field": 3}, "category_field is 3: it has to be text"),
        ({"cart_events": ["basket"]}, "cart_events names basket, .* holds view, transaction, addtocart"),
        ({"purchase_events": [1]}, "purchase_events is 1: it has to be a list"),
        ({"purchase_events": {"transaction": 1}}, "purchase_events is"),
    ],
)
def test_wrong_settings(paper, settings, says):
    with pytest.raises(UsageError, match=says):
        paper(**settings)


def test_wrong_settings_are_seen_before_training(tmp_path, monkeypatch, write_log):
    import recbole_ext
    from recbole_ext.run.record import Run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Run, "trained", lambda *_: pytest.fail("trained first"))
    write_log(rows(), items=ITEMS)
    settings = {"data_path": "data", "eval_args": {"split": {"given": {"valid_share": 0}}}, "use_gpu": False}
    for wrong in ({"cart_events": ["basket"]}, {"category_field": 1}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            recbole_ext.run("Pop", "toy", **wrong, **settings)


def test_the_yaml_has_the_defaults():
    overall = yaml.safe_load((configs_dir() / "overall.yaml").read_text())
    assert {key: overall[key] for key in DEFAULTS} == DEFAULTS


def test_earlier_sessions_are_hrnnfeat_s_history(write_log, make_config, random_log):
    from recbole.data import create_dataset, data_preparation

    write_log(random_log(sessions=120, ties=True))
    config = make_config("HRNNFeat", split={"session_time": [0.5, 0.1, 0.4]})
    test = data_preparation(config, create_dataset(config))[2]._dataset
    place = test.inter_feat["event_index"].numpy()
    found = target_facts(test, {"event_index": place}, config)["earlier_sessions"]
    known = test.inter_feat["user_id"].numpy() > 0
    assert (found[~known] == -1).all() and 0 < known.sum() < len(known)
    chains = test.user_sequences
    assert found[known].tolist() == chains.rank[chains.session_of(place)][known].tolist()
    assert found.max() > 5


@pytest.mark.parametrize("split", [{"session_time": [7, 1, 2]}, {"LS": "valid_and_test"}, {"RS": [7, 1, 2]}])
def test_a_plain_loop_over_the_log(tmp_path, monkeypatch, write_log, random_log, split):
    import recbole_ext

    monkeypatch.chdir(tmp_path)
    log = random_log(sessions=80, ties=False)
    write_log(log)
    record = recbole_ext.run(
        "Pop", "toy", data_path="data", use_gpu=False, eval_args={"split": split}, purchase_events="purchase"
    )
    kept = np.load(record["files"]["ranks"])
    sessions, starts = {}, {}
    for row in log:
        sessions.setdefault(row["session_id"], []).append(row)
        starts.setdefault(row["session_id"], row["timestamp"])
    assert len(kept["rank"]) > 50
    for t, (session, place) in enumerate(zip(kept["session_token"], kept["item_length"])):
        events = sessions[session]
        user, before = events[0]["user_id"], events[:place]
        assert events[place]["item_id"] == kept["item_token"][kept["item"][t]]
        assert kept["position"][t] == place and kept["session_events"][t] == len(events)
        assert kept["repeat"][t] == (events[place]["item_id"] in {event["item_id"] for event in before})
        bought = any(event["event"] == "purchase" for event in before)
        assert kept["session_type"][t] == 2 * bought
        names = list(starts)  # in order of start; sessions of one instant in that of the log
        earlier = [s for s in names[: names.index(session)] if sessions[s][0]["user_id"] == user]
        assert kept["earlier_sessions"][t] == (len(earlier) if user else -1)
    trained = record["counts"]["train_rows"]  # Pop's rows are the training events
    assert kept["item_count"].sum() == trained


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("BPR", {}),
        ("GRU4Rec", {"data_layout": "recbole"}),
        ("GRU4Rec", {"benchmark_filename": ["a", "b", "c"]}),
    ],
)
def test_recbole_s_own_data_sets_have_no_facts(tmp_path, monkeypatch, write_log, random_log, model, settings):
    import recbole_ext

    monkeypatch.chdir(tmp_path)
    log = random_log(sessions=60)
    write_log(log)
    if "benchmark_filename" in settings:
        folder = tmp_path / "data" / "toy"
        parts = {"a": log[:160], "b": log[160:200], "c": log[200:]}
        for name, part in parts.items():
            lines = [
                f"{r['session_id']}\t{r['item_id']}\t{other['item_id']}\t1\n"
                for r, other in zip(part[1:], part)
            ]
            head = "session_id:token\titem_id:token\titem_id_list:token_seq\titem_length:float\n"
            (folder / f"toy.{name}.inter").write_text(head + "".join(lines))
        settings = {**settings, "alias_of_item_id": ["item_id_list"]}
    split = {"split": {"LS": "valid_and_test"}}
    record = recbole_ext.run(
        model, "toy", data_path="data", epochs=1, use_gpu=False, eval_args=split, **settings
    )
    assert set(record.get("test_slices", {})) <= {"event"}
    assert not {"item_count", "position", "repeat"} & set(np.load(record["files"]["ranks"]))
