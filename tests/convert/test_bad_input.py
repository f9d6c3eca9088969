"""Logs with faults: a bad row is counted, shown and skipped or fatal; nothing is coerced or lost."""

import gzip
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_ext.convert import ConvertError, convert

HEADER = "sessionId;userId;itemId;timeframe;eventdate"
CLEAN = [
    f"{session};NA;{10 + item};{item * 1000};2016-04-0{session}" for session in (1, 2, 3) for item in range(4)
]
SESSION, ITEM = "sessionId is not a whole number", "itemId is not a whole number"


def write(folder: Path, rows: list[str], header: str = HEADER, end: str = "\n") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "train-item-views.csv").write_bytes((end.join([header, *rows]) + end).encode())
    return folder


def converted(folder: Path, out: Path, **options: object) -> tuple[dict, str]:
    manifest = convert("diginetica", folder, out, **options)
    return manifest, (out / f"{out.name}.inter").read_text()


@pytest.fixture
def clean(tmp_path: Path) -> str:
    return converted(write(tmp_path / "clean", CLEAN), tmp_path / "d")[1]


BAD_ROWS = [
    ("1.5;NA;10;0;2016-04-01", SESSION),
    ("abc;NA;10;0;2016-04-01", SESSION),
    (";NA;10;0;2016-04-01", SESSION),
    ("-1;NA;10;0;2016-04-01", SESSION),
    ("007;NA;10;0;2016-04-01", SESSION),
    ("9999999999999999999;NA;10;0;2016-04-01", SESSION),
    ("1;x;10;0;2016-04-01", "userId is not a whole number"),
    ("1;NA;1e3;0;2016-04-01", ITEM),
    ("1;NA;NA;0;2016-04-01", ITEM),
    ("1;NA;1 0;0;2016-04-01", ITEM),
    ("1;NA;١٢;0;2016-04-01", ITEM),
    ('1;NA;"10;0;2016-04-01', ITEM),
    ("1;NA;10;;2016-04-01", "timeframe is not a whole number"),
    ("1;NA;10;12.5;2016-04-01", "timeframe is not a whole number"),
    ("1;NA;10;-5;2016-04-01", "timeframe is negative"),
    ("1;NA;10;99999999999;2016-04-01", "timeframe is out of range"),
    ("1;NA;10;99999999999999999999999;2016-04-01", "timeframe is out of range"),
    ("1;NA;10;0;2016-02-30", "eventdate is not a date"),
    ("1;NA;10;0;01.04.2016", "eventdate is not a date"),
    ("1;NA;10;0;2016-4-1", "eventdate is not a date"),
    ("1;NA;10;0;2016-04-01T00:00", "eventdate is not a date"),
    ("1;NA;10;0;", "eventdate is not a date"),
    ("1;NA;10;0;1916-04-01", "eventdate is out of range"),
    ("1;NA;10;0;2061-04-01", "eventdate is out of range"),
    ("1;NA;10;0", "wrong number of fields"),
    ("1;NA;10;0;2016-04-01;", "wrong number of fields"),
    ("1,NA,10,0,2016-04-01", "wrong number of fields"),
    ("nonsense", "wrong number of fields"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_a_bad_row_is_counted_by_reason_and_named_by_line(
    tmp_path: Path, clean: str, row: str, reason: str
) -> None:
    folder = write(tmp_path / "raw", [*CLEAN[:5], row, *CLEAN[5:]])
    manifest, inter = converted(folder, tmp_path / "d", max_bad_rows=0.1)
    assert inter == clean
    assert manifest["rows"]["train-item-views.csv"] == {"read": 13, "kept": 12, "dropped": {reason: 1}}
    assert manifest["examples"] == [
        {"file": "train-item-views.csv", "line": 7, "reason": reason, "text": row}
    ]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
@pytest.mark.parametrize("options", [{"strict": True}, {"max_bad_rows": 0.07}])
def test_a_bad_row_is_fatal_when_strict_or_over_the_share(
    tmp_path: Path, row: str, reason: str, options: dict
) -> None:
    """One bad row of 13 is 7.7 %."""
    folder = write(tmp_path / "raw", [*CLEAN[:5], row, *CLEAN[5:]])
    with pytest.raises(ConvertError, match=r"1 of .*the first is line 7") as error:
        convert("diginetica", folder, tmp_path / "d", **options)
    assert reason in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "d").exists()


def test_bytes_that_are_not_utf8_are_bad_rows(tmp_path: Path, clean: str) -> None:
    folder = write(tmp_path / "raw", CLEAN)
    path = folder / "train-item-views.csv"
    path.write_bytes(path.read_bytes() + b"1;NA;1\xff\xfe0;0;2016-04-01\n")
    manifest, inter = converted(folder, tmp_path / "d", max_bad_rows=0.1)
    assert inter == clean
    assert manifest["rows"]["train-item-views.csv"]["dropped"] == {"not UTF-8": 1}
    assert manifest["examples"][0]["line"] == 14


def test_bom_crlf_quotes_blanks_and_empty_lines_are_no_faults(tmp_path: Path, clean: str) -> None:
    quoted = [";".join(f'"{field}"' for field in row.split(";")) for row in CLEAN]
    spaced = [";".join(f" {field}\t" for field in row.split(";")) for row in CLEAN]
    for rows, header, end in [
        (CLEAN, "\ufeff" + HEADER, "\n"),
        (CLEAN, HEADER, "\r\n"),
        (quoted, '"' + HEADER.replace(";", '";"') + '"', "\n"),
        (spaced, HEADER, "\n"),
        ([*CLEAN[:3], "", "  ", *CLEAN[3:], ""], HEADER, "\n"),
        (quoted, "\ufeff" + HEADER, "\r\n"),
    ]:
        manifest, inter = converted(write(tmp_path / "raw", rows, header, end), tmp_path / "d", strict=True)
        assert inter == clean
        assert manifest["rows"]["train-item-views.csv"] == {"read": 12, "kept": 12, "dropped": {}}


def test_duplicates_are_dropped_but_are_not_bad_rows(tmp_path: Path, clean: str) -> None:
    folder = write(tmp_path / "raw", [*CLEAN, *(CLEAN[:9]), CLEAN[0].replace("1;", '"1";', 1)])
    manifest, inter = converted(folder, tmp_path / "d", strict=True)
    assert inter == clean
    assert manifest["rows"]["train-item-views.csv"]["dropped"] == {"duplicate row": 10}
    assert [example["line"] for example in manifest["examples"]] == [14, 15, 16, 17, 18]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"is empty"),
        (b"\n\n", r"line 1: no column sessionId, userId, itemId, timeframe, eventdate"),
        (HEADER.encode(), r"holds no usable row"),
        (b"sessionId;userId;itemId;eventdate\n1;NA;10;2016-04-01\n", r"line 1: no column timeframe in"),
        (b"1;NA;10;0;2016-04-01\n", r"line 1: no column sessionId"),
        (HEADER.replace(";", ",").encode() + b"\n1,NA,10,0,2016-04-01\n", r"separated by ',' instead of ';'"),
        (
            HEADER.replace(";", "\t").encode() + b"\n1\tNA\t10\t0\t2016-04-01\n",
            r"separated by '\\t' instead of ';'",
        ),
        (HEADER.encode() + b"\n1,NA,10,0,2016-04-01\n", r"1 of 1 row is bad .*wrong number of fields"),
        (HEADER.encode() + b";session_id\n1;NA;10;0;2016-04-01;1\n", r"column sessionId is there twice"),
        ("\ufeff".encode("utf-16-le") + HEADER.encode("utf-16-le"), r"is UTF-16: save it as UTF-8"),
        (bytes(range(256)) * 40, r"line 1: no column sessionId"),
        (b"\x1f\x8b but no gzip", r"cannot be read past line 1 .*fetch it again"),
        (b"PK\x03\x04 but no zip", r"cannot be read past line 1 .*fetch it again"),
    ],
)
def test_files_that_are_no_log_are_refused_in_one_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "train-item-views.csv").write_bytes(content)
    with pytest.raises(ConvertError, match=says) as error:
        convert("diginetica", tmp_path, tmp_path / "d")
    assert "\n" not in str(error.value) and "train-item-views.csv" in str(error.value)


