"""Runs told to MLflow and Weights & Biases: what stands there is what the record says, a run each, whatever happens.

The packages are large and not among those of the tests: stand-ins of the same signatures take their place, trackers.py.
"""

import importlib.util
import inspect
import json
import logging
import re
import sys
import typing
from pathlib import Path

import pytest

import recbole_ext
from recbole_ext.cli import main
from recbole_ext.errors import Ended, UsageError
from recbole_ext.run.trackers import metric_name
from recbole_ext.run.tracking import Called
from recbole_ext.settings.place import Place

_spec = importlib.util.spec_from_file_location("stand_in_trackers", Path(__file__).parent / "trackers.py")
stand_ins = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stand_ins)


@pytest.fixture
def toy(write_log, random_log, tmp_path, monkeypatch, no_curves):
    """Settings of a run on a small log, in a folder of its own."""
    write_log(random_log())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("recbole_ext.experiment.results.write_results", lambda grid, command: True)
    level = logging.getLogger().level
    yield {
        **{
            "data_path": str(tmp_path / "data"),
            "use_gpu": False,
            "topk": [5, 10],
            "metrics": ["NDCG", "Hit"],
        },
        **{"valid_metric": "NDCG@5", "eval_args": {"split": {"session_time": [0.7, 0.1, 0.2]}}, "epochs": 2},
        **{"embedding_size": 8, "hidden_size": 8, "state": "ERROR"},
    }
    logging.getLogger().setLevel(level)


@pytest.fixture
def mlflow(monkeypatch):
    store = stand_ins.MLflowStore()
    for name, module in store.module().items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return store


@pytest.fixture
def wandb(monkeypatch, tmp_path):
    (tmp_path / "wandb").mkdir()
    store = stand_ins.WandbStore(tmp_path / "wandb")
    for name, module in store.module().items():
        monkeypatch.setitem(sys.modules, name, module)
    return store


def run(toy, model="GRU4Rec", **settings):
    return recbole_ext.run(model, "toy", **{**toy, **settings})


def grid(toy, *words, models="GRU4Rec,SKNN", seeds="1,2"):
    """The exit code of a grid."""
    given = [f"--{key}={value}" for key, value in toy.items()]
    return main(["run", f"--model={models}", "--dataset=toy", f"--seed={seeds}", *given, *words])


def curve(tracked, name):
    return [(step, value) for key, step, value in tracked.metrics if key == name]


def check_is_record(tracked, record):
    """What MLflow has is what the record says, each once."""
    epochs = record["epochs"]
    assert curve(tracked, "train/loss") == [(one["epoch"], one["train_loss"]) for one in epochs]
    scored = [(one["epoch"], one["valid_score"]) for one in epochs if one["valid_score"] is not None]
    told = curve(tracked, "valid/ndcg_at_5")
    assert [step for step, _ in told] == [step for step, _ in scored]
    assert [value for _, value in told] == pytest.approx([value for _, value in scored], abs=1e-6)
    last = max((one["epoch"] for one in epochs), default=0)
    for name, value in record["test"].items():
        assert curve(tracked, metric_name("test", name)) == [(last, value)]
    assert tracked.params["eval_args.split.session_time"] == "[0.7, 0.1, 0.2]"
    for key in ("learning_rate", "hidden_size", "MAX_ITEM_LIST_LENGTH", "seed"):
        assert tracked.params.get(key) == str(record["config"].get(key)) or key not in record["config"]


# --- names -------------------------------------------------------------------------------------------------


def test_names_of_metrics_are_those_of_the_page():
    page = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text(encoding="utf-8")
    for part, name, there in (
        ("train", "loss", "train/loss"),
        ("valid", "NDCG@10", "valid/ndcg_at_10"),
        ("best_valid", "ndcg@10", "best_valid/ndcg_at_10"),
        ("best_valid", "epoch", "best_valid/epoch"),
        ("test", "ndcg@10", "test/ndcg_at_10"),
        ("seconds", "train", "seconds/train"),
    ):
        assert metric_name(part, name) == there
        assert f"`{there}`" in page, there
    assert stand_ins.NAMES.fullmatch(metric_name("train", "Q (mean) @ step"))


