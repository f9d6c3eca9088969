"""Any log: every form, every export's names, and what shops write, each as a small table with the rows worked out."""

import csv
import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from recbole_ext.convert import ConvertError, converted
from recbole_ext.convert import __main__ as command_line
from recbole_ext.convert import convert as convert_source
from recbole_ext.convert.forms import json_lines, table, typed
from recbole_ext.convert.sources.events import Options
from recbole_ext.convert.vocabulary import TextColumn

T = 1_700_000_000  # 2023-11-14 22:13:20 UTC


@pytest.fixture
def convert(tmp_path):
    """Convert to tmp_path/shop; return the manifest and the rows of the .inter file without header."""

    def run(raw, **options):
        manifest = convert_source("events", raw, tmp_path / "shop", **options)
        return manifest, rows_of(tmp_path / "shop" / "shop.inter")

    return run


def rows_of(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")[1:-1]]


def items_of(folder: Path) -> list[list[str]]:
    return [line.split("\t") for line in (folder / "shop" / "shop.item").read_text().split("\n")[:-1]]


class Arrow:
    """A frame that only offers Arrow's stream, as tables of pyarrow and relations of duckdb do."""

    def __init__(self, frame):
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema=None):
        return self._frame.__arrow_c_stream__(requested_schema)


# --- forms

FRAME = pl.DataFrame(
    {
        "session": ["s1", "s1", "s2", "s2"],
        "item": [12, 7, 12, None],
        "ts": [datetime(2023, 11, 14, 22, 13, 20 + n, 500_000) for n in range(4)],
        "page": ["x" * 100] * 4,
    }
)
EVENTS = [["s1", "12", "0"], ["s1", "7", "1"], ["s2", "12", "2"]]


def write(form: str, folder: Path, frame: pl.DataFrame = FRAME, name: str = "log"):
    """The frame in a form: a path, or the frame itself."""
    path = folder / f"{name}.{form}"
    if form == "parquet":
        frame.write_parquet(path)
    elif form == "arrow":
        frame.write_ipc(path)
    elif form == "csv":
        frame.write_csv(path)
    elif form == "csv.gz":
        path.write_bytes(gzip.compress(frame.write_csv().encode(), mtime=0))
    elif form == "jsonl":
        frame.with_columns(pl.col("ts").dt.to_string("%Y-%m-%dT%H:%M:%S%.f")).write_ndjson(path)
    elif form == "jsonl.gz":
        path.write_bytes(gzip.compress(write("jsonl", folder, frame, name).read_bytes(), mtime=0))
    else:
        columns = {column: frame[column].to_list() for column in frame.columns}
        made = {"polars": frame, "lazy": frame.lazy(), "arrow stream": Arrow(frame)}
        return (
            made[form] if form in made else pd.DataFrame(columns)
        )  # whole numbers with a hole are floats there
    return path


FILES = ["parquet", "arrow", "csv", "csv.gz", "jsonl", "jsonl.gz"]


@pytest.mark.parametrize("form", [*FILES, "polars", "lazy", "arrow stream", "pandas"])
def test_a_log_is_the_same_in_every_form(convert, tmp_path, form):
    manifest, rows = convert(write(form, tmp_path))
    assert rows == EVENTS and manifest["time_origin"] == T
    (account,) = manifest["rows"].values()
    assert account == {"read": 4, "kept": 3, "dropped": {"no item": 1}}
    assert manifest["unread"] == ["page"] and manifest["converter"] == "events"
    assert len(manifest["sources"]) == (form in FILES)


def test_pandas_own_types(convert):
    frame = pd.DataFrame(
        {
            "user_session": pd.Series(["x", "x", None], dtype="string"),
            "product_id": pd.array([1, 2, 3], dtype="Int64"),
            "event_time": pd.to_datetime(["2023-11-14 23:13:20+01:00"] * 2 + [None], utc=True),
            "event_type": pd.Categorical(["view", "cart", "view"]),
        }
    )
    manifest, rows = convert(frame, max_bad_rows=0.5)
    assert rows == [["x", "1", "0", "view"], ["x", "2", "0", "cart"]] and manifest["time_origin"] == T
    with pytest.raises(ConvertError, match=r"frame: 1 of 3 rows is bad.*the first is line 3"):
        convert(frame)


@pytest.mark.parametrize("form", FILES)
def test_a_folder_of_daily_parts_a_glob_and_a_list_are_one_log(convert, tmp_path, form):
    """A session that goes on over midnight is one; a row that stands in two parts is one event."""
    folder = tmp_path / "export"
    folder.mkdir()
    parts = [write(form, folder, FRAME[a:b], f"day{a}") for a, b in ((0, 1), (1, 3), (2, 4))]
    if form == "jsonl.gz":
        for part in parts:
            part.with_suffix("").unlink()
    (folder / "_SUCCESS").touch()
    (folder / "about.md").write_text("not a table")
    for raw in (folder, folder / f"*.{form}", str(folder / "day*"), parts):
        manifest, rows = convert(raw)
        assert rows == EVENTS
        assert [part.name for part in parts] == list(manifest["rows"])
        assert [entry["name"] for entry in manifest["sources"]] == list(manifest["rows"])
        assert manifest["rows"][parts[2].name]["dropped"] == {"duplicate row": 1, "no item": 1}
    manifest, _ = convert(folder)
    assert "about.md" in manifest["guessed"]["files"]


