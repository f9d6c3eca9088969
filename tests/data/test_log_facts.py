"""Facts of logs counted on paper, beside what the runs' own data set makes of the same logs, and what is warned of."""

import numpy as np
import pytest

from recbole_ext.data.log_facts import (
    Protocol,
    kept_on_average,
    log_facts,
    too_small,
    warnings_of,
)
from recbole_ext.data.prepare import Wanted
from recbole_ext.data.splits import Parting
from recbole_ext.errors import UsageError
from recbole_ext.settings.split import Split

DAY = 86400
HALF = DAY // 2
ALL = Wanted(None, None, None, False, None, None)

# session: (user, items), one starts each half day; the first six train, two validate, two test
TEN = {
    "s0": ("u1", "aba"),
    "s1": ("u2", "bb"),
    "s2": ("u1", "c"),
    "s3": ("", "ac"),
    "s4": ("u3", "ad"),
    "s5": ("u2", "abade"),  # its last event comes when s6 has begun, and does not train
    "s6": ("u4", "da"),
    "s7": ("", "c"),
    "s8": ("u1", "afeb"),
    "s9": ("u5", "aad"),
}


def rows(sessions, step=60, late=None):
    made = []
    for number, (name, (user, items)) in enumerate(sessions.items()):
        for place, item in enumerate(items):
            time = number * HALF + place * step
            if name == late and place == len(items) - 1:
                time = (number + 1) * HALF + 1
            made.append({"session_id": name, "user_id": user, "item_id": item, "timestamp": time})
    return made


def shares(folder, value=(0.6, 0.2, 0.2), name="session_time"):
    return Protocol(ALL, Parting(Split(name, list(value)), False, str(folder)))


@pytest.fixture
def facts_of(write_log, tmp_path):
    def facts(sessions, protocol=None, items=None, **more):
        write_log(rows(sessions, **more), items=items)
        folder = tmp_path / "data" / "toy"
        return log_facts(folder, "toy", protocol or shares(folder))

    return facts


def test_ten_sessions_on_paper(facts_of):
    found = facts_of(TEN, late="s5")
    assert (found["events"], found["sessions"], found["items"], found["visitors"]) == (25, 10, 6, 5)
    assert found["left_out"] == 0 and found["newest"] is True
    assert found["lengths"] == {"1": 2, "2": 4, "3-4": 3, "5-9": 1, "10+": 0}
    assert found["parts"] == {"train": 6, "valid": 2, "test": 2}
    assert found["targets"] == {"train": 8, "valid": 1, "test": 5}
    assert found["tested"] == 2
    assert found["repeats"] == pytest.approx(4 / 14)  # s0's a, s1's b, s5's a, s9's a
    assert found["repeats_last"] == pytest.approx(2 / 14)  # s1's b, s9's a
    assert found["cold"] == pytest.approx(2 / 5)  # f, and e that nobody had looked at by then
    assert found["few_shot"] == pytest.approx(2 / 5)  # b four times, d twice; a six times
    assert found["returning"] == pytest.approx(1 / 2)  # u1, not u5
    assert found["popular"] == pytest.approx(10 / 25)  # a
    assert found["lonely"] == pytest.approx(4 / 6)  # c, d, e, f
    assert found["top"] == ["a", "b", "d"]
    assert found["features"] == [] and found["kinds"] == {}
    assert found["days"] == pytest.approx(4.5 + 2 * 60 / DAY)
    assert (found["first_day"], found["last_day"]) == ("1970-01-01", "1970-01-05")


def test_the_last_event_alone_and_the_first_one_too(facts_of, tmp_path):
    parting = shares(tmp_path / "data" / "toy").parting
    last = facts_of(TEN, Protocol(ALL, parting, last_only=True), late="s5")
    assert last["targets"] == {"train": 8, "valid": 1, "test": 2}  # s7 has no second event
    assert last["cold"] == 0 and last["few_shot"] == 1  # b and d
    first = facts_of(TEN, Protocol(ALL, parting, first_too=True), late="s5")
    assert first["targets"] == {"train": 14, "valid": 3, "test": 7}


