"""Models within a time: who gets how much of it, who is left out, that only the clock or Ctrl-C stops one."""

import signal
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from recbole_ext.experiment import cells, timed
from recbole_ext.experiment.plan import Entry, Experiment
from recbole_ext.experiment.space import Knob, read_space

from .conftest import SETTINGS


class Clock:
    """A time that passes only where a model runs."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def race(monkeypatch, tmp_path):
    """Call with the seconds that each model needs, None for one that fails at once: what was chosen within a time."""

    def run(needs, seconds, done=()):
        clock, granted, worked = Clock(), [], dict.fromkeys(needs, 0.0)
        finished = set(done)

        @contextmanager
        def stopped_after(limit):
            granted.append(limit)
            with suppress(KeyboardInterrupt):
                yield

        def run_experiment(alone):
            (entry,) = alone.models
            assert alone.test is False and alone.narrowed and alone.report == tmp_path / entry.folder
            failed = needs[entry.label] is None
            left = 0.0 if failed else needs[entry.label] - worked[entry.label]
            limit = granted[-1]
            worked[entry.label] += min(left, limit)
            clock.now += min(left, limit)
            if left > limit:
                raise KeyboardInterrupt
            entry_folder = tmp_path / entry.folder
            entry_folder.mkdir(exist_ok=True)
            status = "failed,no such column" if failed else "chosen,"
            (entry_folder / "cells.csv").write_text(f"status,reason\n{status}\n")

        monkeypatch.setattr(timed, "time", clock)
        monkeypatch.setattr(timed, "stopped_after", stopped_after)
        monkeypatch.setattr(timed, "run_experiment", run_experiment)
        monkeypatch.setattr(timed, "groups_of", lambda experiment: [])
        ended = {
            label: lambda label=label: 3 * worked[label] // needs[label] for label in needs
        }  # of three runs
        monkeypatch.setattr(timed, "_runs_ended", lambda alone: ended[alone.models[0].label]())
        monkeypatch.setattr(timed, "_is_chosen", lambda alone: alone.models[0].label in finished)
        entries = tuple(Entry(label, label) for label in needs)
        experiment = Experiment("models", ("toy",), entries, Path("report"))
        spent = []
        found = timed.chosen_in_time(experiment, seconds, tmp_path, spent.append)
        assert sum(spent) == pytest.approx(clock.now)
        return found, granted

    return run


def labels(found):
    return [entry.label for entry in found.finished]


def test_what_a_model_does_not_need_goes_to_the_others(race):
    found, granted = race({"A": 1, "B": 1, "C": 8, "D": 16}, seconds=60)
    assert labels(found) == ["A", "B", "C", "D"] and found.late == [] and found.failed == {}
    assert granted == [7.5, pytest.approx(29 / 3), 14, 20]


def test_who_was_stopped_goes_on_in_the_second_half(race):
    found, granted = race({"A": 1, "B": 30, "C": 5}, seconds=60)
    assert labels(found) == ["A", "B", "C"]  # in the experiment's order, though C was finished before B
    assert granted == [10, 14.5, 14.5, 39.5]


def test_equal_shares_do_not_stop_all_of_them(race):
    """Ten seconds each would suffice for none of the three."""
    found, granted = race({"A": 12, "B": 12, "C": 12}, seconds=30)
    assert labels(found) == ["A", "B"] and found.late == ["C"]
    assert granted == [5, 5, 5, 15, 8, 1]


def test_who_has_most_behind_it_is_finished_first(race):
    found, granted = race({"Slow": 200, "B": 13, "C": 12}, seconds=30)
    assert labels(found) == ["B", "C"] and found.late == ["Slow"]
    assert granted == [5, 5, 5, 15, 7]


def test_who_does_not_end_in_time_is_named(race):
    found, _ = race({"A": 1, "B": 300, "C": 5, "D": 400}, seconds=40)
    assert labels(found) == ["A", "C"] and found.late == ["B", "D"]


def test_no_time_at_all(race):
    found, granted = race({"A": 1, "B": 1}, seconds=0)
    assert labels(found) == [] and found.late == ["A", "B"] and granted == []


def test_who_was_finished_before_takes_no_time_and_is_not_run_again(race):
    found, granted = race({"A": 1, "B": 1, "C": 1}, seconds=0, done={"A", "C"})
    assert labels(found) == ["A", "C"] and found.late == ["B"] and granted == []
    found, granted = race({"A": 1, "B": 1, "C": 1}, seconds=10, done={"A", "C"})
    assert labels(found) == ["A", "B", "C"] and granted == [5]


def test_who_fails_is_named_with_the_reason(race):
    found, _ = race({"A": None, "B": 1}, seconds=10)
    assert labels(found) == ["B"] and found.failed == {"A": "no such column"} and found.late == []


# --- the clock ----------------------------------------------------------------------------------------------


def busy():
    while True:
        pass


def test_the_clock_ends_what_does_not_end():
    before = signal.getsignal(signal.SIGINT)
    with timed.stopped_after(0.02):
        busy()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_job_that_ignores_ctrl_c_is_ended_too(monkeypatch):
    """As a shell starts it in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with timed.stopped_after(0.02):
            busy()
        with timed.stopped_after(60):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interruption_that_somebody_swallows_is_tried_again(monkeypatch):
    monkeypatch.setattr(timed, "AGAIN", 0.02)
    swallowed = []
    with timed.stopped_after(0.02):
        while True:
            try:
                busy()
            except KeyboardInterrupt:
                swallowed.append(1)
                if len(swallowed) > 2:
                    raise
    assert len(swallowed) == 3


