"""A shop's own table of events: what is guessed, what is read exactly, and what becomes of faults."""

import gzip
import io
import json
import random
import re
import zipfile
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_ext.convert import ConvertError, delimited, rows
from recbole_ext.convert import __main__ as command_line
from recbole_ext.convert import convert as convert_source

# Session s2 starts first; s10 and s9 start within one second, so that their names decide; a row of s2 repeats an
# earlier one. Milliseconds order the events of a session, seconds are written.
convert = partial(convert_source, "csv")

LOG = """\
kind,ts,visitorid,sku,session,page
view,1430622010500,ann,red shoe,s9,1
view,1430622004384,,A-007,s2,2
cart,1430622010100,ann,A-007,s9,3
view,1430622010999,bob,12,s10,4
buy,1430622004999,cid,12,s2,5
view,1430622004384,,A-007,s2,6
view,1430622064001,,13,s2,7
"""
INTER = """\
session_id:token	user_id:token	item_id:token	timestamp:float	event:token
s2	cid	A-007	0	view
s2	cid	12	0	buy
s2	cid	13	60	view
s10	bob	12	6	view
s9	ann	A-007	6	cart
s9	ann	red shoe	6	view
"""
ITEMS = """\
sku,price,category,colour,tags:token_seq
A-007,9.50,7,red,new  sale
12,,8,NA,
99,3,9,blue,old
red shoe,12,7,,new
12,1,1,grey,
"""
ITEM = """\
item_id:token|price:float|category:token|colour:token|tags:token_seq
12||8||
13||||
A-007|9.5|7|red|new sale
red shoe|12.0|7||new
""".replace("|", "\t")
START = datetime(2015, 5, 3, 3, 0, 4, tzinfo=UTC)  # 1430622004


