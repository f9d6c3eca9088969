"""record.json: what was written is read, and nothing else is."""

import json
from pathlib import Path

import pytest

from recbole_ext import records
from recbole_ext.errors import UsageError

RECORD = {
    "model": "GRU4Rec",
    "test": {"ndcg@10": 0.1 + 0.2},
    "config": {"topk": [10], 5: None},
    "notes": ["é"],
}
READ = {"format": records.FORMAT, **RECORD, "config": {"topk": [10], "5": None}}  # as JSON has it


@pytest.fixture
def file(tmp_path):
    records.write(tmp_path, RECORD)
    return tmp_path / "record.json"


def test_what_was_written_is_read_however_it_is_laid_out(file):
    assert records.read(file.parent) == READ
    file.write_text(json.dumps(json.loads(file.read_text()), indent=4))
    assert records.read(file.parent) == READ
    records.write(file.parent, json.loads(file.read_text()))
    assert records.read(file.parent) == READ


def test_whatever_bit_is_flipped_and_wherever_it_is_cut(file):
    whole, refused = file.read_bytes(), 0
    flips = [(place, place % 8) for place in range(len(whole))]
    for own in (b'"sum"', b'"format": 2'):  # what says that there is a sum
        flips += [(whole.index(own) + place, bit) for place in range(len(own)) for bit in range(8)]
    harmed = [whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :] for place, bit in flips]
    for content in [*harmed, *(whole[:length] for length in range(len(whole)))]:
        file.write_bytes(content)
        try:
            assert records.read(file.parent) == READ, content
        except UsageError as error:
            refused += 1
            assert str(error).startswith(f"{file} was cut or changed since it was written: ")
    assert refused > 0.9 * len(flips)


@pytest.mark.parametrize(
    "content", ["[]", "1", "null", "[" * 100_000, '{"format": 2}', '{"format": 1, "sum": ""}']
)
def test_what_is_no_record(file, content):
    file.write_text(content)
    with pytest.raises(UsageError, match=r"record\.json was cut or changed .*: put back a copy, or run"):
        records.read(file.parent)


def test_one_of_an_older_version_has_no_sum(file):
    file.write_text('{"format": 1, "model": "AR"}')
    assert records.read(file.parent) == {"format": 1, "model": "AR"}
    records.write(file.parent, records.read(file.parent))
    assert records.read(file.parent) == {"format": records.FORMAT, "model": "AR"}


def test_where_there_is_none_and_where_it_cannot_be_written(file):
    with pytest.raises(ValueError, match="JSON"):
        records.write(file.parent, {"test": {"ndcg@10": float("nan")}})
    assert records.read(file.parent) == READ and [file] == list(file.parent.iterdir())
    file.unlink()
    with pytest.raises(FileNotFoundError):
        records.read(file.parent)
    file.mkdir()
    with pytest.raises(UsageError, match=r"record\.json cannot be read: Is a directory"):
        records.read(file.parent)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("runs/toy/GRU4Rec-1-2026", "GRU4Rec-1-2026"),
        ("runs/experiments/demo/toy/GRU4Rec/seed-1", "demo/toy/GRU4Rec/seed-1"),
        ("runs/toy/seed-1-of-mine", "seed-1-of-mine"),
        ("/seed-1", "seed-1"),
    ],
)
def test_the_name_of_a_run_tells_cells_apart(folder, name):
    assert records.run_name(Path(folder)) == name
