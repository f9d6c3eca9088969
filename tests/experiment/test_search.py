"""A search by Optuna: what it draws, what ends early, what an interruption leaves, and what is refused before it."""

import json
import math
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from recbole_ext import records
from recbole_ext.cli import main
from recbole_ext.errors import UsageError
from recbole_ext.experiment import cells, ledger, optuna_study
from recbole_ext.experiment.groups import groups_of
from recbole_ext.experiment.plan import from_command_line, read_experiment
from recbole_ext.experiment.space import corners, read_space, settled
from recbole_ext.settings.command_line import parse_command_line

RUNS = Path("runs/experiments")
RATE = {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}}
TPE = {"search": RATE, "sampler": "tpe", "models": ["GRU4Rec"], "seeds": [1]}


def run(file, *more):
    return main([f"--experiment={file}", *more])


# --- what may be written ------------------------------------------------------------------------------------

SAMPLED = {"sampler": "random"}
MISTAKES = [
    ({"sampler": "tpee"}, "sampler is 'tpee'.*did you mean tpe"),
    ({"pruner": "medien"}, "pruner is 'medien'.*did you mean median"),
    ({"search": RATE}, "learning_rate a range, and sampler grid combines lists alone"),
    (
        {
            "search": {
                "train_loss": ["softmax", "bce"],
                "negatives": {"choices": [1, 2], "when": {"train_loss": "bce"}},
            }
        },
        "negatives a condition, and sampler grid",
    ),
    ({"search_minutes": 5}, "search_minutes is 5.0, and sampler grid lists"),
    ({**SAMPLED, "search_minutes": 0}, "search_minutes is 0: it has to be a number above 0"),
    ({**SAMPLED, "search": {"a": {"low": 1}}}, "the range of a lacks low or high"),
    ({**SAMPLED, "search": {"a": {"low": 2, "high": 1}}}, "from 2 to 1: low has to be below high"),
    (
        {**SAMPLED, "search": {"a": {"low": 0, "high": 1, "log": True}}},
        "begins at 0, of which there is no log",
    ),
    ({**SAMPLED, "search": {"a": {"low": 1, "high": 3, "log": True, "step": 1}}}, "both log and step"),
    ({**SAMPLED, "search": {"a": {"low": 1, "high": 2.5, "type": "int"}}}, "is of whole numbers"),
    ({**SAMPLED, "search": {"a": {"low": 1, "high": 2, "step": 3}}}, "shorter than its step 3"),
    ({**SAMPLED, "search": {"a": {"low": 1, "high": 2, "step": 0}}}, "has the step 0: write one above 0"),
    (
        {**SAMPLED, "search": {"a": {"low": "one", "high": 2}}},
        "search: a.low is 'one': it has to be a number",
    ),
    ({**SAMPLED, "search": {"a": {"low": 1, "hihg": 2}}}, "unknown key hihg.*did you mean high"),
    ({**SAMPLED, "search": {"a": {"choices": [1], "low": 1}}}, "choices go with when alone"),
    ({**SAMPLED, "search": {"a": {"choices": [1], "when": {"b": 1}}}}, "when: b, which is no other key"),
    (
        {**SAMPLED, "search": {"b": {"low": 1, "high": 2}, "a": {"choices": [1], "when": {"b": 1}}}},
        "when: b, which is a range",
    ),
    (
        {**SAMPLED, "search": {"b": [1, 2], "a": {"choices": [1], "when": {"b": [1, 3]}}}},
        r"when: b: 3, which is none of \[1, 2\]",
    ),
    (
        {
            **SAMPLED,
            "search": {
                "a": {"choices": [1], "when": {"b": 1}},
                "b": {"choices": [1], "when": {"a": 1}},
            },
        },
        "comes back to itself",
    ),
]


@pytest.mark.parametrize("keys, said", MISTAKES, ids=[said for _, said in MISTAKES])
def test_mistakes_in_a_search_are_named(write_experiment, keys, said):
    with pytest.raises(UsageError, match=said) as caught:
        read_experiment(write_experiment(**keys))
    assert "\n" not in str(caught.value)


