"""Experiments on a small log: what is run, what is read, what is left, and what a second call does."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import recbole_ext
from recbole_ext.cli import main
from recbole_ext.errors import UsageError
from recbole_ext.experiment import ledger
from recbole_ext.experiment.conduct import alone

from .conftest import READERS, SETTINGS

ROOT = Path(__file__).resolve().parents[2]
RUNS = Path("runs/experiments")
LEARNING_RATES = {"learning_rate": [0.01, 0.0001]}


def run(file, *more):
    return main([f"--experiment={file}", *more])


def record(*place):
    return json.loads(RUNS.joinpath(*place, "record.json").read_text())


@pytest.fixture
def evaluated(monkeypatch):
    """Which parts were ranked, in order: "valid" or "test" each time."""
    from recbole_ext.trainer.session import SessionTrainer

    parts = []
    evaluate = SessionTrainer.evaluate

    def noting(self, data, *args, **kwargs):
        parts.append(data._dataset.part)
        return evaluate(self, data, *args, **kwargs)

    monkeypatch.setattr(SessionTrainer, "evaluate", noting)
    return parts


def test_a_grid_runs_once_and_is_passed_over_then(write_experiment, capsys, reported, evaluated):
    file = write_experiment(search=LEARNING_RATES, baseline="Pop", title="Which?")
    assert run(file) == 0
    first = capsys.readouterr().out
    assert "[1/4] toy Pop seed 1: NDCG@10 ." in first and "[4/4] toy GRU4Rec seed 2: NDCG@10 ." in first
    assert "toy GRU4Rec search learning_rate=0.0001: validation NDCG@10 ." in first and "(ETA " in first
    assert "seeds 1, 2: mean over seeds" in first
    assert "(ETA" not in first[first.index("[4/4]") :], "nothing is left"
    ranked = list(evaluated)
    assert run(file) == 0
    second = capsys.readouterr().out
    assert second.count("finished before") == 4 and evaluated == ranked
    assert len(ledger.readings(Path("results/try/test_readings.csv"))) == 4

    folder, experiment, comparisons, records, searches = reported[-1]
    assert folder == Path("results/try") and experiment["title"] == "Which?" and experiment["seeds"] == [1, 2]
    assert experiment["command"].endswith(f"--experiment={file}") and "models:" in experiment["file"]
    assert len(experiment["readings"]) == 4 and experiment["failed"] == []
    assert [(one["label"], one["seed"]) for one in records] == [
        (label, seed) for label in ("Pop", "GRU4Rec") for seed in (1, 2)
    ]
    assert all(Path(one["folder"], "ranks.npz").is_file() for one in records)
    assert not any(
        Path(one["folder"], "learning_curve.png").exists() for one in records
    )  # the page draws them
    assert comparisons[0]["dataset"] == "toy" and comparisons[0]["baseline"] is None
    assert comparisons[0]["labels"] == ["Pop", "Pop", "GRU4Rec", "GRU4Rec"]
    (search,) = searches
    scores = {one["settings"]["learning_rate"]: one["valid_score"] for one in search["trials"]}
    assert search["label"] == "GRU4Rec" and scores[search["chosen"]["learning_rate"]] == max(scores.values())
    chosen = yaml.safe_load(Path("results/try/chosen.yaml").read_text())["toy"]["GRU4Rec"]
    assert chosen["settings"] == search["chosen"]
    assert chosen["epochs"][2] == record("try/toy/GRU4Rec/seed-2")["best_epoch"] + 1


def test_the_search_s_best_run_is_the_first_seed_s(write_experiment, evaluated):
    run(write_experiment(search=LEARNING_RATES, models=["GRU4Rec"]))
    # two tries and the second seed, three epochs each; the first seed is tested from the search's checkpoint
    assert evaluated == ["valid"] * 6 + ["test"] + ["valid"] * 3 + ["test"]
    tries = [json.loads(file.read_text()) for file in RUNS.glob("try/toy/GRU4Rec/search/*/record.json")]
    best = max(tries, key=lambda one: one["best_valid_score"])
    first = record("try/toy/GRU4Rec/seed-1")
    assert (
        first["epochs"] == best["epochs"]
        and first["config"]["learning_rate"] == best["config"]["learning_rate"]
    )
    assert record("try/toy/GRU4Rec/seed-2")["config"]["learning_rate"] == best["config"]["learning_rate"]
    assert not list(RUNS.glob("try/toy/GRU4Rec/search/*/*.pth")) and not list(RUNS.glob("try/**/last.pth"))


def test_a_search_never_reads_the_test_part(write_experiment, monkeypatch, capsys):
    from recbole_ext.trainer.session import SessionTrainer

    evaluate = SessionTrainer.evaluate

    def forbidding(self, data, *args, **kwargs):
        assert data._dataset.part != "test", "read the test part"
        return evaluate(self, data, *args, **kwargs)

    monkeypatch.setattr(SessionTrainer, "evaluate", forbidding)
    for refit in (False, True):
        file = write_experiment("closed", search=LEARNING_RATES, models=["GRU4Rec"], refit=refit, test=False)
        assert run(file) == 0
        assert "test not read" in capsys.readouterr().out
        files = list(RUNS.glob("closed/**/record.json"))
        assert len(files) > 2 and not any("test" in json.loads(file.read_text()) for file in files)
        assert not Path("results/closed/test_readings.csv").exists()
        chosen = yaml.safe_load(Path("results/closed/chosen.yaml").read_text())["toy"]["GRU4Rec"]
        assert set(chosen["epochs"]) == {1, 2}
        # the same cells, and now they do
        assert run(file, "--test=True") == 1
        assert capsys.readouterr().out.count("failed in 0 s: AssertionError: read the test part") <= 2


def test_choosing_first_and_testing_later_is_as_both_at_once(write_experiment, evaluated):
    keys = {"search": LEARNING_RATES, "models": ["GRU4Rec"]}
    for refit in (False, True):
        run(write_experiment("whole", refit=refit, **keys))
        file = write_experiment("halves", refit=refit, **keys)
        run(file, "--test=False")
        evaluated.clear()
        run(file)
        assert evaluated == ["test", "test"]
        for seed in (1, 2):
            one, other = (record(name, "toy/GRU4Rec", f"seed-{seed}") for name in ("whole", "halves"))
            assert one["test"] == other["test"] and one["epochs"] == other["epochs"]


def test_a_lower_score_wins_where_the_metric_says_so(write_experiment):
    keys = {"search": {"learning_rate": [0.01, 0.0001, 0.001]}, "models": ["GRU4Rec"], "seeds": [1]}
    run(write_experiment(**keys))
    from recbole_ext.experiment.groups import groups_of
    from recbole_ext.experiment.plan import read_experiment

    (group,) = groups_of(read_experiment("try.yaml"))
    scores = {json.dumps(job.tries): one["best_valid_score"] for job, one in group.search.scored()}
    assert len(scores) == 3 and scores[json.dumps(group.search.best().tries)] == max(scores.values())
    group.search.lower_is_better = True
    assert scores[json.dumps(group.search.best().tries)] == min(scores.values())


def test_a_changed_setting_runs_again_and_says_why(write_experiment, capsys):
    write_experiment(models=["Pop", {"model": "GRU4Rec", "settings": {"learning_rate": 0.01}}])
    run("try.yaml")
    before = record("try/toy/GRU4Rec/seed-1")
    write_experiment(models=["Pop", {"model": "GRU4Rec", "settings": {"learning_rate": 0.02}}])
    capsys.readouterr()
    run("try.yaml")
    out = capsys.readouterr().out
    assert out.count("finished before") == 2
    assert "toy GRU4Rec seed 1 runs again: learning_rate was 0.01 and is 0.02" in out
    assert (
        record("try/toy/GRU4Rec/seed-1")["config"]["learning_rate"]
        == 0.02
        != before["config"]["learning_rate"]
    )
    assert len(ledger.readings(Path("results/try/test_readings.csv"))) == 6, (
        "readings are added, never replaced"
    )


def test_changed_data_run_again(write_experiment, capsys, here):
    run(write_experiment(models=["Pop"]))
    log = here / "data/toy/toy.inter"
    log.write_text(log.read_text().rstrip("\n").rpartition("\n")[0] + "\n")
    capsys.readouterr()
    run("try.yaml")
    assert capsys.readouterr().out.count("runs again: the atomic files are others") == 2


def test_what_a_machine_is_does_not_run_again(write_experiment, capsys):
    run(write_experiment(models=["Pop"]))
    capsys.readouterr()
    run("try.yaml", "--show_progress=False", "--worker=0", "--workers=1")
    assert capsys.readouterr().out.count("finished before") == 2


def test_a_metric_of_the_kept_ranks_does_not_read_the_test_part_again(write_experiment, capsys):
    run(write_experiment(models=["Pop"], seeds=[1]))
    before = ledger.readings(Path("results/try") / ledger.FILE)
    capsys.readouterr()
    run("try.yaml", "--metrics=[Hit,NDCG,MRR,MAP]", "--topk=[3,10]")
    assert "finished before" in capsys.readouterr().out
    assert ledger.readings(Path("results/try") / ledger.FILE) == before
    (file,) = RUNS.glob("try/toy/Pop/seed-1/record.json")
    test = json.loads(file.read_text())["test"]
    assert test["map@3"] == test["mrr@3"] and test["map@10"] == test["mrr@10"] and "ndcg@3" in test


def test_a_setting_that_the_data_refuse_leaves_what_is_finished(write_experiment, capsys):
    run(write_experiment(models=["Pop"], seeds=[1]))
    (file,) = RUNS.glob("try/toy/Pop/seed-1/record.json")
    before = file.read_bytes()
    assert run("try.yaml", "--cart_events=[nothing]") == 1
    assert file.read_bytes() == before
    capsys.readouterr()
    assert run("try.yaml") == 0
    assert "finished before" in capsys.readouterr().out and file.read_bytes() == before
    assert not list(file.parents[1].glob(".before-*"))


def test_a_finished_run_waits_until_the_one_in_its_place_is_finished_too(
    write_experiment, monkeypatch, capsys
):
    from recbole_ext.experiment import cells

    run(write_experiment(models=["Pop"], seeds=[1]))
    (file,) = RUNS.glob("try/toy/Pop/seed-1/record.json")
    before = file.read_bytes()

    def interrupted(job):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cells, "_cell", interrupted)
        assert run("try.yaml", "--user_inter_num_interval=[1,inf)") == 130
    capsys.readouterr()
    assert run("try.yaml") == 0
    assert "finished before" in capsys.readouterr().out and file.read_bytes() == before


def test_a_failing_cell_does_not_stop_the_others(write_experiment, capsys, reported):
    file = write_experiment(models=["GRU4RecF", "Pop"], seeds=[1])
    assert run(file) == 1
    out = capsys.readouterr().out
    assert "[1/2] toy GRU4RecF seed 1: failed" in out and "selected_features of GRU4RecF names class" in out
    assert "[2/2] toy Pop seed 1: NDCG@10" in out
    (failed,) = reported[-1][1]["failed"]
    assert failed["label"] == "GRU4RecF" and "selected_features" in failed["reason"]
    assert 'toy,GRU4RecF,1,failed,"selected_features' in Path("results/try/cells.csv").read_text()
    assert "UsageError" in (RUNS / "try/toy/GRU4RecF/seed-1/error.txt").read_text()
    assert run(file, "--selected_features=[category]") == 0
    assert not (RUNS / "try/toy/GRU4RecF/seed-1/failed.json").exists()


def test_a_failing_combination_does_not_stop_the_search(write_experiment, capsys, reported):
    broken = {"model": "GRU4Rec", "search": {"train_loss": ["softmax", "bce"], "learning_rate": [0.01]}}
    none = {"label": "none", "model": "GRU4RecF", "search": {"learning_rate": [0.01, 0.001]}}
    from recbole_ext.experiment import cells

    do_try = cells._try

    def failing(job):
        if job.tries.get("train_loss") == "softmax":
            raise ZeroDivisionError("by nought\nmore")
        do_try(job)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "_try", failing)
        assert run(write_experiment(models=[broken, none], seeds=[1])) == 1
    out = capsys.readouterr().out
    assert (
        "search train_loss=softmax learning_rate=0.01: failed" in out
        and "ZeroDivisionError: by nought\n" in out
    )
    assert "[1/2] toy GRU4Rec seed 1: NDCG@10" in out
    assert (
        "[2/2] toy none seed 1: failed: every run of the search failed, the first one: selected_features"
        in out
    )
    first, second = reported[-1][4]
    assert first["chosen"]["train_loss"] == "bce" and first["trials"][0]["valid_score"] is None
    assert first["trials"][0]["reason"] == "ZeroDivisionError: by nought" and second["chosen"] == {}


def test_missing_raw_logs_fail_that_data_set_only(write_experiment, capsys):
    file = write_experiment(datasets=["diginetica", "toy"], models=["Pop"], seeds=[1])
    assert run(file) == 1
    out = capsys.readouterr().out
    assert "[1/2] diginetica Pop seed 1: failed" in out and "[2/2] toy Pop seed 1: NDCG@10" in out


def test_what_is_wrong_with_a_log_is_said_once(write_experiment, capsys):
    """Of all cells of its data set, which are failed all the same; the other data set's run."""
    file = write_experiment(datasets=["toy", "diginetica"], models=["Pop", "AR"], seeds=[1, 2])
    assert run(file) == 1
    found = capsys.readouterr()
    said = [line for line in found.out.splitlines() if line.startswith("[")]
    assert said[0].startswith("[4/8] diginetica: all 4 cells failed: ") and len(said) == 1 + 4
    assert all("toy" in line and "failed" not in line for line in said[1:])
    reason = said[0].partition("failed: ")[2]
    assert found.out.count(reason) == 1 and reason not in found.err
    assert Path("results/try/cells.csv").read_text().count(",failed,") == 4


