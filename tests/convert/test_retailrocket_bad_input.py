"""Retail Rocket logs with faults: clean rows convert to the same bytes, every drop is counted, or one sentence."""

import gzip
import json
import os
import random
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_ext.convert import ConvertError, convert, properties
from recbole_ext.convert import rows as rows_
from recbole_ext.convert.__main__ import main
from recbole_ext.convert.categories import MAX_DEPTH

DAY = 86_400_000
START = 1_433_116_800_000  # 2015-06-01 00:00 UTC
CUT = START + 5 * DAY  # with a last session on 06-07 and two test days
EVENTS, TREE, PART1, PART2 = (
    "events.csv",
    "category_tree.csv",
    "item_properties_part1.csv",
    "item_properties_part2.csv",
)
HEADERS = {
    EVENTS: "timestamp,visitorid,event,itemid,transactionid",
    TREE: "categoryid,parentid",
    PART1: "timestamp,itemid,property,value",
    PART2: "timestamp,itemid,property,value",
}
OPTIONS: dict[str, Any] = {"test_days": 2, "features": ["790:float", "888"]}
FEATURES = {"categoryid", "available", "790", "888"}
UNASKED, UNKNOWN, LATE = (
    "property not asked for",
    "item without events",
    "not yet known before the test period",
)
TIED = "property row that repeats another or is outdone by one of the same moment"
NO_ID = "transaction without transactionid"
Log = dict[str, list[str]]

CLEAN: Log = {
    EVENTS: [
        *(f"{START + n * 3_000_000},{n % 5},view,{10 + n % 7}," for n in range(30)),
        f"{START + DAY},2,addtocart,11,",
        f"{START + DAY + 5},2,transaction,11,7001",
        f"{START + 6 * DAY},2,view,13,",
    ],
    TREE: ["1,", "2,1", "3,2", "4,3", "5,1"],
    PART1: [f"{START + n},{10 + n % 7},categoryid,{1 + n % 5}" for n in range(14)],
    PART2: [
        *(f"{START + n},{10 + n % 7},available,{n % 2}" for n in range(7)),
        *(f"{START + n},{10 + n % 7},790,n{n}.500" for n in range(4)),
        *(f"{START + n},{10 + n % 7},888,{n} n{n}.000" for n in range(4)),
    ],
}


def write(folder: Path, log: Log, end: str = "\n") -> Path:
    """The log's files; the header of each comes first unless the rows bring their own."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for file, rows in log.items():
        (folder / file).write_bytes((end.join([HEADERS[file], *rows]) + end).encode())
    return folder


def files(out: Path) -> dict[str, bytes]:
    """All that lies in a folder."""
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())} if out.exists() else {}


def together(options: dict[str, Any]) -> dict[str, Any]:
    """The usual options and these; without the days that they leave unread."""
    merged = {**OPTIONS, **options}
    if "test_start" in options or options.get("as_of") == "latest":
        merged.pop("test_days")
    return merged


def result(raw: Path, out: Path, **options: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The atomic files and the manifest of a conversion."""
    manifest = convert("retailrocket", raw, out, **together(options))
    written = files(out)
    assert json.loads(written.pop("manifest.json"))["rows"] == manifest["rows"]
    for rows in manifest["rows"].values():
        assert rows["read"] == rows["kept"] + sum(rows["dropped"].values())
    return written, manifest


def dropped(manifest: dict[str, Any]) -> Counter[str]:
    """Rows by reason over all files."""
    return sum((Counter(rows["dropped"]) for rows in manifest["rows"].values()), Counter())


def refused(raw: Path, out: Path, **options: Any) -> str:
    """The one sentence that a conversion ends with; what lay in `out` and beside it is as it was."""
    out.mkdir(exist_ok=True)
    for name in (f"{out.name}.inter", f"{out.name}.item", "manifest.json", "notes.txt"):
        (out / name).write_text(f"{name} of before")
    before, beside = files(out), sorted(out.parent.iterdir())
    with pytest.raises(ConvertError) as error:
        convert("retailrocket", raw, out, **together(options))
    assert files(out) == before and sorted(out.parent.iterdir()) == beside
    for path in out.iterdir():
        path.unlink()
    out.rmdir()
    sentence = str(error.value)
    assert sentence and "\n" not in sentence and "Traceback" not in sentence
    return sentence


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clean")
    return result(write(folder / "raw", CLEAN), folder / "d", strict=True)[0]


def whole(column: str) -> str:
    return f"{column} is not a whole number"