REFUSED = [
    ({"search": {"dropout_prob": {"low": 0.1, "high": 1.5}}}, "dropout_prob is 1.5"),
    ({"search": {"num_layers": {"low": 1, "high": 3}}}, "whole number.*type: int"),
    ({"search": {}}, "sampler is tpe, and nothing is searched"),
    ({"models": ["VSTAN"], "search": {"k": [5, 50]}, "pruner": "median"}, "validated more than once"),
    ({"pruner": "median", "epochs": 1}, "1 epochs with eval_step 1 are validated fewer than twice"),
    ({"pruner": "hyperband", "eval_step": 2}, "3 epochs with eval_step 2 are validated fewer than twice"),
    ({"search_storage": "nosuch://x"}, "search_storage nosuch://x cannot be used"),
]


@pytest.mark.parametrize("keys, said", REFUSED, ids=[said for _, said in REFUSED])
def test_what_cannot_be_searched_is_refused_before_anything_runs(write_experiment, capsys, keys, said):
    pytest.importorskip("optuna", reason="no optuna: pip install 'recbole-ext[search]'")
    settings = yaml.safe_load(Path(write_experiment(models=["GRU4Rec"])).read_text())["settings"]
    settings |= {key: keys[key] for key in ("epochs", "eval_step") if key in keys}
    if "models" in keys:
        settings = {key: settings[key] for key in ("data_path", "use_gpu", "eval_args")}
    keys = {key: value for key, value in keys.items() if key not in ("epochs", "eval_step")}
    assert run(write_experiment(**{**TPE, "settings": settings, **keys})) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert re.search(said, error), error
    assert not list(RUNS.glob("*/toy"))


def test_without_optuna_lists_are_searched_and_a_range_says_what_to_install(
    write_experiment, capsys, monkeypatch, fake
):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert (
        run(write_experiment("lists", **{**TPE, "search": {"learning_rate": [0.1, 0.01]}, "sampler": "grid"}))
        == 0
    )
    capsys.readouterr()
    assert run(write_experiment(**TPE)) == 2
    assert (
        "needs optuna, which is not installed: pip install 'recbole-ext[search]'" in capsys.readouterr().err
    )


def test_one_limit_of_the_command_line_takes_the_place_of_the_file_s(write_experiment):
    file = write_experiment(**TPE, search_trials=40)
    found = from_command_line(parse_command_line([f"--experiment={file}", "--search_minutes=5"]), [])
    assert (found.search_trials, found.sampling.search_minutes) == (None, 5)
    assert found.search["learning_rate"].ends == (1e-4, 1e-1) and found.sampling.sampler == "tpe"
    assert read_experiment(write_experiment(**TPE)).search_trials == 6
    assert read_experiment(write_experiment(**TPE, search_minutes=3)).search_trials is None
    assert read_experiment(write_experiment(**TPE, search_minutes=3, search_trials=9)).search_trials == 9


def test_a_range_as_people_write_it():
    knob = read_space(yaml.safe_load("{a: {low: 1e-4, high: 1e-2, log: true}}"), "search")["a"]
    assert (knob.low, knob.high, knob.log, knob.kind) == (1e-4, 1e-2, True, float)


def test_a_condition_goes_behind_what_it_names_and_a_fixed_key_answers_it():
    written = {
        "n": {"choices": [4, 8], "when": {"loss": ["bce"]}},
        "loss": ["softmax", "bce"],
        "m": {"choices": [1], "when": {"n": 4}},
    }
    space = read_space(written, "search")
    assert list(space) == ["loss", "n", "m"]
    assert list(corners(space)) == [{"loss": "softmax"}, {"loss": "bce", "n": 8}]
    left = {name: knob for name, knob in space.items() if name != "loss"}
    assert settled(left, {"loss": "softmax"}) == {}
    met = settled(left, {"loss": "bce"})
    assert list(met) == ["n", "m"] and met["n"].when is None and met["m"].when == {"n": (4,)}


