"""What a run writes is its own: names that no two runs share, a log, a TensorBoard folder, a tracking run each."""

import logging
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

import recbole_ext
from recbole_ext.errors import UsageError

MODELS = ("GRU4Rec", "SKNN", "GRU4Rec")


@pytest.fixture
def toy(write_log, random_log, tmp_path, monkeypatch, no_curves):
    """Settings of a run on a small log, in a folder of its own."""
    write_log(random_log(), items=[{"item_id": f"i{i}", "category": f"c{i % 4}"} for i in range(30)])
    monkeypatch.chdir(tmp_path)
    level = logging.getLogger().level
    yield {
        **{"data_path": str(tmp_path / "data"), "use_gpu": False, "topk": [5], "metrics": ["NDCG"]},
        **{"valid_metric": "NDCG@5", "eval_args": {"split": {"session_time": [0.7, 0.1, 0.2]}}},
    }
    logging.getLogger().setLevel(level)


@pytest.fixture
def as_new_process(monkeypatch):
    """Takes pytest's own handlers off the root logger, once the test has begun."""
    return lambda: monkeypatch.setattr(logging.getLogger(), "handlers", [])


def run(toy, model, **settings):
    epochs = {} if model == "SKNN" else {"epochs": 1}
    return recbole_ext.run(model, "toy", **{**toy, **epochs, **settings})


def test_every_run_of_a_process_has_its_own_log_and_folder(toy, as_new_process):
    as_new_process()
    for model in MODELS:
        run(toy, model)
    logs = sorted(Path("log").glob("*/*.log"))
    assert [log.parent.name for log in logs] == sorted(MODELS)
    for log in logs:
        text = log.read_text()
        assert text.count("\nvalid_metric = NDCG@5") == 1, log  # the settings of one run
        assert text.count("Saving current") == 1
        assert f"saved/{log.parent.name}-" in text
    assert sorted(place.name for place in Path("log_tensorboard").iterdir()) == sorted(
        log.stem for log in logs
    )
    for place in Path("log_tensorboard").iterdir():
        assert len(list(place.glob("events*"))) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_curves_go_on_in_their_folder_and_one_that_is_gone_is_told(
    make_config, as_new_process, tmp_path, monkeypatch, caplog
):
    from recbole_ext.bridge.patches import logs

    as_new_process()
    monkeypatch.chdir(tmp_path)
    logs.init_logger(make_config("Pop", state="INFO"))
    writer = logs.get_tensorboard(logging.getLogger())
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    writer.add_scalar("before", 1.0, 0)
    writer.flush()
    file = next((tmp_path / "log_tensorboard").rglob("events*"))
    assert b"before" in file.read_bytes()
    shutil.rmtree(tmp_path / "log_tensorboard")
    writer.add_scalar("after", 1.0, 1)
    logging.getLogger().addHandler(caplog.handler)
    logs.end_run()
    assert "are not whole" in caplog.text and not logs._writers


def test_every_cell_of_a_grid_has_its_own_log(toy, as_new_process):
    as_new_process()
    from recbole_ext.cli import main

    words = [f"--{key}={value}" for key, value in toy.items()]
    assert (
        main(
            [
                "run",
                "--model=GRU4Rec,SKNN",
                "--dataset=toy",
                "--seed=1,2",
                "--epochs=1",
                "--state=INFO",
                *words,
            ]
        )
        == 0
    )
    logs = list(Path("log").glob("*/*.log"))
    assert len(logs) == 4 and all(log.read_text().count("\nvalid_metric = NDCG@5") == 1 for log in logs)
    assert len(list(Path("log_tensorboard").iterdir())) == 4


def test_handlers_of_the_user_s_own_stay(toy, as_new_process):
    as_new_process()
    own = logging.NullHandler()
    logging.getLogger().addHandler(own)
    logging.getLogger().setLevel(logging.INFO)
    for model in MODELS[:2]:
        run(toy, model)
    assert logging.getLogger().handlers == [own]
    assert len(list(Path("log").glob("*/*.log"))) == 2


def test_what_is_said_after_a_run_is_not_in_its_log(toy, as_new_process):
    as_new_process()
    run(toy, "SKNN")
    shutil.rmtree("log")
    logging.getLogger().warning("said after the run")
    assert not Path("log").exists()


def test_a_run_that_fails_ends_its_log(toy, as_new_process, monkeypatch):
    as_new_process()
    monkeypatch.setattr("recbole_ext.run.run._experiment", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(toy, "SKNN")
    assert logging.getLogger().handlers == []


class Tracker(SimpleNamespace):
    """What RecBole asks of wandb."""

    def init(self, **options):
        self.begun.append(options["config"]["model"])
        self.run = SimpleNamespace(summary={}, finish=self.finish)

    def finish(self):
        self.ended.append(self.begun[-1])
        self.run = None


def tracker(run=None):
    ignored = {"log": lambda *args, **options: None, "define_metric": lambda *args, **options: None}
    return Tracker(begun=[], ended=[], run=run, **ignored)


@pytest.mark.parametrize("own", [None, SimpleNamespace(summary={})])
def test_by_recbole_s_own_door_a_tracking_run_ends_with_its_run(make_config, monkeypatch, own):
    """By ours: test_tracking.py."""
    from recbole.utils.wandblogger import WandbLogger

    from recbole_ext.bridge.patches.logs import end_run

    wandb = tracker(own)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for model in MODELS:
        WandbLogger(make_config(model, log_wandb=True))
        end_run()
    assert wandb.begun == wandb.ended == ([] if own else list(MODELS)) and wandb.run is own
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match="log_wandb is True, but wandb is not installed: pip install wandb"):
        WandbLogger(make_config("Pop", log_wandb=True))


def test_run_folders_of_one_instant_differ(toy, monkeypatch):
    from recbole_ext.run import record
    from recbole_ext.run.run import configure

    monkeypatch.setattr(
        record, "datetime", SimpleNamespace(now=lambda zone: datetime(2026, 11, 28, tzinfo=UTC))
    )
    config = configure("SKNN", "toy", toy)
    assert len({record.Run(config).folder for _ in range(20)}) == 20


def test_checkpoints_of_one_second_and_of_a_first_stage_differ(toy, monkeypatch):
    """Two runs of one model with one seed: S3Rec's first stage is named by data set and epoch in RecBole."""
    stage = {"item_attribute": "category", "pretrain_epochs": 1, "save_step": 1}
    first = [run(toy, "S3Rec", **stage) for _ in range(2)]
    assert all("S3Rec's first stage" in " ".join(record["notes"]) for record in first)
    found = [record["checkpoint"] for record in first]
    second = run(toy, "S3Rec", item_attribute="category", train_stage="finetune", pre_model_path=found[0])
    assert "first stage" not in " ".join(second["notes"])
    found += [run(toy, "GRU4Rec")["checkpoint"] for _ in range(2)]
    assert len(set(found)) == 4 and all(Path(file).is_file() for file in found)
    assert found[0].endswith("-toy-1.pth")
