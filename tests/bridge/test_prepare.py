"""Atomic files that are there already: used, and a difference to the configuration is said."""

import logging
import os

import pytest

from recbole_ext.bridge.prepare import prepare_atomic_files, prepare_for_run
from recbole_ext.errors import ConvertError, UsageError


class Settings(dict):
    """Stands for RecBole's Config: a key that is not there is None."""

    def __missing__(self, key):
        return None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"test_days": 7, "events": "buyers.csv", "properties": [], "features": 790, "strict": False}, []),
        ({"test_days": 14}, ["test_days 7, and convert_options says 14"]),
        ({"events": "events.csv"}, ["events buyers.csv, and convert_options says events.csv"]),
        ({"all_items": True, "session": "visitor"}, ["all_items", "session idle"]),
        ({"gap_minutes": 45, "item": "sku"}, []),  # read as a number; a column stands among the columns
        ({"gap_minutes": 30, "item": "id"}, ["gap_minutes 45.0, and convert_options says 30", "item sku"]),
        (None, []),
    ],
)
def test_other_options_than_those_of_the_files_are_said(tmp_path, write_log, caplog, options, said):
    made = {
        "test_days": 7,
        "events_file": "buyers.csv",
        "features": ["790"],
        "session": "idle",
        "strict": False,
        "gap_minutes": 45.0,
        "columns": {"item": "sku"},
    }
    write_log([{"session_id": "a", "item_id": "b", "timestamp": 0}], manifest={"options": made})
    config = Settings(dataset="toy", data_path=str(tmp_path / "data" / "toy"), convert_options=options)
    with caplog.at_level(logging.WARNING):
        prepare_atomic_files(config)
    assert len(caplog.messages) == len(said)
    for message, part in zip(caplog.messages, said):
        assert part in message and "delete that folder" in message


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"convert_options": {"views": 5}}, "convert_options.views is 5: "),
        ({"convert_options": "strict"}, "convert_options is 'strict': write a mapping"),
        ({"generate": {"source": 5}}, "generate.source is 5: "),
        ({"source": "digineticca"}, "there is no converter for 'digineticca'"),
        ({"source": None}, "no `source` says which raw logs it comes from"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_made(tmp_path, monkeypatch, keys, sentence):
    monkeypatch.chdir(tmp_path)
    config = Settings({"dataset": "toy", "data_path": str(tmp_path / "toy"), "source": "diginetica", **keys})
    with pytest.raises(UsageError) as error:
        prepare_atomic_files(config)
    assert sentence in str(error.value) and not list(tmp_path.iterdir())


def test_demo_logs_are_generated_and_converted_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Settings(
        dataset="toy",
        data_path=str(tmp_path / "toy"),
        source="diginetica",
        generate={"source": "diginetica", "scale": 0.0005, "seed": 3},
        convert_options={"all_items": True},
    )
    prepare_atomic_files(config)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert {"toy.inter", "toy.item", "generator.json"} < {path.name for path in files}
    prepare_atomic_files(config)
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}


# --- raw logs that are named beside atomic files ----------------------------------------------------------


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A table of events, converted to data/toy."""
    from recbole_ext.convert import convert

    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = [f"s{n // 3},i{n % 3},{1_700_000_000 + n}" for n in range(30)]
    (raw / "events.csv").write_text("\n".join(["session,item,time", *rows]) + "\n")
    convert("csv", raw / "events.csv", tmp_path / "data" / "toy")
    return raw / "events.csv"


def named(tmp_path, **keys):
    config = Settings(dataset="toy", data_path=str(tmp_path / "data" / "toy"), source="csv", **keys)
    config.external_config_dict = keys
    return config


def test_the_raw_logs_that_the_files_were_made_of_may_be_named(shop, tmp_path):
    before = (tmp_path / "data" / "toy" / "manifest.json").stat().st_mtime_ns
    prepare_atomic_files(named(tmp_path, raw_path=str(shop)))
    prepare_atomic_files(named(tmp_path, raw_path=str(shop.parent)))
    shop.touch()  # newer, and the same
    prepare_atomic_files(named(tmp_path, raw_path=str(shop)))
    assert (tmp_path / "data" / "toy" / "manifest.json").stat().st_mtime_ns == before


def test_events_may_be_there_as_parquet_alone(shop, tmp_path):
    from recbole_ext.bridge.config_files import is_session_data
    from recbole_ext.convert import convert

    folder = tmp_path / "data" / "toy"
    convert("events", shop, folder, inter="parquet")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert sorted(before) == ["manifest.json", "toy.inter.parquet"]
    prepare_atomic_files(named(tmp_path))
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert is_session_data("toy", folder.parent)
    (folder / "toy.inter.parquet").write_bytes(b"no parquet")
    assert not is_session_data("toy", folder.parent)


def test_parts_may_be_named_by_a_glob(tmp_path, monkeypatch):
    """Of a log that is read by its parts, converted on the way to a run and used again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "export" / "day=1").mkdir(parents=True)
    for name in ("day=1/a.csv", "b.csv"):
        (tmp_path / "export" / name).write_text(f"session,item,time\n{name},i,1700000000\n")
    for raw in ("export/**/*.csv", "export", str(tmp_path / "export")):
        prepare_atomic_files(named(tmp_path, raw_path=raw))
    inter = tmp_path / "data" / "toy" / "toy.inter"
    assert inter.read_text().splitlines()[1:] == ["b.csv\ti\t0", "day=1/a.csv\ti\t0"]
    (tmp_path / "export" / "b.csv").write_text("session,item,time\nc,i,1700000000\n")
    with pytest.raises(UsageError, match=r"is not the b\.csv that"):
        prepare_atomic_files(named(tmp_path, raw_path="export"))