def test_hive_partitions_are_columns(convert, tmp_path):
    for day in ("2023-11-14", "2023-11-15"):
        for kind in ("view", "buy"):
            place = tmp_path / "log" / f"day={day}" / f"event={kind}"
            place.mkdir(parents=True)
            second = 1 if kind == "view" else 2
            frame = pl.DataFrame(
                {"user_session": [day[-2:]], "product_id": [5], "ts": [f"{day} 10:00:0{second} UTC"]}
            )
            frame.write_parquet(place / "part-0.parquet")
    manifest, rows = convert(tmp_path / "log")
    assert [(row[0], row[3]) for row in rows] == [
        ("14", "view"),
        ("14", "buy"),
        ("15", "view"),
        ("15", "buy"),
    ]
    assert next(iter(manifest["rows"])) == "day=2023-11-14/event=buy/part-0.parquet"
    by_day, rows = convert(tmp_path / "log" / "day=*" / "event=view", time="day")
    assert [row[0] for row in rows] == ["14", "15"] and by_day["options"]["time_unit"] == "date"


def test_views_and_orders_apart(convert, tmp_path):
    """Each table is guessed for itself; where none names kinds, files do."""
    (tmp_path / "views.csv").write_text(f"visitor,sku,ts\nu,a,{T}\nu,b,{T + 5}\n")
    order = {"customer_id": "u", "product_id": "b", "created_at": "2023-11-14T22:20:00Z", "total": 12.5}
    (tmp_path / "orders.jsonl").write_text(json.dumps(order) + "\n")
    manifest, rows = convert([tmp_path / "views.csv", tmp_path / "orders.jsonl"])
    assert rows == [
        ["1", "u", "a", "0", "views"],
        ["1", "u", "b", "5", "views"],
        ["1", "u", "b", "400", "orders"],
    ]
    assert manifest["guessed"]["event"] == "the name of the file" and manifest["unread"] == ["total"]
    (tmp_path / "orders.csv").write_text(f"visitor,sku,ts\nu,b,{T + 9}\n")
    both = [tmp_path / "views.csv", tmp_path / "orders.csv"]
    assert [row[3:] for row in convert(both)[1]] == [["0"], ["5"], ["9"]]  # as daily parts
    assert [row[4] for row in convert(both, event_by_file=True)[1]] == ["views", "views", "orders"]
    _, rows = convert(both, event_by_file=True, events="orders")
    assert [row[2] for row in rows] == ["b"]


def test_bad_rows_of_parts_are_a_share_of_the_log(convert, tmp_path):
    """One bad row of one part is a fifth of it and a hundredth of all."""
    good = [f"s,i,{T + n}" for n in range(95)]
    (tmp_path / "a.csv").write_text("\n".join(["session,item,ts", *good]))
    (tmp_path / "b.csv").write_text(
        "session,item,ts\ns,i,never\n" + "".join(f"t,i,{T + n}\n" for n in range(4))
    )
    parts = [tmp_path / "a.csv", tmp_path / "b.csv"]
    manifest, rows = convert(parts)
    assert len(rows) == 99 and manifest["rows"]["b.csv"]["kept"] == 4
    for options in ({"strict": True}, {"max_bad_rows": 0.005}):
        with pytest.raises(ConvertError, match=r"line 2 .*ts is no time in seconds") as error:
            convert(parts, **options)
        assert "b.csv" in str(error.value)


def test_blocks_end_anywhere(convert, tmp_path, monkeypatch):
    """Lists and lines keep their places over blocks of two rows."""
    monkeypatch.setattr(typed, "BLOCK_ROWS", 2)
    monkeypatch.setattr(json_lines, "BLOCK_LINES", 2)
    frame = pl.DataFrame(
        {"session": ["s"] * 5, "item": [["a"], ["b", "c"], [], None, ["d"]], "ts": [T + n for n in range(5)]}
    )
    frame.write_parquet(tmp_path / "log.parquet")
    frame.write_ndjson(tmp_path / "log.jsonl")
    for form in ("parquet", "jsonl"):
        manifest, rows = convert(tmp_path / f"log.{form}")
        assert [row[1:] for row in rows] == [["a", "0"], ["b", "1"], ["c", "1"], ["d", "4"]]
        assert manifest["rows"][f"log.{form}"] == {"read": 6, "kept": 4, "dropped": {"no item": 2}}
        assert manifest["notes"][table.SEVERAL] == 1
        assert [example["line"] for example in manifest["examples"]] == [3, 4]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"session": 1, "item": 2}\n', "no column looks like --time"),
        ("a.json", b'[{"session": 1}]', "is one JSON list: write an object a line"),
        ("a.parquet", b"PAR1 and no more", "cannot be read"),
        ("a.csv", b"session,item,ts\n", "a.csv has no rows below its header: there is nothing to read"),
    ],
)
def test_tables_that_are_refused_in_one_sentence(convert, tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConvertError, match=says) as error:
        convert(tmp_path / name)
    assert len(str(error.value).splitlines()) == 1 and not (tmp_path / "shop").exists()


