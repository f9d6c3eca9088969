"""The Retail Rocket converter against results worked out on paper, naive loops, and the real samples."""

from __future__ import annotations

import json
import random
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recbole_ext.convert import ConvertError, convert
from recbole_ext.convert.categories import MAX_DEPTH, CategoryTree
from recbole_ext.convert.properties import named_feature

DAY1 = 1433116800  # 2015-06-01 00:00 UTC
EVENTS = "timestamp,visitorid,event,itemid,transactionid"
PROPERTIES = "timestamp,itemid,property,value"


def at(day: int, clock: str, ms: int = 0) -> int:
    """Unix ms of a time of day on 2015-06-`day`."""
    hours, minutes, *seconds = map(int, clock.split(":"))
    return (DAY1 + (day - 1) * 86400 + hours * 3600 + minutes * 60 + sum(seconds)) * 1000 + ms


# Thirty rows in no order. Visitor 7: a gap of just 30 minutes (same session), one of 30 minutes and 1 ms (next
# session). Visitor 5: one item viewed, put into the cart and bought in one millisecond. Visitor 9: repeats. Visitor
# 3: a session over midnight. Visitors 8 and 4 start in one second, 8 a few ms earlier.
LOG = [
    (at(1, "10:00"), 7, "view", 100, ""),
    (at(1, "10:30"), 7, "view", 101, ""),
    (at(1, "11:00", 1), 7, "view", 102, ""),
    (at(1, "11:05"), 7, "addtocart", 102, ""),
    (at(9, "09:00"), 7, "view", 100, ""),
    (at(9, "09:01"), 7, "view", 103, ""),
    (at(2, "08:00"), 5, "transaction", 100, "17"),
    (at(2, "08:00"), 5, "addtocart", 100, ""),
    (at(2, "08:00"), 5, "view", 100, ""),
    (at(2, "07:59", 500), 5, "view", 104, ""),
    (at(3, "12:00"), 9, "view", 101, ""),
    (at(3, "12:01"), 9, "view", 101, ""),
    (at(3, "12:02"), 9, "view", 101, ""),
    (at(3, "12:03"), 9, "addtocart", 101, ""),
    (at(3, "12:04"), 9, "view", 101, ""),
    (at(8, "23:50"), 3, "view", 100, ""),
    (at(9, "00:10"), 3, "view", 103, ""),
    (at(4, "06:00:00", 900), 4, "view", 102, ""),
    (at(4, "06:00:00", 100), 8, "view", 103, ""),
    (at(4, "06:10"), 4, "view", 104, ""),
    (at(4, "06:10"), 8, "view", 105, ""),
    (at(10, "05:00"), 8, "view", 106, ""),
    (at(10, "05:01"), 8, "view", 105, ""),
    (at(10, "05:40"), 8, "view", 100, ""),
    (at(10, "05:41"), 8, "transaction", 100, "18"),
    (at(1, "09:00"), 6, "view", 106, ""),
    (at(5, "01:00"), 6, "view", 100, ""),
    (at(5, "01:29"), 6, "view", 101, ""),
    (at(5, "01:58"), 6, "view", 102, ""),
    (at(6, "00:00"), 2, "view", 104, ""),
]
# What is planted: 100 moves to category 9 and 103 first gets one inside the test period (from 06-09, 00:00); 104's
# price changes there at its very first millisecond; 106 has nothing before. 999 is in no event.
PROPS = [
    (at(1, "00:00"), 100, "categoryid", "4"),
    (at(5, "00:00"), 100, "categoryid", "5"),
    (at(9, "00:00"), 100, "categoryid", "9"),
    (at(1, "00:00"), 101, "categoryid", "2"),
    (at(4, "00:00"), 102, "categoryid", "77"),
    (at(9, "01:00"), 103, "categoryid", "4"),
    (at(1, "00:00"), 104, "categoryid", "8"),
    (at(2, "00:00"), 999, "categoryid", "4"),
    (at(9, "12:00"), 106, "categoryid", "1"),
    (at(1, "00:00"), 100, "available", "1"),
    (at(8, "23:59"), 100, "available", "0"),
    (at(3, "00:00"), 101, "available", "1"),
    (at(1, "00:00"), 100, "790", "n277.200"),
    (at(8, "00:00"), 100, "790", "n12.000"),
    (at(1, "00:00"), 104, "790", "n5.500"),
    (at(9, "00:00"), 104, "790", "n999.000"),
    (at(1, "00:00"), 100, "888", "55 n3.000  66"),
    (at(1, "00:00"), 100, "112", "not asked for"),
]
TREE = [(1, ""), (2, "1"), (4, "2"), (5, "4"), (8, "8"), (9, "3")]  # 8 is its own parent, 3 is unknown

