"""Atomic files: the format, the manifest, and that they are written whole or not at all."""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import polars as pl
import pytest

from recbole_ext.convert import atomic
from recbole_ext.convert.atomic import RowReport, make_manifest, read_manifest, write_dataset
from recbole_ext.errors import ConvertError, UsageError
from recbole_ext.files import scratch_beside

ROOT = Path(__file__).resolve().parents[2]
INTER = pl.DataFrame({"session_id": [1, 1], "user_id": [None, 7], "item_id": ["5", "6"], "timestamp": [0, 3]})
ITEM = pl.DataFrame(
    {"item_id": [5, 6], "category": ["a", None], "name": ["red shoe", None], "price": [0.5, None]}
)


def manifest(**changes: object) -> dict:
    parts = {"sources": [], "reports": [], "options": {}, "notes": {}, "counts": {"sessions": 1}}
    return make_manifest("test", **(parts | changes))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_format_and_manifest(tmp_path: Path) -> None:
    source = tmp_path / "log.csv"
    source.write_bytes(b"a;b\n")
    report = RowReport("log.csv")
    report.read = 10
    report.drop("odd", 7, [(line, "x" * 500) for line in range(2, 9)])
    options = {"strict": True, "views": Path("v.csv")}
    written = write_dataset(
        tmp_path / "deep" / "shop",
        INTER,
        ITEM,
        manifest(sources=[source], reports=[report], options=options, notes={"n": 2, "none": 0}),
    )
    out = tmp_path / "deep" / "shop"
    assert (out / "shop.inter").read_text() == (
        "session_id:token\tuser_id:token\titem_id:token\ttimestamp:float\n1\t\t5\t0\n1\t7\t6\t3\n"
    )
    assert (out / "shop.item").read_text() == (
        "item_id:token\tcategory:token\tname:token_seq\tprice:float\n5\ta\tred shoe\t0.5\n6\t\t\t\n"
    )
    assert sorted(contents(out)) == ["manifest.json", "shop.inter", "shop.item"]
    assert json.loads((out / "manifest.json").read_text()) == written == read_manifest(out)
    assert written["format"] == 1 and written["converter"] == "test" and written["version"]
    assert written["sources"] == [
        {"name": "log.csv", "bytes": 4, "sha256": hashlib.sha256(b"a;b\n").hexdigest()}
    ]
    assert [output["rows"] for output in written["outputs"]] == [2, 2]
    assert written["outputs"][0]["sha256"] == hashlib.sha256((out / "shop.inter").read_bytes()).hexdigest()
    assert written["rows"] == {"log.csv": {"read": 10, "kept": 3, "dropped": {"odd": 7}}}
    assert [example["line"] for example in written["examples"]] == [2, 3, 4, 5, 6]
    assert len(written["examples"][0]["text"]) == 200
    assert written["options"] == {"strict": True, "views": "v.csv"}
    assert written["notes"] == {"n": 2}
    assert os.listdir(tmp_path / "deep") == ["shop"]


def test_other_columns_bring_their_types(tmp_path: Path) -> None:
    table = INTER.with_columns(colour=pl.lit("red"))
    with pytest.raises(ConvertError, match=r"d\.inter: column 'colour' has no type"):
        write_dataset(tmp_path / "d", table, None, manifest())
    write_dataset(tmp_path / "d", table, None, manifest(), types={"colour": "token"})
    assert (tmp_path / "d" / "d.inter").read_text().splitlines()[0].endswith("\tcolour:token")


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\rb"])
def test_text_that_breaks_the_format_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConvertError, match=r"d\.item: .* in column 'category'"):
        write_dataset(tmp_path / "d", INTER, ITEM.with_columns(category=pl.lit(text)), manifest())
    assert list(tmp_path.iterdir()) == []


def test_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("mine")
    with pytest.raises(ConvertError, match="is a file"):
        write_dataset(tmp_path / "d", INTER, ITEM, manifest())
    assert (tmp_path / "d").read_text() == "mine"


