"""Splits on paper for six sessions, what may not reach training, and the sentences for wrong values."""

import numpy as np
import pytest
import torch

from recbole_ext.bridge.description import describe_split
from recbole_ext.data import splits
from recbole_ext.errors import UsageError

DAY = 86400

# session: (start, items, split); in the file's order. d and e start together; b runs past everyone's start.
SESSIONS = {
    "a": (0, "pqr", "train"),
    "b": (100, "qrqr", "train"),
    "c": (200, "p", "train"),
    "d": (300, "rp", "train"),
    "e": (300, "sq", "test"),
    "f": (400, "stp", "test"),
}


def six(label=True, extra=(), scale=1):
    rows = []
    for name, (start, items, part) in [*SESSIONS.items(), *extra]:
        for step, item in enumerate(items):
            row = {"session_id": name, "item_id": item, "timestamp": start * scale + 150 * step}
            rows.append({**row, "split": part} if label else row)
    return rows


def build(config, cls=None):
    from recbole_ext.data.session_dataset import SessionDataset

    return (cls or SessionDataset)(config).build()


def pairs(part):
    """[(session, prefix, target)] of a part, in order, as tokens."""
    rows = part[np.arange(len(part))] if len(part) else None
    if rows is None:
        return []
    items, sessions = part.field2id_token["item_id"], part.field2id_token["session_id"]
    return [
        (sessions[s], "".join(items[i] for i in prefix if i), items[target])
        for s, prefix, target in zip(rows["session_id"], rows["item_id_list"].tolist(), rows["item_id"])
    ]


def tokens(part):
    return "".join(sorted(part.field2id_token["item_id"][np.flatnonzero(part.train_items)]))


@pytest.mark.parametrize(
    ("split", "train", "valid", "test"),
    [
        # floor(6 * .2) = 1 each: the test cut falls before f, the validation cut before e; d starts with e
        ({"session_time": [0.6, 0.2, 0.2]}, "abc", "de", "f"),
        # a test third is e f; d starts with e and joins them
        ({"session_time": [2, 0, 1]}, "abc", "", "def"),
        ({"given": {}}, "abc", "d", "ef"),
        ({"given": {"valid_share": 0.5}}, "ab", "cd", "ef"),
        ({"given": {"valid_share": 0}}, "abcd", "", "ef"),
        ({"given": None}, "abc", "d", "ef"),
    ],
)
def test_whole_sessions(write_log, make_config, split, train, valid, test):
    write_log(six())
    parts = build(make_config(split=split))
    # by time, d opens the held-out part at 300: a's third event and b's third and fourth happen then or later
    length = {s: len(items) for s, (_, items, _) in SESSIONS.items()}
    if "session_time" in split:
        length |= {"a": 2, "b": 2}
    for part, names in zip(parts, (train, valid, test)):
        expected = [(s, SESSIONS[s][1][:n], SESSIONS[s][1][n]) for s in names for n in range(1, length[s])]
        assert pairs(part) == expected
    trained = "".join(sorted(set("".join(SESSIONS[s][1][: length[s]] for s in train))))
    for part in parts:
        assert part.train_length.tolist() == [length[s] if s in train else 0 for s in SESSIONS]
        assert tokens(part) == trained


def test_pairs_that_are_no_prefixes_keep_one_target_a_session(write_log, make_config):
    write_log(six(), manifest={"eval_targets": "last"})
    config = make_config(split={"given": {"valid_share": 0}})
    _, _, test = build(config)
    assert pairs(test) == [("e", "s", "q"), ("f", "st", "p")]
    assert describe_split(config).endswith("targets: last")


def test_given_keeps_the_datas_validation(write_log, make_config):
    rows = six()
    for row in rows:
        if row["session_id"] == "b":
            row["split"] = "valid"
    write_log(rows)
    train, valid, _ = build(make_config(split={"given": {"valid_share": 0.5}}))
    assert {s for s, _, _ in pairs(valid)} == {"b"}
    assert train.train_length.tolist() == [3, 0, 1, 2, 0, 0]


def test_leave_one_out(write_log, make_config):
    write_log(six(label=False))
    train, valid, test = build(make_config(split={"LS": "valid_and_test"}))
    assert sorted(pairs(train)) == [
        ("a", "p", "q"),
        ("b", "q", "r"),
        ("d", "r", "p"),
        ("e", "s", "q"),
        ("f", "s", "t"),
    ]
    assert sorted(pairs(valid)) == [("b", "qr", "q")]
    assert sorted(pairs(test)) == [("a", "pq", "r"), ("b", "qrq", "r"), ("f", "st", "p")]
    assert train.train_length.tolist() == [2, 2, 0, 2, 2, 2]


