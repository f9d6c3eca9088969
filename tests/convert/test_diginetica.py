"""Diginetica to atomic files: a log worked out on paper, the real week, spellings and packings."""

import gzip
import random
import shutil
import zipfile
from pathlib import Path

import polars as pl
import pytest

from recbole_ext.convert import ConvertError, convert

VIEWS = """\
sessionId;userId;itemId;timeframe;eventdate
7;NA;100;5000;2016-03-02
7;NA;101;65999;2016-03-02
3;11;102;1000;2016-03-01
3;NA;100;500;2016-03-01
3;11;102;90000;2016-03-01
9;NA;103;86399999;2016-03-01
5;12;101;1499;2016-03-02
5;13;104;1999;2016-03-02
5;12;101;1499;2016-03-02
2;NA;104;1600;2016-03-02
8;14;100;3000;2016-03-03
8;14;101;2000;2016-03-04
"""
# Session 3 buys two days after its start, and the purchase's own date says so too; session 99 has no views.
PURCHASES = """\
sessionId;userId;timeframe;eventdate;ordernumber;itemId
3;11;172800000;2016-03-03;1;102
7;15;66000;2016-03-02;2;101
99;NA;66000;2016-03-02;3;101
7;15;66000;2016-03-02;2;101
"""
CATEGORIES = "itemId;categoryId\n100;55\n101;56\n102;55\n999;77\n100;56\n"
PRODUCTS = "itemId;pricelog2;product.name.tokens\n100;3;1,2,3\n101;;7\n102;0.5;\n998;4;9,9\n"

# Seconds since 2016-03-01 00:00:00, the whole second of session 3's first view (0.5 s). Sessions 2 and 5
# begin in one second, so the smaller id is first; session 5's views share a second and stand by their
# milliseconds; session 8 has views on two days, of which the first counts for both; session 7's user is
# known from its purchase.
INTER = """\
session_id:token	user_id:token	item_id:token	timestamp:float	event:token
3	11	100	0	view
3	11	102	1	view
3	11	102	90	view
3	11	102	172800	purchase
9		103	86399	view
2		104	86401	view
5	12	101	86401	view
5	12	104	86401	view
7	15	100	86405	view
7	15	101	86465	view
7	15	101	86466	purchase
8	14	101	172802	view
8	14	100	172803	view
"""
ITEM = """\
item_id:token	category:token	price:float	name:token_seq
100	55	8.0	1 2 3
101	56		7
102	55	1.414214	{}
103			{}
104			{}
""".replace("{}", "")  # the last column is empty there


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "train-item-views.csv").write_text(VIEWS)
    (folder / "train-purchases.csv").write_text(PURCHASES)
    (folder / "product-categories.csv").write_text(CATEGORIES)
    (folder / "products.csv").write_text(PRODUCTS)
    return folder


def both_files(out: Path) -> tuple[str, str]:
    return (out / f"{out.name}.inter").read_text(), (out / f"{out.name}.item").read_text()


def test_golden_log(raw: Path, tmp_path: Path) -> None:
    manifest = convert("diginetica", raw, tmp_path / "digi")
    assert both_files(tmp_path / "digi") == (INTER, ITEM)
    assert manifest["time_origin"] == 1456790400.0
    assert manifest["rows"] == {
        "train-item-views.csv": {"read": 12, "kept": 11, "dropped": {"duplicate row": 1}},
        "train-purchases.csv": {
            "read": 4,
            "kept": 2,
            "dropped": {"duplicate row": 1, "purchase of a session without views": 1},
        },
        "product-categories.csv": {"read": 5, "kept": 4, "dropped": {"item has another category already": 1}},
        "products.csv": {"read": 4, "kept": 4, "dropped": {}},
    }
    assert manifest["counts"] == {
        "sessions": 6,
        "users": 4,
        "items": 5,
        "events": {"view": 11, "purchase": 2},
    }
    assert manifest["notes"] == {
        "session with views on two days (first day counts)": 1,
        "session with two users (first known one kept)": 1,
        "event given the user that another event of its session names": 3,
        "item of product-categories.csv without events": 1,
        "item of products.csv without events": 1,
        "item without category": 2,
        "item without price": 3,
        "item without name": 3,
    }
    examples = [(example["file"], example["line"], example["text"]) for example in manifest["examples"]]
    assert examples == [
        ("train-item-views.csv", 10, "5;12;101;1499;2016-03-02"),
        ("train-purchases.csv", 5, "7;15;66000;2016-03-02;2;101"),
        ("train-purchases.csv", 4, "99;;66000;2016-03-02;3;101"),
        ("product-categories.csv", 6, "100;56"),
    ]