@pytest.mark.parametrize("stop", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize(("survived", "before"), [(0, True), (1, True), (2, True), (0, False)])
def test_interrupted_between_files_leaves_the_old_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException, survived: int, before: bool
) -> None:
    """The move of file number `survived` fails: the files moved until then are put back, or taken away."""
    out = tmp_path / "d"
    if before:
        write_dataset(out, INTER.head(1), ITEM.head(1), manifest())
        (out / "notes.txt").write_text("mine")
    old = contents(out) if before else None
    moves = []

    def replace(source: Path, target: Path) -> None:
        moves.append(target)
        if len(moves) == survived + 1:
            raise stop
        os.rename(source, target)

    monkeypatch.setattr(atomic.os, "replace", replace)
    with pytest.raises(type(stop)):
        write_dataset(out, INTER, ITEM, manifest())
    monkeypatch.undo()
    assert len(moves) > survived
    assert (contents(out) if out.exists() else None) == old
    assert os.listdir(tmp_path) == (["d"] if before else [])


def test_a_new_folder_comes_in_one_step_and_the_manifest_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = []
    replace = os.replace
    monkeypatch.setattr(atomic.os, "replace", lambda a, b: (moved.append(Path(b).name), replace(a, b)))
    write_dataset(tmp_path / "d", INTER, ITEM, manifest())
    assert moved == ["d"]
    write_dataset(tmp_path / "d", INTER, ITEM, manifest())
    assert moved == ["d", "d.inter", "d.item", "manifest.json"]


KILLED = """
import os, sys
from pathlib import Path
from recbole_ext.convert import atomic
from recbole_ext.convert.engine import pl
moves, replace = [], os.replace
def stop(source, target):
    moves.append(target)
    if len(moves) > int(sys.argv[2]):
        os.kill(os.getpid(), 9)
    replace(source, target)
atomic.os.replace = stop
inter = pl.DataFrame({"session_id": ["9"], "item_id": ["9"], "timestamp": [9.0]})
atomic.write_dataset(Path(sys.argv[1]), inter, inter.select("item_id"), {})
"""


@pytest.mark.parametrize("survived", [0, 1, 2])
@pytest.mark.parametrize("before", [True, False])
def test_a_killed_conversion_is_no_conversion_and_the_next_one_clears_it_away(
    tmp_path: Path, survived: int, before: bool
) -> None:
    from recbole_ext.data.manifest import check_finished

    out = tmp_path / "d"
    if before:
        write_dataset(out, INTER, ITEM, manifest())
    elif survived:
        return  # a new folder comes in one step
    ended = subprocess.run([sys.executable, "-c", KILLED, str(out), str(survived)], cwd=ROOT, check=False)
    assert ended.returncode == -9
    assert len(list(tmp_path.glob(".d.*.part"))) == 1
    if before:
        assert read_manifest(out) is None
        with pytest.raises(UsageError, match=r"a conversion to .*d was interrupted"):
            check_finished(str(out))
    else:
        assert not out.exists()
    write_dataset(out, INTER, ITEM, manifest())
    assert os.listdir(tmp_path) == ["d"] and sorted(os.listdir(out)) == ["d.inter", "d.item", "manifest.json"]
    check_finished(str(out))
    assert read_manifest(out) is not None


def test_a_conversion_under_way_is_left_alone(tmp_path: Path) -> None:
    with scratch_beside(tmp_path / "d") as scratch:
        (scratch / "x").write_text("mine")
        write_dataset(tmp_path / "d", INTER, ITEM, manifest())
        assert (scratch / "x").read_text() == "mine"
    assert os.listdir(tmp_path) == ["d"]


def test_files_edited_beside_their_manifest_are_noticed(tmp_path: Path) -> None:
    from recbole_ext.data.manifest import edited_note
    from recbole_ext.experiment.cells import data_identity

    out = tmp_path / "d"
    write_dataset(out, INTER, ITEM, manifest())
    assert edited_note(str(out)) is None
    first = data_identity(out, "d")
    text = (out / "d.inter").read_text()
    for edited in (text + "x\ty\tz\n", text[:-2] + "7\n"):  # of another size, and of the same
        (out / "d.inter").write_text(edited)
        assert edited_note(str(out)).startswith("d.inter changed since the conversion")
        assert data_identity(out, "d") != first
    (out / "d.inter").write_text(text)  # newer than the manifest, and the same
    assert edited_note(str(out)) is None and data_identity(out, "d") == first