def test_last_targets(write_log, make_config):
    write_log(six())
    train, valid, test = build(make_config(split={"given": {}}, eval_targets="last"))
    assert len(train) == 2 + 3
    assert pairs(valid) == [("d", "r", "p")]
    assert pairs(test) == [("e", "s", "q"), ("f", "st", "p")]
    ratio = make_config(split={"RS": [0.4, 0.3, 0.3]}, eval_targets="last")
    _, valid, test = build(ratio)
    assert len({s for s, _, _ in pairs(test)}) == len(test) > 0


def test_days_are_utc_calendar_days_of_the_session_start():
    # the log starts at 22:00 UTC; starts at 22:00, 23:59:59, next day 00:00:00, day 3 12:00, day 4 00:00:01
    starts = np.array([0, 2 * 3600 - 1, 2 * 3600, 2 * 3600 + 1.5 * DAY, 2 * 3600 + 2 * DAY + 1])
    origin = 20_000 * DAY + 22 * 3600.0
    T, V, E = splits.TRAIN, splits.VALID, splits.TEST
    assert splits.by_days(starts, 1, 1, origin).tolist() == [T, T, T, V, E]
    assert splits.by_days(starts, 1, 2, origin).tolist() == [T, T, V, V, E]
    assert splits.by_days(starts, 2, 0, origin).tolist() == [T, T, T, E, E]
    # 22:00, 1:00 and 22:00 of the next day
    assert splits.by_days(np.array([0.0, 3 * 3600, DAY]), 1, 0, 22 * 3600.0).tolist() == [T, E, E]


def test_days_read_the_manifests_time_origin(write_log, make_config):
    # starts 0, 3 h, 24 h; with 22:00 as origin 3 h is on the last day, from 0:00 it is not
    extra = [("a", (0, "pq", "")), ("b", (3 * 3600, "pq", "")), ("c", (DAY, "qp", ""))]
    rows = [row for row in six(label=False, extra=extra) if row["timestamp"] >= 0][-6:]
    split = {"session_time": {"test_days": 1, "valid_days": 0}}
    write_log(rows, "plain")
    write_log(rows, "night", manifest={"time_origin": 22 * 3600})
    assert [len(p) for p in build(make_config(dataset="plain", split=split))] == [2, 0, 1]
    assert [len(p) for p in build(make_config(dataset="night", split=split))] == [1, 0, 2]
    write_log(rows, "timeless", manifest={"time_origin": None})
    with pytest.raises(UsageError, match="has no time_origin"):
        build(make_config(dataset="timeless", split=split))


def test_shares_are_of_sessions_and_never_cut_an_instant():
    starts = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], dtype=float)
    T, V, E = splits.TRAIN, splits.VALID, splits.TEST
    assert splits.by_share(starts, (0.8, 0.1, 0.1)).tolist() == [T] * 8 + [V, E]
    assert splits.by_share(starts, (0.7, 0.0, 0.3)).tolist() == [T] * 7 + [E] * 3
    assert splits.by_share(starts, (0.97, 0.01, 0.02)).tolist() == [T] * 8 + [V, E]
    starts[8] = 7  # with the session before it: both fall after the test cut
    assert splits.by_share(starts, (0.6, 0.2, 0.2)).tolist() == [T] * 6 + [V] + [E] * 3
    starts[5:9] = 5
    with pytest.raises(UsageError, match="no validation session"):
        splits.by_share(starts, (0.5, 0.3, 0.2))