def test_a_truncated_gzip_is_refused(tmp_path: Path) -> None:
    rows = [f"{session};NA;{session * 7919 % 1000};{session};2016-04-01" for session in range(5000)]
    packed = gzip.compress("\n".join([HEADER, *rows]).encode())
    for size in (3, 11, len(packed) // 2, len(packed) - 4):
        (tmp_path / "train-item-views.csv.gz").write_bytes(packed[:size])
        with pytest.raises(ConvertError, match=r"views\.csv\.gz .*(damaged or cut off|no column)"):
            convert("diginetica", tmp_path, tmp_path / "d", max_bad_rows=1.0)
    (tmp_path / "train-item-views.csv.gz").write_bytes(packed)
    assert convert("diginetica", tmp_path, tmp_path / "d")["counts"]["sessions"] == 5000


def test_a_zip_with_several_candidates_or_a_damaged_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train-item-views.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", HEADER)
        archive.writestr("b.csv", HEADER)
    with pytest.raises(
        ConvertError, match=r"holds 2 files that could be train-item-views\.csv: pack exactly one"
    ):
        convert("diginetica", tmp_path, tmp_path / "d")
    text = "\n".join([HEADER, *CLEAN])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("train-item-views.csv", text)
    path.write_bytes(path.read_bytes().replace(CLEAN[3].encode(), CLEAN[3].replace("13", "14").encode()))
    with pytest.raises(ConvertError, match="Bad CRC-32"):
        convert("diginetica", tmp_path, tmp_path / "d")


def test_every_file_has_its_own_share_and_report(tmp_path: Path, clean: str) -> None:
    folder = write(tmp_path / "raw", CLEAN)
    (folder / "train-purchases.csv").write_text(
        "sessionId;userId;timeframe;eventdate;ordernumber;itemId\n"
        "1;NA;60000;2016-04-01;x;10\n1;NA;60000;yesterday;1;10\n1;NA;60000;2016-04-01;1;10\n"
    )
    (folder / "product-categories.csv").write_text("itemId;categoryId\n10;1\n11;2.0\n12;\n12;3\n")
    (folder / "products.csv").write_text(
        "itemId;pricelog2;product.name.tokens\n10;ten;1\n11;99;1\n12;NaN;1\n13;1e1;4,,5\n14;2;a b\n"
    )
    manifest, _ = converted(folder, tmp_path / "d", max_bad_rows=1.0)
    assert {file: rows["dropped"] for file, rows in manifest["rows"].items()} == {
        "train-item-views.csv": {},
        "train-purchases.csv": {"ordernumber is not a whole number": 1, "eventdate is not a date": 1},
        "product-categories.csv": {
            "categoryId is not a whole number": 1,
            "item has another category already": 1,
        },
        "products.csv": {
            "pricelog2 is not a number": 2,
            "pricelog2 is out of range": 1,
            "product.name.tokens holds blanks or quotation marks": 1,
        },
    }
    item = (tmp_path / "d" / "d.item").read_text().splitlines()
    assert item[1:] == ["10\t1\t\t", "11\t\t\t", "12\t\t\t", "13\t\t1024.0\t4 5"]
    with pytest.raises(ConvertError, match=r"product-categories\.csv: 1 of 4 rows is bad .* line 3"):
        (folder / "train-purchases.csv").unlink()
        convert("diginetica", folder, tmp_path / "d")


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_the_share_of_bad_rows_lies_between_0_and_1(tmp_path: Path, share: float) -> None:
    with pytest.raises(ConvertError, match="a number from 0 to 1"):
        convert("diginetica", write(tmp_path / "raw", CLEAN), tmp_path / "d", max_bad_rows=share)


def test_a_log_without_a_good_row_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "raw", ["x;NA;10;0;2016-04-01"])
    with pytest.raises(ConvertError, match="holds no usable row"):
        convert("diginetica", folder, tmp_path / "d", max_bad_rows=1.0)