TIME_FAULTS = [
    ("", whole("timestamp")),
    ("NaN", whole("timestamp")),
    ("abc", whole("timestamp")),
    ("-1433116800000", whole("timestamp")),
    ("1433116800000.0", whole("timestamp")),
    ("1.4331168e12", whole("timestamp")),
    ("2015-06-01", whole("timestamp")),
    ("1433116800", "timestamp is out of range"),  # seconds among milliseconds
    ("1433116800000000", "timestamp is out of range"),  # microseconds
    ("1420070399999", "timestamp is out of range"),  # 2014-12-31
    ("1451606400000", "timestamp is out of range"),  # 2016-01-01
    ("0", "timestamp is out of range"),
    ("999999999999999999", "timestamp is out of range"),
    ("99999999999999999999999", whole("timestamp")),
]
ID_FAULTS = (
    *("", "NaN", "null", "x", "1.0", "-1", "+1", "007", "1e3", "1 0", "0x1", "١٢", "²", "\u00a01", "1\u200b"),
    *("1000000000000000000", "9223372036854775808", '"10', '1"0', "'1'"),
)  # fmt: skip
FIELDS = [
    ("nonsense", "wrong number of fields"),
    (",", "wrong number of fields"),
    (",,,,,,,", "wrong number of fields"),
]
BAD: dict[str, list[tuple[str, str]]] = {
    EVENTS: [
        *((f"{time},1,view,10,", reason) for time, reason in TIME_FAULTS),
        *((f"{START},{user},view,10,", whole("visitorid")) for user in ID_FAULTS),
        *((f"{START},1,view,{item},", whole("itemid")) for item in ID_FAULTS),
        *(
            (f"{START},1,{kind},10,", "event is none of view, addtocart, transaction")
            for kind in ("", "View", "click", "views", "NaN", "1", "add to cart", "vïew")
        ),
        (f'{START},1,transaction,10,7"1', "transactionid holds a tab or quotation mark"),
        (f"{START},1,transaction,10,7\t1", "transactionid holds a tab or quotation mark"),
        (f"{START},1,view,10", "wrong number of fields"),
        (f"{START},1,view,10,,", "wrong number of fields"),
        (f"{START};1;view;10;", "wrong number of fields"),
        (f'{START},1,"view,",10,', "wrong number of fields"),
        *FIELDS,
    ],
    TREE: [
        *((f"{category},1", whole("categoryid")) for category in (*ID_FAULTS, "NA")),
        *((f"9,{parent}", whole("parentid")) for parent in ID_FAULTS if parent),
        ("9", "wrong number of fields"),
        ("9,1,1", "wrong number of fields"),
        ("9;1", "wrong number of fields"),
        ("nonsense", "wrong number of fields"),
    ],
    PART1: [
        *((f"{time},10,categoryid,1", reason) for time, reason in TIME_FAULTS),
        *((f"{START},{item},categoryid,1", whole("itemid")) for item in ID_FAULTS),
        (f"{START},10,,1", "property is empty"),
        (f"{START},10,categoryid,", "value is empty"),
        (f"{START},10,nobody asks,", "value is empty"),
        (f'{START},10,888,5"7', "value holds a tab or quotation mark"),
        (f"{START},10,888,5\t7", "value holds a tab or quotation mark"),
        *(
            (f"{START},10,categoryid,{value}", whole("categoryid"))
            for value in ("x", "n1.000", "-1", "1.0", "01", "NaN", "1 2", "9" * 19)
        ),
        *((f"{START},10,available,{value}", "available is not 0 or 1") for value in ("2", "01", "true", "-1", "1.0")),
        *(
            (f"{START},10,790,{value}", "property 790 is not one number such as n277.200")
            for value in ("277.2", "n", "n1.", "n.5", "nNaN", "nInfinity", "n1e5", "n1 n2", "N1", "n" + "9" * 400)
        ),
        (f"{START},10,categoryid", "wrong number of fields"),
        (f"{START},10,categoryid,1,", "wrong number of fields"),
        (f'{START},10,888,"1,2"', "wrong number of fields"),
        *FIELDS,
    ],
}  # fmt: skip
BAD[PART2] = BAD[PART1]