@pytest.mark.parametrize(
    ("split", "part"),
    [
        ({"session_time": [0.6, 0.4]}, "three shares"),
        ({"session_time": [1, 1, 0]}, "three shares"),
        ({"session_time": [1, -1, 1]}, "three shares"),
        ({"session_time": {"test_days": 0}}, "whole days"),
        ({"session_time": {"test_days": 1.5}}, "whole days"),
        (
            {"session_time": {"days": 1}},
            "unknown key days in eval_args.split.session_time: did you mean test_days",
        ),
        ({"session_time": {"test_days": 400}}, "no training session"),
        ({"given": {"valid": 0.1}}, "unknown key valid in eval_args.split.given: did you mean valid_share"),
        ({"given": {"valid_share": 1}}, "from 0 to below 1"),
        ({"session_random": [0.6, 0.4]}, "session_random has the value .* three shares"),
        ({"session_random": {"shares": [8, 1, 1], "seed": 0.5}}, "seed: 1}"),
        ({"session_random": {"seed": 1}}, "shares: "),
        ({"session_random": {"shares": [8, 1, 1], "sead": 1}}, "unknown key sead in .*: did you mean seed"),
        ({"session_random": [1, 1, 1000]}, "no training session"),
        ({"LSS": "valid_and_test"}, "unknown key LSS in eval_args.split: did you mean LS"),
        ({"hash": 1}, "choose one of LS, RS, TS, session_time, given, session_random"),
        ({"LS": "valid_and_test", "RS": [1, 1, 1]}, "write one of LS"),
    ],
)
def test_wrong_values_get_one_sentence(write_log, make_config, split, part):
    write_log(six())
    with pytest.raises(UsageError, match=part) as error:
        build(make_config(split=split))
    assert "\n" not in str(error.value)


def test_split_column_is_checked(write_log, make_config):
    write_log(six(label=False))
    with pytest.raises(UsageError, match="no column split:token"):
        build(make_config(split={"given": {}}))
    rows = six()
    rows[1]["split"] = "test"
    write_log(rows, "mixed")
    with pytest.raises(UsageError, match="session a changes"):
        build(make_config(dataset="mixed", split={"given": {}}))
    rows = six()
    rows[7]["split"] = "dev"
    write_log(rows, "unknown")
    with pytest.raises(UsageError, match="session c holds 'dev'"):
        build(make_config(dataset="unknown", split={"given": {}}))
    write_log([row for row in six() if row["split"] == "train"], "half")
    with pytest.raises(UsageError, match="no test session"):
        build(make_config(dataset="half", split={"given": {}}))


@pytest.mark.parametrize(
    "split", [{"given": {}}, {"session_time": [0.6, 0.2, 0.2]}, {"LS": "valid_and_test"}]
)
def test_split_column_reaches_no_model(write_log, make_config, split):
    write_log(six())
    for part in build(make_config(split=split)):
        assert not [field for field in part[slice(None)].interaction if field.startswith("split")]
        assert "split" not in part.field2type and "split_list" not in part.field2type
        assert "split" not in part.events


def log_with_future(planted):
    """Training sessions a, b, c; validation d; test f. `planted` adds and changes what starts from d on."""
    items = [
        {"item_id": i, "category": f"c{n}", "price": p}
        for n, (i, p) in enumerate(zip("pqr", ("2.5", "", "4.1")))
    ]
    rows = six(label=False)
    if planted:
        rows = [row for row in rows if row["session_id"] != "f"]
        extra = [("g", (310, "zzpz", "")), ("h", (390, "qzrz", "")), ("k", (401, "yrz", ""))]
        rows += six(label=False, extra=extra)[len(six()) :]
        rows.insert(0, rows.pop())  # and ids given out in another order
        items.insert(0, {"item_id": "z", "category": "future", "price": "1e6"})
    return rows, items


def training_view(part):
    """What a model can see of training, by token: rows, prefixes, counts and training items' features."""
    items = part.field2id_token["item_id"]
    categories = part.field2id_token["category"]
    trained = np.flatnonzero(part.train_items)
    features = {
        items[i]: (categories[part.item_feat["category"][i]], part.item_feat["price"][i].numpy().tobytes())
        for i in trained
    }
    times = part[slice(None)]["timestamp_list"].numpy().tobytes()
    counts = {items[i]: n for i, n in part.item_counter.items()}
    return pairs(part), times, features, counts, tokens(part), part.inter_matrix("csr").sum()


@pytest.mark.parametrize("kind", ["SessionDataset", "SessionEventsDataset"])
def test_the_future_does_not_reach_training(write_log, make_config, kind):
    """Sessions, an item and features planted after the training part leave training the same bit for bit."""
    from recbole_ext.data.general import SessionEventsDataset
    from recbole_ext.data.session_dataset import SessionDataset

    cls = {"SessionDataset": SessionDataset, "SessionEventsDataset": SessionEventsDataset}[kind]
    views, parts = [], []
    for name, planted in (("past", False), ("future", True)):
        rows, items = log_with_future(planted)
        write_log(rows, name, items=items, manifest={"time_origin": 0})
        # training is what starts before 300: 3 of 6 sessions, then 3 of 8
        split = {"session_time": [3, 2, 3] if planted else [3, 2, 1]}
        train, valid, test = build(make_config(dataset=name, split=split), cls)
        if cls is SessionDataset:
            views.append(training_view(train))
        else:
            names = train.field2id_token["item_id"]
            views.append((names[train.inter_feat["item_id"]].tolist(), training_view_counts(train)))
        parts.append((train, valid, test))
    assert views[0] == views[1]
    train, valid, test = parts[1]
    assert not train.train_items[train.token2id("item_id", "z")]
    assert any(prefix.count("z") for _, prefix, _ in pairs(test) + pairs(valid))  # it is there, later


