"""New days behind a log: the bytes of one conversion of all days, and what is counted, renumbered and refused."""

import json
import shutil
from datetime import date
from pathlib import Path

import pytest

from recbole_ext.convert import convert
from recbole_ext.convert.join import AtomicLog, join, name_of
from recbole_ext.errors import ConvertError

DAY = 86_400
FIRST = 1_464_220_800  # 2016-05-26
# session, user, item, unix seconds, kind
EVENTS = [
    *[("s1", "u1", "a", FIRST + 100, "view"), ("s1", "u1", "b", FIRST + 160, "view")],
    *[("s2", "u2", "a", FIRST + DAY + 10, "view"), ("s2", "u2", "c", FIRST + DAY + 11, "purchase")],
    *[("s3", "u1", "b", FIRST + 2 * DAY + 5, "view"), ("s3", "u1", "d", FIRST + 2 * DAY + 5, "view")],
    *[("s4", "u3", "d", FIRST + 3 * DAY, "view"), ("s4", "u3", "e", FIRST + 3 * DAY + 60, "view")],
]
ITEMS = {"a": "red", "b": "blue", "c": "", "d": "red", "e": "green"}


def atomic(place: Path, events, session: bool = True, items=ITEMS, **options) -> Path:
    """Events as the csv converter makes atomic files of them, with their items' colours; without `session` by user."""
    place.mkdir(parents=True)
    head = "session,user,item,time,event" if session else "user,item,time,event"
    rows = [",".join(map(str, row if session else row[1:])) for row in events]
    (place / "events.csv").write_text("\n".join([head, *rows]) + "\n")
    here = {row[2] for row in events}
    lines = [f"{item},{colour}" for item, colour in items.items() if item in here]
    (place / "items.csv").write_text("\n".join(["item,colour", *lines]) + "\n")
    out = place / "log"
    convert("csv", place / "events.csv", out, items=place / "items.csv", **options)
    return out


def text(folder: Path, kind: str) -> list[str]:
    return (folder / f"log.{kind}").read_text().splitlines()


@pytest.mark.parametrize("session", [True, False])
def test_the_bytes_of_one_conversion(tmp_path, session):
    whole = atomic(tmp_path / "whole", EVENTS, session)
    days = [atomic(tmp_path / str(n), EVENTS[n : n + 2], session) for n in (0, 2, 4, 6)]
    out = tmp_path / "joined" / "log"
    found = join(days[0], days[1:], out)
    assert text(out, "inter") == text(whole, "inter")
    assert sorted(text(out, "item")) == sorted(text(whole, "item"))
    assert (found["time_origin"], found["counts"]) == (
        FIRST + 100,
        {**found["counts"], "sessions": 4, "items": 5},
    )
    assert found["notes"]["new item"] == 3 and sum(row["read"] for row in found["rows"].values()) == 8
    made = (out / "manifest.json").stat().st_mtime_ns
    assert join(days[0], days[1:], out) == json.loads((out / "manifest.json").read_text())
    assert (out / "manifest.json").stat().st_mtime_ns == made  # the same files again: nothing to do
    with pytest.raises(ConvertError, match="holds another log"):
        join(days[0], days[2:], out)


def test_a_session_goes_on_and_what_is_held_is_left_out(tmp_path):
    old = atomic(tmp_path / "old", EVENTS[:3])
    new = atomic(tmp_path / "new", [EVENTS[2], ("s2", "u2", "c", FIRST + DAY + 11, "purchase"), EVENTS[6]])
    out = tmp_path / "joined" / "log"
    found = join(old, [new], out)
    assert text(out, "inter")[1:] == [
        *("s1\tu1\ta\t0\tview", "s1\tu1\tb\t60\tview"),
        *(f"s2\tu2\ta\t{DAY - 90}\tview", f"s2\tu2\tc\t{DAY - 89}\tpurchase"),
        f"s4\tu3\td\t{3 * DAY - 100}\tview",
    ]
    assert found["rows"]["log.inter, events 1"] == {
        "read": 3,
        "kept": 2,
        "dropped": {"the log holds it already": 1},
    }
    assert found["notes"]["session that goes on in the new events"] == 1
    assert found["notes"]["event left out, as the log holds it already"] == 1


