"""Reading rows: the fast path and the slow one agree on whatever a log holds, and both are used."""

import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from recbole_ext.convert import ConvertError, rows
from recbole_ext.convert.columns import (
    Column,
    choice_column,
    date_column,
    duration_column,
    epoch_ms_column,
    id_column,
    number_column,
    text_column,
    tokens_column,
)
from recbole_ext.convert.rows import BadRows, Source, compact, read_blocks, read_rows

FIRST, LAST = date(2015, 1, 1), date(2015, 12, 31)
EARLIEST, LATEST = "1420070400000", "1451606399999"
COLUMNS: dict[str, Column] = {
    "time": epoch_ms_column("time", "time", FIRST, LAST),
    "id": id_column("id", "id"),
    "maybe": id_column("maybe", "maybe", unknown=("", "NA")),
    "kind": choice_column("kind", "kind", ("view", "addtocart")),
    "text": text_column("text", "text"),
    "note": text_column("note", "note", unknown=("", "NA")),
    "price": number_column("price", "price", -5, 5, unknown=("",)),
    "day": date_column("day", "day", FIRST, LAST),
    "late": duration_column("late", "late", 1000),
    "tokens": tokens_column("tokens", "tokens"),
}
GOOD: dict[str, Sequence[str]] = {
    "time": (EARLIEST, "1430622004384", LATEST),
    "id": ("0", "9", "10", "99", "100", "999999999999999999"),
    "maybe": ("", "NA", "0", "17"),
    "kind": ("view", "addtocart"),
    "text": ("a", "n277.200 n5.000", "é #x", "#", "null", "ab", "a'b"),
    "note": ("", "NA", "NaN", "5"),
    "price": ("", "1", "0.50", "-5", "+5", "1e0", "05"),
    "day": ("2015-01-01", "2015-12-31"),
    "late": ("0", "1000", "7"),
    "tokens": ("", "1", "a"),
    "other": ("", "x", "007", " ", "+1", "\ufffd"),
}
ODD = (
    *("007", "00", "+1", "-1", "-0", " 1", "1 ", "1\t", "\t1", "\x0b1", "1\u00a0", '"1"', '"1', '" 1 "', '""', '"'),
    *("", " ", "NaN", "NA", "null", "None", "true", "1.0", "1e3", "1_000", "0x1", "inf", "1,5"),
    *("١٢", "１", "²", "9223372036854775807", "9223372036854775808", "1000000000000000000", "1" * 40),
    *("1420070399999", "1451606400000", "1430622004", "2015-02-30", "2015-1-1", "2016-01-01", "6", "1001"),
    *("#", "#1", "a b", "\ufeff1", "\r", "1\r", "1\r\r", "x\x00", "\u2028", "\x85", "view ", "VIEW", "'1'", "1;2"),
)  # fmt: skip
BROKEN = (b"\xff", b"1\xfe", b"\xc3", b"\xe2\x82")
SEPARATORS = (",", ";", "\t", "|")
WHOLE_FILE = 1 << 24


@st.composite
def logs(draw: st.DrawFn) -> tuple[bytes, list[Column], str]:
    """A log, mostly plain, its columns (not all of them are asked for) and its separator."""
    names = draw(st.lists(st.sampled_from([*GOOD]), min_size=1, max_size=5, unique=True))
    names += [] if set(names) & set(COLUMNS) else ["id"]
    asked = draw(st.permutations([name for name in names if name in COLUMNS]))
    asked = asked[: draw(st.integers(1, len(asked)))]
    separator = draw(st.sampled_from(SEPARATORS))
    end = draw(st.sampled_from([b"\n", b"\r\n"]))
    plain = [st.sampled_from(GOOD[name]) for name in names]
    lines = draw(st.lists(st.tuples(*plain).map(list), max_size=12))
    written = [separator.join(fields).encode() for fields in lines]
    for _ in range(draw(st.integers(0, 2)) if written else 0):
        place = draw(st.integers(0, len(written) - 1))
        written[place] = draw(_odd_lines(lines[place], separator))
    ends = [end] * len(written)
    if written and draw(st.booleans()):
        ends[-1] = draw(st.sampled_from([b"", b"\r", b"\n\n", b"\r\r\n", b"\n \n\n", b"\r\n\r\n"]))
    header = separator.join(names).encode() + end
    return (
        header + b"".join(line + ending for line, ending in zip(written, ends)),
        [COLUMNS[name] for name in asked],
        separator,
    )