def make_older(raw, text):
    """As a backup that is put back: of the same size, with a time before the conversion."""
    raw.write_text(text)
    os.utime(raw, (1_000_000_000, 1_000_000_000))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw.unlink(), "raw_path .* does not exist"),
        (lambda raw: raw.write_text(raw.read_text() + "s9,i1,1700000100\n"), "is not the events.csv that"),
        (lambda raw: raw.write_text(raw.read_text().replace("i2", "i7")), "is not the events.csv that"),
        (lambda raw: make_older(raw, raw.read_text().replace("i2", "i7")), "is not the events.csv that"),
        (lambda raw: raw.rename(raw.with_name("other.csv")), "raw_path .* does not exist"),
    ],
)
def test_other_raw_logs_than_those_of_the_files_are_refused(shop, tmp_path, change, said):
    change(shop)
    with pytest.raises(UsageError, match=f"{said}.*delete that folder to convert again"):
        prepare_atomic_files(named(tmp_path, raw_path=str(shop)))
    prepare_atomic_files(named(tmp_path))  # nobody names any
    other = Settings(
        dataset="toy", data_path=str(tmp_path / "data" / "toy"), source="csv", raw_path=str(shop)
    )
    prepare_atomic_files(other)  # a file of the data set does, which says where they were


def test_a_long_comparison_of_raw_logs_says_how_far_it_is(shop, tmp_path, monkeypatch, caplog):
    from recbole_ext import progress
    from recbole_ext.bridge import prepare

    prepare._sum.cache_clear()
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0)
    with caplog.at_level(logging.INFO):
        prepare_atomic_files(named(tmp_path, raw_path=str(shop)))
    assert f"comparing {shop.name} with what was converted took" in caplog.text


def test_a_folder_without_the_raw_logs_is_refused(shop, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"was made of events.csv, and raw_path .*empty holds none of these"):
        prepare_atomic_files(named(tmp_path, raw_path=str(tmp_path / "empty")))
    (tmp_path / "data" / "toy" / "manifest.json").unlink()
    with pytest.raises(UsageError, match=r"nothing says which raw logs .* was made of"):
        prepare_atomic_files(named(tmp_path, raw_path=str(shop)))


def test_half_a_conversion_is_made_anew_or_refused(shop, tmp_path):
    folder = tmp_path / "data" / "toy"
    (folder / ".unfinished").touch()
    (folder / "toy.inter").write_text("half")
    with pytest.raises(UsageError, match="was interrupted"):
        prepare_atomic_files(Settings(dataset="toy", data_path=str(folder)))
    prepare_atomic_files(named(tmp_path, raw_path=str(shop)))
    assert not (folder / ".unfinished").exists()
    assert (folder / "toy.inter").read_text().startswith("session_id:token")


def test_a_run_names_its_own_option_for_one_of_the_converter(tmp_path, caplog):
    """And tells what was guessed and left out, as `convert` does."""
    log = tmp_path / "log.csv"
    log.write_text("visitor,product,moment_x\nv,a,1430622004\nv,b,1430622005\n,b,1430622006\n")
    with pytest.raises(ConvertError, match="no column looks like --time") as caught:
        prepare_for_run(named(tmp_path, raw_path=str(log)))
    assert str(caught.value).endswith('as convert_options: --convert_options="{time: COLUMN}")')
    options = {"time": "moment_x", "max_bad_rows": 0.5}
    with caplog.at_level(logging.WARNING):
        prepare_for_run(named(tmp_path, raw_path=str(log), convert_options=options))
    assert "guessed, item: column 'product'" in caplog.text and "log.csv: 3 rows read, 2 kept" in caplog.text
    caplog.clear()
    prepare_for_run(named(tmp_path, convert_options=options))
    assert "guessed" not in caplog.text