INTER = """\
session_id:token	user_id:token	item_id:token	timestamp:float	event:token
1	6	106	0	view
2	7	100	3600	view
2	7	101	5400	view
3	7	102	7200	view
3	7	102	7500	addtocart
4	5	104	82740	view
4	5	100	82800	view
4	5	100	82800	addtocart
4	5	100	82800	transaction
5	9	101	183600	view
5	9	101	183660	view
5	9	101	183720	view
5	9	101	183780	addtocart
5	9	101	183840	view
6	8	103	248400	view
6	8	105	249000	view
7	4	102	248400	view
7	4	104	249000	view
8	6	100	316800	view
8	6	101	318540	view
8	6	102	320280	view
9	2	104	399600	view
10	3	100	658200	view
10	3	103	659400	view
11	7	100	691200	view
11	7	103	691260	view
12	8	106	763200	view
12	8	105	763260	view
13	8	100	765600	view
13	8	100	765660	transaction
"""

# as known on 06-08, 24:00
ITEM = """\
item_id:token|category:token|category_path:token_seq|available:token|property_790:float|property_888:token_seq
100|5|5 4 2 1|0|12.0|55 3.000 66
101|2|2 1|1||
102|77|77|||
103|||||
104|8|8||5.5|
105|||||
106|||||
""".replace("|", "\t")


def write(folder: Path, log=LOG, props=PROPS, tree=TREE, parts: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"events.csv": (EVENTS, log), "category_tree.csv": ("categoryid,parentid", tree)}
    for part in range(parts):
        tables[f"item_properties_part{part + 1}.csv"] = (PROPERTIES, props[part::parts])
    for name, (head, rows) in tables.items():
        text = "\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n"
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def table(folder: Path, suffix: str) -> pl.DataFrame:
    return pl.read_csv(folder / f"{folder.name}.{suffix}", separator="\t", infer_schema=False)


GOLDEN = {"test_days": 2, "features": ["790:float", "888"]}