def test_the_busiest_visitors(write_log, tmp_path):
    """Of twelve in the test one has five events to guess and the others one: ten have fourteen of sixteen."""
    early = {f"a{n}": ("", "pq") for n in range(26)}
    late = {f"z{n}": (f"u{n}", "pqrpqr" if n == 3 else "pq") for n in range(12)}
    write_log(rows({**early, **late}))
    folder = tmp_path / "data" / "toy"
    found = log_facts(folder, "toy", shares(folder, [24 / 38, 2 / 38, 12 / 38]))
    assert found["parts"]["test"] == 12 and found["busiest"] == pytest.approx(14 / 16)
    found = log_facts(folder, "toy", shares(folder, [26 / 38, 2 / 38, 10 / 38]))
    assert found["parts"]["test"] == 10 and found["busiest"] is None


def test_features_and_kinds(write_log, tmp_path):
    log = [{**row, "event": "view" if row["item_id"] != "b" else "buy"} for row in rows(TEN)]
    items = [{"item_id": item, "category": "" if item in "ef" else "x", "price": 1} for item in "abcdef"]
    write_log(log, items=items)
    found = log_facts(tmp_path / "data" / "toy", "toy", shares(tmp_path / "data" / "toy"))
    assert found["kinds"] == {"view": 20, "buy": 5}
    assert [(one["name"], one["type"]) for one in found["features"]] == [
        ("category", "token"),
        ("price", "float"),
    ]
    assert found["features"][0]["share"] == pytest.approx(4 / 6) and found["features"][1]["share"] == 1


def test_periods_on_paper(facts_of):
    days = {"a": ("", "pq"), "b": ("", "pp"), "c": ("", "qr"), "d": ("", "r"), "e": ("", "st")}
    found = facts_of(days)  # two sessions a day, so day 0 pq pp, day 1 qr r, day 2 st
    first, second, third = found["periods"]
    assert [one["events"] for one in found["periods"]] == [4, 3, 2]
    assert [one["whole"] for one in found["periods"]] == [True, True, False]
    assert first["kept"] is None and first["new_items"] == 1
    assert second["new_items"] == pytest.approx(2 / 3) and second["kept"] == pytest.approx(1 / 2)  # q of p, q
    assert third["new_items"] == 1 and third["kept"] == 0
    assert kept_on_average(found) == pytest.approx(1 / 2)  # the third day is cut short


def test_the_most_popular_tenth_is_looked_at(write_log, tmp_path):
    """Of 200 items 20: the ten that change are half of them, and the other 180 do not count."""
    log = []
    for day in (0, 1):
        for item in range(200):
            steady, swapped = item < 10, 10 * (day + 1) <= item < 10 * (day + 2)
            for _ in range(3 if steady or swapped else 1):
                log.append((day * DAY + len(log), f"{item}"))
    log = [{"session_id": f"s{n // 4}", "item_id": i, "timestamp": t} for n, (t, i) in enumerate(log)]
    write_log(log)
    found = log_facts(tmp_path / "data" / "toy", "toy", shares(tmp_path / "data" / "toy"))
    assert [one["kept"] for one in found["periods"]] == [None, 0.5]