clean_rows = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 10**6), st.sampled_from(["NA", "8", ""])),
    min_size=1,
    max_size=25,
    unique_by=lambda row: (row[0], row[2]),  # no ties, so that the order of the files cannot matter
)
faults = st.lists(
    st.one_of(
        st.sampled_from(BAD_ROWS),
        st.just(("", None)),
        st.tuples(st.text("abc;,.-0\t '", min_size=1, max_size=12), st.just("any")),
    ),
    max_size=8,
)


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=clean_rows, bad=faults, copies=st.integers(0, 3), windows=st.booleans(), random=st.randoms())
def test_faults_mixed_into_a_log_leave_the_clean_rows(
    tmp_path: Path, rows, bad, copies, windows, random
) -> None:
    good = [f"{session};{user};{item};{time};2016-04-0{session + 1}" for session, item, time, user in rows]
    # Random text is a bad row unless it is blank: its alphabet cannot spell a date.
    bad = [(row, reason if row.strip() else None) for row, reason in bad]
    mixed = [*good, *good[:copies], *(row for row, _ in bad)]
    random.shuffle(mixed)
    mess = write(tmp_path / "mess", mixed, end="\r\n" if windows else "\n")
    expected = converted(write(tmp_path / "clean", good), tmp_path / "d")[1]

    counted = [reason for _, reason in bad if reason is not None]
    read = len(good) + len(good[:copies]) + len(counted)
    manifest, inter = converted(mess, tmp_path / "d", max_bad_rows=1.0)
    report = manifest["rows"]["train-item-views.csv"]
    assert inter == expected
    assert (report["read"], report["kept"]) == (read, len(good))
    assert report["dropped"].get("duplicate row", 0) == len(good[:copies])
    for reason, count in Counter(reason for reason in counted if reason != "any").items():
        assert report["dropped"][reason] >= count
    assert sum(report["dropped"].values()) == read - len(good)

    if counted:
        with pytest.raises(ConvertError, match=r"rows? (is|are) bad"):
            convert("diginetica", mess, tmp_path / "d", max_bad_rows=(len(counted) - 0.5) / read)
        with pytest.raises(ConvertError, match="strict"):
            convert("diginetica", mess, tmp_path / "d", strict=True)
    else:
        convert("diginetica", mess, tmp_path / "d", strict=True)


def test_a_blank_does_not_stand_for_a_missing_separator(tmp_path: Path) -> None:
    """The line is as long as with its separator, and a whole number may be read after a blank."""
    folder = write(tmp_path / "raw", CLEAN)
    (folder / "product-categories.csv").write_text("itemId;categoryId\n11;1\n 10\n12;2\n")
    manifest, _ = converted(folder, tmp_path / "d", max_bad_rows=0.5)
    assert manifest["rows"]["product-categories.csv"]["dropped"] == {"wrong number of fields": 1}


def test_a_control_character_is_in_no_token(tmp_path: Path) -> None:
    folder = write(tmp_path / "raw", CLEAN)
    (folder / "products.csv").write_text("itemId;pricelog2;product.name.tokens\n11;1;3,\x1f,4\n12;2;3,4\n")
    manifest, _ = converted(folder, tmp_path / "d", max_bad_rows=0.5)
    assert list(manifest["rows"]["products.csv"]["dropped"].values()) == [1]
    assert "\x1f" not in (tmp_path / "d" / "d.item").read_text()
