"""results/leaderboard.md is what its script makes of results/, and the script says what the tests of a page say."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("site_leaderboard", ROOT / "docs" / "site" / "leaderboard.py")
leaderboard = sys.modules.setdefault(
    spec.name, importlib.util.module_from_spec(spec)
)  # a dataclass asks for it
spec.loader.exec_module(leaderboard)


@pytest.fixture
def week(tmp_path):
    """A copy of the raw week's experiment."""
    return Path(shutil.copytree(ROOT / "results" / "diginetica", tmp_path / "diginetica"))


def test_the_page_is_what_its_script_makes():
    """After a change in results/: python docs/site/leaderboard.py."""
    page = (ROOT / "results" / leaderboard.PAGE).read_text(encoding="utf-8")
    assert page == leaderboard.made() == leaderboard.made()
    assert max(line.count("|") for line in page.splitlines()) == 2 + len(leaderboard.titles())


def test_every_experiment_is_on_it():
    assert {file.parent.name for file in (ROOT / "results").glob("*/report.md")} == set(leaderboard.titles())


def test_figures_and_marks_are_those_of_the_experiment_s_page(week):
    found = leaderboard.read(week, "A week")
    assert (found.targets, found.sessions, found.most, found.generated) == (8051, 2153, 3, False)
    best, blend, *rest = found.rows
    ndcg, hits = best.figures["ndcg@10"], best.figures["hit@20"]
    assert (best.model, best.blend, blend.blend) == ("HRNNFeat", False, True)
    assert best.commits == ("7122c4e",)
    assert (round(ndcg.mean, 4), round(ndcg.low, 4), round(ndcg.high, 4)) == (0.2623, 0.2522, 0.2729)
    assert (ndcg.mark, hits.mark) == (leaderboard.BEST, "")  # in hits the blend is ahead of it, by +.0017 *
    assert (blend.figures["ndcg@10"].mark, blend.figures["hit@20"].mark) == (
        leaderboard.TIED,
        leaderboard.BEST,
    )
    assert [row.model for row in rest if row.figures["ndcg@10"].mark] == [
        "HRNNFeat no read-out",
        "SASRecFeat + pointer",
    ]
    assert rest[-1].model == "Pop" and not any(figure.mark for figure in rest[-1].figures.values())


@pytest.mark.parametrize(
    ("file", "before", "after", "says"),
    [
        ("report.md", "| **.2623** ▲", "| **.2632** ▲", "is .2623 in report.csv"),
        ("report.md", "| .2585 ≈▲", "| .2585 ▲", "ndcg@10|NDCG@10 of model 4 is marked '' and tested"),
        ("report.md", "| +.0038 n.s. | +.0059", "| +.0038 ? | +.0059", "marked 'tied' and tested"),
        ("report.csv", "diginetica,Pop,", "diginetica,Top,", "max|other models"),
    ],
)
def test_files_that_contradict_each_other_are_refused(week, file, before, after, says):
    text = (week / file).read_text(encoding="utf-8")
    assert before in text
    (week / file).write_text(text.replace(before, after), encoding="utf-8")
    with pytest.raises(ValueError, match=says):
        leaderboard.read(week, "A week")


def test_a_generated_log_says_so_and_published_figures_their_protocol():
    page = leaderboard.made()
    part = page.partition("\n## New visitors, generated\n")[2].partition("\n## ")[0]
    assert "**A generated log.**" in part and page.count("**A generated log.**") == 1
    named = {row["experiment"] for row in leaderboard._rows(ROOT / "results" / "published.csv")}
    assert named == set(leaderboard.PROTOCOLS) and page.count("**Published beside it.** Source: ") == len(
        named
    )