@pytest.mark.parametrize("file", [EVENTS, TREE, PART1, PART2])
def test_every_bad_row_is_counted_by_reason_and_named_by_line(
    tmp_path: Path, clean: dict[str, bytes], file: str
) -> None:
    """All of them at once between the clean rows, then each alone in a file that bears no bad row."""
    good, bad = CLEAN[file], [row for row, _ in BAD[file]]
    raw = write(tmp_path / "raw", {**CLEAN, file: [good[0], *bad, *good[1:]]})
    written, manifest = result(raw, tmp_path / "d", max_bad_rows=1.0)
    assert written == clean
    assert manifest["rows"][file] == {
        "read": len(good) + len(bad),
        "kept": len(good),
        "dropped": Counter(reason for _, reason in BAD[file]),
    }
    shown = {example["line"]: example["reason"] for example in manifest["examples"]}
    reasons = dict(enumerate((reason for _, reason in BAD[file]), 3))
    assert shown.items() <= reasons.items() and set(shown.values()) == set(reasons.values())

    for row, reason in BAD[file][:: 1 + len(bad) // 25]:
        write(raw, {**CLEAN, file: [good[0], row, *good[1:]]})
        sentence = refused(raw, tmp_path / "d", strict=True)
        assert f"{file}: 1 of " in sentence and f"line 3 ({reason}" in sentence


@pytest.mark.parametrize("file", [EVENTS, TREE, PART1, PART2])
def test_the_share_of_bad_rows_is_that_of_one_file(
    tmp_path: Path, clean: dict[str, bytes], file: str
) -> None:
    raw = write(tmp_path / "raw", {**CLEAN, file: [*CLEAN[file], "nonsense"]})
    share = 1 / (len(CLEAN[file]) + 1)
    assert result(raw, tmp_path / "d", max_bad_rows=share)[0] == clean
    sentence = refused(raw, tmp_path / "e", max_bad_rows=share - 0.001)
    assert sentence.startswith(f"{file}: 1 of {len(CLEAN[file]) + 1} rows is bad")


@pytest.mark.parametrize("file", [EVENTS, TREE, PART1])
def test_bytes_that_are_not_utf8_are_bad_rows(tmp_path: Path, clean: dict[str, bytes], file: str) -> None:
    raw = write(tmp_path / "raw", CLEAN)
    content = (raw / file).read_bytes()
    (raw / file).write_bytes(content + CLEAN[file][0].encode() + b"\xff\n\xfe\n")
    written, manifest = result(raw, tmp_path / "d", max_bad_rows=1.0)
    assert written == clean
    assert manifest["rows"][file]["dropped"] == {"not UTF-8": 1, "wrong number of fields": 1}


# --- any mixture


events_strategy = st.lists(
    st.tuples(
        st.integers(0, 6 * DAY),
        st.sampled_from([0, 1, 2, 1407580, 10**18 - 1]),
        st.sampled_from(["view", "view", "addtocart", "transaction"]),
        st.sampled_from([10, 11, 12, 467000, 10**17]),
        st.sampled_from(["", "7", "x-1"]),
    ),
    max_size=15,
    unique_by=lambda row: (row[0], row[1], row[2]),  # the order of ties is the file's
)
tree_strategy = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["", 0, 3, 5, 9, 77])), max_size=10)
value_strategy = st.one_of(
    st.tuples(st.just("categoryid"), st.sampled_from(["0", "3", "9", "77", "9" * 18])),
    st.tuples(st.just("available"), st.sampled_from(["0", "1"])),
    st.tuples(st.just("790"), st.sampled_from(["n1", "n277.200", "n-3.5"])),
    st.tuples(st.just("888"), st.sampled_from(["a n5.000", "7", "é"])),
    st.tuples(st.just("112"), st.just("not asked for")),
)
properties_strategy = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 5 * DAY - 1, 5 * DAY, 5 * DAY + 1]),
        st.sampled_from([10, 12, 999]),
        value_strategy,
    ),
    max_size=20,
    unique_by=lambda row: (row[0], row[1], row[2][0]),
)  # fmt: skip
bad_strategy = {file: st.lists(st.sampled_from(BAD[file]), max_size=4) for file in (EVENTS, TREE, PART1)}


def disguised(content: str, draw: Callable[[st.SearchStrategy], Any]) -> bytes:
    """The same clean or bad rows as another program would write them."""
    if draw(st.booleans()):
        content = content.replace("\n", "\n\n  \n", draw(st.integers(1, 3)))
    if draw(st.booleans()):
        content = content.replace("\n", "\r\n")
    if draw(st.booleans()):
        content = content.removesuffix("\n").removesuffix("\r")
    raw = content.encode("utf-8-sig" if draw(st.booleans()) else "utf-8")
    return gzip.compress(raw, 1) if draw(st.booleans()) else raw


