"""The replay of updates: days of a log, a page of several seeds; days for lists whose test part alone has times."""

import re
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Gives a module of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return __import__


def test_lists_get_days(script):
    """Two sessions without times lie in the first half and in the second half before the tests; the last day goes."""
    lists = script("timed_lists")
    day, first = 86_400, int(lists.FIRST)
    begins = first + 10 * day + 5
    test = [[(7, first + 12 * day), (8, first + 12 * day + 9)], [(5, begins), (6, begins + 60)]]
    found = lists.events_of([[1, 2], [3]], test)
    assert found.rows() == [
        ("a0", "1", 0),
        ("a0", "2", 1),
        ("a1", "3", 5 * day + 2),
        ("b0", "5", 10 * day + 5),
        ("b0", "6", 10 * day + 65),
    ]


def test_a_replay_of_neighbours_is_exact_on_every_seed(script, tmp_path, monkeypatch):
    """Six days of ten sessions: the sixth is tested, the fifth chooses; --draw draws the same page again."""
    random = np.random.default_rng(1)
    rows = ["session_id:token\titem_id:token\ttimestamp:float"]
    for session in range(60):
        start = session // 10 * 86_400 + session % 10 * 600
        rows += [f"s{session}\ti{item}\t{start + n}" for n, item in enumerate(random.integers(12, size=4))]
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "shop.inter").write_text("\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    update = script("update")
    words = ["--log", "shop", "--model", "VSTAN", "--days", "1", "--seed", "1,2"]
    update.main([*words, "--keep", "kept", "--out", "page.md"])
    page = Path("page.md").read_text()
    assert "## VSTAN on shop" in page and "--seed 1,2`" in page
    lines = [line for line in page.splitlines() if re.match(r"\| (1|2|all) ", line)]
    assert len(lines) == 3 and all("100.0 % [100.0, 100.0]" in line for line in lines)
    assert re.search(r"\| 1970-01-06 \| 30 ", page) and "1970-01-05" not in page
    update.main(["--draw", "kept", "--out", "again.md"])
    assert Path("again.md").read_text() == page


def test_one_session_is_the_same_under_every_seed(script):
    """Sessions of two days and two seeds: the way's gains, those from nothing, and whose they are."""
    update = script("update")
    days = [(np.array([0, 0, 1]), np.array([[1, 2, 3], [2, 2, 11]])), (np.array([0]), np.array([[1], [1]]))]
    new, old, session = update.sides_of([{"ranks": days}] * 2, 0, "ndcg@10", slice(0, None))
    assert session.tolist() == [0, 0, 1, 2] * 2
    second = 1 / np.log2(3)
    np.testing.assert_allclose(new[:, 0], [second, second, 0, 1] * 2)
    np.testing.assert_allclose(old[:, 0], [1, second, 0.5, 1] * 2)
