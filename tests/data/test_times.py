"""When events happened: a time column that is one, no time made up, and the order of the file where times tie."""

import numpy as np
import pytest

from recbole_ext.errors import UsageError

LAYOUTS = [("GRU4Rec", "pointers"), ("GRU4Rec", "recbole"), ("Pop", "pointers"), ("BPR", "recbole")]


def whole(config):
    from recbole.data import create_dataset

    return create_dataset(config)


def sessions_of(dataset):
    """Items of each session in order of time, by their names."""
    events = dataset.inter_feat
    tokens = {field: dataset.field2id_token[field] for field in ("session_id", "item_id")}
    found = {}
    for session, item in zip(np.asarray(events["session_id"]), np.asarray(events["item_id"])):
        found.setdefault(str(tokens["session_id"][session]), []).append(str(tokens["item_id"][item]))
    return found


@pytest.mark.parametrize(("model", "layout"), LAYOUTS)
def test_a_time_column_of_tokens_is_refused(write_log, make_config, random_log, model, layout):
    write_log(random_log(), types={"timestamp": "token"})
    with pytest.raises(
        UsageError, match=r"TIME_FIELD timestamp of toy is of type token.*write timestamp:float"
    ):
        whole(make_config(model, data_layout=layout))


def test_a_model_that_needs_no_order_reads_a_log_without_times(write_log, make_config, random_log):
    write_log(random_log(), types={"timestamp": "token"})
    config = make_config("BPR", split={"RS": [0.8, 0.1, 0.1]}, data_layout="recbole")
    config["eval_args"]["order"] = "RO"
    assert len(whole(config).build()) == 3


@pytest.mark.parametrize(("model", "layout"), LAYOUTS)
@pytest.mark.parametrize("missing", ["", "NA", "inf", "-inf"])
def test_an_event_without_a_time_is_left_out_and_counted(write_log, make_config, model, layout, missing):
    log = [
        {"session_id": f"s{s}", "item_id": f"i{n}", "timestamp": 10 * s + n}
        for s in range(6)
        for n in range(4)
    ]
    log[1]["timestamp"] = log[22]["timestamp"] = missing
    write_log(log)
    dataset = whole(make_config(model, data_layout=layout))
    assert len(dataset.inter_feat) == 22
    assert dataset.notes[0] == "2 of 24 events have no time (timestamp is empty or infinite): left out"
    found = sessions_of(dataset)
    assert found["s0"] == ["i0", "i2", "i3"] and found["s5"] == ["i0", "i1", "i3"]


def test_a_log_without_a_single_time_is_refused(write_log, make_config, random_log):
    write_log([{**row, "timestamp": ""} for row in random_log()])
    with pytest.raises(UsageError, match="no event of toy has a time: fill its column timestamp"):
        whole(make_config())


def test_limits_count_no_event_without_a_time(write_log, make_config):
    """Session s1 has two events with a time, and three are asked."""
    log = [
        {"session_id": f"s{s}", "item_id": f"i{n}", "timestamp": 10 * s + n}
        for s in range(4)
        for n in range(3)
    ]
    log[4]["timestamp"] = ""
    write_log(log)
    dataset = whole(make_config(user_inter_num_interval="[3,inf)", inter_num_part="all"))
    assert sorted(sessions_of(dataset)) == ["s0", "s2", "s3"]


def tied_log(sessions=60):
    """Sessions of twenty events at one instant, in an order of their own, the sessions' events mixed in the file."""
    random = np.random.default_rng(1)
    left = {s: list(random.permutation(30)[:20]) for s in range(sessions)}
    rows = []
    while left:
        session = int(random.choice(list(left)))
        rows.append(
            {"session_id": f"s{session}", "item_id": f"i{left[session].pop(0)}", "timestamp": session // 7}
        )
        if not left[session]:
            del left[session]
    return rows


@pytest.mark.parametrize(("model", "layout"), LAYOUTS)
@pytest.mark.parametrize("keep", ["first", "last"])
def test_events_of_one_instant_keep_the_order_of_the_file(write_log, make_config, model, layout, keep):
    """Where nothing is doubled, removing what is doubled changes nothing."""
    log = tied_log()
    write_log(log)
    expected = {}
    for row in log:
        expected.setdefault(row["session_id"], []).append(row["item_id"])
    assert sessions_of(whole(make_config(model, data_layout=layout, rm_dup_inter=keep))) == expected


def test_prefixes_of_tied_events_are_those_of_the_file_in_both_layouts(write_log, make_config):
    from recbole.data import create_dataset

    log = tied_log(12)
    write_log(log)
    seen = []
    for layout in ("pointers", "recbole"):
        train = create_dataset(make_config(data_layout=layout, rm_dup_inter="first")).build()[0]
        rows = train[np.arange(len(train))]
        names = train.field2id_token["item_id"]
        seen.append(sorted(" ".join(names[row]) for row in rows["item_id_list"].numpy()))
    assert seen[0] == seen[1]
    session = [row["item_id"] for row in log if row["session_id"] == "s0"]
    padding = " ".join(["[PAD]"] * (50 - 17))
    assert f"{' '.join(session[:17])} {padding}" in seen[0]


def test_seconds_of_today_are_told_apart(write_log, make_config):
    """As float32 they tie with those up to 128 away, and the file is in another order."""
    log = [{"session_id": "s0", "item_id": f"i{n}", "timestamp": 1_700_000_000 + n} for n in (3, 0, 4, 1, 2)]
    write_log(log)
    from recbole.data import create_dataset

    for layout in ("pointers", "recbole"):
        test = create_dataset(make_config(data_layout=layout)).build()[2]
        row = test[np.arange(1)]
        names = test.field2id_token["item_id"]
        assert [*names[row["item_id_list"][0, :4]], names[row["item_id"][0]]] == [
            "i0",
            "i1",
            "i2",
            "i3",
            "i4",
        ]


def test_rows_that_lack_session_and_item_are_left_out_each(write_log, make_config):
    """Dropping the first must not move the place of the second."""
    log = [{"session_id": f"s{n // 4}", "item_id": f"i{n}", "timestamp": n} for n in range(12)]
    log[0]["session_id"], log[11]["item_id"] = "", ""
    write_log(log)
    found = sessions_of(whole(make_config()))
    assert found == {
        **{"s0": ["i1", "i2", "i3"], "s1": ["i4", "i5", "i6", "i7"], "s2": ["i8", "i9", "i10"]},
    }