def training_view_counts(part):
    items = part.field2id_token["item_id"]
    return {items[i]: n for i, n in part.item_counter.items()}, tokens(part)


def test_missing_prices_are_filled_from_training_items(write_log, make_config):
    rows, items = log_with_future(planted=True)
    write_log(rows, items=items)
    train, _, _ = build(make_config(split={"session_time": [3, 2, 3]}))
    price = train.item_feat["price"][train.token2id("item_id", "q")]
    assert float(price) == pytest.approx((2.5 + 4.1) / 2)


def test_held_out_sessions_see_their_own_prefix_only(write_log, make_config):
    write_log(six())
    _, valid, test = build(make_config(split={"session_time": [0.6, 0.2, 0.2]}))
    for part in (valid, test):
        rows = part[slice(None)]
        session = np.searchsorted(part.session_start, rows["event_index"].numpy(), side="right") - 1
        first = rows["event_index"] - rows["item_length"]
        assert (first.numpy() == part.session_start[session]).all()
        assert (part.events["session_id"][first] == rows["session_id"]).all()


def test_descriptions(make_config, write_log):
    write_log(six())
    line = describe_split(make_config(split={"LS": "valid_and_test"}))
    assert line == "LS valid_and_test: sessions straddle the split by definition; targets: all"
    line = describe_split(
        make_config(
            split={"session_time": {"test_days": 7, "valid_days": 7}},
            eval_targets="last",
            item_inter_num_interval="[5,inf)",
            user_inter_num_interval="[0, inf)",
        )
    )
    assert line == (
        "session_time test_days 7, valid_days 7: by session start, no session straddles; targets: last; "
        "computed on the training part: item_inter_num_interval [5,inf)"
    )
    line = describe_split(
        make_config(
            split={"session_random": {"shares": [8, 1, 1], "seed": 3}},
            empty_history=True,
            max_sessions_per_user=50,
            item_inter_num_interval="[5,inf)",
            inter_num_part="all",
            inter_num_passes=1,
        )
    )
    assert line == (
        "session_random 0.8, 0.1, 0.1, seed 3: random sessions: training holds later sessions than the test part; "
        "targets: all, first events too, from an empty history; at most 50 sessions a user; "
        "computed on the whole log, test part included: item_inter_num_interval [5,inf), inter_num_passes 1"
    )
    recboles = make_config(data_layout="recbole", item_inter_num_interval="[5,inf)")
    assert describe_split(recboles).endswith(
        "computed on the whole log, test part included: item_inter_num_interval [5,inf)"
    )
    for name in ("LS", "RS", "TS"):
        assert splits.straddles(name) and splits.straddles({name: None})
    for name in ("session_time", "given", "session_random"):
        assert not splits.straddles(name)


def test_filters_run_before_the_split(write_log, make_config):
    """k-core as in RecBole: c has one event and goes; t occurs once and goes; e's label stays whole."""
    write_log(six())
    core = {"user_inter_num_interval": "[2,inf)", "item_inter_num_interval": "[2,inf)"}
    core["inter_num_part"] = "all"
    parts = build(make_config(split={"given": {"valid_share": 0}}, **core))
    assert pairs(parts[2]) == [("e", "s", "q"), ("f", "s", "p")]
    assert parts[0].train_length.tolist() == [3, 4, 2, 0, 0]
    assert torch.equal(parts[0].train_items, parts[2].train_items)


def parts_by_name(config):
    return [{session for session, _, _ in pairs(part)} for part in build(config)]