def test_what_is_to_be_known_of_a_log_is_said_once(write_experiment, caplog):
    """And not once a cell; by a single run once too, as it has one data set."""
    Path("data/toy/manifest.json").write_text('{"options": {"time": "at"}}')
    settings = {**SETTINGS, "source": "events", "convert_options": {"time": "when"}}
    assert run(write_experiment(models=["Pop", "AR"], seeds=[1, 2], settings=settings)) == 0
    said = "was converted with time at, and convert_options says when"
    assert caplog.text.count(said) == 1
    caplog.clear()
    keys = {
        key: value for key, value in settings.items() if key not in ("epochs", "train_batch_size", *READERS)
    }
    recbole_ext.run("AR", "toy", **keys)
    assert caplog.text.count(said) == 1


WRONG = [
    ({"models": ["GRU4Rek"]}, "there is no model GRU4Rek: did you mean GRU4Rec"),
    ({"datasets": ["toi"]}, "there is no dataset toi"),
    (
        {"models": [{"model": "Pop", "settings": {"epohs": 1}}]},
        "Pop on toy: unknown key epohs: did you mean epochs",
    ),
    ({"search": {"learning_rate": [0.1, "fast"]}, "models": ["GRU4Rec"]}, "learning_rate is 'fast'"),
    ({"models": [{"model": "Pop", "search": {"n_layrs": [1]}}]}, "unknown key n_layrs"),
    (
        {"models": [{"model": "GRU4Rec", "search": {"worker": [0, 1]}}]},
        "worker, which never changes a result",
    ),
]