def test_what_names_no_table_is_refused(convert, tmp_path):
    for raw, says in (
        (tmp_path / "*.parquet", "There is no file"),
        (tmp_path, "is a folder without a table"),
        ([], "no table of events is named"),
        (5, "5 names no table"),
    ):
        with pytest.raises(ConvertError, match=says):
            convert(raw)
    with pytest.raises(ConvertError, match="this source reads one folder"):
        convert_source("diginetica", FRAME, tmp_path / "d")
    with pytest.raises(ConvertError, match="say where the atomic files go with --out"):
        converted("events", FRAME, None, Options())


def test_a_line_that_is_no_object_is_a_bad_row(convert, tmp_path):
    """Numbers keep their digits, whatever their size; blank lines are no rows."""
    lines = [{"session": 1, "item": 12345678901234567890, "ts": T}, {"session": 1, "item": 1.50, "ts": T + 1}]
    text = "\n\n".join(json.dumps(line) for line in lines).replace("1.5,", "1.50,")
    (tmp_path / "log.jsonl").write_text(f"{text}\nnope\n")
    with pytest.raises(ConvertError, match=r"1 of 3 rows is bad.*line 4 .not a JSON object: 'nope'"):
        convert(tmp_path / "log.jsonl")
    _, rows = convert(tmp_path / "log.jsonl", max_bad_rows=0.5)
    assert [row[1] for row in rows] == ["12345678901234567890", "1.50"]


def test_a_field_that_the_first_part_does_not_show(convert, tmp_path):
    """Parts have the columns of all of them: a user known in the last part only, a key of one day only."""
    for day, more in enumerate(({}, {}, {"user_id": "u"})):
        line = {"session": "s", "item": f"i{day}", "ts": T + day, **more}
        (tmp_path / f"day{day}.jsonl").write_text(json.dumps(line) + "\n")
        parameters = [{"key": f"of_{day}", "value": 1}, {"key": "ga_session_id", "value": 5}]
        frame = pl.DataFrame(
            {"user": ["u"], "item": [f"i{day}"], "ts": [T + day], "event_params": [parameters]}
        )
        frame.write_parquet(tmp_path / f"day{day}.parquet")
    manifest, rows = convert(tmp_path / "day*.jsonl")
    assert rows == [["s", "u", "i0", "0"], ["s", "u", "i1", "1"], ["s", "u", "i2", "2"]]
    manifest, rows = convert(tmp_path / "day*.parquet")
    assert [row[0] for row in rows] == ["1", "1", "1"]
    assert manifest["unread"] == ["event_params.of_0", "event_params.of_1", "event_params.of_2"]


# --- exports


def ga4(second, name, visitor, number, items, user=None):
    return {
        "event_date": "20231114",
        "event_timestamp": (T + second) * 1_000_000,
        "event_name": name,
        "event_params": [
            {"key": "page_location", "value": {"string_value": "http://x", "int_value": None}},
            {"key": "ga_session_id", "value": {"string_value": None, "int_value": number}},
        ],
        "user_id": user,
        "user_pseudo_id": visitor,
        "geo": {"country": "DE"},
        "items": [{"item_id": item, "item_name": f"a {item}", "price": 1.5} for item in items],
    }


GA4 = [
    ga4(0, "page_view", "a.1", 77, []),
    ga4(1, "view_item", "a.1", 77, ["X"]),
    ga4(2, "view_item", "b.2", 77, ["Y"], "known"),
    ga4(9, "purchase", "b.2", 77, ["Y", "Z"]),
    ga4(10, "scroll", "b.2", 77, []),
    ga4(9999, "view_item", "b.2", 78, ["X"]),
]
GA4_EVENTS = [
    ["1", "a.1", "X", "0", "view_item"],
    ["2", "b.2", "Y", "1", "view_item"],
    ["2", "b.2", "Y", "8", "purchase"],
    ["2", "b.2", "Z", "8", "purchase"],
    ["3", "b.2", "X", "9998", "view_item"],
]