def test_every_tracker_has_its_word_in_the_settings():
    from recbole_ext.run.trackers import TRACKERS
    from recbole_ext.settings.base import choices_of

    (words,) = [
        part for part in typing.get_args(Place.model_fields["track"].annotation) if part is not type(None)
    ]
    named = choices_of(typing.get_args(typing.get_args(words)[0])[0])
    assert named == list(TRACKERS)


@pytest.mark.parametrize(
    ("given", "understood"), [("mlflow", ["mlflow"]), ("mlflow, wandb", ["mlflow", "wandb"])]
)
def test_track_is_a_word_or_several(given, understood):
    assert Place.read({"track": given}).track == understood
    with pytest.raises(UsageError, match="it has to be mlflow, wandb, or both in a list"):
        Place.read({"track": "tensorboard"})


# --- one run -----------------------------------------------------------------------------------------------


def test_what_mlflow_has_of_a_run_is_its_record(toy, mlflow):
    record = run(toy, track="mlflow", seed=3)
    (tracked,) = mlflow.runs.values()
    check_is_record(tracked, record)
    assert tracked.name == "toy GRU4Rec seed 3" and tracked.status == ["RUNNING", "FINISHED"]
    assert mlflow.experiments == {"toy": tracked.experiment}
    wanted = {"dataset": "toy", "model": "GRU4Rec", "seed": "3", "stage": "run", "ended": "finished"}
    assert wanted.items() <= tracked.tags.items()
    assert record["commit"] is None or tracked.tags["commit"] == record["commit"]
    card = Path(record["files"]["model"], "README.md").read_text(encoding="utf-8")
    assert tracked.texts == {"model_card.md": card}
    assert curve(tracked, "best_valid/epoch") == [(1, record["best_epoch"])]
    assert record["tracked"] == {"mlflow": "run0"}


def test_epochs_that_nothing_validates_are_told_when_they_end(toy, mlflow):
    record = run(toy, track="mlflow", eval_step=2, epochs=3)
    (tracked,) = mlflow.runs.values()
    check_is_record(tracked, record)
    told = [(key, step) for key, step, _ in tracked.metrics if key in ("train/loss", "valid/ndcg_at_5")]
    assert told == [("train/loss", 0), ("train/loss", 1), ("valid/ndcg_at_5", 1), ("train/loss", 2)]


def test_a_model_that_learns_at_once_and_a_blend_are_told_too(toy, mlflow):
    parts = {"blend_models": ["GRU4Rec", "SKNN"], "blend_settings": [{}, {}]}
    rest = {
        key: value for key, value in toy.items() if key not in ("epochs", "embedding_size", "hidden_size")
    }
    record = run(rest, "SKNN", track="mlflow")
    check_is_record(mlflow.runs["run0"], record)
    parts["blend_settings"][0] = {key: toy[key] for key in ("epochs", "embedding_size", "hidden_size")}
    record = run(rest, "Blend", track="mlflow", **parts)
    tracked = mlflow.runs["run1"]
    assert tracked.name == "toy Blend seed 2020" and tracked.status[-1] == "FINISHED"
    told = curve(tracked, "train/loss")
    assert told == [(one["epoch"], one["train_loss"]) for one in record["epochs"]] and len(told) == 3