@pytest.mark.parametrize("keys, hint", WRONG, ids=[hint for _, hint in WRONG])
def test_wrong_settings_are_answered_before_anything_runs(write_experiment, capsys, keys, hint):
    assert run(write_experiment(**keys)) == 2
    assert hint in capsys.readouterr().err and not RUNS.exists()


def test_search_and_refit_need_validation_sessions(write_experiment, capsys):
    split = {"eval_args": {"split": {"session_time": [8, 0, 2]}}}
    settings = yaml.safe_load(Path(write_experiment()).read_text())["settings"] | split
    assert run(write_experiment(settings=settings, models=["Pop"], seeds=[1], refit=True)) == 1
    assert "refit needs validation sessions" in capsys.readouterr().out
    assert run(write_experiment(settings=settings, models=["GRU4Rec"], seeds=[1], search=LEARNING_RATES)) == 1
    assert "a search needs validation sessions" in capsys.readouterr().out


# --- interruptions ------------------------------------------------------------------------------------------


class Interrupting:
    """Raises KeyboardInterrupt in the `at`-th training epoch of all runs together."""

    def __init__(self, patch, at):
        from recbole_ext.trainer.session import SessionTrainer

        self.left, self.epochs = at, []
        train = SessionTrainer._train_epoch

        def train_epoch(trainer, data, epoch, *args, **kwargs):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            self.epochs.append(epoch)
            return train(trainer, data, epoch, *args, **kwargs)

        patch.setattr(SessionTrainer, "_train_epoch", train_epoch)