def test_a_search_of_lists_is_what_it_was(write_experiment):
    """The identity of its cells, and with that their folders, holds the combinations as plain data, nothing else."""
    space = {"learning_rate": [0.01, 0.001], "num_layers": [1, 2]}
    (group,) = groups_of(read_experiment(write_experiment(models=["GRU4Rec"], search=space, search_trials=2)))
    (one, other) = group.search.tries
    assert group.cells[0].identity["search"] == [one.tries, other.tries]
    assert set(group.cells[0].identity) == {"config", "data", "search", "search on seed", "refit"}
    assert one.trial is None and not RUNS.exists()


# --- trials that cost nothing -------------------------------------------------------------------------------


class Fake:
    """In the place of training: scores that a learning rate alone decides, .01 the best; notes what was trained."""

    def __init__(self):
        self.epochs = []  # (learning rate, epoch) of trials
        self.tested = []
        self.interrupt_at = None
        self.fails = ()

    def __call__(self, job, folder, test, watch=None, **keys):
        rate = job.settings["learning_rate"]
        good = 1 / (1 + abs(math.log10(rate) + 2))
        scores = [good * (1 - 0.5 ** (epoch + 1)) for epoch in range(job.identity["config"]["epochs"])]
        for epoch, score in enumerate(scores if watch is not None else ()):
            if len(self.epochs) == self.interrupt_at:
                raise KeyboardInterrupt
            self.epochs.append((rate, epoch))
            if rate in self.fails:
                raise ZeroDivisionError("no such luck")
            watch.after_epoch(epoch, score)
        record = {
            **{"model": job.model, "dataset": job.dataset, "seed": job.seed, "commit": None},
            **{"valid_metric": "NDCG@10", "best_valid_score": scores[-1], "best_epoch": len(scores) - 1},
            **{
                "epochs_run": len(scores),
                "epochs": [],
                "seconds": {"train": 1.0, "prepare": 0.0, "test": 0.0},
            },
            **{"config": {}, "protocol": "", "split": "", "counts": {}, "notes": []},
        }
        if test:
            self.tested.append(rate)
            record["test"] = {f"{name.lower()}@{k}": 0.5 for name in job.metrics for k in job.topk}
        records.write(folder, record)
        return record


@pytest.fixture
def fake(monkeypatch):
    found = Fake()
    monkeypatch.setattr(cells, "_run", found)
    monkeypatch.setattr("recbole_ext.experiment.results.comparison_table", lambda records: "")
    return found


@pytest.fixture
def optuna():
    return pytest.importorskip("optuna", reason="no optuna: pip install 'recbole-ext[search]'")


def trials_of(name):
    """What the only study of an experiment holds."""
    from optuna.study import get_all_study_names

    journal = str(RUNS / name / "search.journal")
    store = optuna_study._opened(journal)
    (one,) = get_all_study_names(store)
    return optuna_study.Study(journal, one, optuna_study.Way("random", "none", 1, 3, 6)).trials()


def chosen_of(name):
    return yaml.safe_load(Path(f"results/{name}/chosen.yaml").read_text())["toy"]["GRU4Rec"]["settings"]


def test_a_sampled_search_is_determined_by_its_seed_and_the_best_is_tested_once(
    write_experiment, fake, optuna, reported, capsys
):
    for name in ("one", "two"):
        assert run(write_experiment(name, **TPE, search_trials=6)) == 0
    one, two = trials_of("one"), trials_of("two")
    assert [trial.settings for trial in one] == [trial.settings for trial in two]
    assert len({trial.settings["learning_rate"] for trial in one}) == 6
    best = max(one, key=lambda trial: trial.score)
    assert chosen_of("one") == best.settings and fake.tested == [best.settings["learning_rate"]] * 2
    (search,) = reported[-1][4]
    assert (search["limit"], search["sampler"], search["pruner"]) == ("6 trials", "tpe", "none")
    assert len(search["trials"]) == 6 and search["chosen"] == best.settings
    before = len(fake.epochs)
    assert run("one.yaml") == 0 and len(fake.epochs) == before
    assert "seed 1: NDCG@10 .5000, finished before" in capsys.readouterr().out
    assert run(write_experiment("other", **TPE, search_trials=2, search_seed=2)) == 0
    assert trials_of("other")[0].settings != one[0].settings


