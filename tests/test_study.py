"""`recbole-ext study LOG` from a table of events to lists: what it leaves, how it goes on, mistakes."""

import csv
import json
import re
import time
from pathlib import Path

import pytest
import yaml

from recbole_ext.cli import main
from recbole_ext.cli.new import example_events, example_items

TINY = {"embedding_size": 8, "hidden_size": 8, "train_targets": "all_positions", "epochs": 2}
STUDY = Path("runs/studies/shop")


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A working directory with the log of `new shop` and a yaml of three models."""
    monkeypatch.chdir(tmp_path)
    for name, rows in (("shop.csv", example_events()), ("items.csv", example_items())):
        rows = list(rows)
        with open(name, "w", newline="") as stream:
            table = csv.DictWriter(stream, rows[0])
            table.writeheader()
            table.writerows(rows)
    write_zoo()
    return tmp_path


def write_zoo(models=None, **keys):
    models = models or ["Pop", "RepeatLast", {"model": "GRU4Rec", "settings": TINY}]
    content = {
        "title": "Which?",
        "datasets": ["study"],
        "settings": {"use_gpu": False},
        "search": {"learning_rate": [0.01, 0.003]},
        "models": models,
        **keys,
    }
    file = Path("configs/experiment/study.yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content))


@pytest.fixture
def no_page(monkeypatch, no_curves):
    """The page of an experiment has tests of its own, and takes longer than these models."""
    from recbole_ext.report import experiment_report

    def write_report(folder, *args):
        page = Path(folder) / "index.html"
        page.write_text("page")
        return [page]

    monkeypatch.setattr(experiment_report, "write_report", write_report)


@pytest.fixture
def ran(monkeypatch):
    """Every run that was begun: model, and whether its test part was read."""
    from recbole_ext.run import run as module

    begun, do = [], module.run

    def run(model, *args, test=True, **more):
        begun.append((model, test))
        if stop.get(model):
            raise KeyboardInterrupt
        return do(model, *args, test=test, **more)

    stop: dict[str, bool] = {}
    monkeypatch.setattr(module, "run", run)
    return begun, stop


def file_of(label):
    return STUDY / "experiments" / "study-shop" / "shop" / label / "seed-1" / "record.json"


def study(*words):
    return main(["study", *map(str, words)])


def test_from_a_table_to_lists_and_a_second_call(shop, no_page, ran, capsys):
    begun, _ = ran
    write_zoo(search={"learning_rate": [0.01]})
    assert study("shop.csv", "--items", "items.csv", "--minutes", 9) == 0
    said = capsys.readouterr().out
    tested = [model for model, test in begun if test]
    assert tested == ["Pop", "RepeatLast", "GRU4Rec"]  # once each, after everything was chosen
    assert begun[-3:] == [(model, True) for model in tested]
    assert "guessed, item" in said and "sessions of 320 visitors on" in said
    text = (STUDY / "study.txt").read_text().strip()
    assert text in said and text.startswith("Take ") and "What this log cannot tell" in text
    index = (STUDY / "index.html").read_text()
    for address in re.findall(r'<a href="([^#"]+)"', index):
        assert (STUDY / address).is_file()
    state = json.loads((STUDY / "study.json").read_text())
    chosen = json.loads((STUDY / "chosen" / "record.json").read_text())
    assert state["winner"] == chosen["model"] and state["left_out"] == {}
    assert not list((STUDY / "chosen").rglob("*.pth"))
    readings = (STUDY / "experiment" / "test_readings.csv").read_text().splitlines()
    assert len(readings) == 1 + 3
    # what validation chose, and not the test
    best = {}
    for file in STUDY.glob("experiments/study-shop/shop/*/seed-1/record.json"):
        record = json.loads(file.read_text())
        best[record["model"]] = record["best_valid_score"]
    assert state["winner"] == max(best, key=best.get)

    (trial,) = STUDY.glob("experiments/study-shop/shop/GRU4Rec/search/*/record.json")
    trained, cell = (json.loads(file.read_text())["seconds"]["train"] for file in (trial, file_of("GRU4Rec")))
    assert cell > 0.5 * trained  # the trial's own, though two calls have gone on from its checkpoint since

    (command,) = re.findall(r"recbole-ext (recommend .*)", said)
    assert main(command.split()) == 0
    assert "after p" in capsys.readouterr().out

    begun.clear()
    assert study("shop.csv", "--items", "items.csv", "--minutes", 9) == 0
    again = capsys.readouterr().out
    assert begun == [] and text in again and "was converted before" in again
    assert (STUDY / "experiment" / "test_readings.csv").read_text().splitlines() == readings
    assert json.loads((STUDY / "chosen" / "record.json").read_text()) == chosen

    # the same log, called otherwise: with fewer options, by its name, by another path
    for words in (
        ["shop.csv"],
        ["shop"],
        ["atomic_data/shop"],
        [str(shop / "shop.csv"), "--item", "product"],
    ):
        assert study(*words, "--minutes", 9) == 0
        assert begun == [] and text in capsys.readouterr().out
    assert (STUDY / "experiment" / "test_readings.csv").read_text().splitlines() == readings


def test_an_interrupted_study_goes_on(shop, no_page, ran, capsys):
    begun, stop = ran
    stop["GRU4Rec"] = True
    assert study("shop.csv") == 130
    said = capsys.readouterr().err
    assert "interrupted: " in said and "of 30 minutes are used" in said and "the same command goes on" in said
    assert not (STUDY / "study.txt").exists()
    stop.clear()
    begun.clear()
    assert study("shop.csv") == 0
    # the first trial and what it chose, then the other one and what both chose
    assert [model for model, test in begun if not test] == ["GRU4Rec"] * 4
    assert [model for model, test in begun if test] == ["Pop", "RepeatLast", "GRU4Rec"]
    assert json.loads((STUDY / "study.json").read_text())["seconds_used"] > 0


@pytest.fixture
def too_slow(monkeypatch):
    """Labels of models for whose runs the time never suffices."""
    from recbole_ext.experiment import timed

    labels: set[str] = set()
    do = timed.run_experiment

    def run_experiment(alone):
        if alone.models[0].label in labels:
            while True:
                time.sleep(0.001)
        return do(alone)

    monkeypatch.setattr(timed, "run_experiment", run_experiment)
    return labels


def test_whom_the_time_does_not_suffice_for_is_named_and_comes_later(shop, no_page, ran, too_slow, capsys):
    begun, _ = ran
    write_zoo(["Pop", {"model": "RepeatLast"}], search={})
    assert study("shop.csv", "--minutes", 5) == 0  # so that no slow machine is short of time
    write_zoo(["Pop", "SessionPop", "RepeatLast"], search={})
    state = STUDY / "study.json"
    state.write_text(json.dumps({"seconds_used": 299.9}))
    too_slow.add("SessionPop")
    begun.clear()
    capsys.readouterr()
    assert study("shop.csv", "--minutes", 5) == 0
    said = capsys.readouterr().out
    assert "Left out: SessionPop (5 minutes did not suffice)." in said and begun == []
    assert "did not suffice" in (STUDY / "index.html").read_text()
    assert json.loads(state.read_text())["left_out"] == {"SessionPop": "5 minutes did not suffice"}
    too_slow.clear()
    assert study("shop.csv", "--minutes", 10) == 0  # goes on with whom is left
    assert begun == [("SessionPop", False), ("SessionPop", True)]
    assert "Left out" not in (STUDY / "study.txt").read_text()


def test_minutes_that_suffice_for_no_model(shop, too_slow, capsys):
    too_slow.update(("Pop", "RepeatLast", "GRU4Rec"))
    assert study("shop.csv", "--minutes", 0.001) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: 0.001 minutes are too few for any model on shop, even for Pop: the same command with more --minutes "
        "goes on"
    )


def test_a_model_that_fails_is_left_out_with_the_reason(shop, no_page, capsys):
    write_zoo(["Pop", {"model": "GRU4RecF", "settings": {"epochs": 1}}])
    assert study("shop.csv") == 1
    assert "Left out: GRU4RecF (" in capsys.readouterr().out
    write_zoo([{"model": "GRU4RecF", "settings": {"epochs": 1}}])
    assert study("shop.csv", "--to", "other") == 2
    assert "no model could be trained on shop; GRU4RecF: " in capsys.readouterr().err


def test_several_seeds_and_a_data_set_by_name(shop, no_page, monkeypatch, capsys):
    from recbole_ext.experiment import study as module

    write_zoo(["RepeatLast", {"model": "GRU4Rec", "settings": {**TINY, "epochs": 1}}], search={})
    assert study("shop.csv", "--to", "first") == 0
    assert "one seed" in Path("first/study.txt").read_text()
    capsys.readouterr()
    monkeypatch.setattr(module, "MANY_SCORES", 1)
    assert study("atomic_data/shop", "--seed", "1,2", "--to", "second") == 0
    said = capsys.readouterr().out
    assert "GRU4Rec with 2 seeds" in said
    assert "There is no GPU, and 120 items to tell apart: in the training of GRU4Rec 2,048" in said
    assert "120 items to tell apart" in Path("second/index.html").read_text()
    for study_folder, seeds, loss in (("first", 1, None), ("second", 2, "sampled_softmax")):
        records = Path(study_folder).glob("experiments/study-shop/shop/GRU4Rec/seed-*/record.json")
        losses = [json.loads(record.read_text())["config"]["train_loss"] for record in records]
        assert losses == [loss] * seeds
    assert "one seed" not in Path("second/study.txt").read_text()


def test_a_refit_is_of_what_validation_found(shop, no_page, ran, capsys):
    begun, _ = ran
    write_zoo(
        ["RepeatLast", {"model": "GRU4Rec", "settings": TINY}], search={"learning_rate": [0.01]}, refit=True
    )
    assert study("shop.csv", "--minutes", 5) == 0
    text = (STUDY / "study.txt").read_text()
    state = STUDY / "study.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "seconds_used": 300}))
    begun.clear()
    assert study("shop.csv", "--minutes", 5) == 0  # there is no time left, nor anything to do
    assert begun == [] and (STUDY / "study.txt").read_text() == text and "Left out" not in text
    state.unlink()
    for file in STUDY.glob("experiments/study-shop/shop/*/seed-1/record.json"):
        file.unlink()  # as before the test
    state.write_text(json.dumps({"seconds_used": 300}))
    assert study("shop.csv", "--minutes", 5) == 0
    assert begun == [("RepeatLast", True), ("GRU4Rec", True)]


@pytest.mark.slow
def test_the_models_that_are_shipped(shop, capsys):
    """With their pages, on the log of `new shop`; the chosen one can be updated."""
    Path("configs/experiment/study.yaml").unlink()
    assert study("shop.csv", "--items", "items.csv", "--minutes", 20, "--seed", 1) == 0
    said = capsys.readouterr().out
    page = (STUDY / "experiment" / "index.html").read_text()
    for label in ("Pop", "SessionPop", "RepeatLast", "VSTAN", "GRU4Rec", "SASRec", "HRNNFeat"):
        assert f">{label}<" in page
    assert "Left out" not in said
    rows = list(example_events(seed=2))
    late = [
        {**row, "time": row["time"].replace("2026-05", "2026-07"), "visitor": f"n{row['visitor']}"}
        for row in rows
    ]
    with open("new.csv", "w", newline="") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(late)
    assert main(["update", str(STUDY / "chosen"), "--events", "new.csv"]) == 0


# --- mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["shop.csv", "--user", "nobody"], "nobody"),
        (["nothing.csv"], "nothing.csv"),
        (["nothing"], "there is no dataset nothing"),
        (["shop.csv", "--name", "a b"], "cannot be the name of a data set"),
        (["shop.csv", "--name", "diginetica"], "says how the data set diginetica is read"),
        (["diginetica", "--user", "visitor"], "--user is of a table of events"),
        (["diginetica", "--name", "x"], "--name is of a table of events"),
        (["shop.csv", "--item-columns", "price"], "--item-columns is read only with --items"),
    ],
)
def test_a_mistake_is_one_sentence(words, said, shop, capsys):
    assert study(*words) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and err.startswith("error: ")
    assert not Path("runs/studies").exists() or not list(Path("runs/studies").rglob("study.txt"))


@pytest.mark.parametrize(
    "words", [["--minutes", "0"], ["--minutes", "soon"], ["--seed", "1,1"], ["--seed", "x"], ["--usr", "a"]]
)
def test_a_wrong_option_is_one_sentence(words, shop, capsys):
    with pytest.raises(SystemExit) as ended:
        study("shop.csv", *words)
    assert ended.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_a_log_without_times_or_too_small(shop, capsys):
    Path("untimed.csv").write_text("visitor,product\nv1,p1\nv1,p2\n")
    assert study("untimed.csv") == 2
    assert "time" in capsys.readouterr().err
    Path("small.csv").write_text(
        "visitor,time,product\nv1,2026-01-01T10:00:00Z,p1\nv1,2026-01-01T10:01:00Z,p2\n"
    )
    assert study("small.csv") == 2
    assert "small has 1 session, too few" in capsys.readouterr().err


def test_a_log_that_was_converted_otherwise_or_has_changed(shop, no_page, capsys):
    write_zoo(["Pop"], search={})
    assert study("shop.csv") == 0
    Path("copy.csv").write_text(Path("shop.csv").read_text())
    assert study("copy.csv", "--to", STUDY) == 2
    assert "holds the study of shop, not of copy" in capsys.readouterr().err
    assert study("shop.csv", "--gap-minutes", 5) == 2
    said = capsys.readouterr()
    assert "was converted with gap_minutes 30" in said.err and "convert_options" not in said.out + said.err
    Path("other").mkdir()
    Path("other/shop.csv").write_text(Path("shop.csv").read_text().replace("p001", "p002"))
    assert study("other/shop.csv") == 2
    assert (
        "holds the study of shop.csv: give other/shop.csv another name with --name" in capsys.readouterr().err
    )
    assert study("other/shop.csv", "--to", "elsewhere") == 2
    assert "give it another name with --name, or delete that folder" in capsys.readouterr().err
    assert study("shop", "--to", "by-name") == 0
    assert study("shop.csv", "--to", "by-name") == 2
    assert "the study of the data set shop, by its name: go on with study shop" in capsys.readouterr().err
    with open("shop.csv", "a") as stream:
        stream.write("v1,2026-06-01T10:00:00Z,view,p001\n")
    assert study("shop.csv") == 2
    assert "is not the shop.csv that" in capsys.readouterr().err


def test_a_blend_in_the_yaml_is_refused(shop, capsys):
    blend = {"label": "Both", "model": "Blend", "of": ["Pop", "RepeatLast"]}
    write_zoo(["Pop", "RepeatLast", blend])
    assert study("shop.csv") == 2
    assert "has a blend of other models" in capsys.readouterr().err


# --- which log, read how ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "dataset", "settings"),
    [
        (["shop.csv"], "shop", {"source": "events", "raw_path": "shop.csv"}),
        (["logs/2026-*.parquet"], "logs", {"source": "events", "raw_path": "logs/2026-*.parquet"}),
        (["shop.csv", "--name", "mine"], "mine", {"source": "events", "raw_path": "shop.csv"}),
        (["diginetica-demo"], "diginetica-demo", {}),
        (
            ["shop.csv", "--events", "view,cart", "--gap-minutes", "20", "--first-date", "2026-05-04"],
            "shop",
            {
                "source": "events",
                "raw_path": "shop.csv",
                "convert_options": {
                    "events": ["view", "cart"],
                    "gap_minutes": 20,
                    "first_date": "2026-05-04",
                },
            },
        ),
        (
            ["shop.csv", "--session", "visit", "--split", "part"],
            "shop",
            {
                "source": "events",
                "raw_path": "shop.csv",
                "convert_options": {"session": "visit", "split": "part"},
                "eval_args": {"split": {"given": {"valid_share": 0.1}}},
            },
        ),
    ],
)
def test_what_a_command_line_means(words, dataset, settings, shop):
    from recbole_ext.cli.study import _parser, read_log
    from recbole_ext.convert import check_options

    found = read_log(_parser("study").parse_args(words))
    assert found == (dataset, settings)
    check_options("events", found[1].get("convert_options"))  # as every run of it reads them


def test_every_option_of_convert_is_one_of_study():
    from recbole_ext.cli.study import _parser
    from recbole_ext.convert.sources.events import Options

    help_text = _parser("study").format_help()
    assert len(Options.model_fields) > 15
    for name in Options.model_fields:
        assert Options.spelt(name) in help_text


# --- the chosen run -----------------------------------------------------------------------------------------


def test_the_chosen_run_takes_the_place_of_an_earlier_one(tmp_path):
    from recbole_ext.experiment.study import _cannot, _copy

    run, out = tmp_path / "run", tmp_path / "chosen"
    for folder in (run / "model", run / "valid"):
        folder.mkdir(parents=True)
    for name in ("record.json", "best.pth", "cell.json", "model/model.json", "valid/record.json"):
        (run / name).write_text('{"cannot": null}')
    _copy(run, out)
    assert sorted(str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()) == [
        "model/model.json",
        "record.json",
    ]
    assert _cannot(out) == ""
    (out / "mark").touch()
    _copy(run, out)
    assert (out / "mark").exists()  # the same run is not copied again
    (run / "record.json").write_text("another")
    (run / "model" / "model.json").write_text('{"cannot": "it learns a vector a session."}')
    _copy(run, out)
    assert not (out / "mark").exists() and (out / "record.json").read_text() == "another"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["chosen", "run"]
    assert _cannot(out) == "it learns a vector a session"
    (out / "model" / "model.json").unlink()
    assert _cannot(out) == "its run has left no model folder"


def test_minutes_that_were_not_used_are_accounted_for():
    from recbole_ext.experiment.study import _of_search
    from recbole_ext.experiment.timed import Chosen

    assert _of_search(Chosen(), 30, 60) == ""
    rest = {"VSTAN": 100.0, "GRU4Rec": 1100.0}  # 20 minutes
    assert _of_search(Chosen(unsearched=rest, kept=61.0), 12, 290) == (
        "Of VSTAN and GRU4Rec one setting was tried, and 7 of 12 minutes were not used: models are searched all or "
        "none, so that none has an advantage, and that takes about 20 minutes (--minutes 26)."
    )
    assert _of_search(Chosen(unsearched={"VSTAN": 40.0}), 12, 719) == (
        "Of VSTAN one setting was tried: a search takes about 1 minute more (--minutes 13)."
    )
    assert _of_search(Chosen(unsearched=rest, late=["SASRec"]), 12, 719).endswith("more (--minutes).")


def test_what_to_type_next():
    from recbole_ext.experiment.study import _commands

    assert _commands(Path("a b"), {"top": ["x y", "1,2", "-3", "z"]}) == [
        "recbole-ext recommend 'a b' --session 'x y,z' --k 5",
        "recbole-ext serve 'a b'",
        "recbole-ext update 'a b' --events NEW_DAYS",
    ]
    assert _commands(Path("a"), {"top": ["1,2"]})[0] == "recbole-ext recommend a --examples --k 5"