# --- beside the runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"empty_history": True},
        {"eval_targets": "last"},
        {"split": {"session_random": {"shares": [0.6, 0.2, 0.2], "seed": 3}}},
        {
            "item_inter_num_interval": "[4,inf)",
            "user_inter_num_interval": "[2,inf)",
            "inter_num_part": "train",
        },
        {"item_inter_num_interval": "[4,inf)", "inter_num_part": "all"},
        {"max_sessions_per_user": 3},
        {"cold_items": {"holdout": 0.2, "seed": 1}},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_the_facts_are_of_what_the_runs_train_on_and_rank(
    settings, write_log, make_config, random_log, tmp_path
):
    from recbole_ext.data.session_dataset import SessionDataset

    write_log(random_log(sessions=70))
    settings = {"split": {"session_time": [0.6, 0.2, 0.2]}, "data_layout": "pointers", **settings}
    config = make_config(**settings)
    folder = str(tmp_path / "data" / "toy")
    found = log_facts(folder, "toy", Protocol.of(config, folder))
    train, valid, test = SessionDataset(config).build()
    assert found["targets"] == {"train": len(train), "valid": len(valid), "test": len(test)}
    target = test.inter_feat["item_id"]
    cold = ~train.train_items[target].numpy()
    assert found["cold"] == pytest.approx(np.mean(cold)) and len(test) > 0
    assert (
        found["events"] == len(train.events)
        and found["left_out"] == len(random_log(sessions=70)) - found["events"]
    )


# --- what is said -------------------------------------------------------------------------------------------


def test_each_warning_has_its_cause(facts_of):
    said = " ".join(warnings_of(facts_of(TEN, late="s5")))
    assert "5 events to guess, in 2 sessions" in said and "4.5 days long" in said
    assert "40 % of the test events are of items that training never saw: without a table" in said
    assert "67 % of the items have fewer than 5 events" in said
    assert "There are no item features" in said
    for silent in ("Only ", "single event", "Nothing says which", "had before", "one kind", "leave 0"):
        assert silent not in said


def test_nothing_is_warned_of_a_log_that_has_all(facts_of):
    found = facts_of(TEN)
    found |= {
        "parts": {"train": 9000, "valid": 500, "test": 500},
        "targets": {"train": 1, "valid": 1, "test": 5000},
        "tested": 400,
    }
    found |= {"days": 30.0, "cold": 0.01, "lonely": 0.1, "features": [{"name": "x"}], "repeats": 0.1}
    found |= {"periods": [], "kinds": {"view": 1, "buy": 1}, "returning": 0.3}
    assert warnings_of(found) == []
    single = warnings_of({**found, "lengths": {**found["lengths"], "1": 6}})
    assert len(single) == 1 and single[0].startswith("60 % of the sessions are a single event")
    assert "10 busiest visitors of the test have 25 %" in warnings_of({**found, "busiest": 0.25})[0]
    few = {"whole": True, "kept": 0.2}
    assert "only 20 % of the most popular" in warnings_of({**found, "periods": [few, few]})[0]
    assert "Only 0.5 % of the test sessions" in warnings_of({**found, "returning": 0.005})[0]
    assert "Nothing says which sessions" in warnings_of({**found, "returning": None})[0]
    assert "leave 7 events" in warnings_of({**found, "left_out": 7})[0]
    assert "no times" in warnings_of({**found, "days": None})[0]


@pytest.mark.parametrize(
    ("sessions", "said"),
    [
        ({"a": ("", "pq"), "b": ("", "pq")}, "toy has 2 sessions, too few"),
        ({"a": ("", "p")}, "toy has 1 session, too few"),
    ],
)
def test_too_few_sessions(sessions, said, facts_of):
    with pytest.raises(UsageError, match=said):
        facts_of(sessions)


def test_a_part_without_a_second_event_is_named(facts_of):
    sessions = {**{f"s{n}": ("", "pq") for n in range(9)}, "last": ("", "p")}
    found = facts_of(sessions)
    assert too_small(found) == ""
    found = facts_of({**sessions, "s8": ("", "p")})
    assert "no test session has a second event" in too_small(found)


def test_what_is_no_log_of_sessions(write_log, tmp_path):
    folder = tmp_path / "data" / "toy"
    with pytest.raises(UsageError, match="does not exist: convert"):
        log_facts(folder, "toy", shares(folder))
    write_log([{"item_id": "a", "timestamp": 1}])
    with pytest.raises(UsageError, match="no column session_id"):
        log_facts(folder, "toy", shares(folder))
