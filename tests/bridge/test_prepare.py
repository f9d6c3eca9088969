"""Atomic files that are there already: used, and a difference to the configuration is said."""

import logging

import pytest

from recbole_ext.bridge.prepare import prepare_atomic_files
from recbole_ext.errors import UsageError


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
