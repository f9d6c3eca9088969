"""When training stops, and which epoch is kept: equal scores are no better, and scores are compared unrounded."""

import math

import pytest

from recbole_ext.bridge.patches.stopping import early_stopping

SPLIT = {"session_time": [0.7, 0.1, 0.2]}


def fitted(build, monkeypatch, scores, **settings):
    """A trainer that has validated `scores`, one an epoch, and the epoch of the checkpoint it has kept."""
    from recbole_ext.bridge.checkpoint import read_checkpoint

    settings = {"epochs": len(scores), "stopping_step": 3, "split": SPLIT, "topk": [1, 5], **settings}
    (train, valid, _), _, trainer = build("GRU4Rec", **settings)
    coming = iter(scores)

    def evaluate(self, struct):
        self.exact = {"ndcg@5": next(coming), "hit@5": float(len(trainer.train_loss_dict))}
        return {key: round(value, self.config["metric_decimal_place"]) for key, value in self.exact.items()}

    from recbole.evaluator import Evaluator

    monkeypatch.setattr(Evaluator, "evaluate", evaluate)
    monkeypatch.setattr(type(trainer), "_train_epoch", lambda self, *args, **options: 0.0)
    trainer.fit(train, valid, verbose=False)
    return trainer, read_checkpoint(trainer.saved_model_file)


def test_a_plateau_stops_and_keeps_its_first_epoch(build, monkeypatch):
    trainer, kept = fitted(build, monkeypatch, [0.1] + [0.2] * 59)
    assert (
        len(trainer.train_loss_dict) == 6
    )  # the best is the second, then stopping_step 3, then the one that stops
    assert kept["epoch"] == 1
    assert trainer.best_valid_result["hit@5"] == kept["best_valid_result"]["hit@5"] == 2


def test_a_worse_score_that_rounds_to_the_same_is_worse(build, monkeypatch):
    scores = [0.1, 0.20004, 0.20001, 0.19999, 0.20002, 0.20003]
    trainer, kept = fitted(build, monkeypatch, scores, metric_decimal_place=4)
    assert trainer.best_valid_score == kept["best_valid_score"] == 0.20004
    assert trainer.best_valid_result["ndcg@5"] == 0.2
    assert kept["epoch"] == 1


def test_a_better_score_that_rounds_to_the_same_is_better(build, monkeypatch):
    _, kept = fitted(build, monkeypatch, [0.20001, 0.20002, 0.20003], metric_decimal_place=4)
    assert kept["epoch"] == 2


def test_what_is_saved_on_a_plateau_knows_the_best_epoch(build, monkeypatch, tmp_path):
    """An equal score later is not the best epoch's result, also in a checkpoint of the last epoch."""
    from recbole_ext.bridge.checkpoint import read_checkpoint

    trainer, _ = fitted(build, monkeypatch, [0.1, 0.2, 0.2])
    file = str(tmp_path / "last.pth")
    trainer._save_checkpoint(2, verbose=False, saved_model_file=file)
    assert read_checkpoint(file)["best_valid_result"]["hit@5"] == 2


@pytest.mark.parametrize(
    ("value", "best", "bigger", "better"),
    [
        (0.5, 0.4, True, True),
        (0.5, 0.5, True, False),
        (0.4, 0.5, False, True),
        (0.5, 0.5, False, False),
        (0.0, -math.inf, True, True),
        (math.nan, -math.inf, True, True),  # else nothing would be saved
        (math.nan, 0.1, True, False),
        (0.1, math.nan, True, True),
        (math.nan, math.nan, False, False),
    ],
)
def test_what_is_better(value, best, bigger, better):
    found, since, stop, update = early_stopping(value, best, 1, max_step=1, bigger=bigger)
    assert (update, since, stop) == ((True, 0, False) if better else (False, 2, True))
    assert found is (value if better else best)


def test_a_whole_run_on_a_plateau(write_log, random_log, tmp_path, monkeypatch):
    """A learning rate of nearly 0 gives the same ranks in every epoch."""
    import recbole_ext

    write_log(random_log())
    monkeypatch.chdir(tmp_path)
    record = recbole_ext.run(
        "GRU4Rec",
        "toy",
        **{"data_path": str(tmp_path / "data"), "eval_args": {"split": SPLIT}, "use_gpu": False},
        **{"epochs": 60, "stopping_step": 2, "learning_rate": 1e-12, "state": "ERROR", "topk": [5]},
        **{"metrics": ["NDCG"], "valid_metric": "NDCG@5"},
    )
    assert record["epochs_run"] == 4 and record["best_epoch"] == 0