def test_random_sessions_stay_whole_and_follow_their_own_seed(write_log, make_config, random_log):
    rows = random_log(sessions=101)
    counts = {name: 0 for name in (row["session_id"] for row in rows)}
    for row in rows:
        counts[row["session_id"]] += 1
    ranked = {name for name, count in counts.items() if count > 1}
    write_log(rows)
    split = {"session_random": {"shares": [0.8, 0.1, 0.1], "seed": 1}}
    train, valid, test = first = parts_by_name(make_config(split=split))
    assert train | valid | test == ranked and not (train & valid or train & test or valid & test)
    config = make_config(split=split)
    from recbole_ext.data.session_dataset import SessionDataset

    dataset = SessionDataset(config)
    dataset.build()
    sizes = np.bincount(dataset._session_parts(), minlength=3)
    assert sizes.tolist() == [81, 10, 10]  # of 101: a tenth rounded down, twice
    # the run's seed does not matter, the split's does
    assert parts_by_name(make_config(split=split, seed=7)) == first
    other = parts_by_name(make_config(split={"session_random": {"shares": [0.8, 0.1, 0.1], "seed": 2}}))
    assert other[2] != test
    zero = parts_by_name(make_config(split={"session_random": [8, 1, 1]}))
    assert zero == parts_by_name(make_config(split={"session_random": {"shares": [8, 1, 1], "seed": 0}}))
    assert zero != first
    # late sessions train, early ones are tested: the label says so
    place = {name: n for n, name in enumerate(counts)}
    assert min(place[s] for s in test) < max(place[s] for s in train)
    # nor does the order of the file, also where all sessions start at once and time orders none
    start = {row["session_id"]: row["timestamp"] for row in reversed(rows)}
    together = [{**row, "timestamp": row["timestamp"] - start[row["session_id"]]} for row in rows]
    shuffle = np.random.default_rng(5).permutation(len(rows))
    for name, log in (("shuffled", rows), ("together", together)):
        write_log([log[i] for i in shuffle], name)
        assert parts_by_name(make_config(dataset=name, split=split)) == first


@pytest.mark.parametrize(
    ("as_of", "split", "note"),
    [
        # sessions start at 0 … 400 s after 2015-09-04 00:00; e and f are tested, e starts at 300
        (300, {"session_time": [0.6, 0.2, 0.2]}, "item features as of 2015-09-04"),
        (
            401,
            {"session_time": [0.6, 0.2, 0.2]},
            "item features as of 2015-09-04, after the first test session of 2015-09-04: they know the future",
        ),
        (
            7 * DAY,
            {"LS": "valid_and_test"},
            "item features as of 2015-09-11, after the first test event of 2015-09-04: they know the future",
        ),
        (-DAY, {"LS": "valid_and_test"}, "item features as of 2015-09-03"),
        ("latest", {"given": {}}, "item features are the latest of the whole log: they know the future"),
        (None, {"given": {}}, None),
    ],
)
def test_features_that_know_the_future_are_called_so(write_log, make_config, as_of, split, note):
    origin = 1441324800
    manifest = {
        "time_origin": origin,
        "features_as_of": as_of if as_of in (None, "latest") else origin + as_of,
    }
    items = [{"item_id": i, "category": "c"} for i in "pqr"]
    write_log(six(label="given" in split), items=items, manifest=manifest)
    test = build(make_config(split=split))[2]
    assert test.notes == ([] if note is None else [note])
    write_log(six(label="given" in split), "plain", manifest=manifest)
    assert build(make_config(dataset="plain", split=split))[2].notes == []  # no features at all


# --- refit --------------------------------------------------------------------------------------------------


def test_refit_makes_validation_sessions_train_and_knows_nothing_of_the_test_part(write_log, make_config):
    """a b c train, d e validate, f tests from 400 on: what happens later in any other session trains neither way."""
    write_log(six(label=False))
    split = {"session_time": [0.6, 0.2, 0.2]}
    plain, refitted = build(make_config(split=split)), build(make_config(split=split, refit=True))
    assert pairs(plain[0]) == [("a", "p", "q"), ("b", "q", "r")]
    assert pairs(refitted[0]) == [("a", "p", "q"), ("a", "pq", "r"), ("b", "q", "r")]
    assert pairs(refitted[1]) == []
    assert pairs(refitted[2]) == pairs(plain[2]) == [("f", "s", "t"), ("f", "st", "p")]
    assert tokens(plain[0]) == "pqr" and tokens(refitted[0]) == "pqrs", "s is of e, before 400; t is of f"