def test_golden_log(tmp_path: Path) -> None:
    manifest = convert("retailrocket", write(tmp_path / "raw"), tmp_path / "d", **GOLDEN)
    assert (tmp_path / "d" / "d.inter").read_text() == INTER
    assert (tmp_path / "d" / "d.item").read_text() == ITEM
    assert manifest["time_origin"] == DAY1 + 9 * 3600
    assert manifest["features_as_of"] == DAY1 + 8 * 86400
    assert manifest["counts"] == {
        "sessions": 13,
        "users": 8,
        "items": 7,
        "events": {"view": 25, "addtocart": 3, "transaction": 2},
    }
    rows = manifest["rows"]
    assert rows["events.csv"] == {"read": 30, "kept": 30, "dropped": {}}
    dropped: dict[str, int] = {}
    for part in (1, 2):
        for reason, count in rows[f"item_properties_part{part}.csv"]["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + count
    assert dropped == {
        "property not asked for": 1,
        "item without events": 1,
        "not yet known before the test period": 4,
    }
    assert manifest["notes"] == {
        "category of the tree whose parent is not in it": 1,
        "category of the tree that is in or under a cycle": 1,
        "item whose category is not in the tree": 1,
        "item without category": 3,
        "item without available": 5,
        "item without property_790": 5,
        "item without property_888": 6,
    }


def test_nothing_of_the_test_period_is_in_the_features(tmp_path: Path) -> None:
    """Whatever is written into the property log from 06-09 on, the files stay the same."""
    folder = write(tmp_path / "raw")
    convert("retailrocket", folder, tmp_path / "d", **GOLDEN)
    before = [(tmp_path / "d" / f"d.{suffix}").read_text() for suffix in ("inter", "item")]
    late = [row for row in PROPS if row[0] >= at(9, "00:00")]
    assert len(late) == 4
    for change in ([], [(t, i, p, "31" if p != "790" else "n0.1") for t, i, p, _ in late] * 2):
        write(folder, props=[row for row in PROPS if row not in late] + change)
        convert("retailrocket", folder, tmp_path / "d", **GOLDEN)
        assert [(tmp_path / "d" / f"d.{suffix}").read_text() for suffix in ("inter", "item")] == before


def test_order_of_rows_and_parts_does_not_matter(tmp_path: Path) -> None:
    for seed in range(5):
        shuffle = random.Random(seed)
        log, props, tree = list(LOG), list(PROPS), list(TREE)
        for rows in (log, props, tree):
            shuffle.shuffle(rows)
        folder = write(tmp_path / f"raw{seed}", log, props, tree, parts=2 + seed % 3)
        convert("retailrocket", folder, tmp_path / "d", **GOLDEN)
        assert (tmp_path / "d" / "d.inter").read_text() == INTER
        assert (tmp_path / "d" / "d.item").read_text() == ITEM


def test_as_of_event_writes_what_was_in_force(tmp_path: Path) -> None:
    convert("retailrocket", write(tmp_path / "raw"), tmp_path / "d", as_of="event", **GOLDEN)
    assert (tmp_path / "d" / "d.item").read_text() == ITEM
    inter = table(tmp_path / "d", "inter")
    assert [c for c in inter.columns if c.startswith("event_")] == [
        "event_category:token",
        "event_category_path:token_seq",
        "event_available:token",
        "event_property_790:float",
        "event_property_888:token_seq",
    ]
    of_100 = inter.filter(pl.col("item_id:token") == "100").select(
        "session_id:token",
        "event_category:token",
        "event_category_path:token_seq",
        "event_available:token",
        "event_property_790:float",
    )
    assert of_100.rows() == [
        ("2", "4", "4 2 1", "1", "277.2"),
        *[("4", "4", "4 2 1", "1", "277.2")] * 3,
        ("8", "5", "5 4 2 1", "1", "277.2"),
        ("10", "5", "5 4 2 1", "1", "12.0"),
        ("11", "9", "9", "0", "12.0"),
        *[("13", "9", "9", "0", "12.0")] * 2,
    ]
    of_103 = inter.filter(pl.col("item_id:token") == "103")["event_category:token"].to_list()
    assert of_103 == [None, None, "4"]  # 06-04, 06-09 at 00:10, 06-09 at 09:01; known from 01:00


def test_latest_is_labelled(tmp_path: Path) -> None:
    manifest = convert(
        "retailrocket", write(tmp_path / "raw"), tmp_path / "d", as_of="latest", features=GOLDEN["features"]
    )
    assert manifest["features_as_of"] == "latest"
    item = table(tmp_path / "d", "item")
    assert item["category:token"].to_list() == ["9", "2", "77", "4", "8", None, "1"]
    assert item["property_790:float"].to_list() == ["12.0", None, None, None, "999.0", None, None]


def test_test_start_and_all_items(tmp_path: Path) -> None:
    options = {"test_start": "2015-06-05", "all_items": True}
    manifest = convert("retailrocket", write(tmp_path / "raw"), tmp_path / "d", **options)
    assert manifest["features_as_of"] == DAY1 + 4 * 86400
    item = table(tmp_path / "d", "item")
    assert dict(zip(item["item_id:token"], item["category:token"])) == {
        "100": "4",
        "101": "2",
        "102": "77",
        "103": None,
        "104": "8",
        "105": None,
        "106": None,
        "999": "4",
    }


def test_sessions_of_the_sqn_protocol(tmp_path: Path) -> None:
    """A visitor's history is one session, and rows with a transaction go."""
    options = {"session": "visitor", "drop_transactions": True, "test_days": 2}
    manifest = convert("retailrocket", write(tmp_path / "raw"), tmp_path / "d", **options)
    assert manifest["counts"]["sessions"] == 8
    assert manifest["rows"]["events.csv"]["dropped"] == {"transaction (--drop-transactions)": 2}
    inter = table(tmp_path / "d", "inter")
    assert set(inter["event:token"]) == {"view", "addtocart"}
    by_visitor = inter.group_by("user_id:token", maintain_order=True).agg("item_id:token")
    assert dict(by_visitor.iter_rows()) == {
        "6": ["106", "100", "101", "102"],
        "7": ["100", "101", "102", "102", "100", "103"],
        "5": ["104", "100", "100"],
        "9": ["101"] * 5,
        "8": ["103", "105", "106", "105", "100"],
        "4": ["102", "104"],
        "2": ["104"],
        "3": ["100", "103"],
    }


def test_immediate_repeats_go_on_request(tmp_path: Path) -> None:
    manifest = convert("retailrocket", write(tmp_path / "raw"), tmp_path / "d", drop_repeats=True)
    assert manifest["rows"]["events.csv"]["dropped"] == {"repeats the event before it (--drop-repeats)": 2}
    inter = table(tmp_path / "d", "inter").filter(pl.col("session_id:token") == "5")
    assert inter["event:token"].to_list() == ["view", "addtocart", "view"]
    assert inter["timestamp:float"].to_list() == ["183600", "183780", "183840"]


def test_gap_minutes(tmp_path: Path) -> None:
    for gap, sessions in ((29, 14), (30, 13), (31, 12), (10**6, 8)):
        manifest = convert("retailrocket", write(tmp_path / "raw"), tmp_path / "d", gap_minutes=gap)
        assert manifest["counts"]["sessions"] == sessions


def test_files_that_are_not_there(tmp_path: Path) -> None:
    folder = write(tmp_path / "raw")
    (folder / "category_tree.csv").unlink()
    manifest = convert("retailrocket", folder, tmp_path / "d", test_days=2)
    assert manifest["notes"]["no category_tree.csv"] == 1
    assert "category_path" not in (tmp_path / "d" / "d.item").read_text().partition("\n")[0]
    (folder / "item_properties_part2.csv").unlink()
    with pytest.raises(ConvertError, match=r"item_properties_part2\.csv is not in .* with --properties"):
        convert("retailrocket", folder, tmp_path / "d")
    convert("retailrocket", folder, tmp_path / "d", properties="item_properties_part1.csv")
    (folder / "item_properties_part1.csv").rename(folder / "item_properties_part3.csv")
    with pytest.raises(ConvertError, match=r"item_properties_part1\.csv is not in"):
        convert("retailrocket", folder, tmp_path / "d")
    (folder / "item_properties_part3.csv").unlink()
    manifest = convert("retailrocket", folder, tmp_path / "d")
    assert manifest["notes"]["no item_properties_part1.csv"] == 1 and manifest["features_as_of"] is None
    assert not (tmp_path / "d" / "d.item").exists()
    (folder / "events.csv").unlink()
    with pytest.raises(ConvertError, match=r"No events\.csv .* in .*retailrocket-demo"):
        convert("retailrocket", folder, tmp_path / "d")


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("session", "day", "--session is 'day'"),
        ("gap_minutes", 0, "--gap-minutes is 0"),
        ("gap_minutes", float("nan"), "--gap-minutes is nan"),
        ("as_of", "now", "--as-of is 'now'"),
        ("test_days", 0, "--test-days is 0"),
        ("test_start", "June", "--test-start is 'June'"),
        ("test_start", "2015-06-12", "--test-start is 2015-06-12, but the last event is of 2015-06-10"),
        ("all_items", "maybe", "--all-items is 'maybe': write True or False"),
        ("first_date", datetime(2015, 1, 1, 3), "--first-date is datetime"),
        ("features", ["790:int"], "'790:int' is not NAME or NAME:TYPE"),
        ("features", ["categoryid"], "categoryid is always read"),
        ("features", ["790", "790:float"], "names one property twice"),
        ("properties", ["nowhere.csv"], "No file nowhere.csv"),
    ],
)
def test_wrong_options_are_one_sentence(tmp_path: Path, option: str, value: object, says: str) -> None:
    with pytest.raises(ConvertError, match=says.replace("(", r"\(")) as error:
        convert("retailrocket", write(tmp_path / "raw"), tmp_path / "d", **{option: value})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "d").exists()