MODELS = {
    "GRU4Rec": {},
    "SASRec": {
        "train_targets": "all_positions",
        "train_loss": "sampled_softmax",
        "negatives": 8,
        "n_heads": 1,
    },
    "SASRecSA2C": {"n_heads": 1, "warm_up_steps": 3, "rewards": {"view": 0.2, "purchase": 1.0}},
    "HRNNFeat": {"user_state": "init"},
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("refit", [False, True], ids=["", "refit"])
def test_interrupted_and_continued_equals_uninterrupted(write_experiment, monkeypatch, capsys, model, refit):
    from recbole_ext.run import checkpoints

    monkeypatch.setattr(checkpoints, "SECONDS", 0)
    entry = {"model": model, "settings": MODELS[model]}
    settings = yaml.safe_load(Path(write_experiment()).read_text())["settings"] | {
        "epochs": 5,
        "stopping_step": 1,
    }
    keys = {"models": [entry], "seeds": [1], "settings": settings, "refit": refit}
    assert run(write_experiment("whole", **keys)) == 0
    whole = record("whole/toy", model, "seed-1")
    epochs = (
        len(record("whole/toy", model, "seed-1/valid")["epochs"]) + len(whole["epochs"]) if refit else None
    )
    file = write_experiment("parts", **keys)
    total = epochs or len(whole["epochs"])
    made = []
    for _ in range(
        total
    ):  # every epoch but one is made, then an interruption; each call gets one epoch further
        with pytest.MonkeyPatch.context() as patch:
            made.append(interruption := Interrupting(patch, 2))
            if run(file) == 0:
                break
        assert "the same command goes on" in capsys.readouterr().err
        assert len(interruption.epochs) == 1
    else:
        assert run(file) == 0
    assert sum(len(one.epochs) for one in made) == total, "no epoch is made twice"
    parts = record("parts/toy", model, "seed-1")
    assert (
        parts["epochs"] == whole["epochs"]
        and parts["test"] == whole["test"]
        and parts["valid"] == whole["valid"]
    )
    one, other = (np.load(RUNS / name / "toy" / model / "seed-1/ranks.npz") for name in ("whole", "parts"))
    assert set(one.files) == set(other.files)
    assert all((one[column] == other[column]).all() for column in one.files)
    assert len(ledger.readings(Path("results/parts/test_readings.csv"))) == 1


def test_an_early_stop_is_remembered(write_experiment, monkeypatch, evaluated):
    """Interrupted between the epoch that stops and the test: nothing trains again."""
    from recbole_ext.run import checkpoints
    from recbole_ext.run.record import Run

    monkeypatch.setattr(checkpoints, "SECONDS", 0)
    settings = yaml.safe_load(Path(write_experiment()).read_text())["settings"]
    settings |= {"epochs": 40, "stopping_step": 1, "learning_rate": 0.02}
    file = write_experiment(models=["GRU4Rec"], seeds=[1], settings=settings)
    trained = Run.trained

    def interrupted(self, *args):
        trained(self, *args)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "trained", interrupted)
        assert run(file) == 130
    epochs = len(evaluated)
    assert 2 < epochs < 40
    evaluated.clear()
    assert run(file) == 0
    assert evaluated == ["test"]
    done = record("try/toy/GRU4Rec/seed-1")
    assert len(done["epochs"]) == epochs and done["best_epoch"] == epochs - 3
    assert all(one["valid_score"] is not None for one in done["epochs"])


def test_an_interruption_before_the_list_of_readings_does_not_lose_one(write_experiment):
    run(write_experiment(models=["Pop"]))
    file = Path("results/try/test_readings.csv")
    before = ledger.readings(file)
    file.unlink()
    run("try.yaml")
    assert [{**row, "time": ""} for row in ledger.readings(file)] == [{**row, "time": ""} for row in before]


# --- refit --------------------------------------------------------------------------------------------------