@pytest.fixture
def log(tmp_path):
    """Write a log and return its path."""

    def write(text, name="log.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def rows_of(out: Path, suffix: str = "inter") -> list[list[str]]:
    return [line.split("\t") for line in (out / f"{out.name}.{suffix}").read_text().splitlines()]


def times_of(out: Path) -> list[float]:
    """Unix seconds of the events, in the file's order."""
    origin = json.loads((out / "manifest.json").read_text())["time_origin"]
    header, *rows = rows_of(out)
    return [origin + float(row[header.index("timestamp:float")]) for row in rows]


# --- a log worked out on paper


def test_the_files_are_these(log, tmp_path):
    (tmp_path / "items.csv").write_text(ITEMS)
    manifest = convert(log(LOG), tmp_path / "shop", event="kind", items="items.csv")
    assert (tmp_path / "shop" / "shop.inter").read_text() == INTER
    assert (tmp_path / "shop" / "shop.item").read_text() == ITEM
    assert manifest["rows"] == {
        "log.csv": {"read": 7, "kept": 6, "dropped": {"duplicate row": 1}},
        "items.csv": {
            "read": 5,
            "kept": 3,
            "dropped": {"item has another row already": 1, "item in no session": 1},
        },
    }
    assert manifest["time_origin"] == 1430622004
    assert manifest["counts"] == {
        "sessions": 3,
        "users": 3,
        "items": 4,
        "events": {"view": 4, "cart": 1, "buy": 1},
    }
    assert manifest["notes"] == {
        "event given the user that another event of its session names": 2,
        "item without price": 2,
        "item without category": 1,
        "item without colour": 3,
        "item without tags": 2,
    }
    assert manifest["guessed"] == {
        "separator": "','",
        "item": "column 'sku'",
        "session": "column 'session'",
        "user": "column 'visitorid'",
        "time": "column 'ts', milliseconds since 1970: 2015-05-03 to 2015-05-03",
        "item features": "price float, category token, colour token, tags token_seq",
        "codes": "category (whole numbers); taken for codes: --item-types NAME:float makes numbers of them",
    }
    assert json.loads((tmp_path / "shop" / "manifest.json").read_text()) == manifest


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_columns_and_rows_does_not_matter(log, tmp_path, seed):
    shuffled = random.Random(seed)
    rows = [line.split(",") for line in LOG.splitlines()]
    columns = shuffled.sample(range(6), 6)
    head, *body = [",".join(row[column] for column in columns) for row in rows]
    shuffled.shuffle(body)
    convert(log("\n".join([head, *body])), tmp_path / "shop", event="kind")
    assert (tmp_path / "shop" / "shop.inter").read_text() == INTER


def test_all_items_keeps_items_without_events(log, tmp_path):
    (tmp_path / "items.csv").write_text(ITEMS)
    manifest = convert(log(LOG), tmp_path / "shop", items="items.csv", all_items=True)
    assert ["99", "3.0", "9", "blue", "old"] in rows_of(tmp_path / "shop", "item")
    assert "item in no session" not in manifest["rows"]["items.csv"]["dropped"]


def test_what_was_guessed_and_recorded_converts_to_the_same(log, tmp_path):
    manifest = convert(log(LOG), tmp_path / "a", event="kind")
    options = manifest["options"]
    again = convert(
        log(LOG),
        tmp_path / "b",
        **options["columns"],
        time_unit=options["time_unit"],
        separator=options["separator"],
    )
    assert again["guessed"] == {}
    assert (tmp_path / "b" / "b.inter").read_text() == (tmp_path / "a" / "a.inter").read_text()


# --- the file


def pack_zip(text: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("whatever.csv", text)
    return packed.getvalue()


@pytest.mark.parametrize(
    "spelt",
    [
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: text.replace(",", "|"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text.rstrip("\n"),
        lambda text: "\n".join(
            ",".join(f'"{field}"' for field in line.split(",")) for line in text.splitlines()
        ),
        lambda text: text.replace(",", " , "),
        lambda text: gzip.compress(text.encode(), mtime=0),
        lambda text: pack_zip(text.encode()),
    ],
    ids=[
        "semicolon",
        "tab",
        "bar",
        "bom",
        "crlf",
        "blank lines",
        "no end",
        "quoted",
        "blanks",
        "gzip",
        "zip",
    ],
)
def test_spellings_of_one_log_are_one_log(log, tmp_path, spelt):
    manifest = convert(log(spelt(LOG)), tmp_path / "shop", event="kind", strict=True)
    assert (tmp_path / "shop" / "shop.inter").read_text() == INTER
    assert manifest["rows"]["log.csv"]["read"] == 7


@pytest.mark.parametrize(
    ("column", "value", "taken"),
    [("when", "2026-05-04T10:31:00Z", True), ("At", "1430622004", True), ("when", "soon", False)],
)
def test_a_column_that_may_be_times_is_taken_if_it_holds_some(log, tmp_path, column, value, taken):
    given = log(f"visitor,product,{column},action\n1,a,{value},view\n1,b,{value},view\n")
    if not taken:
        with pytest.raises(
            ConvertError, match="no column looks like --time: name it, it has visitor, product"
        ):
            convert(given, tmp_path / "shop")
        return
    assert convert(given, tmp_path / "shop")["guessed"]["time"].startswith(f"column '{column}', ")


def test_of_two_columns_that_may_be_times_none_is_guessed(log, tmp_path):
    given = log("visitor,product,when,clicked_at\n1,a,1430622004,1430622005\n")
    with pytest.raises(ConvertError, match="no column looks like --time"):
        convert(given, tmp_path / "shop")


def test_a_log_without_times_is_read_by_the_numbers_of_its_lines(log, tmp_path):
    """As the sentence for it says."""
    with pytest.raises(ConvertError, match=r"if it has no times, .* --first-date 1970-01-01"):
        convert(log("session,item\n1,a\n1,b\n"), tmp_path / "shop")
    convert(log("session,item,line\n1,b,1\n1,a,2\n"), tmp_path / "shop", time="line", first_date="1970-01-01")
    assert [row[1] for row in rows_of(tmp_path / "shop")[1:]] == ["b", "a"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_separator_within_quotation_marks_belongs_to_its_field(log, tmp_path, separator, end):
    title = f'"shoes{separator} red{separator}{separator}"'
    lines = [
        ["session", "item", "title", "ts"],
        ["1", "a", title, "1430622004"],
        ["1", title, '""', '"1430622005"'],
    ]
    text = end.join(separator.join(line) for line in lines) + end
    manifest = convert(
        log(text), tmp_path / "shop", **({"max_bad_rows": 0.5} if separator == "\t" else {"strict": True})
    )
    assert manifest["guessed"]["separator"] == repr(separator)
    if separator == "\t":  # a field may hold one, an id may not
        assert manifest["rows"]["log.csv"]["dropped"] == {"item holds a control character": 1}
    else:
        assert rows_of(tmp_path / "shop")[1:] == [["1", "a", "0"], ["1", title.strip('"'), "1"]]


def test_quotation_marks_that_are_no_field_do_not_swallow_separators(log, tmp_path):
    """Inside a field they are letters, at its beginning they need their pair."""
    rows = [
        '1,5" nail,1430622004',
        '1,4",1430622005',
        '"1,a,1430622006',
        '1,"b"x,1430622007',
        '"1","say ""hi""",1430622008',
    ]
    text = "\n".join(["session,item,ts", *rows, "1,c,1430622009"])
    manifest = convert(log(text), tmp_path / "shop", max_bad_rows=0.9)
    assert manifest["rows"]["log.csv"] == {
        "read": 6,
        "kept": 4,
        "dropped": {
            "item has a quotation mark without its pair": 1,
            "session has a quotation mark without its pair": 1,
        },
    }
    assert [row[1] for row in rows_of(tmp_path / "shop")[1:]] == ['5" nail', '4"', 'say "hi"', "c"]
    assert {example["text"] for example in manifest["examples"]} == set(rows[2:4])


@pytest.mark.parametrize("field", ['"a,b"x', 'x"a,b"', '"a,b', 'a,b"', '"a"",b', '" a,b " c'])
def test_separators_beside_quotation_marks_separate(log, tmp_path, field):
    text = f"session,item,ts\n1,{field},1430622004\n1,c,1430622005\n"
    manifest = convert(log(text), tmp_path / "shop", max_bad_rows=0.5)
    assert manifest["rows"]["log.csv"]["dropped"] == {"wrong number of fields": 1}


def test_a_line_break_within_quotation_marks_belongs_to_its_field(log, tmp_path):
    """Rows behind it keep their line numbers; one that never ends is a bad row, and takes no other with it."""
    text = 'session,item,ts,title\n1,a,1430622004,"two\nlines, ""it"" has"\n1,b,never,x\n'
    text += '1,c,1430622005,"open\n1,d,1430622006,x\n'
    manifest = convert(log(text), tmp_path / "shop", max_bad_rows=0.6)
    assert [row[1] for row in rows_of(tmp_path / "shop")[1:]] == ["a", "c", "d"]
    assert [example["line"] for example in manifest["examples"]] == [4]
    with pytest.raises(ConvertError, match="line 4") as error:
        convert(log(text), tmp_path / "shop")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [1, 64, 100])
def test_blocks_end_anywhere_in_a_quoted_log(log, tmp_path, monkeypatch, size):
    monkeypatch.setattr(rows, "BLOCK_BYTES", size)
    quoted = LOG.replace("red shoe", '"red, shoe"').replace("ann", '"ann"')
    convert(log(quoted), tmp_path / "shop", event="kind", strict=True)
    assert (tmp_path / "shop" / "shop.inter").read_text() == INTER.replace("red shoe", "red, shoe")


def test_messages_show_the_row_as_it_is(log, tmp_path):
    text = 'session,item,title,ts\n1,a,"x, y",never\n1,b,,1430622004\n'
    with pytest.raises(ConvertError, match='1,a,"x, y",never'):
        convert(log(text), tmp_path / "shop")
    manifest = convert(log(text), tmp_path / "shop", max_bad_rows=0.5)
    assert manifest["examples"][0]["text"] == '1,a,"x, y",never'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no header"),
        (b"\n\n", "is no header"),
        (b"item\n1\n", "is no header of several columns"),
        (LOG.encode("utf-16"), "UTF-16: save it as UTF-8"),
        (bytes(range(256)) * 40, "holds no text"),
        (b"1,a,1430622004\n1,b,1430622005\n", "no column looks like --item.*it has 1, a, 1430622004"),
        (b"item,ts\na,1430622004\n", "no column looks like --session or --user"),
        (b"session,ts\na,1430622004\n", "no column looks like --item"),
        (b"session,item\na,1\n", "no column looks like --time"),
        (b"session,item,ts\n", "has no rows below its header: there is nothing to read"),
        (b"session,item,ts\n1,a,noon\n", "column ts, such as 'noon', are neither unix times"),
        (b"session,item,ts\n1,a,12:30\n1,a,86400\n", "are neither unix times"),
        (b"session,item,ts,session_id,Session\n1,a,1430622004,1,1\n", "column Session is there twice"),
        (b"\x1f\x8b but no gzip", "cannot be read"),
        (gzip.compress(LOG.encode(), mtime=0)[:60], "cannot be read"),
        (b"PK\x03\x04 but no zip", "cannot be read"),
    ],
)
def test_what_is_no_log_is_refused_in_one_sentence(log, tmp_path, content, says):
    with pytest.raises(ConvertError, match=says) as error:
        convert(log(content), tmp_path / "shop", **({"session": "Session"} if b"Session" in content else {}))
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "shop").exists()