def test_two_values_of_one_moment_do_not_depend_on_order(tmp_path: Path) -> None:
    props = [(at(1, "00:00"), 100, "888", value) for value in ("30", "5", "200")]
    for order in (props, props[::-1], props[1:] + props[:1]):
        manifest = convert(
            "retailrocket", write(tmp_path / "raw", props=order), tmp_path / "d", features=["888:token"]
        )
        assert table(tmp_path / "d", "item")["property_888:token"][0] == "5"  # the greatest text
        note = "property row that repeats another or is outdone by one of the same moment"
        assert manifest["notes"][note] == 2


@pytest.mark.slow
def test_as_of_against_a_loop(tmp_path: Path) -> None:
    """Random property logs, small memory: the values are those that a loop over sorted rows finds."""
    import recbole_ext.convert.properties as properties

    rng = np.random.default_rng(3)
    for seed in range(6):
        props = [
            (
                int(DAY1 * 1000 + 3_600_000 * rng.integers(0, 240)),
                int(100 + rng.integers(7)),
                name,
                str(value),
            )
            for name, value in zip(rng.choice(["categoryid", "available"], 120), rng.integers(0, 2, 120))
        ]
        folder = write(tmp_path / f"raw{seed}", props=props)
        for as_of in ("split", "event", "latest"):
            for limit in (properties.COMPACT_ROWS, 10):
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(properties, "COMPACT_ROWS", limit)
                    days = {} if as_of == "latest" else {"test_days": 2}
                    convert("retailrocket", folder, tmp_path / "d", as_of=as_of, **days)
                cut = float("inf") if as_of == "latest" else at(9, "00:00") - 1
                item = table(tmp_path / "d", "item")
                for row in item.iter_rows(named=True):
                    for name, column in (("categoryid", "category"), ("available", "available")):
                        expected = in_force(props, int(row["item_id:token"]), name, cut)
                        assert row[f"{column}:token"] == expected, (seed, as_of, row, name)
            if as_of == "event":
                for row in table(tmp_path / "d", "inter").iter_rows(named=True):
                    who = row["user_id:token"], row["event:token"], row["item_id:token"]
                    second = DAY1 + 9 * 3600 + int(row["timestamp:float"])
                    moments = {
                        t for t, *rest in LOG if tuple(map(str, rest[:3])) == who and t // 1000 == second
                    }
                    (moment,) = moments
                    expected = in_force(props, int(row["item_id:token"]), "categoryid", moment)
                    assert row["event_category:token"] == expected