def test_refit_trains_on_validation_sessions_too_for_the_chosen_epochs(write_experiment, evaluated):
    keys = {"models": ["GRU4Rec"], "search": LEARNING_RATES}
    run(write_experiment("plain", **keys))
    evaluated.clear()
    run(write_experiment("again", refit=True, **keys))
    assert evaluated == ["valid"] * 6 + ["test"] + ["valid"] * 3 + ["test"]
    for seed in (1, 2):
        plain, again = (record(name, "toy/GRU4Rec", f"seed-{seed}") for name in ("plain", "again"))
        assert (
            again["counts"]["train_rows"] > plain["counts"]["train_rows"]
        )  # exactly which: tests/data/test_splits.py
        assert again["counts"]["valid_rows"] == 0
        assert again["counts"]["test_targets"] == plain["counts"]["test_targets"]
        assert again["epochs_run"] == plain["best_epoch"] + 1 and again["best_valid_score"] is None
        assert "training + validation" in again["split"] and "training + validation" not in plain["split"]
    assert not list(RUNS.glob("again/toy/GRU4Rec/seed-2/valid/*.pth"))


def test_models_that_fit_at_once_refit_too(write_experiment):
    run(write_experiment("plain", models=["Pop", "ItemKNN"], seeds=[1]))
    run(write_experiment("again", models=["Pop", "ItemKNN"], seeds=[1], refit=True))
    for model in ("Pop", "ItemKNN"):
        plain, again = (record(name, "toy", model, "seed-1") for name in ("plain", "again"))
        assert again["counts"]["train_rows"] > plain["counts"]["train_rows"] and again["epochs_run"] == 1
    one, other = (np.load(RUNS / name / "toy/Pop/seed-1/ranks.npz")["rank"] for name in ("plain", "again"))
    assert len(one) == len(other) and (one != other).any(), "validation sessions changed the popularity"


# --- processes, command lines -------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_workers_leave_what_one_leaves(write_experiment, capsys):
    keys = {"models": ["Pop", "GRU4Rec", "GRU4RecF"], "search": LEARNING_RATES, "refit": True}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert run(write_experiment("one", **keys)) == 1  # in this process
    finally:
        torch.set_num_threads(before)
    assert run(write_experiment("two", workers=2, threads=1, **keys), "--gpu_id=4,5") == 1
    out = capsys.readouterr().out
    assert "[6/6]" in out
    for model in ("Pop", "GRU4Rec"):
        for seed in (1, 2):
            one, two = (record(name, "toy", model, f"seed-{seed}") for name in ("one", "two"))
            assert one["test"] == two["test"] and one["epochs"] == two["epochs"] and two["threads"] == 1
            arrays = [np.load(RUNS / n / "toy" / model / f"seed-{seed}/ranks.npz") for n in ("one", "two")]
            assert all((arrays[0][column] == arrays[1][column]).all() for column in arrays[0].files)
    shared = {
        record("two", "toy", m, f"seed-{s}")["config"]["gpu_id"] for m in ("Pop", "GRU4Rec") for s in (1, 2)
    }
    assert shared <= {"4", "5"}  # each worker has one of them
    chosen = [Path(f"results/{name}/chosen.yaml").read_text().splitlines()[1:] for name in ("one", "two")]
    assert chosen[0] == chosen[1]
    rows = [ledger.readings(Path(f"results/{name}/test_readings.csv")) for name in ("one", "two")]
    assert sorted((r["label"], r["seed"], r["settings"]) for r in rows[0]) == sorted(
        (r["label"], r["seed"], r["settings"]) for r in rows[1]
    )
    assert len(rows[1]) == 4


def test_a_model_that_learns_at_once_is_searched_and_tested(write_experiment):
    neighbours = {"model": "VSTAN", "search": {"k": [5, 50]}}
    assert run(write_experiment(models=[neighbours], seeds=[1])) == 0
    scores = [
        json.loads(f.read_text())["best_valid_score"]
        for f in (RUNS / "try/toy/VSTAN/search").glob("*/record.json")
    ]
    tested = record("try", "toy", "VSTAN", "seed-1")
    assert len(scores) == 2 and tested["best_valid_score"] == max(scores) and "test" in tested
    (RUNS / "try/toy/VSTAN/seed-1/record.json").unlink()  # as if interrupted in the test
    assert run("try.yaml") == 0


def test_a_process_that_dies_fails_its_cell_only(write_experiment, monkeypatch, capsys, here):
    (here / "deadly.py").write_text("import os\nos._exit(7)\n")
    monkeypatch.syspath_prepend(here)  # spawned processes get this one's path
    from recbole_ext.experiment import workers
    from recbole_ext.experiment.cells import Outcome

    class Deadly:
        def __reduce__(self):
            return (__import__, ("deadly",))

    ended = []
    jobs = [Deadly()]
    workers.side_by_side(
        lambda: jobs.pop() if jobs else None, lambda job, outcome: ended.append(outcome), workers=1, threads=1
    )
    assert isinstance(ended[0], Outcome) and ended[0].failed == "its process ended with exit code 7"


