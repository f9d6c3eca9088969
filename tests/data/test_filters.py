"""Limits on numbers of events against a plain loop, what they may look at, and the cap of sessions a user."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_ext.data import filters
from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.errors import UsageError

SPLIT = {"session_time": [3, 1, 1]}


# --- the filter itself ------------------------------------------------------------------------------------


def core_by_loop(events, removable, session_low, item_low, item_high, passes):
    """[(session, item, counted)] that stay, with dictionaries and loops."""
    done = 0
    while passes is None or done < passes:
        before = len(events)
        size = Counter(s for s, _, counted in events if counted)
        events = [e for e in events if not removable[e[0]] or size[e[0]] >= session_low]
        seen = Counter(i for _, i, counted in events if counted)
        events = [e for e in events if item_low <= seen[e[1]] <= item_high]
        done += 1
        if len(events) == before:
            break
    return events


@settings(max_examples=300, deadline=None)
@given(
    log=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 6), st.booleans()), min_size=1, max_size=60),
    removable=st.lists(st.booleans(), min_size=8, max_size=8),
    low=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    high=st.integers(3, 12),
    passes=st.sampled_from([None, 1, 2]),
)
def test_limits_equal_a_plain_loop(log, removable, low, high, passes):
    session, item, counted = (np.array(column) for column in zip(*log))
    intervals = [(low[0], np.inf, True, False)], [(low[1], high, True, True)]
    keep = filters.core(session, item, counted, np.array(removable), *intervals, passes)
    numbered = [(s, i, c, n) for n, (s, i, c) in enumerate(log)]
    wanted = core_by_loop([Event(e) for e in numbered], removable, low[0], low[1], high, passes)
    assert np.flatnonzero(keep).tolist() == [e.number for e in wanted]


class Event(tuple):
    """(session, item, counted) that remembers its place in the log."""

    def __new__(cls, values):
        made = super().__new__(cls, values[:3])
        made.number = values[3]
        return made


def test_passes():
    # session 0: a b, session 1: b c, session 2: c d; items of 2 events or more, sessions of 2 or more
    session, item = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 2, 2, 3])
    everything = np.ones(6, dtype=bool)
    two = [(2, np.inf, True, False)]
    first = filters.core(session, item, everything, everything[:3], two, two, passes=1)
    assert first.tolist() == [False, True, True, True, True, False]  # a and d go; sessions of one event stay
    again = filters.core(session, item, everything, everything[:3], two, two, passes=2)
    assert not again.any()  # sessions 0 and 2 go, then b and c have one event each
    assert not filters.core(session, item, everything, everything[:3], two, two).any()
    only_items = filters.core(session, item, everything, everything[:3], None, two)
    assert only_items.tolist() == first.tolist()


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("[3,inf)", [3, 4, 9]),
        ("(3,inf)", [4, 9]),
        ("[1,3]", [1, 3]),
        ("[1,3)", [1]),
        ("[0,1];(4,9]", [0, 1, 9]),
        ("[0, inf)", None),
    ],
)
def test_intervals_are_recboles(text, inside):
    intervals = filters.parse_limits({"k": text}, "k")
    counts = np.array([0, 1, 3, 4, 9])
    if inside is None:
        assert intervals is None
    else:
        assert counts[filters.within(counts, intervals)].tolist() == inside


@pytest.mark.parametrize("text", ["5", "[5,inf", "[5;inf)", "[9,5]", "[a,b]", "[nan,5]", "[1,2];5"])
def test_wrong_intervals_get_one_sentence(text):
    with pytest.raises(UsageError, match=r"k is .*: write an interval"):
        filters.parse_limits({"k": text}, "k")


# --- on a data set ----------------------------------------------------------------------------------------


def sessions(*rows, user=None):
    """Rows of sessions given as (start, items), named s0, s1, …, one event a second."""
    return [
        {"session_id": f"s{n}", "item_id": item, "timestamp": start + step}
        | ({} if user is None else {"user_id": user[n]})
        for n, (start, items) in enumerate(rows)
        for step, item in enumerate(items)
    ]


def log_of(dataset):
    """{session: items} of what the data set holds."""
    names, items = dataset.field2id_token["session_id"], dataset.field2id_token["item_id"]
    found = {}
    for s, i in zip(dataset.events["session_id"].tolist(), dataset.events["item_id"].tolist()):
        found[names[s]] = found.get(names[s], "") + items[i]
    return found


LOG = [(0, "aab"), (10, "abc"), (20, "c"), (30, "abd"), (40, "dcd")]  # three train, one validates, one tests


def test_limits_look_at_the_training_part(write_log, make_config):
    write_log(sessions(*LOG))
    dataset = SessionDataset(
        make_config(split=SPLIT, item_inter_num_interval="[2,inf)", inter_num_part="train")
    )
    dataset.build()
    # training events: a 3, b 2, c 2, d 0; on the whole log d has 3
    assert log_of(dataset) == {"s0": "aab", "s1": "abc", "s2": "c", "s3": "ab", "s4": "c"}
    assert "d" not in dataset.field2id_token["item_id"]
    log = [*LOG[:4], (40, "dbcb")]
    write_log(sessions(*log), "both")
    both = {"item_inter_num_interval": "[2,inf)", "user_inter_num_interval": "[2,inf)"}
    dataset = SessionDataset(make_config(dataset="both", split=SPLIT, inter_num_part="train", **both))
    dataset.build()
    # s2 is too short; then c has one training event left and goes from everywhere, the test session included
    assert log_of(dataset) == {"s0": "aab", "s1": "ab", "s3": "ab", "s4": "bb"}
    assert dataset.train_length.tolist() == [3, 2, 0, 0]


def test_held_out_sessions_are_never_chosen_by_length(write_log, make_config):
    log = [(0, "abab"), (10, "ba"), (20, "ab"), (30, "b"), (40, "ab"), (50, "a")]
    write_log(sessions(*log))
    core = {"user_inter_num_interval": "[3,inf)", "inter_num_part": "train"}
    dataset = SessionDataset(make_config(split={"session_time": [3, 2, 1]}, empty_history=True, **core))
    dataset.build()
    # s1 and s2 are too short to train; s3, s4 and s5 are held out, whatever their length
    assert log_of(dataset) == {"s0": "abab", "s3": "b", "s4": "ab", "s5": "a"}
    dataset = SessionDataset(
        make_config(split={"session_time": [3, 2, 1]}, user_inter_num_interval="[1,2]", inter_num_part="all")
    )
    dataset.build()
    assert "s0" not in log_of(dataset) and "s5" in log_of(dataset)


def test_filters_do_not_move_the_split(write_log, make_config):
    """Half of the training sessions go; by shares of what is left, the cut would fall elsewhere."""
    log = [(10 * n, "ab" if n % 2 else "abab") for n in range(8)] + [(80, "ab"), (90, "ba")]
    write_log(sessions(*log))
    split = {"session_time": [0.8, 0.1, 0.1]}
    core = {"user_inter_num_interval": "[3,inf)"}
    parts = SessionDataset(make_config(split=split, inter_num_part="train", **core)).build()
    names = parts[0].field2id_token["session_id"]
    assert [sorted({names[s] for s in p.inter_feat["session_id"]}) for p in parts] == [
        ["s0", "s2", "s4", "s6"],
        ["s8"],
        ["s9"],
    ]
    parts = SessionDataset(make_config(split=split, inter_num_part="all", **core)).build()
    names = parts[0].field2id_token["session_id"]
    assert {names[s] for s in parts[2].inter_feat["session_id"]} == {"s6"}


def test_events_after_the_held_out_time_do_not_count_and_do_not_train(write_log, make_config):
    # s0 goes on after s2, the first held-out session, starts at 20; x, its first item there, is too rare to stay
    rows = [
        {"session_id": s, "item_id": i, "timestamp": t}
        for s, i, t in [
            ("s0", "a", 0), ("s0", "b", 1), ("s0", "c", 21), ("s0", "c", 22),
            ("s1", "a", 10), ("s1", "b", 11),
            ("s2", "x", 20), ("s2", "a", 30), ("s2", "b", 31),
            ("s3", "a", 40), ("s3", "b", 41),
        ]
    ]  # fmt: skip
    write_log(rows)
    config = make_config(
        split={"session_time": [2, 1, 1]}, item_inter_num_interval="[2,inf)", inter_num_part="train"
    )
    dataset = SessionDataset(config)
    dataset.build()
    # c occurs twice, but not before 20; without x the session s2 starts at 30, yet 20 is the cut
    assert log_of(dataset) == {"s0": "ab", "s1": "ab", "s2": "ab", "s3": "ab"}
    rows += [{"session_id": s, "item_id": "c", "timestamp": t} for s, t in (("s1", 12), ("s1", 13))]
    write_log(sorted(rows, key=lambda row: row["session_id"]), "known")
    dataset = SessionDataset(
        make_config(
            dataset="known",
            split={"session_time": [2, 1, 1]},
            item_inter_num_interval="[2,inf)",
            inter_num_part="train",
        )
    )
    dataset.build()
    assert log_of(dataset)["s0"] == "abcc"
    assert dataset.train_length.tolist()[:2] == [2, 4]


def test_what_only_the_future_holds_changes_no_training(write_log, make_config):
    """Sessions planted after the training part leave its log as it was, item limits included."""
    core = {
        "item_inter_num_interval": "[2,inf)",
        "user_inter_num_interval": "[2,inf)",
        "inter_num_part": "train",
    }
    write_log(sessions((0, "aab"), (10, "abc"), (20, "cd"), (30, "abc"), (40, "abc")), "past")
    write_log(
        sessions((0, "aab"), (10, "abc"), (20, "cd"), (30, "abcdd"), (40, "dddab"), (50, "dd")), "future"
    )
    found = []
    for name, split in (("past", [3, 1, 1]), ("future", [3, 1, 2])):
        dataset = SessionDataset(make_config(dataset=name, split={"session_time": split}, **core))
        dataset.build()
        found.append({s: items for s, items in log_of(dataset).items() if s in ("s0", "s1", "s2")})
    assert found[0] == found[1] == {"s0": "aab", "s1": "ab"}


def test_given_and_random_splits_are_frozen_too(write_log, make_config, random_log):
    rows = sessions(*LOG)
    for row in rows:
        row["split"] = {"s3": "valid", "s4": "test"}.get(row["session_id"], "train")
    write_log(rows)
    core = {"item_inter_num_interval": "[2,inf)", "inter_num_part": "train"}
    dataset = SessionDataset(make_config(split={"given": {}}, empty_history=True, **core))
    parts = dataset.build()
    assert log_of(dataset) == {"s0": "aab", "s1": "abc", "s2": "c", "s3": "ab", "s4": "c"}
    names = dataset.field2id_token["session_id"]
    assert [names[s] for s in parts[2].inter_feat["session_id"]] == ["s4"]
    write_log(random_log(), "random")
    random = {"session_random": {"shares": [3, 1, 1], "seed": 4}}
    core = {"user_inter_num_interval": "[4,inf)"}
    chosen = []
    for extra in ({}, core):
        parts = SessionDataset(
            make_config(dataset="random", split=random, empty_history=True, **extra)
        ).build()
        names = parts[0].field2id_token["session_id"]
        chosen.append([{names[s] for s in p.inter_feat["session_id"]} for p in parts])
    assert chosen[1][0] < chosen[0][0]  # short sessions no longer train
    assert chosen[1][1:] == chosen[0][1:]  # and the held-out ones are the same


def test_training_limits_and_splits_that_straddle(write_log, make_config, random_log):
    write_log(random_log())
    for split in ({"LS": "valid_and_test"}, {"RS": [8, 1, 1]}):
        with pytest.raises(UsageError, match="set inter_num_part: all"):
            SessionDataset(make_config(split=split, user_inter_num_interval="[3,inf)"))
        SessionDataset(make_config(split=split, user_inter_num_interval="[0,inf)"))


def test_limits_that_leave_nothing(write_log, make_config):
    write_log(sessions(*LOG))
    with pytest.raises(UsageError, match="leave no event of toy: lower"):
        SessionDataset(make_config(split=SPLIT, item_inter_num_interval="[50,inf)"))
    # e occurs in the test session alone
    write_log(sessions((0, "ab"), (10, "ab"), (20, "ab"), (30, "ab"), (40, "ee")), "unknown")
    with pytest.raises(UsageError, match="no test session of 4 that the limits on events leave: change them"):
        SessionDataset(make_config(dataset="unknown", split=SPLIT, item_inter_num_interval="[1,inf)")).build()


def test_features_of_what_has_gone_are_no_candidates(write_log, make_config):
    items = [{"item_id": i, "category": f"c{i}"} for i in "abcdz"]
    for part, left in (("train", "abc"), ("all", "abcd")):
        write_log(sessions(*LOG), part, items=items)
        config = make_config(
            dataset=part, split=SPLIT, item_inter_num_interval="[2,inf)", inter_num_part=part
        )
        dataset = SessionDataset(config)
        dataset.build()
        assert sorted(dataset.field2id_token["item_id"][1:]) == list(left)
    write_log(sessions(*LOG), "none", items=items)
    dataset = SessionDataset(make_config(dataset="none", split=SPLIT))
    assert sorted(dataset.field2id_token["item_id"][1:]) == list("abcdz")  # z has no event: a cold candidate


def test_whole_log_core_equals_recboles_with_item_features(write_log, make_config, random_log):
    from recbole.data.dataset import SequentialDataset

    items = [{"item_id": f"i{n}", "category": f"c{n % 4}"} for n in range(70)]
    write_log(random_log(items=60, sessions=80), items=items)
    core = {
        "user_inter_num_interval": "[3,inf)",
        "item_inter_num_interval": "[5,inf)",
        "inter_num_part": "all",
    }
    theirs, ours = SequentialDataset(make_config(**core)), SessionDataset(make_config(**core))
    assert 5 < ours.item_num < 60
    for field in ("session_id", "item_id"):
        assert list(theirs.field2id_token[field]) == list(ours.field2id_token[field])
    assert theirs.inter_num == ours.inter_num
    assert (theirs.item_feat["category"].to_numpy() == ours.item_feat["category"].to_numpy()).all()


# --- the cap of sessions a user ---------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-1, 4), min_size=1, max_size=60), st.integers(1, 8))
def test_the_cap_equals_its_formula(users, most):
    keep = filters.spread(np.array(users), most)
    total, rank = Counter(users), Counter()
    for user, stays in zip(users, keep.tolist()):
        j, m = rank[user], total[user]
        rank[user] += 1
        assert stays == (user < 0 or int((j + 1) * most / m) > int(j * most / m))
    for user, m in total.items():
        if user >= 0:
            assert keep[np.array(users) == user].sum() == min(m, most)
            assert keep[np.flatnonzero(np.array(users) == user)[-1]]


def test_sessions_of_one_user_are_capped_and_counted(write_log, make_config):
    # user u has sessions s0 … s5 (but s3), ? is unknown
    user = ["u", "u", "u", "v", "u", "u", "", ""]
    log = [(10 * n, "ab") for n in range(8)]
    rows = sessions(*log, user=user)
    write_log([*rows[6:], *rows[:6]])  # not in time order
    config = make_config(split={"session_time": [6, 0, 2]}, max_sessions_per_user=2)
    dataset = SessionDataset(config)
    parts = dataset.build()
    # of u's five sessions numbers 2 and 4 stay: s2, s5
    assert list(log_of(dataset)) == ["s2", "s3", "s5", "s6", "s7"]
    note = "at most 2 sessions a user: 3 sessions of 1 user left out"
    assert parts[2].notes == [note]
    names = dataset.field2id_token["session_id"]
    # the split is made of what is left: a quarter of five sessions is one
    assert [names[s] for s in parts[2].inter_feat["session_id"]] == ["s7"]
    with pytest.raises(UsageError, match="no column visitor"):
        SessionDataset(make_config(max_sessions_per_user=2, LINK_USER_FIELD="visitor"))


def test_recboles_own_data_sets_refuse_what_they_would_pass_over(write_log, make_config, random_log):
    from recbole_ext.bridge import data_sets

    write_log(random_log())
    for key, value in (("empty_history", True), ("max_sessions_per_user", 3), ("inter_num_passes", 1)):
        with pytest.raises(UsageError, match=f"{key} is for BPR"):
            data_sets.create_dataset(make_config("BPR", **{key: value}), None)


# --- real data --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_five_core_of_diginetica_is_the_published_one(shared_data, tmp_path, make_config):
    """71,110 sessions, 29,197 items, 572,933 clicks, worked out elsewhere (the data's README)."""
    import yaml

    from recbole_ext.convert import convert
    from recbole_ext.settings.files import configs_dir

    name = "diginetica-loo5"
    preset = yaml.safe_load((configs_dir() / "dataset" / f"{name}.yaml").read_text())
    convert(preset["source"], shared_data / "diginetica" / "sessions", tmp_path / "data" / name)
    keys = ("user_inter_num_interval", "item_inter_num_interval", "inter_num_part", "MAX_ITEM_LIST_LENGTH")
    config = make_config(
        dataset=name, split=preset["eval_args"]["split"], **{key: preset[key] for key in keys}
    )
    dataset = SessionDataset(config)
    assert dataset.user_num - 1 == 71_110
    assert dataset.item_num - 1 == 29_197
    assert dataset.inter_num == 572_933
    train, valid, test = dataset.build()
    assert len(valid) == len(test) == 71_110
    assert len(train) == 572_933 - 3 * 71_110