def test_days_and_their_items_are_forgotten(tmp_path):
    old, new = atomic(tmp_path / "old", EVENTS[:4]), atomic(tmp_path / "new", EVENTS[4:])
    out = tmp_path / "joined" / "log"
    found = join(old, [new], out, date(2016, 5, 27))
    assert [line.split("\t")[0] for line in text(out, "inter")[1:]] == ["s2", "s2", "s3", "s3", "s4", "s4"]
    assert found["time_origin"] == FIRST + DAY + 10 and text(out, "inter")[1].split("\t")[3] == "0"
    assert (found["notes"]["session forgotten"], found["notes"].get("item forgotten", 0)) == (1, 0)
    found = join(old, [new], tmp_path / "later" / "log", date(2016, 5, 28))
    assert [line.split("\t")[0] for line in text(tmp_path / "later" / "log", "item")[1:]] == ["b", "d", "e"]
    assert found["notes"]["item forgotten"] == 2
    with pytest.raises(ConvertError, match="leaves no session"):
        join(old, [new], tmp_path / "none" / "log", date(2017, 1, 1))


def test_the_newest_features_hold(tmp_path):
    old = atomic(tmp_path / "old", EVENTS[:4])
    new = atomic(tmp_path / "new", EVENTS[4:], items={**ITEMS, "b": "black", "d": ""})
    found = join(old, [new], tmp_path / "joined" / "log")
    assert dict(line.split("\t") for line in text(tmp_path / "joined" / "log", "item")[1:]) == {
        **ITEMS,
        "b": "black",
        "d": "",
    }
    assert found["notes"]["item whose features have changed (the newest are kept)"] == 1


def test_what_cannot_be_joined(tmp_path):
    by_user = [atomic(tmp_path / f"{n}", EVENTS[n : n + 4], session=False) for n in (0, 2)]
    with pytest.raises(ConvertError, match="give only events after that"):
        join(by_user[0], by_user[1:], tmp_path / "a" / "log")
    old = atomic(tmp_path / "old", EVENTS[:4])
    bare = tmp_path / "bare.inter"
    bare.write_text("session_id:token\titem_id:token\ttimestamp:float\ns9\ta\t5\n")
    with pytest.raises(ConvertError, match="has no column user_id, which the log has"):
        join(old, [bare], tmp_path / "b" / "log")
    bare.write_text("session_id:token\titem_id:token\ttimestamp:float\tcolour:token\ns9\ta\t5\tred\n")
    with pytest.raises(ConvertError, match="has a column colour, which the log does not have"):
        join(old, [bare], tmp_path / "c" / "log")
    bare.write_text("session_id:token\titem_id:token\titem_id:token\ns9\ta\ta\n")
    with pytest.raises(ConvertError, match="has two columns item_id"):
        join(old, [bare], tmp_path / "c" / "log")
    bare.write_text("")
    with pytest.raises(ConvertError, match="cannot be read"):
        join(old, [bare], tmp_path / "c" / "log")
    with pytest.raises(ConvertError, match="nowhere holds no"):
        join(old, [tmp_path / "nowhere"], tmp_path / "d" / "log")
    assert not list(tmp_path.glob("[abcd]"))


def test_running_numbers_go_on(tmp_path):
    files = []
    for number, (session, item) in enumerate((("s1", "a"), ("s2", "b"))):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        (folder / "log.inter").write_text(
            f"session_id:token\titem_id:token\ttimestamp:float\n{session}\t{item}\t1\n{session}\tc\t2\n"
        )
        size = (folder / "log.inter").stat().st_size
        outputs = [{"name": "log.inter", "bytes": size}]
        (folder / "manifest.json").write_text(json.dumps({"time_origin": None, "outputs": outputs}))
        files.append(folder)
    found = join(files[0], files[1:], tmp_path / "joined" / "log")
    assert text(tmp_path / "joined" / "log", "inter")[1:] == ["s1\ta\t1", "s1\tc\t2", "s2\tb\t3", "s2\tc\t4"]
    assert found["time_origin"] is None
    for again in ([files[0]], [files[1], files[1]]):
        with pytest.raises(ConvertError, match="no new event in"):
            join(files[0], again, tmp_path / "again" / "log")
    with pytest.raises(ConvertError, match="no days to forget"):
        join(files[0], files[1:], tmp_path / "again" / "log", date(2016, 5, 27))


def test_new_days_say_what_their_times_count_from(tmp_path):
    old, new = atomic(tmp_path / "old", EVENTS[2:6]), atomic(tmp_path / "new", EVENTS[6:])
    before = atomic(tmp_path / "before", EVENTS[:2])
    with pytest.raises(
        ConvertError, match=r"ends at 2016-05-26 00:02:40, before the log begins, at 2016-05-27"
    ):
        join(old, [before], tmp_path / "a" / "log")
    manifest = new / "manifest.json"
    for origin in ("2016", True):
        manifest.write_text(json.dumps({"time_origin": origin, "outputs": []}))
        with pytest.raises(ConvertError, match="time_origin is"):
            join(old, [new], tmp_path / "b" / "log")
    manifest.unlink()
    with pytest.raises(ConvertError, match=r"no manifest\.json beside it, which is required"):
        join(old, [new], tmp_path / "c" / "log")
    assert not list(tmp_path.glob("[abc]"))


