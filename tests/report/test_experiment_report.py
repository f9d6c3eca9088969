"""The report's files: golden rows, escapes, the same bytes twice, and what is left out where there is nothing."""

import base64
import csv
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from recbole_ext.errors import UsageError
from recbole_ext.kept import Kept
from recbole_ext.report import pictures, plots, provenance
from recbole_ext.report.document import Notes, Prose, Section
from recbole_ext.report.experiment_report import gather, write_report
from recbole_ext.report.markdown import plain, render_markdown
from recbole_ext.report.page import render_page
from recbole_ext.report.sections import ranking, search, settings, worth
from recbole_ext.report.sections.findings import Findings


class Reader(HTMLParser):
    """Collects tags with attributes, and the text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._silent = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._silent = tag if tag in ("script", "style") else self._silent

    def handle_endtag(self, tag):
        self._silent = None if tag == self._silent else self._silent

    def handle_data(self, data):
        if self._silent is None:
            self.text.append(data)


@pytest.fixture(scope="module")
def page(example_folder):
    return (example_folder / "index.html").read_text(encoding="utf-8")


@pytest.fixture
def small(comparison_of):
    """A comparison of three models, quick to draw."""
    models = {
        "SASRec": ("SASRec", 0.22, 60.0, 100, 3),
        "VSTAN": ("VSTAN", 0.2, 2.0, None, 1),
        "Pop": ("Pop", 0.01, 0.2, 1, 1),
    }
    return comparison_of("toy", 500, models=models, slices={"item": [("cold", 40), ("warm", 460)]})


def written(folder, *parts):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in write_report(folder, *parts)}


def test_a_page_is_redrawn_from_what_was_drawn(small, experiment_of, tmp_path, monkeypatch):
    """Byte by byte; other findings are drawn anew."""
    drawn = []
    monkeypatch.setattr(pictures, "drawn", lambda alt, *_: drawn.append(alt) or f"<svg>{len(drawn)}</svg>")
    parts = (experiment_of([small]), [small], [], [])
    before = written(tmp_path / "a", *parts, Kept(tmp_path / "kept"))
    figures = sum(name.endswith(".svg") for name in before)
    assert (
        written(tmp_path / "b", *parts, Kept(tmp_path / "kept")) == before and len(drawn) == 2 * figures > 2
    )
    small["models"][0]["metrics"]["ndcg@10"]["mean"] += 0.001
    written(tmp_path / "c", *parts, Kept(tmp_path / "kept"))
    assert len(drawn) == 4 * figures


def titled(section, title):
    """The section of that title, of whatever depth; None where there is none."""
    if section.title == title:
        return section
    inner = (titled(block, title) for block in section.blocks if isinstance(block, Section))
    return next((found for found in inner if found is not None), None)


def table_of(section, title):
    """The first table of the section of that title."""
    return next(block for block in titled(section, title).blocks if block.kind == "table")


def cells(table):
    return [[cell.text for cell in row] for row in table.rows]


# --- files --------------------------------------------------------------------------------------------------


def test_the_folder_holds_page_markdown_csv_and_pictures_and_nothing_half_written(example_folder):
    names = {
        path.relative_to(example_folder).as_posix() for path in example_folder.rglob("*") if path.is_file()
    }
    assert {"index.html", "report.md", "report.csv", "figures/1-diginetica-sessions-ranking.svg"} <= names
    assert not [name for name in names if name.endswith(".tmp")]
    assert (example_folder / "index.html").stat().st_size < 1_000_000


def test_the_same_input_gives_the_same_bytes(tmp_path, small, experiment_of, records_of):
    parts = (experiment_of([small]), [small], records_of(small), [])
    first, second = written(tmp_path / "a", *parts), written(tmp_path / "b", *parts)
    assert len(first) == 8
    assert first == second


def test_a_report_is_replaced_and_a_folder_that_cannot_be_is_a_usage_error(tmp_path, small, experiment_of):
    write_report(tmp_path, experiment_of([]), [], [], [])
    write_report(tmp_path, experiment_of([small]), [small], [], [])
    assert "SASRec ranks first" in (tmp_path / "report.md").read_text(encoding="utf-8")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"cannot be written to .*name another folder"):
        write_report(tmp_path / "file", experiment_of([]), [], [], [])


# --- the page -----------------------------------------------------------------------------------------------


def test_labels_commands_and_yaml_stay_text(page, hostile_label):
    reader = Reader(page)
    assert "b" not in {tag for tag, _ in reader.tags}
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    assert sum(tag == "script" for tag, _ in reader.tags) == 1
    assert hostile_label in reader.text
    assert any("<script>alert(2)</script>" in text for text in reader.text)
    assert any("'results/neighbours & <networks>'" in text for text in reader.text)
    assert any("(<GPU 0>)" in text for text in reader.text)


def test_the_page_needs_nothing_but_itself(page):
    reader = Reader(page)
    wanted = [
        a[name]
        for _, a in reader.tags
        for name in ("src", "href", "xlink:href", "srcset", "action")
        if name in a
    ]
    assert wanted
    assert all(address.startswith(("#", "data:")) for address in wanted)
    assert not re.findall(r"@import|url\((?!#)", page)


def test_ids_are_unique_and_links_inside_the_page_and_its_pictures_find_their_own(page, example_folder):
    for text in [page, *(file.read_text("utf-8") for file in (example_folder / "figures").iterdir())]:
        reader = Reader(text)
        ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        used = {a["xlink:href"][1:] for _, a in reader.tags if "xlink:href" in a}
        used |= set(re.findall(r"url\(#([^)]*)\)", text))
        used |= {a["href"][1:] for tag, a in reader.tags if tag == "a"}
        assert used
        assert used <= set(ids)


def test_every_picture_has_words_and_text_that_is_text(page, example_folder):
    shown = [(a["src"], a["alt"]) for tag, a in Reader(page).tags if tag == "img"]
    files = {file.read_bytes() for file in (example_folder / "figures").iterdir()}
    assert len(shown) == len(files) == 13
    for source, alt in shown:
        file = base64.b64decode(source.removeprefix("data:image/svg+xml;base64,"))
        assert file in files
        svg = ET.fromstring(file)
        _, _, width, height = map(float, svg.get("viewBox").split())
        assert width > 500 and height > 100
        assert len(svg.findall(".//{*}path")) > 10 and len(svg.findall(".//{*}text")) > 5
        assert svg.find("{*}title").text == " ".join(alt.split()) and len(alt) > 40
        assert not re.search(r"\.\d{3}", ET.tostring(svg.find(".//{*}path")).decode())
    assert "Dot plot of NDCG@10 with 95 % intervals on diginetica-sessions: HRNNFeat 0.237" in page


def test_a_label_in_a_picture_stays_as_it_is(small):
    small["models"][0]["model"] = "0.12345 <i> & 1.98765"
    look = plots.styles([m["model"] for m in small["models"]])
    svg = ET.fromstring(
        ranking.forest(Findings({**small, "tests": []}, [], [], None, look, "x")).svg.encode()
    )
    assert "0.12345 <i> & 1.98765" in [text.text for text in svg.findall(".//{*}text")]


def test_a_picture_for_a_phone_shows_the_same(example):
    for figure in gather(*example).figures:
        wide, narrow = (ET.fromstring(svg.encode()) for svg in (figure.svg, figure.phone))
        assert narrow.get("viewBox").split()[2] == "316.8"
        panels, words = (
            [{each.get("id") or each.text for each in svg.iterfind(path)} for svg in (wide, narrow)]
            for path in (".//{*}g[@id]", ".//{*}text")
        )
        named = [{one for one in ids if one.startswith("axes_")} for ids in panels]
        assert named[0] == named[1] != set()
        told = [
            {text for text in texts if re.search("[a-zA-Z]", text)} for texts in words
        ]  # ticks may be others
        assert told[0] == told[1] != set()


def test_the_answer_stands_first_and_failed_runs_are_said(page):
    text = " ".join(Reader(page).text).replace("\u00a0", " ")
    answer = text.index("On diginetica-sessions HRNNFeat ranks first (NDCG@10 .237, 95 % .234–.240).")
    assert answer < text.index("1 of 36 runs failed") < text.index("Ranking")
    assert "It is better than SASRec by +.012" in text
    assert "Compare seconds only within one device." in text
    assert "diginetica-sessions 18 times; retailrocket-sessions 17 times" in text


# --- tables -------------------------------------------------------------------------------------------------


def test_ranking_marks_ties_with_the_best_and_sides_of_the_baseline():
    def model(label, mean):
        value = {
            "mean": mean,
            "low": mean - 0.01,
            "high": mean + 0.01,
            "seed_std": 0.001,
            "seed_values": [mean, mean],
        }
        return {"model": label, "name": label, "seeds": [1, 2], "metrics": {"ndcg@10": value}, "seconds": {}}

    def test(a, b, d, p):
        return {
            "a": a,
            "b": b,
            "metric": "ndcg@10",
            "difference": d,
            "low": d - 0.01,
            "high": d + 0.01,
            "p": p,
            "p_holm": p,
        }

    found = {
        "dataset": "toy",
        "targets": 10,
        "sessions": 5,
        "items": 7,
        "metrics": ["ndcg@10"],
        "models": [model("A", 0.3), model("B", 0.295), model("C", 0.2)],
        "tests": [test("A", "B", 0.005, 0.3), test("C", "A", -0.1, 0.0001), test("B", "C", 0.095, 0.02)],
    }
    table = ranking.ranking_table(found, "C")
    assert [c.title for c in table.columns][:6] == [
        "#",
        "model",
        "seeds",
        "NDCG@10",
        "to best",
        "to baseline",
    ]
    best, tied, last = (row[3] for row in table.rows)
    assert (best.tone, best.mark, best.text, best.detail) == (
        "best",
        "▲",
        ".3000",
        [".2900–.3100", "± .0010"],
    )
    assert (tied.tone, tied.mark) == ("", "≈▲")
    assert (last.tone, last.mark) == ("", "")
    assert [(r[4].text, r[4].mark) for r in table.rows] == [("–", ""), ("−.0050", "n.s."), ("−.1000", "***")]
    assert [(r[5].text, r[5].mark) for r in table.rows] == [("+.1000", "***"), ("+.0950", "*"), ("–", "")]
    assert table.rows[2][1].detail == ["baseline"]
    matrix = ranking.test_matrix(found, "ndcg@10")
    assert [[c.tone for c in row[1:]] for row in matrix.rows] == [
        ["quiet", "quiet", "more"],
        ["quiet", "quiet", "more"],
        ["less", "less", "quiet"],
    ]
    assert cells(matrix)[1] == ["2 B", "−.0050", "", "+.0950"]


def test_a_blend_of_finished_runs_shows_no_settings_of_training():
    blend = {"epochs": 300, "k": 5, "blend_from": ["runs/a/best.pth", "runs/b/best.pth"]}
    records = [{"label": "A", "config": {"epochs": 7, "k": 4}}, {"label": "A + B", "config": blend}]
    found = settings._settings_by_label(records)
    assert found == {"A": {"epochs": "7", "k": "4"}, "A + B": {"epochs": "its models'", "k": "5"}}


def test_only_settings_that_differ_are_shown_and_those_of_some_models_apart():
    records = [
        {"label": "A", "config": {"lr": 0.001, "epochs": 9, "seed": 1, "hidden": 100}},
        {"label": "A", "config": {"lr": 0.002, "epochs": 9, "seed": 2, "hidden": 100}},
        {"label": "B", "config": {"lr": 0.001, "epochs": 9, "seed": 1, "k": 500}},
    ]
    assert cells(settings.shared_differences(records)) == [["lr", "0.001 or 0.002", "0.001"]]
    assert cells(settings.own_settings(records)) == [["A", "hidden: 100"], ["B", "k: 500"]]
    assert settings.shared_differences(records[:2]) is None
    assert settings.own_settings(records[2:]) is None
    assert settings.full_configs(records)[1] == ("B", "epochs: 9\nk: 500\nlr: 0.001\nseed: 1")


def test_search_tables_mark_the_chosen_trial_and_put_the_best_first():
    trials = [
        {"settings": {"lr": 0.01}, "valid_score": 0.2, "epochs": 3, "seconds": 9.0},
        {"settings": {"lr": 0.001}, "valid_score": 0.3, "epochs": 4, "seconds": 9.0},
        {"settings": {"lr": 1.0, "k": 5}, "valid_score": None, "epochs": 0, "seconds": 1.0},
    ]
    table = search.search_table({"label": "A", "trials": trials, "chosen": {"lr": 0.001}})
    assert cells(table) == [
        ["1", "0.001", "", ".3000", "4", "9.0 s"],
        ["2", "0.01", "", ".2000", "3", "9.0 s"],
        ["3", "1", "5", "–", "0", "1.0 s"],
    ]
    assert [row[0].mark for row in table.rows] == ["chosen", "", ""]
    assert table.caption == "A: 3 trials; chosen lr: 0.001"


def test_the_page_says_what_each_model_s_search_was_given_and_what_chance_there_was_in_it(example):
    experiment, comparisons, records, searches = example
    trials = [
        {"settings": {"lr": 0.012345678901}, "valid_score": value, "epochs": 3, "seconds": 60.0, **more}
        for value, more in ((0.1, {}), (0.3, {}), (0.2, {}), (0.05, {"pruned": True}))
    ]
    trials.append(
        {"settings": {"lr": 9.0}, "valid_score": None, "epochs": None, "seconds": 1.0, "reason": "nan"}
    )
    sampled = {
        "sampler": "tpe",
        "pruner": "median",
        "limit": "5 trials",
        "importance": {"lr": 0.75, "k": 0.25},
    }
    one = {"dataset": comparisons[0]["dataset"], "label": "SASRec", "trials": trials, "chosen": {}, **sampled}
    table = search.budget_table([one])
    assert cells(table) == [
        ["SASRec", "5", "1", "1", "4.0 min", ".3000", ".2333 ± .0745", "lr .75 · k .25"]
    ]  # of two: .3 in three pairs of six, .2 in two, .1 in one
    assert table.caption.startswith("Trials by tpe, ended early by median, 5 trials a model; ")
    lower = search.budget_table([{**one, "lower_is_better": True}])
    assert cells(lower)[0][5:7] == [".1000", ".0917 ± .0534"]
    assert cells(search.search_table(one))[3][:3] == ["4", "0.01235", ".0500"]
    page = gather(experiment, comparisons, records, [one, *searches])
    (drawn,) = [figure for figure in page.figures if figure.file.endswith("search.svg")]
    assert "SASRec 0.300, HRNNFeat 0.240" in drawn.alt and "pruned" in drawn.title
    assert search.budget_table([]) is None


def test_a_search_says_why_a_trial_failed():
    trials = [
        {
            "settings": {"lr": 9.0},
            "valid_score": None,
            "epochs": None,
            "seconds": None,
            "reason": "loss is nan",
        }
    ]
    table = search.search_table({"label": "A", "trials": trials, "chosen": {}})
    assert cells(table) == [["1", "9", "–", "–", "–", "loss is nan"]]
    assert table.rows[0][0].mark == ""


def test_without_a_test_the_difference_of_the_means_is_shown_as_untested(small):
    small["tests"] = []
    row = ranking.ranking_table(small, None).rows[1]
    mean = [model["metrics"]["ndcg@10"]["mean"] for model in small["models"]]
    assert row[6].sort == pytest.approx(mean[1] - mean[0])
    assert (row[6].mark, row[6].detail, row[6].tone) == ("?", (), "quiet")
    assert ranking.test_matrix(small, "ndcg@10") is None


def test_rewards_and_categories_have_tables_of_their_own(small):
    reward = worth.reward_table(small)
    assert [(c.title, c.unit) for c in reward.columns[1:]] == [
        ("Reward@10", "a target, 95 % interval"),
        ("Reward@10", "sum"),
    ]
    assert cells(reward)[0] == ["SASRec", ".1980", "99.0"]
    categories = worth.category_table(small)
    assert categories.caption == "Hits of the target's category, of the 400 targets whose category is known"
    assert [c.title for c in categories.columns] == ["model", "Category@1", "Category HR@10"]
    assert cells(categories)[0] == ["SASRec", ".5200", ".6700"]


def test_a_reading_shows_its_metrics():
    readings = [
        {
            "dataset": "toy",
            "label": "A",
            "seed": 1,
            "metrics": {"ndcg@10": 0.25, "hit@20": 0.5},
            "time": "now",
        }
    ]
    table = provenance.readings_table({"readings": readings})
    assert [c.title for c in table.columns] == ["time", "dataset", "label", "seed", "metrics"]
    assert cells(table) == [["now", "toy", "A", "1", "NDCG@10 .2500, HR@20 .5000"]]


def test_notes_are_said_once_and_of_whom_where_not_of_all(small, experiment_of, records_of):
    notes = gather(experiment_of([small]), [small], records_of(small), []).sections[0].blocks[0]
    assert isinstance(notes, Notes) and notes.lines == [
        "one ranking per (prefix, target) row; split given valid_share 0.1: the data's own test sessions; targets: all",
        "SASRec: its runs differ in learning_rate, not in their seed only",
    ]


def test_environment_counts_where_runs_differ():
    records = [
        {"label": "A", "device": device, "versions": {"torch": "2.13"}} for device in ("cpu", "cpu", "H100")
    ]
    rows = dict(row[:2] for row in cells(provenance.environment_table({"commit": "abc"}, records)))
    assert rows["device"] == "cpu (2 runs); H100 (1 run)"
    assert rows["torch"] == "2.13"
    assert rows["experiment commit"] == "abc"


def test_a_frame_has_the_rows_of_the_csv(example_folder, example):
    from recbole_ext.report.tables import comparison_frame

    _, comparisons, _, _ = example
    frame = comparison_frame(*comparisons)
    with (example_folder / "report.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert list(frame.columns) == rows[0] and len(frame) == len(rows) - 1
    assert frame["mean"].tolist() == [float(row[rows[0].index("mean")]) for row in rows[1:]]
    unknown = [row[rows[0].index("seed_std")] == "" for row in rows[1:]]
    assert frame["seed_std"].isna().tolist() == unknown and any(unknown) and frame["seed_std"].dtype == float
    one = comparison_frame(comparisons[1])
    assert set(one["dataset"]) == {comparisons[1]["dataset"]} and one["targets"].dtype.kind == "i"


def test_csv_has_a_row_a_model_metric_and_slice(example_folder, example, hostile_label):
    _, comparisons, _, _ = example
    with (example_folder / "report.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    first = comparisons[0]["models"][0]
    value = first["metrics"]["ndcg@10"]
    assert rows[0] == {
        "dataset": "diginetica-sessions",
        "model": "HRNNFeat",
        "metric": "ndcg@10",
        "dimension": "all",
        "slice": "all",
        "mean": str(value["mean"]),
        "low": str(value["low"]),
        "high": str(value["high"]),
        "seed_std": str(value["seed_std"]),
        "targets": "60858",
        "sessions": "20286",
        "seeds": "3",
    }
    found = [r for r in rows if r["slice"] == "few-shot 1-5" and r["model"] == hostile_label]
    assert [(r["dataset"], r["metric"], r["targets"]) for r in found] == [
        (d, m, "75")
        for d in ("diginetica-sessions", "retailrocket-sessions")
        for m in ("ndcg@10", "hit@20", "mrr@20")
    ]
    assert [r["mean"] for r in rows if r["metric"] == "gini@20" and r["model"] == "Pop"] == [
        "0.9995",
        "0.9995",
    ]
    assert {r["seeds"] for r in rows if r["model"] == "NARM" and r["dataset"].startswith("retail")} == {"2"}


def test_markdown_has_the_tables_and_pictures_that_exist(example_folder):
    text = (example_folder / "report.md").read_text(encoding="utf-8")
    assert (
        "| 2 | SASRec (baseline) | 3 | .2251 (.2222–.2280, ± .0007) | .5217 (.5172–.5261, ± .0007) |" in text
    )
    assert "| 1 | HRNNFeat | 3 | **.2370** ▲ (.2340–.2400, ± .0003) |" in text
    assert (
        "| retailrocket-sessions | NARM | 3 | CUDA out of memory. Tried to allocate 2.00 GiB (&lt;GPU 0&gt;) |"
        in text
    )
    assert "<b onmouseover" not in text.split("## Command")[0]
    pictures = re.findall(r"!\[.*\]\((figures/.*?)\)", text)
    assert len(pictures) == 13
    assert all((example_folder / name).is_file() for name in pictures)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


def test_markdown_text_shows_as_it_is():
    assert plain("a|b *c* <d> `e`\nf_g [h] $x$") == r"a\|b \*c\* &lt;d&gt; \`e\` f\_g \[h\] \$x\$"


# --- where there is little or nothing -----------------------------------------------------------------------


def test_one_model_with_one_seed_and_nothing_else(tmp_path, comparison_of, experiment_of):
    only = comparison_of("toy", 300, seeds=(1,), models={"Pop": ("Pop", 0.01, 0.0, 1, 1)}, slices={})
    only["tests"] = []
    for key in ("beyond", "category_hit", "reward"):
        del only["models"][0][key]
    files = written(
        tmp_path, experiment_of([only], failed=[], readings=[], baseline=None, file=None), [only], [], []
    )
    text = files["index.html"].decode()
    assert "On toy Pop ran alone" in text
    for heading in (
        "Pairwise tests",
        "Reward",
        "By slice",
        "Learning curves",
        "Settings",
        "Failed runs",
        "What was tried",
    ):
        assert f">{heading}</h" not in text
    assert "better" not in files["report.md"].decode()
    assert set(files) == {
        "index.html", "report.md", "report.csv", "figures/1-toy-ranking.svg", "figures/1-toy-cost.svg"
    }  # fmt: skip


def test_all_failed(tmp_path, experiment_of):
    failed = [{"dataset": "toy", "label": "A", "seed": s, "reason": "no memory"} for s in (1, 2)]
    experiment = experiment_of([], failed=failed, datasets=["toy"], command=["run.py", "--model=a b"])
    files = written(tmp_path, experiment, [], [], [])
    text = files["index.html"].decode()
    assert "On toy no run finished, so there is nothing to compare." in text
    assert "2 of 2 runs failed and are missing" in text
    assert "no memory" in text and "run.py &#39;--model=a b&#39;" in text
    assert set(files) == {"index.html", "report.md", "report.csv"}
    assert files["report.csv"].decode().count("\n") == 1


def test_why_runs_failed_is_said_once_for_all_that_it_is_of():
    failed = [
        {"dataset": data, "label": label, "seed": seed, "reason": reason}
        for data, label, seed, reason in (
            ("toy", "A", 1, "no column item"),
            ("toy", "A", 2, "no column item"),
            ("toy", "B", 1, "no column item"),
            ("toy", "B", 2, "no column item"),
            ("toy", "C", 2, "no column item"),
            ("toy", "C", 1, "no memory"),
            ("other", "A", 1, "no column item"),
        )
    ]
    table = provenance.failed_table({"failed": failed})
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["toy", "A, B", "1, 2", "no column item"],
        ["toy", "C", "2", "no column item"],
        ["toy", "C", "1", "no memory"],
        ["other", "A", "1", "no column item"],
    ]
    assert table.caption == "7 runs failed and missing above"


def test_a_comparison_without_models_is_a_section_without_tables(experiment_of):
    nothing = {
        "dataset": "toy",
        "targets": 0,
        "sessions": 0,
        "items": 0,
        "metrics": [],
        "models": [],
        "tests": [],
        "slices": {},
    }
    report = gather(experiment_of([nothing]), [nothing], [], [])
    assert report.answers == ["On toy no run finished, so there is nothing to compare."]
    assert report.sections[0].title == "toy" and report.sections[0].blocks == []
    assert ">toy</h2>" in render_page(report)


def test_runs_of_a_refit_have_no_curve_and_the_report_says_so(small, experiment_of, records_of):
    records = records_of(small)
    for record in records:
        record["epochs"] = [{**epoch, "valid_score": None} for epoch in record["epochs"]]
    report = gather(experiment_of([small], refit=True), [small], records, [])
    said = "No curve of SASRec, VSTAN and Pop: fewer than two epochs were validated."
    assert titled(report.sections[0], "Learning curves").blocks == [Prose(said)]
    assert said in render_page(report) and said in render_markdown(report)


def test_values_that_are_missing_are_dashes_not_errors(small, experiment_of):
    holed = {**small, "slices": {"item": [{**part, "metrics": {}} for part in small["slices"]["item"]]}}
    holed["models"][1]["metrics"]["hit@20"] = {"mean": float("nan"), "low": None, "high": None}
    del holed["models"][2]["metrics"]["ndcg@10"]
    holed["models"][2]["seconds"] = {}
    part = gather(experiment_of([holed]), [holed], [], []).sections[0]
    ranked = table_of(part, "Ranking").rows
    assert [row[4].text for row in ranked][1] == "–"
    assert ranked[2][3].text == "–"
    assert table_of(part, "item").rows[0][1].text == "–"


# --- pictures -----------------------------------------------------------------------------------------------


def test_models_differ_by_marker_or_filling_too_not_by_colour_alone():
    look = plots.styles([f"M{i}" for i in range(20)])
    assert len({(s.marker, s.filled) for s in list(look.values())[:11]}) == 11
    assert len(set(look.values())) == 20


def test_a_weak_model_does_not_squeeze_the_others(small):
    assert plots.on_scale(small, "ndcg@10") == {"SASRec", "VSTAN"}
    small["models"] = small["models"][1:]  # with one other model there is nobody to squeeze
    assert plots.on_scale(small, "ndcg@10") == {"VSTAN", "Pop"}


def test_names_with_control_characters_and_underscores_can_be_drawn(small, experiment_of):
    renamed = {
        **small,
        "tests": [],
        "slices": {"item": [{**p, "slice": f"_{p['slice']}\x00"} for p in small["slices"]["item"]]},
    }
    renamed["models"][0]["model"] = "_a\x1b\u0000b" + "c" * 80
    figures = gather(experiment_of([renamed]), [renamed], [], []).figures
    for figure in figures:
        ET.fromstring(figure.svg.encode())  # an SVG holds no control characters
    assert len(figures) == 4
    assert "_cold" in next(figure.svg for figure in figures if figure.name.endswith("cold-warm"))