def test_an_import_is_not_stopped_halfway(tmp_path, monkeypatch):
    """What is left of a module that was would fail all models after."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(0.3)\nwhole = True\n")
    with timed.stopped_after(0.02):
        import slow_to_import

        busy()
    assert slow_to_import.whole
    sys.modules.pop("slow_to_import")


def test_ctrl_c_is_not_the_clock():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job has not
    try:
        with pytest.raises(KeyboardInterrupt), timed.stopped_after(60):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_errors_pass_and_what_ends_in_time_stays():
    with pytest.raises(ValueError, match="own"), timed.stopped_after(60):
        raise ValueError("own")
    with timed.stopped_after(60):
        done = True
    assert done


# --- stages -------------------------------------------------------------------------------------------------

LISTS = {"learning_rate": Knob(choices=(1, 2, 3))}


@pytest.fixture
def stages(monkeypatch):
    """Call with what each stage takes and leaves late: what was asked of the stages, and what came of it.

    A has nothing to search; a trial of B takes 10 seconds, one of C 20.
    """

    def run(seconds, takes, late=(), seeds=(1,), done=()):
        clock, asked = Clock(), []
        takes, late = list(takes), list(late)

        def stage(experiment, left, folder, spent):
            tried = {
                entry.label: len(entry.search.get("learning_rate", Knob()).choices)
                for entry in experiment.models
            }
            asked.append((tried, experiment.seeds, left))
            clock.now += takes.pop(0)
            missing = late.pop(0) if late else ()
            finished = [entry for entry in experiment.models if entry.label not in missing]
            return timed.Chosen(finished, {}, list(missing))

        def is_chosen(alone):
            (entry,) = alone.models
            return entry.label in done and entry.search == (LISTS if entry.label != "A" else {})

        monkeypatch.setattr(timed, "time", clock)
        monkeypatch.setattr(timed, "groups_of", lambda experiment: [])
        monkeypatch.setattr(timed, "chosen_in_time", stage)
        monkeypatch.setattr(timed, "_is_chosen", is_chosen)
        monkeypatch.setattr(timed, "_runs_left", lambda alone: 2)
        monkeypatch.setattr(
            timed, "_seconds", lambda alone: {"A": 1.0, "B": 10.0, "C": 20.0}[alone.models[0].label]
        )
        monkeypatch.setattr(
            timed,
            "_with_search",
            lambda experiment, entry: replace(entry, search={} if entry.label == "A" else LISTS),
        )
        entries = tuple(Entry(label, label) for label in "ABC")
        experiment = Experiment("models", ("toy",), entries, Path("report"), seeds=seeds)
        return asked, timed.searched_in_time(experiment, seconds, Path("chosen"), lambda seconds: None)

    return run


def tried_of(found):
    return {
        entry.label: len((entry.search or {}).get("learning_rate", Knob()).choices)
        for entry in found.finished
    }


FIRST, WHOLE = {"A": 0, "B": 1, "C": 1}, {"A": 0, "B": 3, "C": 3}


def test_one_setting_each_then_the_search_of_all(stages):
    asked, found = stages(200, [31, 90])
    # two more trials and the best one once more, half as long again as the first: 45 + 90 seconds
    assert asked == [(FIRST, (1,), 200), ({"B": 3, "C": 3}, (1,), 169)]
    assert tried_of(found) == WHOLE and found.unsearched == {} and found.late == []


def test_nobody_is_searched_where_the_time_does_not_suffice_for_all(stages):
    asked, found = stages(160, [31])
    assert asked == [(FIRST, (1,), 160)]
    assert tried_of(found) == FIRST and found.unsearched == {"B": 45, "C": 90}


def test_nobody_is_searched_where_somebody_has_no_score(stages):
    asked, found = stages(900, [31], late=[("C",)])
    assert len(asked) == 1 and tried_of(found) == {"A": 0, "B": 1}
    assert found.late == ["C"] and found.unsearched == {"B": 45}


def test_whose_search_does_not_end_keeps_its_first_setting(stages):
    _, found = stages(200, [31, 160], late=[(), ("C",)])
    assert tried_of(found) == {"A": 0, "B": 3, "C": 1}
    assert found.unsearched == {"C": 90} and found.late == []


def test_the_other_seeds_have_their_time_kept(stages):
    """Two more runs of everything: 1.5 * 2 * 31 = 93 seconds."""
    asked, found = stages(240, [1, 90, 40], seeds=(1, 2, 3))
    assert asked == [(FIRST, (1,), 240), ({"B": 3, "C": 3}, (1,), 146), (WHOLE, (1, 2, 3), 149)]
    asked, found = stages(220, [1, 40], seeds=(1, 2, 3))
    assert asked == [(FIRST, (1,), 220), (FIRST, (1, 2, 3), 219)] and found.unsearched == {"B": 45, "C": 90}
    asked, found = stages(220, [1, 40], late=[(), ("C",)], seeds=(1, 2, 3))
    assert found.late == ["C"] and tried_of(found) == {"A": 0, "B": 1} and found.unsearched == {"B": 45}


def test_what_was_searched_before_is_not_taken_back(stages):
    asked, found = stages(0, [0], done=("A", "B", "C"))
    assert asked == [(WHOLE, (1,), 0)] and tried_of(found) == WHOLE and found.unsearched == {}
    asked, found = stages(100, [0, 90], done=("A", "B"))
    assert asked == [({"A": 0, "B": 3, "C": 1}, (1,), 100), ({"C": 3}, (1,), 100)]


# --- with models --------------------------------------------------------------------------------------------


def test_models_are_searched_on_validation_alone(here, capsys):
    """A second call finds all of it, and the settings that one model does not read are those of the others."""
    settings = {key: value for key, value in SETTINGS.items() if key != "embedding_size"}
    models = (
        Entry("Pop", "Pop"),
        Entry("GRU4Rec", "GRU4Rec", {"embedding_size": 8}),
        Entry("Wrong", "GRU4RecF", {"selected_features": ["nothing"]}),
    )
    experiment = Experiment(
        "models",
        ("toy",),
        models,
        Path("page"),
        seeds=(1,),
        settings={**settings, "epochs": 1},
        search=read_space({"learning_rate": [0.0001, 0.01]}, "search"),
        quiet=True,
    )
    spent = []
    found = timed.searched_in_time(experiment, 900, Path("chosen"), spent.append)
    assert labels(found) == ["Pop", "GRU4Rec"] and list(found.failed) == ["Wrong"] and found.unsearched == {}
    assert "nothing" in found.failed["Wrong"] and len(spent) == 4  # GRU4Rec twice
    assert not list(Path().rglob("test_readings.csv"))
    said = capsys.readouterr().out
    assert said.count("toy GRU4Rec search learning_rate=0.0001: validation") == 1
    assert said.count("toy GRU4Rec search learning_rate=0.01: validation") == 1
    assert said.index("=0.0001: v") < said.index("Every model has a score") < said.index("=0.01: v")
    again = timed.searched_in_time(experiment, 0, Path("chosen"), spent.append)
    assert again.finished == found.finished and again.late == ["Wrong"] and len(spent) == 4
    assert {entry.label: len(entry.search) for entry in found.finished} == {"Pop": 0, "GRU4Rec": 1}


def test_a_search_that_was_stopped_leaves_the_first_setting_as_it_was(here, monkeypatch):
    """Its cell is run when all trials have ended, in the folder of the first one's."""
    settings = {key: value for key, value in SETTINGS.items() if key != "embedding_size"}
    entries = (Entry("GRU4Rec", "GRU4Rec", {"embedding_size": 8}),)
    experiment = Experiment(
        *("models", ("toy",), entries, Path("page")),
        seeds=(1,),
        settings={**settings, "epochs": 1},
        search=read_space({"learning_rate": [0.0001, 0.01]}, "search"),
    )
    do, begun = cells._cell, []

    def stopped(job):
        begun.append(job)
        if len(begun) == 2:  # of the whole search
            assert not (job.folder / "record.json").exists()
            raise KeyboardInterrupt
        do(job)

    monkeypatch.setattr(cells, "_cell", stopped)
    with pytest.raises(KeyboardInterrupt, match="0 of 1 cells"):
        timed.searched_in_time(experiment, 900, Path("chosen"), lambda seconds: None)
    assert len(list(Path("runs").rglob("search/*/record.json"))) == 2
    found = timed.searched_in_time(experiment, 0, Path("chosen"), lambda seconds: None)
    assert found.finished[0].search["learning_rate"].choices == (0.0001,) and len(begun) == 2
    assert list(found.unsearched) == ["GRU4Rec"]
    folder = Path("runs/experiments/models/toy/GRU4Rec/seed-1")
    assert (folder / "record.json").is_file() and not folder.with_name(".before-seed-1").exists()
    found = timed.searched_in_time(experiment, 900, Path("chosen"), lambda seconds: None)
    assert found.finished[0].search["learning_rate"].choices == (0.0001, 0.01) and len(begun) == 3