def test_files_that_are_not_there(log, tmp_path):
    for raw in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(ConvertError, match="name the table of events"):
            convert(raw, tmp_path / "shop")
    with pytest.raises(ConvertError, match=r"There is no file none\.csv"):
        convert("none.csv", tmp_path / "shop")
    with pytest.raises(ConvertError, match=r"items\.csv.*--items"):
        convert(log(LOG), tmp_path / "shop", items="items.csv")
    convert(tmp_path, tmp_path / "shop", events="log.csv", event="kind")
    assert (tmp_path / "shop" / "shop.inter").read_text() == INTER


# --- columns


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        (
            "Session-ID,Product Id,Event.Time",
            {"session": "Session-ID", "item": "Product Id", "time": "Event.Time"},
        ),
        ("itemid,item_id_old,session,time,ts", {"session": "session", "item": "itemid", "time": "time"}),
        ("visitorid,sku,datetime", {"user": "visitorid", "item": "sku", "time": "datetime"}),
        (
            "event_type,user_id,session_id,product_id,timestamp",
            {
                "event": "event_type",
                "user": "user_id",
                "session": "session_id",
                "item": "product_id",
                "time": "timestamp",
            },
        ),
    ],
)
def test_usual_names_are_guessed_and_shown(log, tmp_path, header, columns):
    names = header.split(",")
    row = ",".join(
        "1430622004" if name == columns["time"] else f"v{place}" for place, name in enumerate(names)
    )
    manifest = convert(log(f"{header}\n{row}\n"), tmp_path / "shop")
    assert manifest["options"]["columns"] == columns
    for what, name in columns.items():
        assert manifest["guessed"][what].startswith(f"column {name!r}")
        if what != "time":
            assert f"v{names.index(name)}" in rows_of(tmp_path / "shop")[1]


def test_a_named_column_comes_before_a_usual_one(log, tmp_path):
    text = "item_id,sku,time,ts,session,user\na,b,1,1430622004,s,u\n"
    manifest = convert(log(text), tmp_path / "shop", item="sku", time="TS", user="-")
    assert rows_of(tmp_path / "shop") == [
        ["session_id:token", "item_id:token", "timestamp:float"],
        ["s", "b", "0"],
    ]
    assert manifest["options"]["columns"] == {"item": "sku", "time": "ts", "session": "session"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"item": "skuu"}, "no column skuu for --item: did you mean sku"),
        ({"item": "zzz"}, "no column zzz for --item: it has kind, ts, visitorid, sku, session, page"),
        ({"item": "sku", "event": "sku"}, "sku is named for two things"),
        ({"session": "-", "user": "-"}, "no column looks like --session or --user"),
        ({"time": "-"}, "--time is -, and a log needs the time of each event, .* --first-date 1970-01-01"),
        ({"time_unit": "h"}, "--time-unit is 'h'"),
        ({"separator": "!"}, "--separator is '!'"),
        ({"separator": ";"}, "no column looks like --item"),
        ({"gap_minutes": 0}, "--gap-minutes is 0"),
        ({"gap_minutes": "long"}, "--gap-minutes is 'long'"),
        ({"items": "log.csv"}, r"log\.csv are two tables of one name"),
        ({"item": 5}, "no column 5 for --item"),
        ({"gap_minutes": float("nan")}, "--gap-minutes is nan"),
        ({"item_types": "price:float"}, "is read only with --items"),
        ({"all_items": True}, "is read only with --items"),
        ({"list_separator": " "}, "--list-separator"),
        ({"first_date": "2016-01-01"}, "such as '1430622010500', are neither"),
        ({"first_date": "2016-01-01", "last_date": "2015-01-01"}, "two days in order"),
        ({"last_date": "9999-12-31"}, "two days in order between 1970-01-01 and 2199-12-31"),
        ({"last_date": "someday"}, "--last-date is 'someday'"),
        ({"max_bad_rows": 2}, "it has to be a number from 0 to 1"),
        ({"session_per_user": True, "user": "-"}, "--session-per-user needs"),
    ],
)
def test_wrong_options_are_refused_in_one_sentence(log, tmp_path, options, says):
    with pytest.raises(ConvertError, match=says) as error:
        convert(log(LOG), tmp_path / "shop", **options)
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "shop").exists()


# --- times


def at(milliseconds: float, zone: timezone = UTC) -> datetime:
    return (START + timedelta(milliseconds=milliseconds)).astimezone(zone)