@pytest.mark.parametrize("form", ["parquet", "jsonl", "frame"])
def test_ga4_as_bigquery_exports_it(convert, tmp_path, form):
    """Sessions are the visitor's own: 77 of two visitors is two. A purchase is an event an item, a page view none."""
    raw = pl.DataFrame(GA4)
    if form == "parquet":
        raw.write_parquet(tmp_path / "ga4.parquet")
        raw = tmp_path / "ga4.parquet"
    elif form == "jsonl":
        raw = tmp_path / "ga4.jsonl"
        raw.write_text("".join(json.dumps(row) + "\n" for row in GA4))
    manifest, rows = convert(raw)
    assert rows == GA4_EVENTS
    (account,) = manifest["rows"].values()
    assert account == {"read": 7, "kept": 5, "dropped": {"no item": 2}}
    guessed = manifest["guessed"]
    assert guessed["session"] == "column 'event_params.ga_session_id', counted anew for each visitor"
    assert guessed["user"] == "column 'user_pseudo_id'" and "GA4" in guessed["export"]
    assert {"geo.country", "items.price", "event_params.page_location", "user_id"} <= set(manifest["unread"])
    manifest, rows = convert(raw, events="purchase,refund")
    assert [row[4] for row in rows] == ["purchase", "purchase"]
    assert manifest["guessed"]["events"] == "none is a refund"
    with pytest.raises(
        ConvertError, match="no event with an item of the kinds buy: there are such as page_view, view"
    ):
        convert(raw, events=["buy"])


SNOWPLOW = "contexts_com_snowplowanalytics_snowplow_ecommerce_product_1"


@pytest.mark.parametrize(
    ("columns", "expected", "sessions"),
    [
        (
            {
                "collector_tstamp": ["2023-11-14 22:13:20.000"],
                "event": ["unstruct"],
                "event_name": ["product_view"],
                "user_id": [""],
                "domain_userid": ["du"],
                "domain_sessionid": ["ds"],
                SNOWPLOW: [[{"id": "P", "price": 2.0}]],
            },
            ["ds", "du", "P", "0", "product_view"],
            "column 'domain_sessionid'",
        ),
        (
            {
                "anonymous_id": ["a"],
                "user_id": [""],
                "context_session_id": ["c"],
                "event": ["product_viewed"],
                "received_at": [datetime(2023, 11, 14, tzinfo=UTC)],
                "timestamp": [datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)],
                "product_id": ["P"],
            },
            ["c", "a", "P", "0", "product_viewed"],
            "column 'context_session_id'",
        ),
        (
            {
                "idvisit": [3],
                "idvisitor": ["v"],
                "server_time": ["2023-11-14 22:13:20"],
                "idaction_sku": ["P"],
            },
            ["3", "v", "P", "0"],
            "column 'idvisit'",
        ),
        (
            {
                "event_time": ["2023-11-14 22:13:20 UTC"],
                "event_type": ["cart"],
                "product_id": ["P"],
                "category_id": ["9"],
                "user_id": ["v"],
                "user_session": ["uuid"],
            },
            ["uuid", "v", "P", "0", "cart"],
            "column 'user_session'",
        ),
        (
            {"session": [1], "aid": ["P"], "ts": [T * 1000], "type": ["clicks"]},
            ["1", "P", "0", "clicks"],
            "column 'session'",
        ),
    ],
    ids=["Snowplow", "Segment", "Matomo", "REES46", "OTTO"],
)
def test_names_of_exports_are_known(convert, columns, expected, sessions):
    manifest, rows = convert(pl.DataFrame(columns))
    assert rows == [expected] and manifest["guessed"]["session"] == sessions
    assert manifest["time_origin"] == T