def test_all_items_keeps_items_without_events(raw: Path, tmp_path: Path) -> None:
    convert("diginetica", raw, tmp_path / "digi", all_items=True)
    inter, item = both_files(tmp_path / "digi")
    assert inter == INTER
    assert item == ITEM + "998\t\t16.0\t9 9\n999\t77\t\t\n"


def test_random_row_order_gives_the_same_files(raw: Path, tmp_path: Path) -> None:
    """No two events of one session of the golden log share a millisecond, so not even ties may differ."""
    for seed in range(5):
        for name, text in (("train-item-views.csv", VIEWS), ("train-purchases.csv", PURCHASES)):
            header, *rows = text.splitlines()
            random.Random(seed).shuffle(rows)
            (raw / name).write_text("\n".join([header, *rows]) + "\n")
        convert("diginetica", raw, tmp_path / "digi")
        assert both_files(tmp_path / "digi") == (INTER, ITEM)


def test_ties_stand_in_file_order_and_views_before_purchases(tmp_path: Path) -> None:
    header = "sessionId;userId;itemId;timeframe;eventdate\n"
    items = random.Random(1).sample(range(2, 10**6), 20_000)  # enough for an unstable sort to show
    rows = "".join(f"1;NA;{item};1000;2016-03-01\n" for item in items)
    (tmp_path / "train-item-views.csv").write_text(header + rows)
    (tmp_path / "train-purchases.csv").write_text(PURCHASES.splitlines()[0] + "\n1;NA;1000;2016-03-01;1;1\n")
    convert("diginetica", tmp_path, tmp_path / "digi")
    lines = both_files(tmp_path / "digi")[0].splitlines()[1:]
    assert [line.split("\t")[2] for line in lines] == [*map(str, items), "1"]


@pytest.mark.parametrize(
    "spelling",
    ["session_id;user_id;item_id;timeframe;eventdate", '"sessionId";"userId";"itemId";timeframe;eventdate'],
)
def test_other_header_spellings(raw: Path, tmp_path: Path, spelling: str) -> None:
    (raw / "train-item-views.csv").write_text(spelling + VIEWS[VIEWS.index("\n") :])
    convert("diginetica", raw, tmp_path / "digi")
    assert both_files(tmp_path / "digi") == (INTER, ITEM)


def test_columns_may_stand_in_any_order_beside_others(raw: Path, tmp_path: Path) -> None:
    rows = [line.split(";") for line in VIEWS.splitlines()]
    text = "\n".join(";".join([row[4], "x", row[2], row[0], row[3], row[1]]) for row in rows)
    (raw / "train-item-views.csv").write_text(text)
    convert("diginetica", raw, tmp_path / "digi")
    assert both_files(tmp_path / "digi") == (INTER, ITEM)