def test_a_worker_has_the_environment_of_now(monkeypatch, tmp_path, here):
    """… and not that in which the server was started that it is a copy of."""
    (here / "nosy.py").write_text(
        "import os, pathlib, sys\n"
        "said = [os.environ.get('SAID', 'nothing'), str('recbole.data' in sys.modules)]\n"
        "pathlib.Path(os.environ['WHERE']).write_text(' '.join(said))\n"
        "os._exit(7)\n"
    )
    monkeypatch.syspath_prepend(here)
    from recbole_ext.experiment import workers

    class Nosy:
        def __reduce__(self):
            return (__import__, ("nosy",))

    for said in ("one", "two", None):
        monkeypatch.setenv("WHERE", str(tmp_path / "said"))
        monkeypatch.delenv("SAID", raising=False)
        if said is not None:
            monkeypatch.setenv("SAID", said)
        workers.side_by_side(partial(next, iter([Nosy()]), None), lambda *_: None, workers=1, threads=1)
        imported = str(sys.platform == "linux")
        assert (tmp_path / "said").read_text() == f"{said or 'nothing'} {imported}"


def test_what_workers_are_copies_of_has_not_looked_at_a_gpu():
    """A copy of a process that has cannot use it."""
    look = (
        "import torch\n"
        "def looked(*_, **__): raise SystemExit('looked at a GPU')\n"
        "for name in ('is_available', 'device_count', 'init', '_lazy_init', 'current_device', 'get_device_name'):\n"
        "    setattr(torch.cuda, name, looked)\n"
        "torch._C._cuda_getDeviceCount = looked\n"
        "import recbole_ext.experiment.imported\n"
        "import sys; assert 'recbole_ext.trainer.rl' in sys.modules\n"
    )
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", look], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


HOLDER = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_an_experiment_under_way_is_leftalone(write_experiment, capsys):
    file = write_experiment(models=["Pop"], seeds=[1])
    (RUNS / "try").mkdir(parents=True)
    held = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(RUNS / "try/lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert held.stdout.readline() == b"held\n"
        assert run(file) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "another process is at work in runs/experiments/try" in said
        with pytest.raises(UsageError, match="another process is at work"), alone(RUNS / "try"):
            pass
    finally:
        held.kill()  # it has no time to let go, the system does
        held.wait()
    with (
        alone(RUNS / "try"),
        pytest.raises(UsageError, match="another process is at work"),
        alone(RUNS / "try"),
    ):
        pass
    assert run(file) == 0


PARENT = """
import os, sys, time
from recbole_ext.experiment.workers import Worker
if __name__ == "__main__":
    print(Worker(1).process.pid, flush=True)
    time.sleep(600)
"""


def test_workers_end_with_a_killed_parent(here):
    (here / "parent.py").write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, "parent.py"], stdout=subprocess.PIPE, text=True, env=environment
    )
    worker = Path("/proc", parent.stdout.readline().strip())
    if not worker.parent.is_dir():
        parent.kill()
        pytest.skip("no /proc here")
    assert alive(worker)
    parent.kill()
    parent.wait()
    until = time.monotonic() + 60
    while alive(worker) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive(worker)


def alive(process):
    """Whether a folder of /proc is of a process that runs; a zombie waits for nobody here."""
    try:
        return "State:\tZ" not in (process / "status").read_text()
    except OSError:
        return False


def test_lists_on_the_command_line_print_tables_and_leave_resultsalone(here, capsys, reported):
    line = [
        "--model=Pop,GRU4Rec",
        "--dataset=toy",
        "--seed=1,2",
        "--data_path=data",
        "--epochs=1",
        "--use_gpu=False",
    ]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "GRU4Rec on toy (seed 2)" in out and "toy, seeds 1, 2: mean over seeds" in out
    assert not Path("results").exists() and (RUNS / "toy/report/index.html").is_file()
    assert reported[-1][1]["file"] is None and len(reported[-1][3]) == 4
    assert main([*line, "--name=mine"]) == 0
    assert (RUNS / "mine/toy/Pop/seed-1/record.json").is_file()


def test_one_run_is_no_experiment(here, capsys, reported):
    line = ["--model=Pop", "--dataset=toy", "--seed=1", "--data_path=data", "--use_gpu=False"]
    assert main(line) == 0
    assert "Pop on toy (seed 1)" in capsys.readouterr().out and not reported and not RUNS.exists()


def test_without_a_seed_the_configured_one_runs(here, capsys):
    line = ["--model=Pop,ItemKNN", "--dataset=toy", "--data_path=data", "--use_gpu=False"]
    assert main(line) == 0
    assert (RUNS / "toy/toy/ItemKNN/seed-2020/record.json").is_file()


def test_a_second_kind_of_label_of_one_model(write_experiment):
    models = ["GRU4Rec", {"label": "GRU4Rec deep", "model": "GRU4Rec", "settings": {"num_layers": 2}}]
    run(write_experiment(models=models, seeds=[1]))
    assert record("try/toy/GRU4Rec-deep/seed-1")["config"]["num_layers"] == 2
    assert record("try/toy/GRU4Rec/seed-1")["config"]["num_layers"] == 1
    shutil.rmtree(RUNS / "try/toy/GRU4Rec")


def test_the_page_of_a_refit_shows_the_course_that_chose_its_epochs(write_experiment, reported):
    assert run(write_experiment(models=["GRU4Rec"], refit=True)) == 0
    _, _, _, records, _ = reported[-1]
    for one in records:
        stored = json.loads(Path(one["folder"], "record.json").read_text())
        scores = [epoch["valid_score"] for epoch in one["epochs"]]
        assert len(scores) > 1 and None not in scores and max(scores) == one["best_valid_score"]
        assert all(epoch["valid_score"] is None for epoch in stored["epochs"])
        assert stored["epochs_run"] == one["best_epoch"] + 1