@pytest.mark.parametrize("form", ["jsonl", "frame"])
def test_segment_as_it_is_sent(convert, tmp_path, form):
    """A view names its product, an order lists them: both are read, and a page is no event of an item."""
    product, order = {"product_id": "P"}, {"products": [{"product_id": "P"}, {"product_id": "Q"}]}
    lines = [
        {
            "event": kind,
            "anonymousId": "a",
            "userId": None,
            "timestamp": f"2023-11-14T22:1{n}:20Z",
            "properties": more,
        }
        for n, (kind, more) in enumerate(
            [
                ("Product Viewed", product),
                ("Page", {"url": "x"}),
                ("Product Viewed", product),
                ("Order Completed", order),
            ]
        )
    ]
    (tmp_path / "segment.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    raw = tmp_path / "segment.jsonl" if form == "jsonl" else pl.DataFrame(lines)
    manifest, rows = convert(raw)
    assert [row[2:] for row in rows] == [
        ["P", "0", "Product Viewed"],
        ["P", "120", "Product Viewed"],
        ["P", "180", "Order Completed"],
        ["Q", "180", "Order Completed"],
    ]
    (account,) = manifest["rows"].values()
    assert account == {"read": 5, "kept": 4, "dropped": {"no item": 1}}
    assert manifest["guessed"]["item"] == "column 'properties.products.product_id'"
    assert manifest["unread"] == ["userId", "properties.url"]


def test_otto_as_published(convert, tmp_path):
    line = {
        "session": 1,
        "events": [
            {"aid": 5, "ts": T * 1000, "type": "clicks"},
            {"aid": 6, "ts": T * 1000 + 2000, "type": "carts"},
        ],
    }
    (tmp_path / "otto.jsonl").write_text(json.dumps(line) + "\n")
    assert convert(tmp_path / "otto.jsonl")[1] == [["1", "5", "0", "clicks"], ["1", "6", "2", "carts"]]


def test_the_filled_column_comes_before_the_empty_one(convert):
    """An owner's session column that nobody knows is named; an empty one is told, and never chosen."""
    columns = {"visitor_id": ["v", "w"], "item": ["a", "b"], "ts": [T, T + 1]}
    manifest, rows = convert(pl.DataFrame({"user_id": ["", None], "session_id": [None, ""], **columns}))
    assert [row[1] for row in rows] == ["v", "w"]
    assert manifest["guessed"]["empty"] == "columns 'session_id', 'user_id', so not read"
    manifest, _ = convert(pl.DataFrame({"my_session_no": ["1", "1"], **columns}))
    assert "if 'my_session_no' names them, give --session" in manifest["guessed"]["session"]
    manifest, rows = convert(
        pl.DataFrame({"web_session_id": ["9", "9"], "item": ["a", "b"], "ts": [T, T + 1]})
    )
    assert rows == [["9", "a", "0"], ["9", "b", "1"]]


# --- what shops write


@pytest.mark.parametrize("name", ["NA", "null", "nan", "None", "N/A", 'the 24" one', "#NA"])
def test_an_item_may_be_called_so(convert, tmp_path, name):
    quoted = '"' + name.replace('"', '""') + '"'
    (tmp_path / "log.csv").write_text(f"session,item,ts\ns,{quoted},{T}\ns,,{T + 1}\n")
    manifest, rows = convert(tmp_path / "log.csv", strict=True)
    assert rows == [["s", name, "0"]] and manifest["rows"]["log.csv"]["dropped"] == {"no item": 1}
    told = [count for note, count in manifest["notes"].items() if "called NA, null" in note]
    assert told == ([] if '"' in name else [1])
    assert convert(pl.DataFrame({"session": ["s"], "item": [name], "ts": [T]}))[1] == rows


def test_page_views_are_no_bad_rows(convert, tmp_path, capsys):
    rows = [f"s{n % 9},{f'i{n}' if n % 3 else ''},{T + n},{'view' if n % 3 else 'page'}" for n in range(30)]
    (tmp_path / "log.csv").write_text("\n".join(["session,item,ts,event", *rows]))
    words = ["events", str(tmp_path / "log.csv"), "--out", str(tmp_path / "shop"), "--strict"]
    assert command_line.main(words) == 0
    assert "30 rows read, 20 kept\n  dropped, no item: 10" in capsys.readouterr().out
    assert command_line.main(["events", "--events", "view,buy", *words[1:]]) == 0  # before the log
    assert "of a kind that --events does not name: 10" in capsys.readouterr().out
    (tmp_path / "log.csv").write_text(f"session,item,ts\ns,,{T}\n")
    assert command_line.main(words) == 2
    assert "no row has an item in column item: name another one with --item" in capsys.readouterr().err


MOMENT = datetime(2015, 5, 3, 3, 25, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "form", "moment"),
    [
        ("03.05.2015 03:25", "%d.%m.%Y %H:%M", MOMENT),
        ("3.5.2015 03:25:07", "%d.%m.%Y %H:%M:%S", MOMENT + 7),
        ("23/05/2015 03:25", "%d/%m/%Y %H:%M", MOMENT + 20 * 86_400),
        ("05/23/2015 03:25 PM", "%m/%d/%Y %I:%M %p", MOMENT + 20 * 86_400 + 43_200),
        ("2015/05/03 03:25", "%Y/%m/%d %H:%M", MOMENT),
        ("20150503T032500Z", "%Y%m%dT%H%M%SZ", MOMENT),
        ("20150503T052500+0200", "%Y%m%dT%H%M%S%z", MOMENT),
        ("20150503", "%Y%m%d", MOMENT - 205 * 60),
    ],
)
def test_a_format_that_leaves_no_doubt_is_guessed(convert, tmp_path, text, form, moment):
    (tmp_path / "log.csv").write_text(f"session,item,ts\ns,a,{text}\n")
    manifest, _ = convert(tmp_path / "log.csv")
    assert manifest["time_origin"] == moment and f"written {form}:" in manifest["guessed"]["time"]
    assert manifest["options"]["time_format"] == form and manifest["options"]["time_unit"] is None
    assert convert(tmp_path / "log.csv", time_format=form)[0]["time_origin"] == moment