UNITS = {
    "whole seconds": ("s", lambda t: str(1430622004 + t // 1000)),
    "decimal seconds": ("s", lambda t: f"{1430622004 + t / 1000:.3f}"),
    "some decimal seconds": ("s", lambda t: f"{1430622004 + t / 1000:.3f}".removesuffix(".000")),
    "milliseconds": ("ms", lambda t: str(1430622004000 + t)),
    "milliseconds as pandas writes them": ("ms", lambda t: f"{1430622004000 + t}.0"),
    "microseconds": ("us", lambda t: str((1430622004000 + t) * 1000)),
    "nanoseconds": ("ns", lambda t: str((1430622004000 + t) * 10**6)),
    "ISO": ("iso", lambda t: f"{at(t):%Y-%m-%dT%H:%M:%S}"),
    "ISO with a blank": ("iso", lambda t: f"{at(t):%Y-%m-%d %H:%M:%S}"),
    "ISO with Z": ("iso", lambda t: f"{at(t):%Y-%m-%dT%H:%M:%S.%f}Z"),
    "ISO as Python writes it": ("iso", lambda t: at(t).isoformat()),
    "ISO with UTC": ("iso", lambda t: f"{at(t):%Y-%m-%d %H:%M:%S} UTC"),
    "ISO east": ("iso", lambda t: at(t, timezone(timedelta(hours=5, minutes=30))).isoformat()),
    "ISO west": ("iso", lambda t: f"{at(t, timezone(timedelta(hours=-9, minutes=-30))):%Y-%m-%dT%H:%M:%S%z}"),
    "ISO west, hours": ("iso", lambda t: f"{at(t, timezone(timedelta(hours=-7))):%Y-%m-%d %H:%M:%S}-07"),
    "ISO nanoseconds": ("iso", lambda t: f"{at(t):%Y-%m-%d %H:%M:%S.%f}000"),
    "ISO of mixed zones": (
        "iso",
        lambda t: (
            at(t, timezone(timedelta(hours=t // 1000 % 5 - 2))).isoformat() if t else "2015-05-03 03:00:04"
        ),
    ),
}


@pytest.mark.parametrize("how", UNITS)
def test_time_formats(log, tmp_path, how):
    """Over 25 hours in several sessions, backwards in the file."""
    unit, spelt = UNITS[how]
    moments = [0, 1_000, 999_000, 1_000_000, 86_399_000, 90_000_000]
    rows = [f"{number},a,{spelt(moment)}" for number, moment in enumerate(moments)]
    text = "\n".join(["session,item,when", *reversed(rows)])
    manifest = convert(log(text), tmp_path / "shop", time="when", strict=True)
    assert times_of(tmp_path / "shop") == [1430622004 + moment // 1000 for moment in moments]
    assert manifest["options"]["time_unit"] == unit
    assert "2015-05-03 to 2015-05-04" in manifest["guessed"]["time"]
    convert(log(text), tmp_path / "named", time="when", time_unit=unit)
    assert rows_of(tmp_path / "named") == rows_of(tmp_path / "shop")


def test_minutes_are_times_too(log, tmp_path):
    convert(log("session,item,ts\n1,a,2015-05-03 03:01\n1,b,2015-05-03T03:00Z\n"), tmp_path / "shop")
    assert times_of(tmp_path / "shop") == [1430622000, 1430622060]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "iso"])
def test_parts_of_a_second_order_a_session_to_the_last_digit(log, tmp_path, unit):
    digits = {"s": 9, "ms": 3, "us": 6, "ns": 9, "iso": 9}[unit]
    steps = [f"{step:0{digits}d}" for step in (3, 1, 2, 0)]
    start = {"s": "1430622004.", "iso": "2015-05-03T03:00:04."}.get(unit, "1430622004")
    lines = [f"1,{'even' if int(step) % 2 == 0 else 'odd'},{start}{step}" for step in steps]
    manifest = convert(log("\n".join(["session,item,ts", *lines])), tmp_path / "shop")
    assert [row[1] for row in rows_of(tmp_path / "shop")[1:]] == ["even", "odd", "even", "odd"]
    assert manifest["rows"]["log.csv"]["dropped"] == {}  # equal but for the last digit


@pytest.mark.parametrize("start", ["1430622004", "2015-05-03T03:00:04"])
def test_a_fraction_may_have_any_number_of_digits(log, tmp_path, start):
    fractions = [".5", ".25", ".125", ".0625", ".50001", "", ".000000001"]
    lines = [f"1,i{fraction},{start}{fraction}" for fraction in fractions]
    convert(log("\n".join(["session,item,ts", *lines])), tmp_path / "shop")
    written = [row[1].removeprefix("i") for row in rows_of(tmp_path / "shop")[1:]]
    assert written == sorted(fractions, key=lambda fraction: float(f"0{fraction}"))


NO_TIMES = {
    "s": [
        "1430622004384",
        "143062200",
        "-1430622004",
        "1.43e9",
        "01430622004",
        "1430622004.",
        "4102444800.5",
        "NaN",
        "",
    ],
    "ms": [
        "1430622004",
        "1430622004384000",
        "1430622004384.1234567",
        "1430622004384,0",
        "99999999999999999999",
    ],
    "us": ["1430622004384", "1430622004384000000", " 14306220 04384000"],
    "ns": ["1430622004384000", "14306220043840000000", "9223372036854775808", "1430622004384000000.5"],
    "iso": [
        *(
            "2015-02-30 12:00:00",
            "2015-05-03 24:00:00",
            "2015-05-03 12:60:00",
            "2015-05-03 12:00:61",
            "2015-05-03",
        ),
        *(
            "2015-5-3 12:00:00",
            "03.05.2015 12:00",
            "2015-05-03T12:00:00+24:00",
            "2015-05-03 12:00:00 CET",
            "12:00:00",
        ),
        *(
            "1915-05-03 12:00:00",
            "2115-05-03 12:00:00",
            "1430622004",
            "2015-05-03 12:00:00.",
            "0000-00-00 00:00:00",
        ),
    ],
    "date": ["2015-02-30", "2015-05-03 12:00:00", "1430622004", "20150503"],
}


@pytest.mark.parametrize(
    ("unit", "text"), [(unit, text) for unit, texts in NO_TIMES.items() for text in texts]
)
def test_a_time_that_does_not_fit_the_others_is_a_bad_row(log, tmp_path, unit, text):
    good = {
        "s": "1430622004",
        "ms": "1430622004384",
        "us": "1430622004384000",
        "ns": "1430622004384000000",
        "iso": "2015-05-03T03:00:04",
        "date": "2015-05-03",
    }[unit]
    lines = [f"{number};a;{good}" for number in range(9)]
    table = log("\n".join(["session;item;ts", *lines[:4], f"x;b;{text}", *lines[4:]]))
    for options in ({}, {"time_unit": unit}):
        manifest = convert(table, tmp_path / "shop", max_bad_rows=0.1, last_date="2099-12-31", **options)
        assert manifest["options"]["time_unit"] == unit
        assert manifest["rows"]["log.csv"]["kept"] == 9
        assert [example["line"] for example in manifest["examples"]] == [6]
        assert manifest["examples"][0]["reason"].startswith("ts is no time in")
        with pytest.raises(ConvertError, match=r"1 of 10 rows is bad.*line 6 .ts is no time in"):
            convert(table, tmp_path / "shop", **options)


def test_mixed_units_are_not_coerced(log, tmp_path):
    """Of thousands of rows, the first half in one unit, the second in another."""
    rows = [f"{n},a,{1430622004 + n}{'000' if n >= 2000 else ''}" for n in range(5000)]
    table = log("\n".join(["session,item,ts", *rows]))
    with pytest.raises(
        ConvertError, match=r"2,000 of 5,000 rows are bad.*line 2 .ts is no time in milliseconds"
    ):
        convert(table, tmp_path / "shop")
    convert(table, tmp_path / "shop", max_bad_rows=0.5)
    assert times_of(tmp_path / "shop") == [1430622004 + n for n in range(2000, 5000)]


def test_the_unit_is_that_of_most_rows_all_over_a_large_file(log, tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "EXCERPT_BYTES", 4096)
    monkeypatch.setattr(delimited, "EXCERPT_CHUNKS", 16)
    rows = [f"{n},a,{1430622004 + n}{'000' if n >= 2000 else ''}" for n in range(6000)]
    manifest = convert(log("\n".join(["session,item,ts", *rows])), tmp_path / "shop", max_bad_rows=0.4)
    assert manifest["options"]["time_unit"] == "ms"
    assert manifest["rows"]["log.csv"]["kept"] == 4000


def test_days_need_a_column_of_sessions(log, tmp_path):
    text = "session,user,item,date\n1,u,a,2015-05-04\n2,u,b,2015-05-03\n1,u,c,2015-05-04\n"
    manifest = convert(log(text), tmp_path / "shop")
    assert [row[2] for row in rows_of(tmp_path / "shop")[1:]] == ["b", "a", "c"]
    assert manifest["guessed"]["time"] == "column 'date', days: 2015-05-03 to 2015-05-04"
    with pytest.raises(ConvertError, match="are days, which no idle time can cut"):
        convert(log(text), tmp_path / "shop", session="-")


# --- sessions


def test_sessions_by_idle_time(log, tmp_path):
    """31 minutes end a session, 30 do not; numbers go by the start, then the user."""
    minutes = [("bob", 0), ("ann", 0), ("ann", 30), ("bob", 31), ("ann", 61), ("ann", 91), ("cid", 50)]
    rows = [f"{user},i{n},{1430622004 + minute * 60}" for n, (user, minute) in enumerate(minutes)]
    manifest = convert(log("\n".join(["user,item,ts", *reversed(rows)])), tmp_path / "shop")
    assert [row[:3] for row in rows_of(tmp_path / "shop")[1:]] == [
        ["1", "ann", "i1"],
        ["1", "ann", "i2"],
        ["2", "bob", "i0"],
        ["3", "bob", "i3"],
        ["4", "cid", "i6"],
        ["5", "ann", "i4"],
        ["5", "ann", "i5"],
    ]
    assert manifest["guessed"]["session"] == "no column, so over 30 idle minutes of a visitor end one"
    assert (
        convert(log("\n".join(["user,item,ts", *rows])), tmp_path / "b", gap_minutes=29.9)["counts"][
            "sessions"
        ]
        == 7
    )


@pytest.mark.parametrize("user", ["", "NA", "null", "None", "<NA>", "\\N"])
def test_visitors_without_a_name_are_not_one_visitor(log, tmp_path, user):
    text = f"user,item,ts\n{user},a,1430622004\n{user},b,1430622005\nu,c,1430622006\n"
    manifest = convert(log(text), tmp_path / "shop", max_bad_rows=0.7)
    assert manifest["rows"]["log.csv"]["dropped"] == {"user is missing": 2}
    with pytest.raises(ConvertError, match=r"2 of 3 rows are bad.*user is missing"):
        convert(log(text), tmp_path / "shop")
    named = convert(
        log(text.replace("user,", "session,user,").replace("\n", "\n1,").removesuffix("1,")), tmp_path / "s"
    )
    assert [row[1] for row in rows_of(tmp_path / "s")[1:]] == ["u", "u", "u"]
    assert named["rows"]["log.csv"]["dropped"] == {}


def test_a_session_id_of_two_users(log, tmp_path):
    rows = [f"{n},u{n},a,{1430622004 + n}" for n in range(10)]
    text = "\n".join(["session,user,item,ts", *rows, "3,other,b,1430622100"])
    manifest = convert(log(text), tmp_path / "shop")
    assert manifest["notes"] == {"session with two users (first known one kept)": 1}
    assert ["3", "u3", "b", "96"] in rows_of(tmp_path / "shop")


def test_session_ids_that_count_anew_for_each_user(log, tmp_path):
    rows = [
        f"{number},{user},{user}{number},{1430622004 + 100 * place}"
        for number in (1, 2)
        for place, user in enumerate("cab")
    ]
    table = log("\n".join(["session,user,item,ts", *rows]))
    with pytest.raises(
        ConvertError, match="2 of 2 session ids name two users or more: give --session-per-user"
    ):
        convert(table, tmp_path / "shop")
    manifest = convert(table, tmp_path / "shop", session_per_user=True)
    assert [row[:3] for row in rows_of(tmp_path / "shop")[1:]] == [
        ["1", "c", "c1"],
        ["2", "c", "c2"],
        ["3", "a", "a1"],
        ["4", "a", "a2"],
        ["5", "b", "b1"],
        ["6", "b", "b2"],
    ]
    assert manifest["counts"]["sessions"] == 6 and manifest["notes"] == {}
    log("\n".join(["session,user,item,ts", *rows, "1,NA,d,1430622004"]))
    with pytest.raises(ConvertError, match=r"1 of 7 rows is bad.*user is missing"):
        convert(table, tmp_path / "shop", session_per_user=True)


def test_long_sessions_are_noted(log, tmp_path):
    text = "session,item,ts\n1,a,1430622004\n1,b,1430708404\n2,a,1430622004\n2,b,1430708405\n"
    assert convert(log(text), tmp_path / "shop")["notes"] == {"session of more than a day": 1}


# --- ids


def times_written(rows):
    return [row.split("\t")[2] for row in rows]


def unquoted(text):
    if re.fullmatch('"(?:[^"]|"")*"', text, re.DOTALL):
        return text[1:-1].replace('""', '"').strip(" \t")
    return text


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=8)
        | st.sampled_from(
            ["NA", "null", "nan", "007", "7.0", "1e5", "#", "a b", "ü", "a:b", "'x'", "\\", "-", "True"]
        ),
        min_size=1,
        max_size=12,
    )
)
def test_recbole_reads_back_every_id_that_is_kept(tmp_path, ids):
    """The loader takes what stands between tabs; an id that a file cannot carry is a bad row."""
    path = tmp_path / "log.csv"
    lines = [f"s;{item};{1430622004 + place}" for place, item in enumerate([*ids, "last"])]
    path.write_bytes("\n".join(["session;item;ts", *lines]).encode())
    manifest = convert(path, tmp_path / "shop", max_bad_rows=1.0)
    report = manifest["rows"]["log.csv"]
    header, *loaded = (tmp_path / "shop" / "shop.inter").read_bytes().decode().split("\n")[:-1]
    kept = [row.split("\t")[1] for row in loaded]
    assert len(kept) == report["kept"] and header.count("\t") == 2
    places = [int(time) + int(manifest["time_origin"]) - 1430622004 for time in times_written(loaded)]
    bare = [unquoted(item.strip(" \t")) for item in [*ids, "last"]]
    assert kept == [bare[place] for place in places]
    plain = [item for item in bare if item.isalnum()]
    assert len(kept) >= len(plain)


ABSENT = ("", "NA", "N/A", "null", "NULL", "nan", "NaN", "None", '""')


@pytest.mark.parametrize(
    ("what", "text", "fault"),
    [
        *((what, text, "is missing") for what in ("session", "kind") for text in ABSENT),
        *(
            (what, text, "holds a control character")
            for what in ("session", "item", "kind")
            for text in ("a\tb", "a\x00b", "a\rb", "a\x1fb")
        ),
        ("item", '"a', "has a quotation mark without its pair"),
    ],
)
def test_ids_that_recbole_cannot_carry_are_bad_rows(log, tmp_path, what, text, fault):
    fields = {"session": "s", "item": "i", "kind": "view", "ts": "1430622004"}
    rows = [",".join({**fields, "ts": f"143062200{place}"}.values()) for place in range(9)]
    broken = ",".join({**fields, what: text}.values())
    table = log("\n".join([",".join(fields), *rows, broken]))
    manifest = convert(table, tmp_path / "shop", event="kind", max_bad_rows=0.1)
    assert manifest["rows"]["log.csv"] == {"read": 10, "kept": 9, "dropped": {f"{what} {fault}": 1}}
    with pytest.raises(ConvertError, match=f"the first is line 11 .{what} {fault}"):
        convert(table, tmp_path / "shop", event="kind")


# --- items


def convert_items(log, tmp_path, items: str, **options):
    log("session,item,ts\n1,a,1430622004\n1,b,1430622005\n1,c,1430622006\n")
    (tmp_path / "items.csv").write_text(items)
    manifest = convert(tmp_path / "log.csv", tmp_path / "shop", items="items.csv", **options)
    return manifest, rows_of(tmp_path / "shop", "item")


@pytest.mark.parametrize(
    ("values", "kind", "written"),
    [
        (["1.5", "2", "3e1"], "float", ["1.5", "2.0", "30.0"]),
        (["1.5", "NA", ""], "float", ["1.5", "", ""]),
        (["1", "2", "3"], "token", ["1", "2", "3"]),  # codes
        (["007", "1.0a", "2"], "token", ["007", "1.0a", "2"]),
        (["1.5", "red", "2.5"], "token", ["1.5", "red", "2.5"]),
        (["", "null", "NA"], "token", ["", "", ""]),
        (["red shoe", '"a, b"', "c"], "token", ["red shoe", "a, b", "c"]),
    ],
)
def test_types_of_features_are_guessed_and_shown(log, tmp_path, values, kind, written):
    text = "item,f\n" + "".join(f"{item},{value}\n" for item, value in zip("abc", values))
    manifest, rows = convert_items(log, tmp_path, text)
    assert rows == [["item_id:token", f"f:{kind}"], *([item, value] for item, value in zip("abc", written))]
    assert manifest["guessed"]["item features"] == f"f {kind}"


@pytest.mark.parametrize(
    "given", ["f:float,g:token_seq", ["f:float", "g:token_seq"], {"f": "float", "g": "token_seq"}]
)
def test_types_of_features_are_given(log, tmp_path, given):
    _, rows = convert_items(log, tmp_path, "item,f,g,h:float\na,1,x y,3\nb,2,z,\nc,3,,4\n", item_types=given)
    assert rows[0] == ["item_id:token", "f:float", "g:token_seq", "h:float"]
    assert rows[1] == ["a", "1.0", "x y", "3.0"]


def test_no_number_in_a_column_of_numbers_is_a_bad_row(log, tmp_path):
    """Guessed where nine of ten are numbers; else declared."""
    others = "".join(f"x{place},{place}.5\n" for place in range(20))
    for head, options in (("price", {}), ("price:float", {}), ("price", {"item_types": "price:float"})):
        text = f"item,{head}\na,1.5\nb,cheap\nc,2\n{others}"
        with pytest.raises(
            ConvertError, match=r"items\.csv: 1 of 23 rows is bad.*line 3 .price.* is not a number"
        ):
            convert_items(log, tmp_path, text, **options)
        manifest, rows = convert_items(log, tmp_path, text, max_bad_rows=0.05, **options)
        assert rows[1:] == [["a", "1.5"], ["b", ""], ["c", "2.0"]]
        assert manifest["rows"]["items.csv"]["read"] == 23 and manifest["rows"]["items.csv"]["kept"] == 2
    for huge in ("1e400", "4e38"):
        with pytest.raises(ConvertError, match="price is out of range"):
            convert_items(log, tmp_path, f"item,price\na,1.5\nb,{huge}\nc,2\n")


def test_lists_with_their_own_separator(log, tmp_path):
    text = 'item,tags,sizes:float_seq,one\na,red|new,1|2.5,x\nb,"red | , |",,y\nc,NA,3,z\n'
    _, rows = convert_items(log, tmp_path, text, list_separator="|")
    assert rows == [
        ["item_id:token", "tags:token_seq", "sizes:float_seq", "one:token"],
        ["a", "red new", "1 2.5", "x"],
        ["b", "red ,", "", "y"],
        ["c", "", "3", "z"],
    ]
    _, rows = convert_items(log, tmp_path, "item,tags\na,x|y\nb,Sci Fi | Drama\nc,\n", list_separator="|")
    assert [row[1] for row in rows[1:]] == [
        "x y",
        "Sci\u00a0Fi Drama",
        "",
    ]  # a blank that takes no list apart


@pytest.mark.parametrize(
    ("items", "options", "says"),
    [
        (
            "item,price\n00a,1.5\n",
            {},
            r"names no item of the events: its ids are such as 00a, theirs such as [abc];",
        ),
        ("item,price\n", {}, "names no item of the events: its ids are none"),
        ("thing,price\na,1\n", {}, "should name one item column"),
        ("item\na\n", {}, "should name one item column"),
        ("item,event\na,1\n", {}, "none of session_id, user_id, item_id, timestamp, event, split"),
        ("item,f:word\na,1\n", {}, "column 'f:word' should be"),
        ("item,f,f\na,1,1\n", {}, "column 'f' should be"),
        ("item,f\na,1\n", {"item_types": "g:float"}, "no column g, which a type is given for"),
        ("item,f\na,1\n", {"item_types": "f:word"}, "TYPE one of token"),
        ("item,f\na,1\n", {"item_types": "f"}, "write NAME:TYPE"),
        ("item,f\na,1\n", {"item_types": ["f"]}, "write NAME:TYPE"),
        ('item,f\na,"1\n', {}, "f has a quotation mark without its pair"),
        ("", {}, "mend the header"),
    ],
)
def test_item_tables_that_are_refused_in_one_sentence(log, tmp_path, items, options, says):
    with pytest.raises(ConvertError, match=says) as error:
        convert_items(log, tmp_path, items, **options)
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "shop").exists()