def test_a_label_is_in_the_name_and_an_active_run_is_the_parent(toy, mlflow, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ours")
    rest = {
        key: value for key, value in toy.items() if key not in ("epochs", "embedding_size", "hidden_size")
    }
    run(rest, "SKNN", track="mlflow", label="near")
    info = stand_ins.SimpleNamespace(run_id="above", experiment_id="7")
    mlflow.active = stand_ins.SimpleNamespace(info=info)
    run(rest, "SKNN", track="mlflow")
    first, second = mlflow.runs.values()
    assert first.name == "toy near seed 2020" and mlflow.experiments == {"ours": first.experiment}
    assert "mlflow.parentRunId" not in first.tags
    assert second.tags["mlflow.parentRunId"] == "above" and second.experiment == "7"


def test_what_wandb_has_of_a_run_is_its_record(toy, wandb):
    record = run(toy, track="wandb", seed=3, wandb_project="shop")
    (tracked,) = wandb.runs
    assert (tracked.given["project"], tracked.given["name"], tracked.given["group"]) == (
        "shop",
        "toy GRU4Rec seed 3",
        "toy",
    )
    assert tracked.config["hidden_size"] == 8 and tracked.config["run.stage"] == "run"
    losses = [(one["epoch"], one["train/loss"]) for one in tracked.history if "train/loss" in one]
    assert losses == [(one["epoch"], one["train_loss"]) for one in record["epochs"]]
    scores = [one["valid/ndcg_at_5"] for one in tracked.history if "valid/ndcg_at_5" in one]
    assert scores == pytest.approx([one["valid_score"] for one in record["epochs"]], abs=1e-6)
    assert tracked.metrics["train/*"] == tracked.metrics["valid/*"] == "epoch"
    assert tracked.summary["test/ndcg_at_5"] == record["test"]["ndcg@5"]
    assert [Path(file).name for file in tracked.saved] == ["model_card.md"]
    assert Path(tracked.saved[0]).read_text(encoding="utf-8").startswith("# GRU4Rec on toy")
    assert tracked.ended == 0


def test_log_wandb_gives_the_names_that_recbole_gives(toy, wandb):
    record = run(toy, log_wandb=True)
    (tracked,) = wandb.runs  # RecBole's trainer has begun none of its own
    assert tracked.given["project"] == "recbole"
    assert tracked.metrics == {"train/*": "train_step", "valid/*": "valid_step"}
    first, second = tracked.history[:2]
    loss = record["epochs"][0]["train_loss"]
    assert first == {"train/train_loss": loss, "train/epoch": 0, "train_step": 0}
    assert set(second) == {"valid_step", *(f"valid/{name}" for name in record["test"])}
    assert tracked.summary["eval/ndcg@5"] == record["test"]["ndcg@5"]


def test_an_open_run_of_the_user_s_own_is_told_and_stays_open(toy, wandb):
    own = stand_ins.WandbRun(wandb, wandb.folder)
    own.config = stand_ins.Config()
    wandb.wandb.run = own
    for _ in range(2):
        run(toy, track="wandb")
    assert wandb.runs == [] and own.ended is None and wandb.wandb.run is own
    assert own.config["hidden_size"] == 8 and len(own.history) == 8 and "test/ndcg_at_5" in own.summary
    assert grid(toy, "--track=wandb", models="GRU4Rec") == 0
    assert [cell.given["reinit"] for cell in wandb.runs] == ["create_new"] * 2 and len(own.history) == 8


# --- how a run ends ------------------------------------------------------------------------------------------


def test_a_run_that_fails_is_marked_failed(toy, mlflow, wandb, monkeypatch):
    def fails(*args, **kwargs):
        raise ValueError("no room\nfor it")

    monkeypatch.setattr("recbole_ext.run.run._test", fails)
    with pytest.raises(ValueError, match="no room"):
        run(toy, track=["mlflow", "wandb"])
    (tracked,) = mlflow.runs.values()
    assert tracked.status[-1] == "FAILED" and tracked.tags["ended"] == "failed: no room"
    assert len(curve(tracked, "train/loss")) == 2 and not curve(tracked, "test/ndcg_at_5")
    assert wandb.runs[0].ended == 1 and wandb.runs[0].summary["ended"] == "failed: no room"


def test_a_run_that_was_ended_on_purpose_has_not_failed(toy, mlflow, wandb):
    from recbole_ext.run.run import run as run_whole

    def watch(epoch, score):
        raise Ended("pruned after epoch 1")

    with pytest.raises(Ended):
        run_whole("GRU4Rec", "toy", {**toy, "track": ["mlflow", "wandb"]}, watch=watch)
    (tracked,) = mlflow.runs.values()
    assert tracked.status[-1] == "KILLED" and tracked.tags["ended"] == "pruned: after epoch 1"
    assert len(curve(tracked, "valid/ndcg_at_5")) == 1 and wandb.runs[0].ended == 0


@pytest.mark.parametrize("answers", [12, 8, 6])
def test_a_tracker_that_fails_is_told_no_more_and_the_run_goes_on(toy, mlflow, wandb, capfd, answers):
    mlflow.answers = answers
    record = run(toy, track=["mlflow", "wandb"])
    said = capfd.readouterr().err
    assert said.count("mlflow") == 1 and "goes on" in said
    assert "mlflow is told no more of toy GRU4Rec seed 2020, which goes on (Max retries exceeded)" in said
    assert record["test"] and wandb.runs[0].ended == 0 and len(wandb.runs[0].history) == 4


def test_one_that_does_not_answer_at_the_start_is_told_before_anything_runs(toy, mlflow, wandb, capsys):
    mlflow.answers = 0
    with pytest.raises(
        UsageError, match=r"^MLflow does not answer at http://nobody:5000 \(Max retries exceeded\): start"
    ):
        run(toy, track="mlflow")
    assert grid(toy, "--track=mlflow") == 2
    assert "error: MLflow does not answer at http://nobody:5000" in capsys.readouterr().err
    mlflow.answers = float("inf")
    wandb.wandb.init, init = None, wandb.wandb.init
    with pytest.raises(UsageError, match=r"^wandb cannot be told of the run"):
        run(toy, track=["mlflow", "wandb"])
    (tracked,) = mlflow.runs.values()
    assert tracked.status[-1] == "FAILED"
    wandb.wandb.init, wandb.account = init, False
    with pytest.raises(
        UsageError, match=r"knows no account here \(No API key configured\): call wandb login"
    ):
        run(toy, track="wandb")
    assert not list(Path("runs").rglob("record.json")) and not list(Path().rglob("*.pth"))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"track": "mlflow"},
            "track: mlflow needs mlflow, which is not installed: pip install 'recbole-ext[mlflow]'",
        ),
        (
            {"track": "wandb"},
            "track: wandb needs wandb, which is not installed: pip install 'recbole-ext[wandb]'",
        ),
        (
            {"log_wandb": True},
            "log_wandb needs wandb, which is not installed: pip install 'recbole-ext[wandb]'",
        ),
    ],
)
def test_one_that_is_not_installed_is_told_before_anything_runs(toy, monkeypatch, capsys, given, says):
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=re.escape(says)):
        run(toy, **given)
    assert grid(toy, *(f"--{key}={value}" for key, value in given.items())) == 2
    assert says in capsys.readouterr().err
    assert not list(Path("runs").rglob("*.json"))