def test_a_format_in_doubt_is_asked_for(convert, tmp_path):
    rows = "".join(f"s,a,05/0{n}/2015 03:25 AM\n" for n in range(1, 4))
    (tmp_path / "log.csv").write_text(f"session,item,ts\n{rows}")
    with pytest.raises(
        ConvertError, match=r"the day or the month first: give --time-format '%d/%m/%Y %I:%M %p' or"
    ):
        convert(tmp_path / "log.csv")
    manifest, rows = convert(tmp_path / "log.csv", time_format="%m/%d/%Y %I:%M %p")
    assert [row[2] for row in rows] == ["0", "86400", "172800"] and manifest[
        "time_origin"
    ] == MOMENT - 2 * 86_400
    (tmp_path / "log.csv").write_text(
        "session,item,ts\n" + "".join(f"s,a,{day}/05/2015 03:25\n" for day in (1, 2, 30))
    )
    assert convert(tmp_path / "log.csv")[0]["options"]["time_format"] == "%d/%m/%Y %H:%M"  # the 30th decides
    with pytest.raises(
        ConvertError, match=r"--time-format %d\.%m reads no time in column ts, such as '1/05/2015"
    ):
        convert(tmp_path / "log.csv", time_format="%d.%m")
    bad = "session,item,ts\n" + "s,a,03.05.2015 03:25\ns,b,3rd of May\ns,c,04.05.2015 03:25\n"
    (tmp_path / "log.csv").write_text(bad)
    manifest, rows = convert(tmp_path / "log.csv", max_bad_rows=0.5)
    assert [row[1] for row in rows] == ["a", "c"]
    assert manifest["rows"]["log.csv"]["dropped"] == {"ts is no time written %d.%m.%Y %H:%M": 1}


def test_typed_days_and_a_unit_that_is_none(convert):
    days = pl.DataFrame(
        {"session": ["s", "s"], "item": ["a", "b"], "day": [date(2023, 11, 14), date(2023, 11, 15)]}
    )
    assert convert(days, time="day")[1] == [["s", "a", "0"], ["s", "b", "86400"]]
    with pytest.raises(ConvertError, match="--time-unit ms: column ts of frame holds date-times already"):
        convert(FRAME, time_unit="ms")


def test_no_header(convert, tmp_path):
    """Told by option, or by columns that are numbers; else the sentence says how. Lines keep their numbers."""
    (tmp_path / "log.tsv").write_text(f"s\ta\t{T}\ns\tb\tnever\ns\tc\t{T + 2}\n")
    numbers = {"session": "1", "item": 2, "time": 3, "max_bad_rows": 0.5}
    for options in (numbers, {**numbers, "no_header": True}):
        manifest, rows = convert(tmp_path / "log.tsv", **options)
        assert rows == [["s", "a", "0"], ["s", "c", "2"]]
        assert [example["line"] for example in manifest["examples"]] == [2]
        assert ("header" in manifest["guessed"]) == ("no_header" not in options)
    with pytest.raises(ConvertError, match="give --no-header and columns by their number, such as --item 2"):
        convert(tmp_path / "log.tsv")
    with pytest.raises(ConvertError, match="--no-header is of delimited text"):
        convert(FRAME, no_header=True)


# --- items


@pytest.fixture
def items(convert, tmp_path):
    """Convert a log of the items a, b, c with a table of features; return the manifest and the .item file's rows."""

    def run(features, **options):
        log = tmp_path / "log.csv"
        log.write_text("session,item,ts\n" + "".join(f"s,{item},{T + n}\n" for n, item in enumerate("abc")))
        if isinstance(features, str):
            (tmp_path / "items.csv").write_text(features)
            features = tmp_path / "items.csv"
        manifest, _ = convert(log, items=features, **options)
        return manifest, items_of(tmp_path)

    return run


@pytest.mark.parametrize(
    ("name", "values", "numbers"),
    [
        ("cost", ["12,99", "1.299,00", "5,50"], ["12.99", "1299.0", "5.5"]),
        ("x", ["12,99", "1299,00", "5,50"], ["12.99", "1299.0", "5.5"]),
        ("x", ["€ 12.99", "€5", "€ 1,299.00"], ["12.99", "5.0", "1299.0"]),
        ("x", ["12,99 €", "5 €", "1 299,00 €"], ["12.99", "5.0", "1299.0"]),
        ("x", ["USD 12.99", "USD 5", "NA"], ["12.99", "5.0", ""]),
        ("price", ["12", "5", "1299"], ["12.0", "5.0", "1299.0"]),
        ("reviewCount", ["0", "3", "1299"], ["0.0", "3.0", "1299.0"]),
        ("num_ratings", ["0", "3", ""], ["0.0", "3.0", ""]),
    ],
)
def test_amounts_are_numbers(items, name, values, numbers):
    quoted = "".join(f'{item},"{value}"\n' for item, value in zip("abc", values))
    manifest, rows = items(f"item,{name}\n{quoted}")
    assert rows == [
        ["item_id:token", f"{name}:float"],
        *([item, value] for item, value in zip("abc", numbers)),
    ]
    changed = any(value != number.removesuffix(".0") for value, number in zip(values[:2], numbers))
    assert (f"numbers of {name}" in manifest["guessed"]) == (changed or "," in values[2])
    _, declared = items(f"item,{name}:float\n{quoted}")
    assert declared == rows


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("price", ["1,234", "2,345", "3,456"], "such as '1,234', thousands or decimals"),
        ("price", ["$5", "€ 6", "$7"], "several currencies ($, €)"),
        ("shelf", ["1", "2", "3"], "shelf (whole numbers)"),
        ("tags", ["1,2", "3,45", "6,7"], "tags (such as '1,2')"),
        ("price_band", ["1", "2", "3"], "price_band (whole numbers)"),
    ],
)
def test_what_stays_words_is_told(items, name, values, told):
    quoted = "".join(f'{item},"{value}"\n' for item, value in zip("abc", values))
    manifest, rows = items(f"item,{name}\n{quoted}")
    assert rows[0][1] == f"{name}:token" and [row[1] for row in rows[1:]] == values
    assert any(told in words for words in manifest["guessed"].values())