@pytest.mark.parametrize(
    "split", [{"given": {"valid_share": 0.5}}, {"session_random": {"shares": [0.5, 0.3, 0.2], "seed": 5}}]
)
def test_refit_of_other_splits_trains_on_both_parts_whole(write_log, make_config, split):
    write_log(six())
    plain, refitted = build(make_config(split=split)), build(make_config(split=split, refit=True))
    assert pairs(plain[1]) and sorted(pairs(refitted[0])) == sorted(pairs(plain[0]) + pairs(plain[1]))
    assert pairs(refitted[1]) == [] and pairs(refitted[2]) == pairs(plain[2]) != []


def test_refit_filters_look_at_validation_sessions_too(write_log, make_config):
    """p is in 2 training events and in 3 of both parts, so a limit of 3 keeps it in the refit only."""
    write_log(six())
    keys = {
        "split": {"given": {"valid_share": 0.25}},
        "item_inter_num_interval": "[3,inf)",
        "inter_num_part": "train",
    }
    assert tokens(build(make_config(**keys))[0]) == "qr"
    assert tokens(build(make_config(refit=True, **keys))[0]) == "pqr"


def test_refit_says_so_and_refuses_splits_that_cut_sessions(write_log, make_config):
    write_log(six())
    given = make_config(split={"given": {}}, refit=True)
    assert "; trained on training + validation; targets" in describe_split(given)
    assert "validation" not in describe_split(make_config(split={"given": {}}, refit=False))
    for split in ({"LS": "valid_and_test"}, {"RS": [8, 1, 1]}, {"TS": [8, 1, 1]}):
        for model in ("GRU4Rec", "BPR"):
            from recbole.data import create_dataset

            with pytest.raises(
                UsageError, match=f"split {next(iter(split))} cuts sessions: use session_time"
            ):
                create_dataset(make_config(model, split=split, refit=True))
    with pytest.raises(UsageError, match="refit is 'maybe': write True or False"):
        make_config(split={"given": {}}, refit="maybe")


# --- parts without a target -----------------------------------------------------------------------------------


def prepared(config):
    """The three parts, as they come out of RecBole's data_preparation."""
    from recbole.data import create_dataset, data_preparation

    return [loader._dataset for loader in data_preparation(config, create_dataset(config))]


def singles(part):
    """Twenty sessions in order of start, of two events, but those of `part` have one."""
    at = {"train": range(16), "valid": range(16, 18), "test": range(18, 20)}[part]
    return [
        {"session_id": f"s{s}", "item_id": item, "timestamp": 10 * s + n}
        for s in range(20)
        for n, item in enumerate("ab"[: 1 if s in at else 2])
    ]


@pytest.mark.parametrize("model", ["GRU4Rec", "SASRec", "SR", "HRNNFeat"])
@pytest.mark.parametrize(("part", "named"), [("train", "training"), ("test", "test")])
def test_a_part_without_a_target_is_refused_before_training(write_log, make_config, model, part, named):
    write_log(singles(part))
    with pytest.raises(UsageError, match=f"leaves no target in the {named} part.*set empty_history: True"):
        prepared(make_config(model, split={"session_time": [0.8, 0.1, 0.1]}))


def test_first_events_are_targets_enough(write_log, make_config):
    write_log(singles("test"))
    parts = prepared(make_config(split={"session_time": [0.8, 0.1, 0.1]}, empty_history=True))
    assert [len(part) for part in parts] == [32, 4, 2]


def test_validation_without_a_target_is_told(write_log, make_config):
    write_log(singles("valid"))
    test = prepared(make_config(split={"session_time": [0.8, 0.1, 0.1]}))[2]
    assert len(test.notes) == 1 and "no target in the validation part" in test.notes[0]
    test = prepared(make_config(split={"session_time": [0.9, 0, 0.1]}))[2]
    assert test.notes == []


def test_a_split_without_a_test_part_is_refused(write_log, tmp_path, monkeypatch):
    import recbole_ext

    monkeypatch.chdir(tmp_path)
    write_log(
        [{"session_id": f"s{s}", "item_id": f"i{n}", "timestamp": n} for s in range(4) for n in range(4)]
    )
    settings = {"eval_args": {"split": {"LS": "valid_only"}}, "data_path": str(tmp_path / "data")}
    for model, layout in (("BPR", "recbole"), ("GRU4Rec", "recbole"), ("GRU4Rec", "pointers")):
        with pytest.raises(UsageError, match="leaves nothing to rank in the test part"):
            recbole_ext.run(model, "toy", data_layout=layout, show_progress=False, **settings)