def test_the_item_column_is_called_as_in_the_events_or_as_usual(log, tmp_path):
    log("session,thing,ts\n1,a,1430622004\n")
    for items in ("item;thing;f\nx;a;1\n", "THING;f\na;1\n"):
        (tmp_path / "items.csv").write_text(items)
        manifest = convert(tmp_path / "log.csv", tmp_path / "shop", item="thing", items="items.csv")
        assert rows_of(tmp_path / "shop", "item")[1][0] == "a"
        assert manifest["rows"]["items.csv"]["kept"] == 1
    log("session,sku,ts\n1,a,1430622004\n")
    (tmp_path / "items.csv").write_text("product_id,f\na,1\n")
    convert(tmp_path / "log.csv", tmp_path / "shop", items="items.csv")
    assert rows_of(tmp_path / "shop", "item")[1] == ["a", "1"]


# --- any mixture of faults

BAD_ROWS = [
    ["", "i", "1430622004384", "view", "u"],
    ["NA", "i", "1430622004384", "view", "u"],
    ["s", "i\x00i", "1430622004384", "view", "u"],
    ["s", "i", "1430622004", "view", "u"],
    ["s", "i", "1430622004384000", "view", "u"],
    ["s", "i", "2015-05-03 12:00:00", "view", "u"],
    ["s", "i", "", "view", "u"],
    ["s", "i", "1430622004384", "", "u"],
    ["s", "i", "1430622004384", "view", "a\x00b"],
]
COLUMNS = ["session_id", "sku", "ts", "event", "user"]
clean_rows = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from(["a", "b c", "7", "007", "x,y", "Ünï"]),
        st.integers(0, 10**7),
        st.sampled_from(["view", "buy"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=25,
    unique_by=lambda row: row[2],  # no ties, so that the order of rows cannot matter
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=clean_rows,
    bad=st.lists(st.sampled_from(BAD_ROWS), max_size=8),
    short=st.integers(0, 2),
    blank=st.integers(0, 2),
    copies=st.integers(0, 3),
    extra=st.integers(0, 2),
    separator=st.sampled_from(",;|"),
    windows=st.booleans(),
    mark=st.booleans(),
    packed=st.booleans(),
    shuffled=st.randoms(use_true_random=False),
)
def test_faults_mixed_into_a_log_leave_the_clean_rows(
    tmp_path, rows, bad, short, blank, copies, extra, separator, windows, mark, packed, shuffled
):
    good = [
        [f"s{s}", item, str(1430622004000 + t), kind, f"u{s}" if known else "NA"]
        for s, item, t, kind, known in rows
    ]
    # The unit is that of most rows, so let milliseconds be most.
    bad = bad[: max(0, len(good) - 1)]
    names = [*COLUMNS, *(f"extra {n}" for n in range(extra))]
    order = shuffled.sample(range(len(names)), len(names))

    def line(fields: list[str], noise: int) -> str:
        fields = [*fields, *(f"n{noise}" for _ in range(extra))]
        return separator.join(f'"{fields[p]}"' if separator in fields[p] else fields[p] for p in order)

    lines = [line(fields, n) for n, fields in enumerate([*good, *good[:copies], *bad])]
    lines += [f"only{separator}two" for _ in range(short)] + [" " for _ in range(blank)]
    shuffled.shuffle(lines)
    end = "\r\n" if windows else "\n"
    header = separator.join(names[place] for place in order)
    content = (("\ufeff" if mark else "") + end.join([header, *lines]) + end).encode()
    mess, plain = tmp_path / "mess.csv", tmp_path / "plain.csv"
    mess.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    plain.write_text("\n".join([";".join(COLUMNS), *(";".join(fields) for fields in good)]))
    convert(plain, tmp_path / "plain", strict=True)

    faults = len(bad) + short
    manifest = convert(mess, tmp_path / "mess", max_bad_rows=1.0)
    report = manifest["rows"]["mess.csv"]
    assert (tmp_path / "mess" / "mess.inter").read_text() == (tmp_path / "plain" / "plain.inter").read_text()
    assert (report["read"], report["kept"]) == (len(good) + len(good[:copies]) + faults, len(good))
    assert report["dropped"].get("duplicate row", 0) == len(good[:copies])
    assert report["dropped"].get("wrong number of fields", 0) == short
    assert sum(report["dropped"].values()) == report["read"] - report["kept"]
    if faults:
        before = {path.name: path.read_bytes() for path in (tmp_path / "mess").iterdir()}
        for options in ({"strict": True}, {"max_bad_rows": (faults - 0.5) / report["read"]}):
            with pytest.raises(ConvertError, match=r"rows? (is|are) bad") as error:
                convert(mess, tmp_path / "mess", **options)
            assert len(str(error.value).splitlines()) == 1
        assert {path.name: path.read_bytes() for path in (tmp_path / "mess").iterdir()} == before


@pytest.mark.slow
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text('session,item;ts\t|"\n\r 0123456789.-:TZeé\x00\x1f', max_size=120), st.booleans())
def test_any_text_is_converted_or_refused_in_one_sentence(tmp_path, text, headed):
    path = tmp_path / "any.csv"
    path.write_bytes((("session,item,ts\n" if headed else "") + text).encode())
    try:
        manifest = convert(path, tmp_path / "any", max_bad_rows=1.0)
    except ConvertError as error:
        assert len(str(error).split("\n")) == 1
    else:
        report = manifest["rows"]["any.csv"]
        assert report["kept"] == len(rows_of(tmp_path / "any")) - 1 > 0


