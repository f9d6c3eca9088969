"""May a new model take the old one's place: figures on paper, slices, exit codes, and how often the answer is wrong."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from recbole_ext.cli import main
from recbole_ext.errors import UsageError
from recbole_ext.evaluate.intervals import changes
from recbole_ext.evaluate.promotion import ALPHA, MARGIN, promotion

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def simulated():
    """benchmarks/promote.py, whose pairs of models these are."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        spec = importlib.util.spec_from_file_location("promote", ROOT / "benchmarks" / "promote.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def write_run(tmp_path):
    """Write a run's folder by hand, two targets a session; the first of them a session's first target."""

    def write(name, rank, **record):
        folder = tmp_path / name
        folder.mkdir()
        place = np.arange(len(rank))
        np.savez_compressed(
            folder / "ranks.npz",
            rank=np.asarray(rank),
            item=np.ones(len(rank), dtype=int),
            top=np.ones((len(rank), 20), dtype=int),
            event_index=place,
            session_token=np.array([f"s{n // 2:04d}" for n in place]),
            item_token=np.array(["[PAD]", "a"]),
            position=1 + place % 2,
        )
        plain = {
            "model": "Toy",
            "dataset": "toy",
            "seed": 1,
            "protocol": "rows",
            "split": "session_time",
            "config": {},
            "counts": {"items": 1},
            **record,
        }
        (folder / "record.json").write_text(json.dumps(plain))
        return folder

    return write


def test_changes_on_paper():
    """Sums by cluster 3, 1 of a and 2, 2 of b; less a margin of a half: 2, 0, whose t is 1 / (1 / sqrt 2)."""
    a, b = np.array([[1.0], [2.0], [1.0]]), np.array([[2.0], [0.0], [2.0]])
    found = changes(a, b, np.array([7, 7, 9]), np.array([0.5]), draws=4000)
    assert found.change == pytest.approx(0.0) and (found.low, found.high) == pytest.approx((-0.5, 0.5))
    # of the four draws of two clusters, two are of one cluster alone: no number, which speaks for neither side
    assert found.p_kept[0] == pytest.approx(0.5, abs=0.03) and found.p_fallen[0] == pytest.approx(1.0)


def test_one_session_tells_nothing():
    found = changes(np.ones((3, 1)), np.ones((3, 1)), np.zeros(3), np.array([0.1]))
    assert found.change == 0 and np.isnan(found.low) and found.p_kept == found.p_fallen == 1


def test_targets_outside_of_a_slice_do_not_count():
    rng = np.random.default_rng(0)
    a, b, session = rng.random((90, 1)), rng.random((90, 1)), np.arange(90) // 3
    inside = (np.arange(90) < 45)[:, None]
    own = changes(a[:45], b[:45], session[:45], np.array([0.0]), draws=4000)
    masked = changes(a * inside, b * inside, session, np.array([0.0]), draws=4000)
    assert masked.change == pytest.approx(own.change) and masked.p_kept == pytest.approx(own.p_kept, abs=0.03)


def test_verdicts_and_exit_codes(write_run, capsys, tmp_path):
    rng = np.random.default_rng(3)
    rank = rng.integers(1, 21, 2000)
    old = write_run("old", rank)
    same = write_run("same", rank)
    first = np.arange(2000) % 2 == 0
    moved = write_run(
        "moved", np.where(first, np.maximum(rank - 4, 1), rank + 1)
    )  # first targets up, second down
    worse = write_run("worse", rank + 1)
    few = write_run("few old", rank[:40])
    changed = write_run("few new", rng.permutation(rank[:40]))

    assert main(["promote", str(same), str(old), "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["verdict"], found["rows"][0]["change"], found["rows"][0]["state"]) == (
        "promote",
        0.0,
        "as good",
    )
    assert found["rows"][0]["old"] == pytest.approx((1 / np.log2(rank + 1) * (rank <= 10)).mean())
    assert [row["slice"] for row in found["rows"]] == ["all", "1", "2"] and found["sessions"] == 1000
    assert main(["promote", str(worse), str(old)]) == 3
    assert (
        "worse: " in (text := capsys.readouterr().out) and "all targets has fallen by more than 2 %" in text
    )
    assert main(["promote", str(changed), str(few)]) == 4
    assert "20 sessions do not show" in capsys.readouterr().out
    assert main(["promote", str(moved), str(old)]) == 3  # all together rose, one slice fell
    assert "position=2 has fallen" in capsys.readouterr().out
    assert main(["promote", str(moved), str(old), "--slice-margin", "0.6", "--slice", "position=1"]) == 0
    assert main(["promote", str(same), str(old), "--margin", "0"]) == 4  # not better
    assert main(["promote", str(same), str(few)]) == 2
    assert "cannot be compared" in capsys.readouterr().err


def test_ranks_below_a_parent_s_lists_are_not_compared(write_run):
    from recbole_ext.errors import UsageError

    new, old = write_run("a", [1, 2, 3, 4]), write_run("b", [1, 2, 3, 4], places=100)
    assert promotion(new, old, "ndcg@100", draws=200)["metric"] == "ndcg@100"
    with pytest.raises(UsageError, match="write @100 or less"):
        promotion(new, old, "ndcg@101")


@pytest.mark.parametrize(
    "options, says",
    [
        ({"margin": 1.5}, "margin is 1.5: write a share"),
        ({"guarded": ["positon"]}, "did you mean position"),
        ({"guarded": ["position=9"]}, "position has 1, 2"),
        ({"metric": "auc"}, "metric auc is not known"),
    ],
)
def test_what_cannot_be_used(write_run, options, says):
    one, two = write_run("a", [1, 2, 3, 4]), write_run("b", [1, 2, 3, 4])
    with pytest.raises(UsageError, match=says):
        promotion(one, two, **options)


def test_how_often_it_is_wrong(simulated):
    """1,000 sessions, a tenth of the targets drawn anew: of those worse by the margin 5 % pass, of better ones 80 %."""

    def share(truth, pairs):
        rng = np.random.default_rng(11)
        passed = 0
        for _ in range(pairs):
            found = simulated.pair(rng, 1000, truth, 0.1)
            one, other = found["new"][:, None], found["old"][:, None]
            p = changes(one, other, found["session"], np.array([MARGIN]), draws=199).p_kept[0]
            passed += p < ALPHA
        return passed / pairs

    assert share(-MARGIN, 300) <= 0.05 + 1.7 * np.sqrt(0.05 * 0.95 / 300)  # what chance adds
    assert share(0.02, 60) >= 0.8


def test_a_named_slice_has_to_be_shown(simulated):
    rng = np.random.default_rng(5)
    found = simulated.pair(rng, 1000, 0.02, 0.1, fallen=0.06)  # returning visitors lose 4 %
    assert simulated.verdict_on(found, draws=199) == "promote"
    assert simulated.verdict_on(found, [("visitor", "returning")], draws=199) == "not known"