@st.composite
def _odd_lines(draw: st.DrawFn, fields: list[str], separator: str) -> bytes:
    """A line with one fault, which is no fault in some columns."""
    place = draw(st.integers(0, len(fields) - 1))
    raw = [field.encode() for field in fields]
    what = draw(st.integers(0, 6))
    if what <= 2:
        raw[place] = draw(st.sampled_from(ODD)).encode()
    elif what == 3:
        raw[place] = draw(st.sampled_from(BROKEN))
    elif what == 4:
        raw = raw[:place]
    elif what == 5:
        raw.insert(place, draw(st.sampled_from([b"", b"1"])))
    else:
        return draw(st.sampled_from([b"", b" ", b"\t", b"\r", separator.encode(), b"\n", b"\n\n\n"]))
    return separator.encode().join(raw)


def outcome(path: Path, columns: Sequence[Column], separator: str) -> Any:
    """All that reading tells: the rows and the report, or the error."""
    try:
        table, report = read_rows(Source(path), columns, BadRows(1.0), separator)
    except ConvertError as error:
        assert "\n" not in str(error)
        return str(error)
    return table, (report.read, report.bad, report.kept, report.first_bad, report.dropped, report.examples)


def assert_same(one: Any, other: Any) -> None:
    """Equal outcomes; lines, types and order count."""
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
        return
    assert_frame_equal(one[0], other[0])
    assert one[1] == other[1]


def in_any_order(told: Any) -> Any:
    """The outcome with its examples by reason and line: blocks name theirs one after the other."""
    if isinstance(told, str):
        return told
    *counts, examples = told[1]
    return told[0], (*counts, sorted(examples, key=lambda shown: (shown["reason"], shown["line"])))


@pytest.mark.slow
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=logs(), size=st.sampled_from([1, 20, 64]))
def test_the_fast_path_the_slow_one_and_small_blocks_agree(tmp_path: Path, log, size: int) -> None:
    """On rows, types, line numbers, counts, examples and errors."""
    content, columns, separator = log
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        told = [outcome(path, columns, separator)]
        patch.setattr(rows, "BLOCK_BYTES", size)
        told.append(outcome(path, columns, separator))
        patch.setattr(rows, "_parse_plain", lambda *_: None)
        told.append(outcome(path, columns, separator))
        patch.setattr(rows, "BLOCK_BYTES", WHOLE_FILE)
        told.append(outcome(path, columns, separator))
    assert_same(told[0], told[3])
    assert_same(told[1], told[2])
    if b"\xef\xbf\xbd" not in content:  # in a block that is not UTF-8, the sign for such bytes counts as one
        assert_same(in_any_order(told[0]), in_any_order(told[1]))


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_they_agree_on_every_odd_field_of_every_kind_of_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, place: int
) -> None:
    """First, in the middle or last in a line; a line is a block, so the fast path sees each line alone."""
    names = ["id", "late"] if name not in ("id", "late") else ["maybe", "text"]
    names.insert(place, name)
    lines = [";".join([odd if other == name else GOOD[other][-1] for other in names]) for odd in ODD]
    path = tmp_path / "log.csv"
    path.write_text("\n".join([";".join(names), *lines]), newline="")
    monkeypatch.setattr(rows, "BLOCK_BYTES", 1)
    fast = outcome(path, [COLUMNS[name] for name in names], ";")
    monkeypatch.setattr(rows, "_parse_plain", lambda *_: None)
    slow = outcome(path, [COLUMNS[name] for name in names], ";")
    assert_same(fast, slow)
    assert slow[1][0] == len(lines)