def in_force(props: list, item: int, name: str, moment: float) -> str | None:
    rows = [(t, value) for t, i, p, value in props if (i, p) == (item, name) and t <= moment]
    return max(rows)[1] if rows else None


def test_tree_walks_end() -> None:
    parents = {1: None, 2: 1, 3: 2, 4: 4, 5: 6, 6: 5, 7: 5, 8: 99}
    deep = {1000 + n: 1000 + n - 1 if n else None for n in range(MAX_DEPTH + 3)}
    tree = CategoryTree({**parents, **deep}.items())
    assert [tree.path(c) for c in (1, 2, 3, 4, 5, 6, 7, 8, 50)] == [
        [1], [2, 1], [3, 2, 1], [4], [5, 6], [6, 5], [7, 5, 6], [8], [50],
    ]  # fmt: skip
    assert tree.path(1000 + MAX_DEPTH - 1) == list(range(1000 + MAX_DEPTH - 1, 999, -1))
    assert len(tree.path(1000 + MAX_DEPTH + 2)) == MAX_DEPTH
    assert list(tree.notes.values()) == [1, 4, 3]


def test_named_features() -> None:
    feature = named_feature("790:float")
    assert (feature.property, feature.column, feature.type) == ("790", "property_790", "float")
    assert named_feature("888").type == "token_seq"
    for wrong in ("", ":float", "a b", "790:", "790:float:x"):
        if wrong == "790:":
            assert named_feature(wrong).type == "token_seq"
            continue
        with pytest.raises(ValueError, match="is not NAME or NAME:TYPE"):
            named_feature(wrong)