def test_nothing_is_imported_where_nobody_is_told(toy, monkeypatch):
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)  # an import raises
    record = run(toy, "GRU4Rec")
    assert "tracked" not in record and not Path("mlruns").exists()


def test_of_several_processes_the_first_alone_tells(toy, mlflow, monkeypatch):
    from recbole_ext.processes import Processes
    from recbole_ext.run import several
    from recbole_ext.run.run import configure
    from recbole_ext.run.tracking import wanted

    config = configure("GRU4Rec", "toy", {**toy, "track": "mlflow"})
    assert wanted(config).trackers == ("mlflow",)
    monkeypatch.setattr(several, "current", lambda: Processes(1, 2, 1))
    with several.aside(config):
        assert wanted(config).trackers == ()


# --- experiments -------------------------------------------------------------------------------------------


def test_every_cell_of_a_grid_is_a_run_of_its_own(toy, mlflow, capsys):
    assert grid(toy, "--track=mlflow", "--name=try") == 0
    names = [f"toy {model} seed {seed}" for model in ("GRU4Rec", "SKNN") for seed in (1, 2)]
    assert [run.name for run in mlflow.runs.values()] == names and list(mlflow.experiments) == ["try"]
    for name, tracked in mlflow.by_name().items():
        model, seed = name.split()[1], name.split()[3]
        folder = Path("runs/experiments/try/toy", model, f"seed-{seed}")
        check_is_record(tracked, json.loads((folder / "record.json").read_text()))
        assert tracked.status == ["RUNNING", "FINISHED"] and tracked.tags["experiment"] == "try"
        assert tracked.tags["stage"] == "cell" and tracked.params["seed"] == seed
    before = {known: list(run.metrics) for known, run in mlflow.runs.items()}
    mlflow.answers = 0  # nobody is asked where all is finished
    assert grid(toy, "--track=mlflow", "--name=try") == 0
    assert {known: run.metrics for known, run in mlflow.runs.items()} == before
    # to be told is no part of what a cell is
    assert grid(toy, "--name=try") == 0 and "runs again" not in capsys.readouterr().out