@pytest.mark.parametrize("packing", ["gz", "csv.zip", "zip", "bundle"])
def test_packed_files(raw: Path, tmp_path: Path, packing: str) -> None:
    for path in list(raw.glob("*.csv")):
        if packing == "gz":
            with gzip.open(raw / f"{path.name}.gz", "wb") as packed:
                packed.write(path.read_bytes())
        else:
            name = {
                "csv.zip": f"{path.name}.zip",
                "zip": f"{path.stem}.zip",
                "bundle": "dataset-train-diginetica.zip",
            }
            with zipfile.ZipFile(raw / name[packing], "a") as archive:
                archive.write(path, f"folder/{path.name}")
        path.unlink()
    manifest = convert("diginetica", raw, tmp_path / "digi")
    assert both_files(tmp_path / "digi") == (INTER, ITEM)
    assert len(manifest["rows"]) == 4
    assert len(manifest["sources"]) == (1 if packing == "bundle" else 4)


def test_only_views_are_needed_and_what_is_absent_is_noted(raw: Path, tmp_path: Path) -> None:
    for name in ("train-purchases.csv", "product-categories.csv", "products.csv"):
        (raw / name).unlink()
    manifest = convert("diginetica", raw, tmp_path / "digi")
    inter, item = both_files(tmp_path / "digi")
    assert "purchase" not in inter and len(inter.splitlines()) == 12
    assert item == "item_id:token\n100\n101\n102\n103\n104\n"
    absent = {note for note in manifest["notes"] if note.startswith("no ")}
    assert absent == {"no train-purchases.csv", "no product-categories.csv", "no products.csv"}


def test_other_files_in_the_folder_are_left_alone(raw: Path, tmp_path: Path) -> None:
    (raw / "sample_train-item-views.csv").write_text(VIEWS + "77;NA;100;5000;2016-03-02\n")
    (raw / "train-item-views-2.csv").write_text("nonsense")
    convert("diginetica", raw, tmp_path / "digi")
    assert both_files(tmp_path / "digi") == (INTER, ITEM)
    manifest = convert("diginetica", raw, tmp_path / "digi", views="sample_train-item-views.csv")
    assert manifest["counts"]["sessions"] == 7
    assert manifest["options"]["views_file"] == "sample_train-item-views.csv"
    with pytest.raises(
        ConvertError, match=r"No file nowhere\.csv in .*raw.* in place of train-purchases\.csv"
    ):
        convert("diginetica", raw, tmp_path / "digi", purchases=Path("nowhere.csv"))


def test_missing_views_say_what_where_and_what_to_do(raw: Path, tmp_path: Path) -> None:
    (raw / "train-item-views.csv").unlink()
    with pytest.raises(ConvertError) as error:
        convert("diginetica", raw, tmp_path / "digi")
    for part in ("train-item-views.csv", str(raw), "CIKM Cup 2016 Track 2", "make demo"):
        assert part in str(error.value)
    assert not (tmp_path / "digi").exists()


def test_dates_outside_the_given_window_are_bad_rows(raw: Path, tmp_path: Path) -> None:
    options = {"max_bad_rows": 1.0, "last_date": "2016-03-02"}
    manifest = convert("diginetica", raw, tmp_path / "digi", **options)
    assert manifest["rows"]["train-item-views.csv"]["dropped"]["eventdate is out of range"] == 2
    with pytest.raises(ConvertError, match="--first-date is 'May': it has to be a day as YYYY-MM-DD"):
        convert("diginetica", raw, tmp_path / "digi", first_date="May")


def test_times_that_float32_would_round_are_noted(tmp_path: Path) -> None:
    """2016-01-01 + 194 days is within 2**24 s; the view of 2016-12-01 is not."""
    rows = ["1;NA;5;0;2016-01-01", "2;NA;5;0;2016-07-13", "3;NA;5;0;2016-12-01"]
    (tmp_path / "train-item-views.csv").write_text("\n".join([VIEWS.splitlines()[0], *rows]))
    notes = convert("diginetica", tmp_path, tmp_path / "digi")["notes"]
    assert notes["event over 194 days after the first (float32 rounds its second)"] == 1