def rearranged(file: str, rows: Sequence[str], draw: Callable[[st.SearchStrategy], Any]) -> str:
    """Columns in another order, one more of them, and marks around fields; rows with another width stay."""
    names = HEADERS[file].split(",")
    order = draw(st.permutations(range(len(names)))) if draw(st.booleans()) else list(range(len(names)))
    extra = draw(st.sampled_from([[], ["2015-06-01 21:12:12.535"], ["", '"x"']]))
    mark = draw(st.sampled_from(["", '"']))
    lines = [",".join([names[place] for place in order] + [f"extra {n}" for n in range(len(extra))])]
    for row in rows:
        fields = row.split(",")
        if len(fields) != len(names):
            lines.append(row + "," * (len(fields) == len(names) + len(extra)))
            continue
        fields = [fields[place] for place in order]
        fields = [
            f"{mark}{field}{mark}" if '"' not in field and '"' not in row else field for field in fields
        ]
        lines.append(",".join(fields + extra))
    return "\n".join(lines) + "\n"


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_mixture_of_faults_leaves_the_clean_rows(tmp_path: Path, data: st.DataObject) -> None:
    draw = data.draw
    events = [(6 * DAY, 3, "view", 10, ""), *draw(events_strategy)]  # the last day is 06-07
    tree = draw(tree_strategy)
    props = draw(properties_strategy)
    log: Log = {
        EVENTS: [",".join(map(str, (START + row[0], *row[1:]))) for row in events],
        TREE: [f"{category},{parent}" for category, parent in tree],
        PART1: [f"{START + time},{item},{name},{value}" for time, item, (name, value) in props],
    }
    expected, _ = result(write(tmp_path / "clean", {**log, PART2: []}), tmp_path / "d", max_bad_rows=0)

    bad = {file: draw(faults) for file, faults in bad_strategy.items()}
    copies = {file: log[file][: draw(st.integers(0, 2))] for file in log}
    shuffle = draw(st.randoms(use_true_random=False))
    mixed = {file: [*log[file], *copies[file], *(row for row, _ in bad[file])] for file in log}
    for rows in mixed.values():
        shuffle.shuffle(rows)
    cut = draw(st.integers(0, len(mixed[PART1])))
    mixed[PART1], mixed[PART2] = mixed[PART1][:cut], mixed[PART1][cut:]
    raw = write(tmp_path / "raw", {})
    for file, rows in mixed.items():
        (raw / file).write_bytes(disguised(rearranged(file, rows, draw), draw))

    written, manifest = result(raw, tmp_path / "d", max_bad_rows=1.0)
    assert written == expected

    counts = manifest["rows"]
    assert sum(rows["read"] for rows in counts.values()) == sum(map(len, mixed.values()))
    bought = [row for row in events if row[2] == "transaction" and not row[4]]
    assert manifest["notes"].get(NO_ID, 0) == len(bought)
    faults = Counter(reason for _, reason in bad[EVENTS])
    again = {"duplicate row": len(copies[EVENTS])} if copies[EVENTS] else {}
    assert counts[EVENTS]["dropped"] == faults + Counter(again)
    faults = Counter(reason for _, reason in bad[TREE])
    repeated = len(log[TREE]) + len(copies[TREE]) - len(set(log[TREE]))
    others = len(set(log[TREE])) - len({category for category, _ in tree})
    assert counts[TREE]["dropped"] == faults + Counter(
        {"duplicate row": repeated, "category has another parent already": others}
    )
    fates = Counter(fate(*row, {row[3] for row in events}) for row in [*props, *props[: len(copies[PART1])]])
    del fates["kept"]
    assert Counter(counts[PART1]["dropped"]) + Counter(counts[PART2]["dropped"]) == fates + Counter(
        reason for _, reason in bad[PART1]
    )

    if any(bad.values()):
        assert "strict" in refused(raw, tmp_path / "d", strict=True)
    else:
        result(raw, tmp_path / "d", strict=True)


def fate(time: int, item: int, named: tuple[str, str], items: set[int]) -> str:
    """What becomes of a good row of the property log, by the rules of the manifest."""
    if named[0] not in FEATURES:
        return UNASKED
    if item not in items:
        return UNKNOWN
    return "kept" if START + time < CUT else LATE


MARKS = [b"\n", b"\r", b",", b'"', b"\t", b"0", b"\x00"]