def test_levels_and_ways_are_paths(items):
    """From the category up to the root, each by its own way: Home under Toys is another Home."""
    manifest, rows = items(
        "item,category1,category2,way,size1,size2\na,Home,Tea Pots,Home > Tea Pots,1x,2x\n"
        "b,Home,,Home,1x,\nc,Toys,Home,Toys>Home,,\n"
    )
    assert rows[0][-2:] == ["way_path:token_seq", "category_path:token_seq"] and len(rows[0]) == 8
    assert [row[-1] for row in rows[1:]] == ["Home>Tea\u00a0Pots Home", "Home", "Toys>Home Toys"]
    assert [row[-2] for row in rows[1:]] == [row[-1] for row in rows[1:]]
    assert rows[1][1:4] == ["Home", "Tea Pots", "Home > Tea Pots"]  # as they came
    assert manifest["guessed"]["category_path"] == "the way to the root, of category1, category2"
    _, rows = items("item,item_category,item_category2\na,A,B\nb,A,\nc,A,C\n")
    assert [row[-1] for row in rows] == ["item_category_path:token_seq", "A>B A", "A", "A>C A"]


def test_rows_of_an_item_are_a_list(items):
    """Where they differ in one column alone, or in a declared list; else the first row is kept, as before."""
    manifest, rows = items("item,title,tag\na,A,red\nb,B,blue\na,A,dark red\na,A,red\nx,X,1\nx,X,2\n")
    assert rows == [
        ["item_id:token", "title:token", "tag:token_seq"],
        ["a", "A", "red dark\u00a0red"],
        ["b", "B", "blue"],
        ["c", "", ""],
    ]
    assert manifest["rows"]["items.csv"] == {
        "read": 6,
        "kept": 3,
        "dropped": {"duplicate row": 1, "item in no session": 2},
    }
    manifest, rows = items("item,title,tag\na,A,red\na,Z,blue\n", item_types="tag:token_seq")
    assert rows[1] == ["a", "A", "red blue"]
    assert manifest["notes"]["item whose rows differ in title (the first is kept)"] == 1
    manifest, rows = items("item,title,tag\na,A,red\na,Z,blue\n")
    assert rows[1] == ["a", "A", "red"]
    assert manifest["rows"]["items.csv"]["dropped"] == {"item has another row already": 1}


def test_quotation_marks_and_line_breaks_in_features(items):
    manifest, rows = items('item,size,about\na,"24"" monitor","two\nlines"\nb,"19"" monitor",one\n')
    assert [row[1:] for row in rows[1:3]] == [['24" monitor', "two lines"], ['19" monitor', "one"]]
    assert manifest["notes"]["about with line breaks or tabs, which are written as blanks"] == 1


@pytest.mark.parametrize("form", ["parquet", "jsonl", "polars", "pandas"])
def test_items_in_every_form(items, tmp_path, form):
    frame = pl.DataFrame(
        {
            "item": ["a", "b"],
            "tags": [["Sci Fi", "x"], []],
            "price": [1.0, None],
            "shelf": [3, 4],
            "geo": [{"c": "DE"}] * 2,
        }
    )
    raw = {"polars": frame, "pandas": pd.DataFrame(frame.to_dict(as_series=False))}.get(form)
    if form == "parquet":
        raw = tmp_path / "items.parquet"
        frame.write_parquet(raw)
    elif form == "jsonl":
        raw = tmp_path / "items.jsonl"
        frame.write_ndjson(raw)
    manifest, rows = items(raw)
    assert rows[0][1:4] == ["tags:token_seq", "price:float", "shelf:token"]
    assert [row[:4] for row in rows[1:]] == [
        ["a", "Sci\u00a0Fi x", "1.0", "3"],
        ["b", "", "", "4"],
        ["c", "", "", ""],
    ]
    assert manifest["options"]["items_file"].endswith(str(raw) if isinstance(raw, Path) else "frame of items")


def test_item_columns_leaves_the_others_out(items):
    text = "item,a,b,price\na,1,2,3.5\n"
    assert items(text, item_columns="price,a")[1][0] == ["item_id:token", "a:token", "price:float"]
    with pytest.raises(ConvertError, match="no column pric for --item-columns: did you mean price"):
        items(text, item_columns=["pric"])