def test_blocks_join_without_a_seam(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a few bytes at a time changes neither the files nor the line numbers."""
    whole = convert("diginetica", raw, tmp_path / "digi")
    for size in (1, 7, 64):
        monkeypatch.setattr("recbole_ext.convert.rows.BLOCK_BYTES", size)
        parts = convert("diginetica", raw, tmp_path / "digi")
        assert both_files(tmp_path / "digi") == (INTER, ITEM)
        assert (parts["rows"], parts["examples"]) == (whole["rows"], whole["examples"])


def test_real_week(shared_data: Path, tmp_path: Path) -> None:
    raw = shared_data / "diginetica" / "raw"
    manifest = convert("diginetica", raw, tmp_path / "diginetica")
    rows = manifest["rows"]
    assert rows["train-item-views.csv"] == {"read": 70_998, "kept": 70_998, "dropped": {}}
    assert rows["train-purchases.csv"] == {
        "read": 18_025,
        "kept": 1_025,
        "dropped": {"duplicate row": 28, "purchase of a session without views": 16_972},
    }
    assert rows["product-categories.csv"] == {"read": 184_047, "kept": 184_047, "dropped": {}}
    assert manifest["counts"]["sessions"] == 15_630
    assert manifest["counts"]["events"] == {"view": 70_998, "purchase": 1_025}

    inter = pl.read_csv(tmp_path / "diginetica" / "diginetica.inter", separator="\t")
    inter.columns = [column.split(":")[0] for column in inter.columns]
    assert inter.filter(pl.col("event") == "view")["item_id"].n_unique() == 15_846
    # Session 39385: views on 2016-05-27, a purchase 541,233,716 ms (6.26 days) after that day's start.
    bought = inter.filter((pl.col("session_id") == 39385) & (pl.col("event") == "purchase"))
    day_start = 1464307200 - manifest["time_origin"]
    assert bought.select("item_id", "timestamp").rows() == [(234568, 541_233 + day_start)]
    # Sorted by session start, then session, each session in one piece and in time order.
    starts = inter.group_by("session_id", maintain_order=True).agg(pl.col("timestamp").first().alias("start"))
    assert starts.equals(starts.sort("start", "session_id"))
    assert inter["session_id"].rle_id().max() == 15_630 - 1
    assert inter.select(pl.col("timestamp").diff().over("session_id").min()).item() >= 0

    items = pl.read_csv(tmp_path / "diginetica" / "diginetica.item", separator="\t")
    assert items.columns == ["item_id:token", "category:token"]
    assert items.height == manifest["counts"]["items"]


def test_real_week_twice_gives_the_same_bytes(shared_data: Path, tmp_path: Path) -> None:
    raw = shared_data / "diginetica" / "raw"
    first, second = (convert("diginetica", raw, tmp_path / run / "diginetica") for run in "ab")
    assert first["outputs"] == second["outputs"]


def test_real_sample_with_the_other_spelling(shared_data: Path, tmp_path: Path) -> None:
    raw = shared_data / "diginetica" / "raw"
    manifest = convert("diginetica", raw, tmp_path / "d", views="sample_train-item-views.csv")
    assert manifest["rows"]["sample_train-item-views.csv"] == {"read": 12_391, "kept": 12_391, "dropped": {}}
    assert manifest["counts"]["sessions"] == 2_986
    assert manifest["notes"]["session with views on two days (first day counts)"] == 2


def test_real_files_packed_read_the_same(shared_data: Path, tmp_path: Path) -> None:
    raw = shared_data / "diginetica" / "raw"
    with (
        (raw / "train-item-views.csv").open("rb") as plain,
        gzip.open(tmp_path / "train-item-views.csv.gz", "wb", 1) as packed,
    ):
        shutil.copyfileobj(plain, packed)
    inter = convert("diginetica", tmp_path, tmp_path / "d")["outputs"][0]
    (tmp_path / "plain").mkdir()
    shutil.copy(raw / "train-item-views.csv", tmp_path / "plain")
    assert convert("diginetica", tmp_path / "plain", tmp_path / "d")["outputs"][0] == inter