def test_a_record_that_is_none_is_made_again(write_experiment, capsys):
    file = write_experiment(models=["Pop"], seeds=[1])
    assert run(file) == 0
    made = record("try", "toy", "Pop", "seed-1")["test"]
    for broken in ('{"test": {}}', "[1]", "{"):
        (RUNS / "try/toy/Pop/seed-1/record.json").write_text(broken)
        capsys.readouterr()
        assert run(file) == 0
        assert "finished before" not in capsys.readouterr().out
        assert record("try", "toy", "Pop", "seed-1")["test"] == made


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def test_a_cell_whose_files_are_harmed_runs_again(write_experiment, capsys, evaluated):
    """Nothing is trained for it: the test part is ranked again, and that is on the list of readings."""
    file = write_experiment(models=["GRU4Rec"], seeds=[1])
    assert run(file) == 0
    folder, made = RUNS / "try/toy/GRU4Rec/seed-1", record("try/toy/GRU4Rec/seed-1")
    for name in ("ranks.npz", "record.json"):
        flip(folder / name)
        capsys.readouterr()
        evaluated.clear()
        assert run(file) == 0
        out = capsys.readouterr().out
        assert f"toy GRU4Rec seed 1 runs again: its {name} was cut, changed or lost" in out
        assert "finished before" not in out and evaluated == ["test"]
        assert record("try/toy/GRU4Rec/seed-1")["test"] == made["test"]
    (folder / "ranks.npz").unlink()
    assert run(file) == 0 and (folder / "ranks.npz").is_file()
    capsys.readouterr()
    assert run(file) == 0 and "finished before" in capsys.readouterr().out
    assert len(ledger.readings(Path("results/try/test_readings.csv"))) == 4


def test_a_run_that_chose_and_is_harmed_is_made_again(write_experiment, capsys, reported):
    """Without it another one would be best, and the page would say so of cells that were not run with that."""
    settings = {**SETTINGS, "epochs": 1}
    file = write_experiment(models=["GRU4Rec"], search=LEARNING_RATES, settings=settings, refit=True)
    assert run(file) == 0
    before = reported[-1]
    best = before[4][0]["chosen"]
    trial = next(
        file
        for file in RUNS.glob("try/toy/GRU4Rec/search/*/record.json")
        if json.loads(file.read_text())["config"]["learning_rate"] == best["learning_rate"]
    )
    flip(trial)
    assert run(file) == 0
    out = capsys.readouterr().out
    assert f"search learning_rate={best['learning_rate']} runs again: its record.json was cut" in out
    assert out.count("finished before") == 2
    flip(RUNS / "try/toy/GRU4Rec/seed-2/valid/record.json")
    assert run(file) == 0
    assert "seed 2 runs again: its valid/record.json was cut" in capsys.readouterr().out
    for after in reported[1:]:
        assert after[4][0]["chosen"] == best
        assert [one["epochs"] for one in after[3]] == [one["epochs"] for one in before[3]]


def test_where_nothing_can_be_written_nothing_is_tested(write_experiment, capsys, here):
    file = write_experiment(models=["Pop"], seeds=[1])
    (here / "results").mkdir()
    (here / "results/try").write_text("a file")
    assert run(file) == 2
    assert "error: nothing can be written into results/try" in capsys.readouterr().err
    assert not list(RUNS.glob("try/toy/Pop/seed-1/*"))


def test_a_trial_that_was_made_again_is_told_without_its_failure(write_experiment, reported):
    file = write_experiment(models=["GRU4Rec"], seeds=[1], search=LEARNING_RATES)
    assert run(file) == 0
    for folder in (RUNS / "try/toy/GRU4Rec/search").iterdir():
        (folder / "failed.json").write_text('{"reason": "out of memory"}')
    assert run(file) == 0
    (search,) = reported[-1][4]
    assert search["trials"] and all(
        "reason" not in trial and trial["valid_score"] for trial in search["trials"]
    )


def test_the_page_is_told_every_call_that_ran_something(write_experiment, reported):
    file = write_experiment(models=["Pop", "AR"], seeds=[1])
    assert run(file, "--model=Pop") == run(file) == run(file) == 0
    told = reported[-1][1]["calls"]
    assert [call["runs"] for call in told] == [1, 1]
    assert told[0]["command"].endswith("--model=Pop") and told[1]["command"].endswith(f"--experiment={file}")


def test_what_is_only_left_to_test_was_not_interrupted(write_experiment, capsys):
    file = write_experiment(models=["GRU4Rec"], seeds=[1, 2], search=LEARNING_RATES, refit=True)
    assert run(file, "--test=False") == 0
    capsys.readouterr()
    assert run(file) == 0
    out = capsys.readouterr().out
    assert "interrupted" not in out and "again" not in out and out.count("GRU4Rec seed") == 2


def cut(file, characters):
    """As an interruption or a full disk leaves a file that a line is added to."""
    file.write_bytes(file.read_bytes()[:-characters])


