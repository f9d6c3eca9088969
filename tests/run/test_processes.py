"""More processes than one: `worker` gives the same numbers or says that it does not, `nproc` is refused."""

import pytest

import recbole_ext
from recbole_ext.errors import UsageError
from recbole_ext.run.run import configure


@pytest.fixture
def run(write_log, random_log, tmp_path, monkeypatch, no_curves):
    write_log(random_log(sessions=120))
    monkeypatch.chdir(tmp_path)

    def run_with(model, **settings):
        common = {
            **{"data_path": str(tmp_path / "data"), "use_gpu": False, "state": "ERROR", "topk": [5, 10]},
            **{"epochs": 2, "train_batch_size": 64, "eval_batch_size": 64, "metric_decimal_place": 9},
            "eval_args": {"split": {"session_time": [0.7, 0.1, 0.2]}, **settings.pop("eval_args", {})},
        }
        return recbole_ext.run(model, "toy", **{**common, **settings})

    return run_with


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("GRU4Rec", {"dropout_prob": 0.3}),  # buckets, and dropout that draws beside
        ("GRU4Rec", {"length_buckets": False}),
        ("GRU4Rec", {"loss_type": "BPR"}),  # a negative a row
        ("GRU4Rec", {"eval_args": {"mode": "uni20"}}),
        ("BERT4Rec", {"n_layers": 1}),  # masks
        ("SASRec", {"train_targets": "all_positions", "n_layers": 1}),
    ],
    ids=["buckets", "no buckets", "negatives", "candidates", "masks", "positions"],
)
def test_worker_changes_no_number(run, model, settings):
    alone, two = (run(model, worker=number, **settings) for number in (0, 2))
    for key in ("epochs", "valid", "test"):
        assert two[key] == alone[key], key
    assert two["notes"] == alone["notes"]


def test_recboles_own_loaders_are_told_of(run):
    """BPR's negatives are drawn in the processes, which is RecBole's way."""
    split = {"split": {"LS": "valid_and_test"}}
    notes = [run("BPR", worker=number, epochs=1, eval_args=split)["notes"] for number in (0, 2)]
    told = "worker 2: negatives and masks are drawn in each process, and others than with worker 0"
    assert told in notes[1] and not any("worker" in note for note in notes[0])


@pytest.mark.parametrize("model", ["SKNN", "Pop", "GRU4Rec"])
@pytest.mark.parametrize("key", ["nproc", "world_size"])
def test_several_processes_are_refused(model, key):
    with pytest.raises(
        UsageError, match=rf"^{key} is 2, but processes are started by torchrun: leave it out"
    ):
        configure(model, "diginetica-demo", {key: 2})


def test_so_they_are_at_recbole_s_own_door(tmp_path, monkeypatch):
    """Its spawned processes begin with a Config that knows their number."""
    from recbole.config import Config

    recbole_ext.install()
    with pytest.raises(UsageError, match=r"started by torchrun .*: leave local_rank out"):
        Config("SKNN", "diginetica-demo", config_dict={"nproc": 2, "world_size": 2, "local_rank": 1})


def test_a_loss_that_is_no_number_is_a_sentence(run):
    with pytest.raises(UsageError, match=r"^the training loss of GRU4Rec is nan: lower learning_rate, "):
        run("GRU4Rec", learning_rate=1e30, learner="sgd", epochs=3)