# --- the command line


def test_command_line(log, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "items.csv").write_text(ITEMS)
    arguments = ["csv", str(log(LOG, "shop.csv")), "--event", "kind", "--items", "items.csv", "--item-types"]
    assert command_line.main([*arguments, "category:token,colour:token"]) == 0
    shown = capsys.readouterr().out
    assert (tmp_path / "atomic_data" / "shop" / "shop.inter").read_text() == INTER
    assert "milliseconds since 1970: 2015-05-03 to 2015-05-03" in shown and "column 'sku'" in shown
    assert command_line.main([*arguments, "colour:paint"]) == 2
    sentence = capsys.readouterr().err
    assert "colour" in sentence and sentence.count("\n") == 1


def test_the_real_sample_by_idle_time(shared_data, tmp_path):
    """Retail Rocket's own rows read as a stranger's log: the sessions of 30 minutes, and one kind a row."""
    raw = shared_data / "retailrocket" / "raw" / "sample_events.csv"
    manifest = convert(raw, tmp_path / "shop", session="-")
    assert manifest["options"]["time_unit"] == "ms"
    events = pd.read_csv(raw).drop_duplicates(["timestamp", "visitorid", "event", "itemid"])
    assert manifest["counts"]["users"] == events["visitorid"].nunique()
    assert manifest["counts"]["events"] == dict(Counter(events["event"]).most_common())
    ordered = events.sort_values(["visitorid", "timestamp"])
    gaps = ordered.groupby("visitorid")["timestamp"].diff()
    assert manifest["counts"]["sessions"] == int((gaps.isna() | (gaps > 1_800_000)).sum())