def test_a_gaussian_process_draws_too(write_experiment, fake, optuna):
    assert run(write_experiment(**{**TPE, "sampler": "gp"}, search_trials=3)) == 0
    trials = trials_of("try")
    assert len({trial.settings["learning_rate"] for trial in trials}) == 3
    assert chosen_of("try") == max(trials, key=lambda trial: trial.score).settings


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_a_pruned_trial_ends_at_its_epoch_and_is_never_tested(
    write_experiment, fake, optuna, reported, capsys, pruner
):
    settings = yaml.safe_load(Path(write_experiment()).read_text())["settings"] | {"epochs": 9}
    keys = {**TPE, "sampler": "random", "search_seed": 3, "settings": settings}
    file = write_experiment(**keys, search_trials=10, pruner=pruner)
    assert run(file) == 0
    trials = trials_of("try")
    pruned = [one for one in trials if one.state == "pruned"]
    assert len(trials) == 10 and 2 < len(pruned) < 10
    for one in pruned:
        made = [epoch for rate, epoch in fake.epochs if rate == one.settings["learning_rate"]]
        assert one.epochs == len(made) < 9 and not Path(one.folder, "record.json").exists()
    (search,) = reported[-1][4]
    assert sum(1 for trial in search["trials"] if trial.get("pruned")) == len(pruned)
    whole = [one for one in trials if one.state == "complete"]
    assert fake.tested == [max(whole, key=lambda one: one.score).settings["learning_rate"]]
    assert f": pruned after epoch {pruned[0].epochs}, validation NDCG@10 ." in capsys.readouterr().out
    assert len(ledger.readings(Path("results/try/test_readings.csv"))) == 1


def test_a_grid_can_be_pruned(write_experiment, fake, optuna):
    rates = [0.01, 0.02, 0.005, 0.1, 0.0001, 1.0]
    file = write_experiment(
        **{**TPE, "sampler": "grid", "search": {"learning_rate": rates}, "pruner": "median"}
    )
    assert run(file) == 0
    trials = trials_of("try")
    assert [one.settings["learning_rate"] for one in trials] == rates
    assert [one.state for one in trials] == ["complete"] * 2 + ["pruned"] * 4 and fake.tested == [0.01]


def test_an_interrupted_trial_goes_on_and_the_search_ends_as_if_it_had_not(
    write_experiment, fake, optuna, capsys
):
    keys = {**TPE, "search_trials": 7, "search_seed": 5, "pruner": "median"}
    assert run(write_experiment("whole", **keys)) == 0
    whole, epochs = trials_of("whole"), len(fake.epochs)
    file = write_experiment("parts", **keys)
    for at in (epochs + 5, epochs + 12):
        fake.interrupt_at = at
        assert run(file) == 130
        assert trials_of("parts")[-1].state == "running", "a kill leaves it so in the journal"
    fake.interrupt_at = None
    journal = RUNS / "parts" / "search.journal"
    journal.write_bytes(journal.read_bytes() + b'{"op_code":8,"wor')  # as a full disk leaves it
    journal.with_name("search.journal.lock").symlink_to(journal)  # and a kill in the middle of a line
    assert run(file) == 0
    parts = trials_of("parts")
    known = ("number", "state", "settings", "score", "epochs")
    assert [[getattr(one, key) for key in known] for one in parts] == [
        [getattr(one, key) for key in known] for one in whole
    ]
    assert chosen_of("parts") == chosen_of("whole")
    assert [one.state for one in parts].count("pruned") > 0


def test_a_longer_search_goes_on_with_the_study_and_a_lost_one_is_made_of_its_records(
    write_experiment, fake, optuna
):
    assert run(write_experiment(**TPE, search_trials=4)) == 0
    made = len(fake.epochs)
    file = write_experiment(**TPE, search_trials=6)
    assert run(file) == 0
    six = trials_of("try")
    assert len(fake.epochs) - made == 2 * 3 and len(six) == 6 and len(fake.tested) == 2
    (RUNS / "try/search.journal").unlink()
    assert run(file) == 0
    assert [one.settings for one in trials_of("try")] == [one.settings for one in six]
    assert len(fake.epochs) - made == 2 * 3 and len(fake.tested) == 2, "nothing is trained or tested again"