def test_bytes_are_text_or_digits(convert):
    """Older writers of parquet store texts as bytes; Matomo's visitors are eight of them."""
    frame = pl.DataFrame(
        {"idvisit": [1, 2], "idvisitor": [b"\xff\x01", b"ann"], "sku": [b"a", b"b"], "ts": [T, T + 1]}
    )
    assert convert(frame)[1] == [["1", "ff01", "a", "0"], ["2", "ann", "b", "1"]]


def test_a_table_of_items_in_the_folder_of_events(convert, tmp_path):
    """Named, it is no part of the log; else it is refused as a table without times."""
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "day1.csv").write_text(f"session,item,ts\ns,a,{T}\n")
    (tmp_path / "log" / "items.csv").write_text("item,price\na,3\n")
    manifest, rows = convert(tmp_path / "log", items="items.csv")
    assert len(rows) == 1 and list(manifest["rows"]) == ["day1.csv", "items.csv"]
    assert items_of(tmp_path)[1] == ["a", "3.0"]
    with pytest.raises(ConvertError, match=r"items\.csv, line 1: no column looks like --time"):
        convert(tmp_path / "log")


@pytest.mark.parametrize("size", [1, 17, 64, 1 << 24])
def test_rows_over_several_lines_in_blocks_of_any_size(convert, tmp_path, monkeypatch, size):
    monkeypatch.setattr("recbole_ext.convert.rows.BLOCK_BYTES", size)
    titles = ["x", "two\nlines", 'a ""\n\n"b"\r\nc, d', '"', '""', 'tail"', "", "two\nlines"]
    records = [[str(n % 3), f"i{n}, {n}", str(T + n), title] for n, title in enumerate(titles * 3)]
    with (tmp_path / "log.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["session", "item", "ts", "title"], *records])
    manifest, rows = convert(tmp_path / "log.csv", strict=True)
    assert sorted((row[0], row[1], T + int(row[2])) for row in rows) == sorted(
        (session, item, int(time)) for session, item, time, _ in records
    )
    assert manifest["rows"]["log.csv"]["read"] == len(records)


# --- names, options, memory


def test_the_old_name_works_the_same(tmp_path, capsys):
    (tmp_path / "log.csv").write_text(f"session,item,ts\ns,a,{T}\n")
    for name in ("csv", "events"):
        assert command_line.main([name, str(tmp_path / "log.csv"), "--out", str(tmp_path / name)]) == 0
        said = capsys.readouterr().out.replace(f"/{name}", "").replace(f"{name}.inter", "")
        assert "1 row read, 1 kept" in said
    files = [(tmp_path / name / f"{name}.inter").read_bytes() for name in ("csv", "events")]
    assert files[0] == files[1]
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("csv", "events")]
    assert [manifest["converter"] for manifest in manifests] == ["events", "events"]
    assert manifests[0]["options"] == manifests[1]["options"]


def test_several_files_and_globs_on_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "export").mkdir()
    for n in range(10):
        (tmp_path / "export" / f"day{n}.csv").write_text(f"session,item,ts\ns{n},a,{T + n}\n")
    assert command_line.main(["events", "export/day*.csv"]) == 0
    assert "10 files: 10 rows read, 10 kept" in capsys.readouterr().out
    assert len(rows_of(tmp_path / "atomic_data" / "export" / "export.inter")) == 10
    assert command_line.main(["events", "export/day0.csv", "export/day1.csv", "--out", "two"]) == 0
    assert len(rows_of(tmp_path / "two" / "two.inter")) == 2


def test_texts_as_numbers_are_texts_again(monkeypatch):
    monkeypatch.setattr("recbole_ext.convert.vocabulary.MANY", 3)
    blocks = [["b", None, "a"], ["c", "a"], [], ["ä", "b", "b"]]
    column = TextColumn()
    for block in blocks:
        column.add(pl.Series(block, dtype=pl.String))
    made = column.column("x")
    assert made.cast(pl.String).to_list() == [text for block in blocks for text in block]
    assert made.dtype.categories.to_list() == ["a", "b", "c", "ä"] and made.name == "x"


def test_blocks_are_read_one_at_a_time(tmp_path, monkeypatch):
    """Of a table of many columns only those that are asked for are read, and of those a block."""
    seen = []
    judged = typed.judged
    monkeypatch.setattr(typed, "BLOCK_ROWS", 100)
    monkeypatch.setattr(typed, "judged", lambda rows, *more: seen.append(rows.shape) or judged(rows, *more))
    wide = {f"c{n}": ["x" * 50] * 1000 for n in range(20)}
    frame = pl.DataFrame(
        {"session": ["s"] * 1000, "item": [str(n) for n in range(1000)], "ts": range(T, T + 1000), **wide}
    )
    frame.write_parquet(tmp_path / "log.parquet", row_group_size=250)
    convert_source("events", tmp_path / "log.parquet", tmp_path / "shop")
    assert seen == [(100, 4)] * 10
    assert [row[1] for row in rows_of(tmp_path / "shop" / "shop.inter")] == [str(n) for n in range(1000)]