PARTED = """session_id,item_id,timestamp,split,page
a,1,1433221332,train,x
a,2,1433221333,train,x
b,1,1433221334,{part},x
b,2,1433221335,test,x
"""


def test_parts_are_carried_and_what_is_not_read_is_named(tmp_path, capsys):
    (tmp_path / "events.csv").write_text(PARTED.format(part="test"))
    out = tmp_path / "atomic" / "shop"
    assert command_line.main(["csv", str(tmp_path / "events.csv"), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "guessed, split: column 'split'" in said and "not read: column 'page'" in said
    inter = pd.read_csv(out / "shop.inter", sep="\t")
    assert inter["split:token"].tolist() == ["train", "train", "test", "test"]
    without = tmp_path / "atomic" / "without"
    assert (
        command_line.main(["csv", str(tmp_path / "events.csv"), "--out", str(without), "--split", "-"]) == 0
    )
    assert "not read: columns 'split', 'page'" in capsys.readouterr().out
    assert "split:token" not in pd.read_csv(without / "without.inter", sep="\t").columns


@pytest.mark.parametrize(
    ("part", "options", "said"),
    [
        ("train", {}, "session b is of two parts: give"),
        ("tset", {"strict": True}, "split is not train, valid or test"),
        ("test", {"session": "-", "user": "session_id", "split": "split"}, "needs a column of sessions"),
    ],
)
def test_parts_that_cannot_be(tmp_path, part, options, said):
    (tmp_path / "events.csv").write_text(PARTED.format(part=part))
    with pytest.raises(ConvertError, match=said):
        convert(tmp_path / "events.csv", tmp_path / "shop", **options)


def test_a_feature_that_names_each_item_is_told(tmp_path, capsys):
    from recbole_ext.convert.__main__ import main

    events = [f"s{n // 2},i{n % 24},{1430622000 + n}" for n in range(48)]
    (tmp_path / "log.csv").write_text("session,item,time\n" + "\n".join(events) + "\n")
    rows = [f"i{n},red shirt {n},b{n % 5},{n}.5" for n in range(24)]
    (tmp_path / "items.csv").write_text("item,title:token,brand:token,price:float\n" + "\n".join(rows) + "\n")
    words = ["csv", str(tmp_path / "log.csv"), "--items", "items.csv", "--out", str(tmp_path / "shop")]
    assert main(words) == 0
    told = "note, values of title, nearly one an item: models leave it out where item_features does not name it: 24"
    out = capsys.readouterr().out
    assert told in out and "brand, nearly" not in out and "price, nearly" not in out