def test_a_cell_that_failed_or_was_interrupted_goes_on_in_its_run(toy, mlflow, monkeypatch):
    from recbole_ext.run import checkpoints
    from recbole_ext.trainer.session import SessionTrainer

    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)  # a checkpoint each epoch
    train = SessionTrainer._train_epoch
    stops = {1: KeyboardInterrupt(), 2: ValueError("worn out")}

    def stopping(self, data, epoch, *args, **kwargs):
        if stop := stops.pop(epoch, None):
            raise stop
        return train(self, data, epoch, *args, **kwargs)

    monkeypatch.setattr(SessionTrainer, "_train_epoch", stopping)
    words = ("--track=mlflow", "--epochs=3", "--stopping_step=9")
    toy.pop("epochs")
    assert grid(toy, *words, models="GRU4Rec") == 130
    mlflow.answers = 1  # the experiment's question, and not the cell's
    stops[1] = KeyboardInterrupt()
    assert grid(toy, *words, models="GRU4Rec") == 130
    mlflow.answers = float("inf")
    assert grid(toy, *words, models="GRU4Rec") == 1
    tracked = mlflow.runs["run0"]
    assert tracked.tags["ended"] == "failed: worn out"
    assert grid(toy, *words, models="GRU4Rec") == 0
    assert list(mlflow.runs) == ["run0", "run1"] and mlflow.runs["run1"].status == ["RUNNING", "FINISHED"]
    assert tracked.status == ["RUNNING", "KILLED", "RUNNING", "FAILED", "RUNNING", "FINISHED"]
    record = json.loads(Path("runs/experiments/toy/toy/GRU4Rec/seed-1/record.json").read_text())
    check_is_record(tracked, record)
    assert [step for step, _ in curve(tracked, "train/loss")] == [0, 1, 2]


def test_the_runs_before_a_cell_say_what_they_are_for(toy, mlflow):
    assert grid(toy, "--track=mlflow", "--refit=True", models="GRU4Rec") == 0
    first, second, *others = mlflow.runs.values()
    assert len(others) == 2
    assert (first.name, first.tags["stage"]) == ("toy GRU4Rec seed 1, its number of epochs", "epochs")
    assert not curve(first, "test/ndcg_at_5") and len(curve(first, "valid/ndcg_at_5")) == 2
    assert (second.name, second.tags["stage"]) == ("toy GRU4Rec seed 1", "cell")
    assert curve(second, "test/ndcg_at_5") and not curve(second, "valid/ndcg_at_5")


def test_trials_of_a_search_are_told_apart_from_the_cell_that_goes_on_from_the_best(toy, mlflow):
    asked = {"datasets": ["toy"], "models": ["GRU4Rec"], "seeds": [1], "settings": {**toy, "track": "mlflow"}}
    Path("try.yaml").write_text(json.dumps({**asked, "search": {"learning_rate": [0.01, 0.001]}}))
    assert main(["experiment", "try.yaml"]) == 0
    *trials, cell = mlflow.runs.values()
    assert [one.name for one in trials] == [
        f"toy GRU4Rec search learning_rate={rate}" for rate in (0.01, 0.001)
    ]
    assert {one.tags["stage"] for one in trials} == {"search"} and not curve(trials[0], "test/ndcg_at_5")
    assert cell.name == "toy GRU4Rec seed 1" and cell.tags["stage"] == "cell"
    check_is_record(cell, json.loads(Path("runs/experiments/try/toy/GRU4Rec/seed-1/record.json").read_text()))
    assert len(curve(cell, "train/loss")) == 2  # it trained none of them itself