def damage(draw: Callable[[st.SearchStrategy], Any], content: bytes) -> bytes:
    """Some bytes taken out, put in or cut off."""
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        content = draw(
            st.sampled_from(
                [
                    content[:place],
                    content[place:],
                    content[:place] + content[place + draw(st.integers(1, 40)) :],
                    content[:place] + draw(st.binary(min_size=1, max_size=6)) + content[place:],
                    content[:place] + draw(st.sampled_from(MARKS)) + content[place:],
                    content[:place] + content[place // 2 :],
                ]
            )
        )  # fmt: skip
    return content


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_converted_with_counts_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    raw = write(tmp_path / "raw", CLEAN)
    file = data.draw(st.sampled_from([*CLEAN]))
    content = (raw / file).read_bytes()
    if data.draw(st.integers(0, 4)) == 0:
        content = gzip.compress(content)
    (raw / file).write_bytes(damage(data.draw, content))
    out = tmp_path / "d"
    as_of = data.draw(st.sampled_from(["split", "event", "latest"]))
    options = {"as_of": as_of, "max_bad_rows": data.draw(st.sampled_from([1.0, 0.2, 0.0]))}
    try:
        written, manifest = result(raw, out, **options)
    except ConvertError as error:
        assert file in str(error) and refused(raw, out, **options) == str(error)
        return
    lines = pl.read_csv(out / "d.inter", separator="\t")
    assert lines.height == manifest["rows"][EVENTS]["kept"] and not lines["event:token"].null_count()
    assert set(written) == {"d.inter", "d.item"}


# --- files


WRONG_FILES: list[tuple[Callable[[bytes], bytes], str, tuple[str, ...]]] = [
    (lambda good: b"", "is empty", (EVENTS, TREE, PART1, PART2)),
    (lambda good: b"\n", "line 1: no column", (EVENTS, TREE, PART1, PART2)),
    (lambda good: good.partition(b"\n")[0], "holds no usable row", (EVENTS,)),
    (lambda good: good.partition(b"\n")[2], "line 1: no column", (EVENTS, TREE, PART1, PART2)),
    (lambda good: good.replace(b",", b";"), "separated by ';' instead of ','", (EVENTS, TREE, PART1, PART2)),
    (lambda good: good.replace(b",", b"\t"), r"separated by '\t' instead of ','", (EVENTS, TREE, PART1)),
    (lambda good: good.decode().encode("utf-16"), "is UTF-16: save it as UTF-8", (EVENTS, TREE, PART1)),
    (lambda good: good.replace(b"\n", b",itemid\n", 1), "is there twice", (EVENTS, PART1)),
    (lambda good: good.replace(b"id", b"number", 1), "line 1: no column", (EVENTS, TREE, PART1)),
    (lambda good: good.replace(b"\n", b"\r"), "no", (EVENTS, TREE, PART1)),
    (lambda good: bytes(range(256)) * 40, "line 1: no column", (EVENTS, TREE, PART1)),
    (lambda good: b"\x1f\x8b but no gzip", "damaged or cut off", (EVENTS, TREE, PART2)),
    (lambda good: b"PK\x03\x04 but no zip", "damaged or cut off", (EVENTS, TREE, PART2)),
    (lambda good: gzip.compress(good)[:-9], "damaged or cut off", (EVENTS, TREE, PART2)),
    (lambda good: gzip.compress(good)[:12], "damaged or cut off", (EVENTS, TREE, PART2)),
    (lambda good: good + b"x,y\n" * 1000, "rows are bad", (EVENTS, TREE, PART1)),
    (lambda good: b"<html>\n<body>Not found</body>\n", "line 1: no column", (EVENTS, TREE, PART1, PART2)),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG_FILES)))
def test_files_that_are_no_log_are_refused_in_one_sentence(tmp_path: Path, number: int) -> None:
    spoil, says, names = WRONG_FILES[number]
    for file in names:
        raw = write(tmp_path / "raw", CLEAN)
        (raw / file).write_bytes(spoil((raw / file).read_bytes()))
        sentence = refused(raw, tmp_path / "d")
        assert says in sentence and file in sentence