def test_a_torn_last_line_is_told_left_out_and_its_reading_listed_again(write_experiment, capsys, reported):
    file = write_experiment(models=["Pop"])
    assert run(file) == 0
    readings, calls = Path("results/try/test_readings.csv"), RUNS / "try" / "calls.jsonl"
    kept = readings.read_text().splitlines()
    cut(readings, 3)  # within the last number: what is left is a number too
    cut(calls, 9)
    capsys.readouterr()
    assert run(file, "--seed=1,2,3") == 0
    said = capsys.readouterr().err
    assert f"{readings} holds a line that was cut or changed: left out" in said
    assert f"{calls} holds a line that was cut or changed: left out" in said
    experiment = reported[-1][1]
    assert sorted(row["seed"] for row in experiment["readings"]) == [1, 2, 3]
    assert [call["runs"] for call in experiment["calls"]] == [1]
    lines = readings.read_text().splitlines()
    assert lines[:2] == kept[:2] and lines[2] == f"{kept[2][:-2]},torn", "what is there is never changed"


def test_a_changed_digit_is_told_and_left_out(write_experiment, capsys, reported):
    file = write_experiment(models=["Pop"])
    assert run(file) == 0
    readings, calls = Path("results/try/test_readings.csv"), RUNS / "try" / "calls.jsonl"
    readings.write_text(readings.read_text().replace("ndcg@10=0.", "ndcg@10=1.", 1))
    calls.write_text(calls.read_text().replace('"runs": 2', '"runs": 3'))
    capsys.readouterr()
    assert run(file) == 0
    said = capsys.readouterr().err
    assert all(f"{file} holds a line that was cut or changed: left out" in said for file in (readings, calls))
    assert reported[-1][1]["calls"] == []
    assert all(row["ndcg@10"] < 1 for row in reported[-1][1]["readings"])


def test_lines_of_a_file_that_was_begun_without_sums_have_none(tmp_path):
    file = tmp_path / ledger.FILE
    line = "2026-11-01T00:00:00+00:00,toy,Pop,1,0a1b,,hit@5=0.250000"
    file.write_text(f"{','.join(ledger.COLUMNS)}\n{line}\n")
    ledger.append(file, "Pop", "0a1b", {"dataset": "toy", "seed": 2, "commit": None, "test": {"hit@5": 0.5}})
    assert [row["metrics"]["hit@5"] for row in ledger.readings(file)] == [0.25, 0.5]
    assert {text.count(",") for text in file.read_text().splitlines()} == {len(ledger.COLUMNS) - 1}
    assert ledger.torn(file) == ""


def test_a_list_of_readings_whose_head_is_torn_is_read(tmp_path):
    file = tmp_path / ledger.FILE
    file.write_text("time,data")
    record = {"dataset": "toy", "seed": 1, "commit": None, "test": {"hit@5": 0.25}}
    ledger.append(file, 'SASRec, "large"', "abc", record)
    (row,) = ledger.readings(file)
    assert (row["label"], row["seed"], row["metrics"]) == ('SASRec, "large"', 1, {"hit@5": 0.25})
    assert ledger.torn(file).endswith("('time,data,torn')")


@pytest.mark.parametrize("key", ["runs_dir", "name"])
def test_a_folder_that_cannot_be_written_is_told_before_anything_runs(
    write_experiment, capsys, evaluated, key
):
    Path("file").touch()
    Path("results").mkdir()
    Path("results/other").touch()
    file = write_experiment()
    assert run(file, "--runs_dir=file/runs" if key == "runs_dir" else "--name=other") == 2
    assert "nothing can be written into" in capsys.readouterr().err and evaluated == []


def test_tables_are_printed_whatever_cannot_be_written(write_experiment, capsys, disk_full):
    file = write_experiment(models=["Pop", "SessionPop"])
    disk_full("chosen.yaml", "cells.csv")
    assert run(file) == 1
    found = capsys.readouterr()
    assert "seeds 1, 2: mean over seeds" in found.out
    for name in ("chosen.yaml", "cells.csv"):
        assert f"error: results/try/{name} cannot be written: No space left on device" in found.err
    assert "page" in Path("results/try/index.html").read_text() and not list(Path.cwd().rglob("*.tmp"))


@pytest.mark.parametrize("name", ["ranks.npz", "record.json"])
def test_a_cell_whose_files_cannot_be_written_says_its_score_and_runs_again(
    write_experiment, capsys, disk_full, name
):
    file = write_experiment(models=["Pop"], seeds=[1])
    disk_full(name)
    assert run(file) == 1
    out = capsys.readouterr().out
    assert re.search(
        rf"failed in .*: NDCG@10 \.\d+, but .*{name} cannot be written: No space left on device", out
    )
    disk_full()
    assert run(file) == 0
    assert "failed before: tries again" in capsys.readouterr().out
    assert len(ledger.readings(Path("results/try/test_readings.csv"))) == 2, "both readings are listed"


def test_a_page_of_other_cells_is_not_replaced_without_a_word(here, capsys):
    words = ["--dataset=toy", "--data_path=data", "--use_gpu=False", "--seed=1,2"]
    words.append("--eval_args={split: {session_time: [6, 2, 2]}}")
    assert main(["--model=Pop,SessionPop", *words]) == 0
    assert "the page in" not in capsys.readouterr().err
    assert main(["--model=Pop,RepeatLast,SessionPop", *words]) == 0
    assert "the page in" not in capsys.readouterr().err, "nothing of it is lost"
    assert main(["--model=RepeatLast,SessionPop", *words]) == 0
    place = RUNS / "toy" / "report"
    said = f"the page in {place} is of toy Pop seed 1 and 1 more too: this call's will take its place, --name=NAME"
    assert said in capsys.readouterr().err