def test_a_run_that_is_gone_at_the_tracker_is_begun_anew(toy, mlflow, tmp_path):
    from recbole_ext.run.run import run as run_whole

    called = Called("toy GRU4Rec seed 1", "try", "cell")
    folder = tmp_path / "cell"
    given = {**toy, "track": "mlflow", "checkpoint_dir": str(folder)}
    run_whole("GRU4Rec", "toy", given, folder=folder, test=False, called=called)
    told = curve(mlflow.runs.pop("run0"), "train/loss")
    mlflow.runs["other"] = None
    record = run_whole("GRU4Rec", "toy", given, folder=folder, called=called)
    tracked = mlflow.runs[record["tracked"]["mlflow"]]
    assert curve(tracked, "train/loss") == told and curve(tracked, "test/ndcg_at_5")


# --- the real ones -----------------------------------------------------------------------------------------

REASON = "{0} is large: pip install 'recbole-ext[{0}]' and call this again"


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_the_stand_ins_have_the_signatures_of_the_real_packages(name, tmp_path):
    """What ours calls by name or place is there, in that order."""
    real = pytest.importorskip(
        name, reason=f"{name} is large: pip install 'recbole-ext[{name}]' and call this again"
    )
    if name == "mlflow":
        ours, theirs = stand_ins.MLflowStore().module()["mlflow"].MlflowClient, real.MlflowClient
    else:
        ours, theirs = stand_ins.WandbRun, real.Run
    for method in (key for key, value in vars(ours).items() if inspect.isfunction(value) and key[0] != "_"):
        mine, real_ones = (list(inspect.signature(getattr(cls, method)).parameters) for cls in (ours, theirs))
        assert mine == real_ones[: len(mine)], method
    if name == "wandb":
        init = inspect.signature(stand_ins.WandbStore(tmp_path).module()["wandb"].init).parameters
        assert set(init) <= set(inspect.signature(real.init).parameters)


@pytest.mark.slow
def test_a_grid_of_two_processes_at_the_real_mlflow(toy, tmp_path, monkeypatch):
    real = pytest.importorskip("mlflow", reason=REASON.format("mlflow"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/tracked.db")
    assert grid(toy, "--track=mlflow", "--name=real", "--workers=2") == 0
    client = real.MlflowClient(f"sqlite:///{tmp_path}/tracked.db")
    found = client.search_runs([client.get_experiment_by_name("real").experiment_id])
    assert sorted(one.info.run_name for one in found) == [
        f"toy {m} seed {s}" for m in ("GRU4Rec", "SKNN") for s in (1, 2)
    ]
    for one in found:
        folder = Path("runs/experiments/real/toy", one.data.tags["model"], f"seed-{one.data.tags['seed']}")
        record = json.loads((folder / "record.json").read_text())
        assert one.info.status == "FINISHED" and record["tracked"] == {"mlflow": one.info.run_id}
        metrics = [
            (name, point.step, point.value)
            for name in one.data.metrics
            for point in client.get_metric_history(one.info.run_id, name)
        ]
        check_is_record(stand_ins.SimpleNamespace(metrics=metrics, params=one.data.params), record)
        assert [file.path for file in client.list_artifacts(one.info.run_id)] == ["model_card.md"]


@pytest.mark.slow
def test_a_grid_of_two_processes_at_the_real_wandb(toy, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason=REASON.format("wandb"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert grid(toy, "--track=wandb", "--name=real", "--workers=2") == 0
    files = list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 4 and len(list(tmp_path.glob("wandb/offline-run-*/files/model_card.md"))) == 4
    told = b"".join(file.read_bytes() for file in files)
    for name in (
        "GRU4Rec seed 1",
        "GRU4Rec seed 2",
        "SKNN seed 1",
        "SKNN seed 2",
        "test/ndcg_at_5",
        "valid/ndcg_at_5",
    ):
        assert name.encode() in told