@pytest.mark.parametrize("separator", SEPARATORS)
def test_a_line_of_separators_is_a_row_and_a_blank_one_is_none(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "log.csv"
    lines = [f"maybe{separator}note", f"1{separator}2", separator, "", " ", separator * 2]
    path.write_text("\n".join(lines))
    for columns in ([COLUMNS["maybe"], COLUMNS["note"]], [COLUMNS["maybe"]]):
        table, report = read_rows(Source(path), columns, BadRows(1.0), separator)
        assert table["line"].to_list() == [2, 3]
        assert report.first_bad == (6, "wrong number of fields", separator * 2)


def refused(*_: object) -> Any:
    raise AssertionError("the slow path")


def written(
    path: Path, names: Sequence[str], end: str = "\n", separator: str = ";", last: str = "\n"
) -> Path:
    """A plain log of 60 lines, each value of each column in it."""
    lines = [[GOOD[name][row % len(GOOD[name])] for name in names] for row in range(60)]
    path.write_bytes((end.join(map(separator.join, [names, *lines])) + last).encode())
    return path


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize(
    ("separator", "end", "last"),
    [(";", "\n", "\n"), ("\t", "\r\n", "\r\n"), (",", "\n", ""), ("|", "\r\n", "")],
)
def test_plain_blocks_take_the_fast_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, end: str, separator: str, last: str
) -> None:
    """Whatever the kind of column, with a column beside it that nobody asks for."""
    path = written(tmp_path / "log.csv", [name, "late", "other"], end, separator, last)
    asked = [COLUMNS[name]] if name == "late" else [COLUMNS["late"], COLUMNS[name]]
    if name == "late":
        path = written(tmp_path / "log.csv", ["late", "id", "other"], end, separator, last)
    slow = rows._parse
    monkeypatch.setattr(rows, "_parse", refused)
    monkeypatch.setattr(rows, "BLOCK_BYTES", 50)
    fast = outcome(path, asked, separator)
    monkeypatch.setattr(rows, "_parse", slow)
    monkeypatch.setattr(rows, "_parse_plain", lambda *_: None)
    assert_same(fast, outcome(path, asked, separator))
    table, (read, bad, kept, _, dropped, _) = fast
    assert (read, bad, kept + dropped.get(rows.DUPLICATE, 0)) == (60, 0, 60)
    assert table.height == kept and table.columns == ["line", *(column.name for column in asked)]


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_id_is_never_taken_for_a_number(tmp_path: Path, odd: str) -> None:
    """It is a bad row, or its own digits are within blanks or a pair of quotation marks."""
    path = tmp_path / "log.csv"
    for lines in (
        [odd],
        ["5", odd, "6"],
        ["100", "7", odd],
    ):  # what one spelling is longer, another may be shorter
        path.write_bytes(b"id|x\n" + "".join(f"{line}|0\n" for line in lines).encode())
        table, report = read_rows(Source(path), [COLUMNS["id"]], BadRows(1.0), "|")
        plain = odd.strip(" \t").removeprefix('"').removesuffix('"').strip(" \t")
        good = plain.isascii() and plain.isdigit() and str(int(plain)) == plain and len(plain) < 19
        good &= odd.count('"') != 1
        expected = [(row, int(line)) for row, line in enumerate(lines, 2) if line != odd]
        expected += [(lines.index(odd) + 2, int(plain))] if good else []
        assert table.rows() == sorted(expected)
        assert report.bad == 1 - good


@pytest.mark.parametrize("size", [1, 7, 30, 200, WHOLE_FILE])
def test_lines_keep_their_numbers_over_block_borders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Blank lines, bad rows and line ends of both kinds between them: as a text editor numbers them."""
    monkeypatch.setattr(rows, "BLOCK_BYTES", size)
    lines = ["id;text", *(f"{number};t{number}" for number in range(100))]
    for place, line in {5: "", 6: " ", 17: "x;t", 40: '"39";t39', 63: "", 64: "1", 99: "98; t98\r"}.items():
        lines[place] = line
    path = tmp_path / "log.csv"
    path.write_bytes(
        "".join(
            line + "\r\n" * (place % 3 == 0) + "\n" * (place % 3 > 0) for place, line in enumerate(lines)
        ).encode()
    )
    table, report = read_rows(Source(path), [COLUMNS["id"], COLUMNS["text"]], BadRows(1.0))
    assert table.rows() == [
        (number + 2, number, f"t{number}") for number in range(100) if number + 1 not in (5, 6, 17, 63, 64)
    ]
    assert (report.read, report.kept, report.first_bad) == (97, 95, (18, "id is not a whole number", "x;t"))
    assert [example["line"] for example in report.examples] == [18, 65]


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_compact_keeps_the_rows_and_lets_go_of_the_text_around_them(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    names = ("id", "text", "note", "day")
    line = ";a text of over twelve letters, which polars keeps outside of the row;;2015-01-01\n"
    path.write_text("id;text;note;day\n" + "".join(f"{row}{line}" for row in range(50_000)))
    kept = []
    before = resident()
    for _ in range(40):  # logs of 4 MB
        report = rows.RowReport("log.csv")
        (block,) = read_blocks(Source(path), [COLUMNS[name] for name in names], BadRows(), report)
        few = block.filter(pl.col("id") % 10_000 == 7)
        kept.append(compact(few))
        assert_frame_equal(kept[-1], few)
    assert kept[-1].height == 5 and kept[-1]["text"][4] == line.split(";")[1]
    assert kept[-1]["note"].null_count() == 5
    assert resident() - before < 40 * path.stat().st_size / 2