def test_a_log_without_rows_of_tree_or_properties_is_one(tmp_path: Path) -> None:
    written, manifest = result(
        write(tmp_path / "raw", {**CLEAN, TREE: [], PART1: [], PART2: []}), tmp_path / "d"
    )
    rows = written["d.item"].decode().splitlines()
    assert rows[1:] == [f"{item}" + "\t" * 5 for item in range(10, 17)]
    assert manifest["notes"]["item without category"] == 7
    for as_of in ("event", "latest"):
        written, _ = result(tmp_path / "raw", tmp_path / "d", as_of=as_of, all_items=True)
        assert written["d.item"].decode().splitlines() == rows


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    """One that is a folder, as some unpack it, is missing too."""
    for missing in (PART1, PART2):
        raw = write(tmp_path / "raw", {file: rows for file, rows in CLEAN.items() if file != missing})
        assert f"{missing} is not in" in refused(raw, tmp_path / "d")
        (raw / missing).mkdir()
        assert f"{missing} is not in" in refused(raw, tmp_path / "d")
        (raw / missing).rmdir()
    raw = write(tmp_path / "raw", CLEAN)
    (raw / PART2).rename(raw / "item_properties_part4.csv")
    assert f"{PART2} is not in" in refused(raw, tmp_path / "d")


def test_a_zip_of_all_files_without_one_part_is_refused(tmp_path: Path, clean: dict[str, bytes]) -> None:
    raw = write(tmp_path / "raw", CLEAN)
    contents = files(raw)
    write(raw, {})
    for names in ([*CLEAN], [EVENTS, TREE, PART2]):
        with zipfile.ZipFile(raw / "archive.zip", "w") as archive:
            for name in names:
                archive.writestr(f"retailrocket/{name}", contents[name])
        if PART1 in names:
            assert result(raw, tmp_path / "d")[0] == clean
        else:
            assert f"{PART1} is not in" in refused(raw, tmp_path / "d")


def test_two_files_of_one_name_have_no_common_account(tmp_path: Path) -> None:
    raw, other = write(tmp_path / "raw", CLEAN), write(tmp_path / "other", CLEAN)
    for parts in ([PART1, PART1], [PART1, other / PART1]):
        assert f"are named {PART1}" in refused(raw, tmp_path / "d", properties=parts)
    assert f"are named {EVENTS}" in refused(raw, tmp_path / "d", tree=other / EVENTS)


# --- order


def test_shuffled_rows_give_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees and properties that contradict themselves included; with kept rows let go early or not."""
    log = {
        **CLEAN,
        TREE: [*CLEAN[TREE], "3,5", "3,", "4,1", "2,", "9,9", "8,7", "7,8"],
        PART1: [*CLEAN[PART1], *(f"{START + 100 + n // 9},{10 + n % 3},888,{n * 7 % 5}" for n in range(40))],
        PART2: [
            *CLEAN[PART2],
            *(f"{START + 100 + n // 9},{10 + n % 3},categoryid,{n * 7 % 11}" for n in range(40)),
        ],
    }
    expected, manifest = result(write(tmp_path / "raw", log), tmp_path / "d")
    shuffle = random.Random(7)
    for round_ in range(12):
        early = round_ % 2 == 1
        monkeypatch.setattr(properties, "COMPACT_ROWS", 5 if early else 10**6)
        monkeypatch.setattr(rows_, "BLOCK_BYTES", 100 if early else 1 << 24)
        rows = [*log[PART1], *log[PART2]]
        events, tree = list(log[EVENTS]), list(log[TREE])
        for part in (rows, events, tree):
            shuffle.shuffle(part)
        parts = 2 + round_ % 3
        names = [f"item_properties_part{number + 1}.csv" for number in range(parts)]
        raw = write(tmp_path / "raw", {EVENTS: events, TREE: tree})
        for number, name in enumerate(names):
            (raw / name).write_text("\n".join([HEADERS[PART1], *rows[number::parts]]))
        written, shuffled = result(raw, tmp_path / "d")
        assert written == expected
        if early:  # then ties of rows that are gone already go uncounted
            assert 0 < shuffled["notes"].pop(TIED) <= manifest["notes"][TIED]
        assert shuffled["notes"].items() <= manifest["notes"].items()
        assert len(shuffled["notes"]) == len(manifest["notes"]) - early
        assert dropped(shuffled) == dropped(manifest)
        assert manifest["notes"][TIED] > 30 and dropped(manifest)["category has another parent already"] == 4


def test_events_of_one_visitor_moment_and_kind_stand_as_in_the_file(tmp_path: Path) -> None:
    """Of one moment: views, then carts, then purchases; of one kind too: in the file's order."""
    rows = [
        f"{START},1,{kind},{item}," for kind in ("transaction", "view", "addtocart") for item in (12, 10, 11)
    ]
    shuffle = random.Random(1)
    for _ in range(5):
        result(write(tmp_path / "raw", {EVENTS: rows}), tmp_path / "d", features=[])
        written = (tmp_path / "d" / "d.inter").read_text().splitlines()[1:]
        kinds = {"view": 0, "addtocart": 1, "transaction": 2}
        expected = sorted((row.split(",")[2:4] for row in rows), key=lambda row: kinds[row[0]])
        assert [row.split("\t")[4:1:-2] for row in written] == expected
        shuffle.shuffle(rows)