def test_writing_again_replaces_ours_and_leaves_the_rest(tmp_path: Path) -> None:
    out = tmp_path / "d"
    write_dataset(out, INTER, ITEM, manifest())
    (out / "notes.txt").write_text("mine")
    write_dataset(out, INTER, None, manifest())
    assert sorted(contents(out)) == ["d.inter", "manifest.json", "notes.txt"]  # no .item of other items
    assert [output["name"] for output in read_manifest(out)["outputs"]] == ["d.inter"]


def test_read_manifest_wants_files_that_fit(tmp_path: Path) -> None:
    out = tmp_path / "d"
    assert read_manifest(out) is None
    write_dataset(out, INTER, ITEM, manifest())
    assert read_manifest(out) is not None
    with (out / "d.item").open("a") as stream:
        stream.write("7\t\t\t\n")
    assert read_manifest(out) is None
    (out / "manifest.json").write_text("{")
    assert read_manifest(out) is None


# --- the events as parquet


def test_parquet_has_the_heads_names_types_and_gaps(tmp_path):
    inter = pl.DataFrame(
        {
            "session_id": [1, 2, 3],
            "item_id": ["007", "NA", None],
            "timestamp": [0, 1, None],
            "event": pl.Series(["view", "view", "buy"], dtype=pl.Enum(["view", "buy"])),
            "name": ["a b", "", None],
        }
    )
    written = write_dataset(tmp_path / "d", inter, None, manifest(), inter_form="parquet")
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["d.inter.parquet", "manifest.json"]
    assert pl.read_parquet(tmp_path / "d" / "d.inter.parquet").to_dict(as_series=False) == {
        "session_id:token": [1, 2, 3],
        "item_id:token": ["007", "NA", None],
        "timestamp:float": [0.0, 1.0, None],
        "event:token": ["view", "view", "buy"],
        "name:token_seq": ["a b", "", None],
    }
    assert read_manifest(tmp_path / "d") == written
    content = (tmp_path / "d" / "d.inter.parquet").read_bytes()
    assert written["outputs"][0] == {
        "name": "d.inter.parquet",
        "rows": 3,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_events_of_an_earlier_conversion_in_another_form_go(tmp_path):
    out = tmp_path / "d"
    write_dataset(out, INTER, ITEM, manifest(), inter_form="both")
    write_dataset(out, INTER.head(1), ITEM, manifest(), inter_form="text")
    assert sorted(path.name for path in out.iterdir()) == ["d.inter", "d.item", "manifest.json"]
    write_dataset(out, INTER, ITEM, manifest(), inter_form="parquet")
    assert sorted(path.name for path in out.iterdir()) == ["d.inter.parquet", "d.item", "manifest.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
def test_conversions_that_end_at_once_come_one_after_the_other(tmp_path):
    """The folder holds the files of one of them, and each ends well."""

    def move(number, place, barrier):
        made = place / f"scratch-{number}" / "new"
        made.mkdir(parents=True)
        for name in ("log.inter", "log.item"):
            (made / name).write_text(str(number))
        barrier.wait()
        atomic._move_into_place(made.parent, place / "log", ["log.inter", "log.item"])

    for round_ in range(15):
        place = tmp_path / str(round_)
        (place / "log").mkdir(parents=True)
        (place / "log" / "kept").touch()
        with ThreadPoolExecutor(4) as pool:
            barrier = Barrier(4)
            for ended in [pool.submit(move, number, place, barrier) for number in range(4)]:
                ended.result()
        assert (place / "log" / "log.inter").read_text() == (place / "log" / "log.item").read_text()
        assert {file.name for file in (place / "log").iterdir()} == {"log.inter", "log.item", "kept"}