def test_logs_without_a_manifest_go_on_without_one(tmp_path):
    """They count from 1970, all of them, and so do new days behind the log that was joined of them."""
    files = []
    for number in range(3):
        (tmp_path / f"{number}").mkdir()
        row = f"s{number}\ta\t{FIRST + number * DAY}\n"
        files.append(tmp_path / f"{number}" / "log.inter")
        files[-1].write_text(f"session_id:token\titem_id:token\ttimestamp:float\n{row}")
    join(files[0], files[1:2], tmp_path / "once" / "log")
    found = join(tmp_path / "once" / "log", files[2:], tmp_path / "twice" / "log")
    assert found["time_origin"] == FIRST
    assert text(tmp_path / "twice" / "log", "inter")[1:] == ["s0\ta\t0", f"s1\ta\t{DAY}", f"s2\ta\t{2 * DAY}"]


@pytest.mark.parametrize(
    "kind, row, says",
    [
        ("inter", "s9\tu9\ta\t-5\tview", "timestamp is '-5': write a time in seconds"),
        ("inter", "s9\tu9\ta\tinf\tview", "timestamp is 'inf'"),
        ("inter", "s9\tu9\ta\tnan\tview", "timestamp is 'nan'"),
        ("inter", "s9\tu9\ta\tabc\tview", "timestamp is 'abc'"),
        ("inter", "s9\tu9\ta\t\tview", "timestamp is empty"),
        ("inter", "s9\tu9\ta\t1464220800000\tview", "timestamp is '1464220800000'"),  # milliseconds
        ("inter", "s9\tu9\ta", "it has 3 tab-separated fields, and the header 5"),
        ("inter", "s9\tu9\ta\t5\tview\tmore", "it has 6 tab-separated fields, and the header 5"),
        ("inter", "", "it has 1 tab-separated fields, and the header 5"),
        ("inter", "s9\tu9\t\t5\tview", "item_id is empty"),
        ("inter", "\tu9\ta\t5\tview", "session_id is empty"),
        ("inter", "s9\tu9\t \t5\tview", "item_id is empty"),
        ("item", "\t1", "item_id is empty"),
        ("item", "z\tinf", "price is 'inf': write a finite number, or nothing"),
        ("item", "z\tdear", "price is 'dear': write a finite number, or nothing"),
    ],
)
def test_a_row_that_is_wrong_is_named(tmp_path, kind, row, says):
    old, new = atomic(tmp_path / "old", EVENTS[:4]), atomic(tmp_path / "new", EVENTS[4:])
    for folder in (old, new):
        item = folder / "log.item"
        rows = [f"{line.split(chr(9))[0]}\t2.5" for line in text(folder, "item")[1:]]
        item.write_text("\n".join(["item_id:token\tprice:float", *rows]) + "\n")
    lines = text(new, kind)
    (new / f"log.{kind}").write_text("\n".join([*lines[:2], row, *lines[2:]]) + "\n")
    for folder in (old, new):
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "outputs": []}))
    with pytest.raises(ConvertError, match=rf"log.{kind}, line 3: {says}") as error:
        join(old, [new], tmp_path / "joined" / "log")
    with pytest.raises(ConvertError) as again:
        name_of([AtomicLog.read(path) for path in (old, new)], None)
    assert str(again.value) == str(error.value) and not (tmp_path / "joined").exists()


def test_kinds_that_the_log_did_not_have_are_counted(tmp_path):
    old, new = atomic(tmp_path / "old", EVENTS[:2]), atomic(tmp_path / "new", EVENTS[2:])
    found = join(old, [new], tmp_path / "joined" / "log")
    assert found["notes"]["event of a kind that the log did not have"] == 1


@pytest.mark.parametrize("session", [True, False])
def test_nothing_new_is_refused(tmp_path, session):
    old = atomic(tmp_path / "old", EVENTS[:4], session)
    new = atomic(tmp_path / "new", EVENTS[4:], session)
    same = tmp_path / "same"
    shutil.copytree(old, same)
    out = tmp_path / "joined" / "log"
    with pytest.raises(ConvertError, match="no new event in"):
        join(old, [same], tmp_path / "a" / "log")
    if session:
        with pytest.raises(ConvertError, match="no new event in"):
            join(old, [atomic(tmp_path / "part", EVENTS[2:4])], tmp_path / "a" / "log")
    join(old, [new], out)
    with pytest.raises(ConvertError, match="no new event in"):
        join(out, [new], tmp_path / "a" / "log")
    assert not (tmp_path / "a").exists()