# --- sizes


@pytest.mark.parametrize("session", ["idle", "visitor"])
def test_a_visitor_with_100000_rows(tmp_path: Path, session: str) -> None:
    """A robot: an event every 20 seconds, with a night of 31 minutes after each 1000."""
    count = 100_000
    moments = [START + n * 20_000 + n // 1000 * 31 * 60_000 for n in range(count)]
    rows = [f"{moment},5,view,{n % 777}," for n, moment in enumerate(moments)]
    random.Random(3).shuffle(rows)
    options = {"session": session, "as_of": "event"}
    _, manifest = result(write(tmp_path / "raw", {**CLEAN, EVENTS: rows}), tmp_path / "d", **options)
    table = pl.read_csv(tmp_path / "d" / "d.inter", separator="\t")
    assert table["item_id:token"].to_list() == [n % 777 for n in range(count)]
    assert table["timestamp:float"].to_list() == [(moment - START) // 1000 for moment in moments]
    numbers = [1 + (n // 1000 if session == "idle" else 0) for n in range(count)]
    assert table["session_id:token"].to_list() == numbers
    assert manifest["counts"]["events"]["view"] == count


def test_trees_that_never_end_are_reported(tmp_path: Path) -> None:
    """A chain of 10^5 categories, a ring of 1000, parents that are not there, a category under itself."""
    deep = 100_000
    tree = [f"{1000 + n},{999 + n if n else ''}" for n in range(deep)]
    tree += [f"{500_000 + n},{500_000 + (n + 1) % 1000}" for n in range(1000)]
    tree += ["1,1", "2,3", "3,2", "4,888888", "5,4"]
    random.Random(5).shuffle(tree)
    values = [1000 + deep - 1, 1, 2, 4, 5, 500_000, 777_777]
    props = [f"{START},{10 + n},categoryid,{value}" for n, value in enumerate(values)]
    written, manifest = result(
        write(tmp_path / "raw", {**CLEAN, TREE: tree, PART1: props, PART2: []}), tmp_path / "d"
    )
    paths = [row.split("\t")[2] for row in written["d.item"].decode().splitlines()[1:]]
    assert [list(map(int, path.split())) for path in paths] == [
        list(range(1000 + deep - 1, 1000 + deep - 1 - MAX_DEPTH, -1)),
        [1],
        [2, 3],
        [4],
        [5, 4],
        list(range(500_000, 500_000 + MAX_DEPTH)),
        [777_777],
    ]
    notes = manifest["notes"]
    assert notes["category of the tree whose parent is not in it"] == 1
    assert notes["category of the tree that is in or under a cycle"] == 3
    assert (
        notes[f"category of the tree over {MAX_DEPTH} levels deep (path cut there)"]
        == deep - MAX_DEPTH + 1000
    )
    assert notes["item whose category is not in the tree"] == 1


def test_huge_ids_keep_their_digits(tmp_path: Path) -> None:
    """They do not fit beside a time in 63 bits, nor into a float."""
    top = 10**18 - 1
    items = [top, top - 1, 0, 2**53 + 1]
    log = {
        EVENTS: [f"{START + n},{top - n % 2},view,{item}," for n, item in enumerate(items)],
        TREE: [f"{top},{top - 2}", f"{top - 2},"],
        PART1: [f"{START + late},{item},888,{item} {late}" for item in items for late in (0, 2, 10**7)],
        PART2: [f"{START},{items[1]},categoryid,{top}"],
    }
    options = {"as_of": "event", "test_start": "2015-06-02"}
    written, _ = result(write(tmp_path / "raw", log), tmp_path / "d", **options)
    inter = [row.split("\t") for row in written["d.inter"].decode().splitlines()[1:]]
    assert [(row[1], row[2], row[-1]) for row in inter] == [
        (str(top), str(items[0]), f"{items[0]} 0"),
        (str(top), str(items[2]), f"{items[2]} 2"),
        (str(top - 1), str(items[1]), f"{items[1]} 0"),
        (str(top - 1), str(items[3]), f"{items[3]} 2"),
    ]
    item = [row.split("\t") for row in written["d.item"].decode().splitlines()[1:]]
    assert [(row[0], row[-1]) for row in item] == [(str(i), f"{i} {10**7}") for i in sorted(items)]
    assert item[2][1:3] == [str(top), f"{top} {top - 2}"]


# --- options


WRONG_OPTIONS: list[tuple[str, Any]] = [
    *(("session", wrong) for wrong in ("", "user", None, 5)),
    *(("gap_minutes", wrong) for wrong in (0, -1, float("inf"), float("nan"), "thirty", None)),
    *(("as_of", wrong) for wrong in ("", "Split", None)),
    *(("test_days", wrong) for wrong in (0, -1, 1.5, True, "7", None, 10**6, 10**12, 10**40)),
    *(("test_start", wrong) for wrong in ("", "yesterday", "2015-02-30", 20150901)),
    *(("first_date", wrong) for wrong in ("", "2015", None)),
    *(("last_date", wrong) for wrong in ("x", 2015)),
    *(("features", wrong) for wrong in ("a b", ["790:int"], ["available"], [{"790": "float"}], [""])),
    ("features", ["790", "790:float"]),
    *(("max_bad_rows", wrong) for wrong in (-0.1, 1.1, float("nan"), "1 %", None)),
    *((option, "nowhere.csv") for option in ("events", "tree", "properties")),
    ("properties", [PART1, "nowhere.csv"]),
]  # fmt: skip


@pytest.mark.parametrize(("option", "wrong"), WRONG_OPTIONS)
def test_wrong_options_of_a_yaml_file_are_one_sentence(tmp_path: Path, option: str, wrong: Any) -> None:
    sentence = refused(write(tmp_path / "raw", CLEAN), tmp_path / "d", **{option: wrong})
    assert option.replace("_", "-") in sentence.replace("_", "-") or "nowhere.csv" in sentence


def test_features_of_a_yaml_file_may_be_numbers_or_one_name(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", CLEAN)
    expected, manifest = result(raw, tmp_path / "d", features=["888"])
    assert manifest["options"]["features"] == ["888"]
    for features in ([888], 888, "888"):
        written, manifest = result(raw, tmp_path / "d", features=features)
        assert written == expected and manifest["options"]["features"] == ["888"]
    assert result(raw, tmp_path / "d", features=None)[0] == result(raw, tmp_path / "d", features=[])[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--session", "day"],
        ["--gap-minutes", "thirty"],
        ["--gap-minutes", "0"],
        ["--gap-minutes", "nan"],
        ["--as-of", "now"],
        ["--test-days", "0"],
        ["--test-days", "1.5"],
        ["--test-days", "99999999999999999999"],
        ["--test-start", "June"],
        ["--first-date", "x"],
        ["--last-date", "2015-13-01"],
        ["--first-date", "2016-01-01"],
        ["--features", "790:int"],
        ["--features", "available"],
        ["--features"],
        ["--max-bad-rows", "2"],
        ["--max-bad-rows", "few"],
        ["--events", "nowhere.csv"],
        ["--tree", "nowhere.csv"],
        ["--properties", PART1, "nowhere.csv"],
        ["--properties", PART1, PART1],
        ["--no-such-option"],
        ["and another folder"],
    ],
)
def test_a_wrong_command_line_is_one_sentence_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    raw, out = write(tmp_path / "raw", CLEAN), tmp_path / "d"
    try:
        status: Any = main(["retailrocket", str(raw), "--out", str(out), *arguments])
    except SystemExit as left:
        status = left.code
    said = capsys.readouterr()
    assert status == 2 and said.out == "" and not out.exists()
    assert len(said.err.splitlines()) == 1 and len(said.err) > 20


def test_the_command_itself(tmp_path: Path) -> None:
    """Without the folder, without the log, and with a log that stops it."""
    raw = write(tmp_path / "raw", {**CLEAN, TREE: ["x,y"]})
    environment = {**os.environ, "PYTHONPATH": str(Path(properties.__file__).parents[2])}
    command = [sys.executable, "-m", "recbole_ext.convert", "retailrocket"]
    for arguments, says in [
        ([], "RAW"),
        ([tmp_path / "nowhere"], "No events.csv"),
        ([raw, "--out", tmp_path / "d"], "category_tree.csv: 1 of 1 row is bad"),
        ([raw, "--out", raw / EVENTS, "--max-bad-rows", "1"], "is a file"),
    ]:
        ended = subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, env=environment
        )
        assert (ended.returncode, ended.stdout) == (2, "")
        assert says in ended.stderr and ended.stderr.count("\n") == 1
    assert not (tmp_path / "d").exists()