def test_a_failed_trial_counts_in_its_call_and_is_tried_again_by_the_next(
    write_experiment, fake, optuna, capsys, reported
):
    keys = {**TPE, "sampler": "random", "search_trials": 3}
    assert run(write_experiment(**keys)) == 0
    rates = [one.settings["learning_rate"] for one in trials_of("try")]
    fake.fails = tuple(rates)
    again = write_experiment("again", **keys)
    assert run(again) == 1
    assert (
        "every run of the search failed, the first one: ZeroDivisionError: no such luck"
        in capsys.readouterr().out
    )
    assert [one.state for one in trials_of("again")] == ["failed"] * 3
    fake.fails = rates[1:2]
    assert run(again) == 0
    trials = trials_of("again")[3:]
    assert [one.settings["learning_rate"] for one in trials] == rates
    assert [one.state for one in trials] == ["complete", "failed", "complete"]
    assert reported[-1][4][0]["trials"][0]["reason"] == "ZeroDivisionError: no such luck"


def test_a_space_that_is_exhausted_ends_the_search(write_experiment, fake, optuna, reported):
    file = write_experiment(**{**TPE, "search": {"learning_rate": [0.1, 0.01]}}, search_trials=30)
    assert run(file) == 0
    assert len(fake.epochs) == 2 * 3 and fake.tested == [0.01]
    assert len(reported[-1][4][0]["trials"]) == 2


def test_minutes_end_a_search(write_experiment, fake, optuna, monkeypatch):
    clock = iter(range(0, 10**6, 10))  # every look at the clock is ten seconds later
    monkeypatch.setattr(optuna_study, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    assert run(write_experiment(**TPE, search_minutes=2)) == 0
    spent = [one.seconds for one in trials_of("try")]
    assert sum(spent) >= 120 > sum(spent[:-1]) and len(spent) > 2


def test_trials_at_once_differ_and_a_database_keeps_machines_apart(
    write_experiment, optuna, fake, monkeypatch
):
    keys = {**TPE, "search_trials": 4, "search_storage": "sqlite:///study.db"}
    (mine,) = groups_of(read_experiment(write_experiment("mine", **keys)))
    mine.search.begin(wanted=True)
    at_once = [mine.search.take() for _ in range(3)]
    assert len({job.folder for job in at_once}) == 3 and mine.search.left == 4
    (theirs,) = groups_of(read_experiment(write_experiment("theirs", **keys)))
    assert theirs.search.begin(wanted=True) == [], "three trials run, elsewhere"
    rest = [theirs.search.take() for _ in range(2)]
    assert rest[-1] is None and len({job.folder.name for job in [*at_once, rest[0]]}) == 4
    (again,) = groups_of(read_experiment("mine.yaml"))
    assert [job.tries for job in again.search.begin(wanted=True)] == [job.tries for job in at_once]


def test_models_that_train_are_searched_pruned_and_tested(write_experiment, optuna, capsys, reported):
    """GRU4Rec itself: the hook, the checkpoint of the best trial that the first seed is tested with, conditions."""
    search = {
        **RATE,
        "train_loss": ["softmax", "sampled_softmax"],
        "negatives": {"low": 4, "high": 8, "type": "int", "when": {"train_loss": "sampled_softmax"}},
    }
    file = write_experiment(
        **{**TPE, "search": search, "models": ["GRU4Rec"]}, search_trials=5, pruner="median"
    )
    assert run(file) == 0
    out = capsys.readouterr().out
    trials = trials_of("try")
    assert [one.state for one in trials].count("pruned") == out.count(": pruned after epoch ") > 0
    assert all(
        ("negatives" in one.settings) == (one.settings["train_loss"] == "sampled_softmax") for one in trials
    )
    best = max((one for one in trials if one.state == "complete"), key=lambda one: one.score)
    first = json.loads((RUNS / "try/toy/GRU4Rec/seed-1/record.json").read_text())
    assert first["config"]["learning_rate"] == best.settings["learning_rate"] and "test" in first
    assert first["best_valid_score"] == best.score and not list(RUNS.glob("try/toy/GRU4Rec/search/*/*.pth"))
