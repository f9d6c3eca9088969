"""What is kept between two calls: used for the same inputs only, whole or not at all."""

import pytest

from recbole_ext import kept as module
from recbole_ext.kept import Kept


@pytest.fixture
def made():
    """What was made, in order, and the function that makes a value and says so."""
    calls = []

    def make(value):
        return lambda: calls.append(value) or {"value": value, "half": 0.1 + 0.2}

    return calls, make


def test_a_value_is_made_once_for_its_inputs(tmp_path, made):
    calls, make = made
    first = Kept(tmp_path / "kept").get("a", [1, "x"], make(1))
    assert Kept(tmp_path / "kept").get("a", [1, "x"], make(2)) == first == {"value": 1, "half": 0.1 + 0.2}
    assert Kept(tmp_path / "kept").get("a", [2, "x"], make(3))["value"] == 3
    assert Kept(tmp_path / "kept").get("b", [1, "x"], make(4))["value"] == 4
    assert calls == [1, 3, 4]


def test_other_code_makes_it_again(tmp_path, made, monkeypatch):
    _, make = made
    Kept(tmp_path).get("a", 1, make(1))
    monkeypatch.setattr(module, "_code", lambda: "of tomorrow")
    assert Kept(tmp_path).get("a", 1, make(2))["value"] == 2


def test_a_harmed_file_is_made_again(tmp_path, made):
    calls, make = made
    Kept(tmp_path).get("a", 1, make(1))
    (file,) = tmp_path.iterdir()
    text = file.read_text()
    for harmed in (text.replace('"value": 1', '"value": 7'), text[:-5], ""):
        file.write_text(harmed)
        assert Kept(tmp_path).get("a", 1, make(1))["value"] == 1
        assert file.read_text() == text
    file.write_bytes(b"\xff\xfe")
    assert Kept(tmp_path).get("a", 1, make(1))["value"] == 1
    assert len(calls) == 5


def test_what_nobody_asked_for_is_dropped(tmp_path, made):
    _, make = made
    Kept(tmp_path).get("a", 1, make(1))
    now = Kept(tmp_path)
    now.get("a", 2, make(2))
    now.drop_others()
    assert len(list(tmp_path.iterdir())) == 1
    assert Kept(tmp_path).get("a", 2, make(3))["value"] == 2


def test_without_a_folder_or_where_it_takes_nothing_it_is_made_each_time(tmp_path, made):
    calls, make = made
    (tmp_path / "file").write_text("")
    for folder in (None, tmp_path / "file"):
        kept = Kept(folder)
        assert [kept.get("a", 1, make(n))["value"] for n in (1, 2)] == [1, 2]
        kept.drop_others()
    assert calls == [1, 2, 1, 2]