# --- real rows


def test_real_sample(shared_data: Path, tmp_path: Path) -> None:
    """Original rows, with the extra column `datetime` and ids of transactions such as 8693.0."""
    raw = shared_data / "retailrocket" / "raw"
    manifest = convert("retailrocket", raw, tmp_path / "d", events="sample_events.csv")
    assert manifest["rows"]["sample_events.csv"] == {
        "read": 9385,
        "kept": 9382,
        "dropped": {"duplicate row": 3},
    }
    assert manifest["counts"] == {
        "sessions": 6229,
        "users": 5000,
        "items": 6610,
        "events": {"view": 9075, "addtocart": 261, "transaction": 46},
    }
    inter = table(tmp_path / "d", "inter")
    assert inter.height == 9382 and inter["session_id:token"].n_unique() == 6229


def test_real_buyers(shared_data: Path, tmp_path: Path) -> None:
    """The counts of the data's own page: sessions by a 30-minute gap, those of 2+ events, returning visitors."""
    raw = shared_data / "retailrocket" / "raw"
    manifest = convert("retailrocket", raw, tmp_path / "d", events="buyers_events.csv")
    assert manifest["counts"]["sessions"] == 15877 and manifest["counts"]["users"] == 2174
    assert manifest["notes"]["transaction without transactionid"] == 9551
    inter = table(tmp_path / "d", "inter")
    sessions = inter.group_by("session_id:token", "user_id:token").len()
    long = sessions.filter(pl.col("len") >= 2)
    assert long.height == 10174
    assert long.group_by("user_id:token").len().filter(pl.col("len") >= 2).height == 1062
    assert json.loads((tmp_path / "d" / "manifest.json").read_text())["features_as_of"] is None


def test_a_feature_that_the_log_does_not_have_is_noted(tmp_path: Path) -> None:
    folder = write(tmp_path / "raw")
    noted = "property {} of --features is not in the rows kept (check its name)"
    notes = convert("retailrocket", folder, tmp_path / "d", features=["790:float", "31415"])["notes"]
    assert notes[noted.format(31415)] == 1 and noted.format(790) not in notes
    notes = convert("retailrocket", folder, tmp_path / "d", features=["790"], test_start="2015-05-01")[
        "notes"
    ]
    assert notes[noted.format(790)] == 1
    assert notes["test period starts before the first event"] == 1
    assert notes["item without category"] == 7


@pytest.mark.parametrize(
    ("source", "option", "says"),
    [
        ("retailrocket", "evnts", r"unknown key evnts: did you mean events\?"),
        ("diginetica", "qqq", "unknown key qqq: it may hold all_items"),
        ("synthetic", "scale", "synthetic makes raw logs"),
    ],
)
def test_options_that_a_converter_does_not_have(tmp_path: Path, source: str, option: str, says: str) -> None:
    with pytest.raises(ConvertError, match=says):
        convert(source, write(tmp_path / "raw"), tmp_path / "d", **{option: 1})
