"""A blend in an experiment: refitted with the weight and the epochs that validation found, and resumed."""

import json
from pathlib import Path

import pytest
import yaml

from recbole_ext.cli import main

SETTINGS = {"data_path": "data", "use_gpu": False, "eval_args": {"split": {"session_time": [6, 2, 2]}}}

BLEND = {
    "model": "Blend",
    "settings": {"blend_models": ["GRU4Rec", "AR"], "blend_weights": [0.25, 0.75], "learning_rate": 0.01},
    "search": {},
}


def record(*place):
    return json.loads(Path("runs/experiments").joinpath(*place, "record.json").read_text())


def test_a_blend_is_refitted_with_what_validation_found(write_experiment, capsys):
    assert main([f"--experiment={write_experiment(models=[BLEND], seeds=[1], refit=True)}"]) == 0
    found, refitted = record("try/toy/Blend/seed-1/valid"), record("try/toy/Blend/seed-1")
    assert found["refit"]["blend_weight"] == found["blend"]["weight"] == refitted["blend"]["weight"]
    assert refitted["blend"]["temperatures"] == found["blend"]["temperatures"]
    gru, _ = refitted["blend"]["components"]
    scores = [e["valid_score"] for e in found["epochs"] if e["component"] == 1]
    assert gru["epochs"] == len(scores) - scores[::-1].index(max(scores))
    assert refitted["counts"]["valid_rows"] == 0 and "training + validation" in refitted["split"]


@pytest.mark.parametrize("refit", [False, True])
def test_an_interrupted_blend_goes_on(write_experiment, monkeypatch, refit):
    from recbole_ext.run import checkpoints
    from recbole_ext.trainer.session import SessionTrainer

    monkeypatch.setattr(checkpoints, "SECONDS", 0)
    keys = {"models": [BLEND], "seeds": [1], "refit": refit}
    assert main([f"--experiment={write_experiment('whole', **keys)}"]) == 0
    file = write_experiment("parts", **keys)
    train, left = SessionTrainer._train_epoch, [2]

    def interrupting(self, *args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return train(self, *args, **kwargs)

    monkeypatch.setattr(SessionTrainer, "_train_epoch", interrupting)
    assert main([f"--experiment={file}"]) == 130
    assert main([f"--experiment={file}"]) == 0
    assert record("whole/toy/Blend/seed-1")["test"] == record("parts/toy/Blend/seed-1")["test"]


# --- of models of the same experiment -----------------------------------------------------------------------

PARTS = [
    {"model": "GRU4Rec", "search": {"learning_rate": [0.001, 0.01]}},
    {"model": "AR", "search": {}},
    {"label": "Both", "model": "Blend", "of": ["GRU4Rec", "AR"]},
]


@pytest.mark.parametrize("refit", [False, True])
def test_a_blend_of_finished_models_trains_nothing_again(write_experiment, monkeypatch, refit):
    from recbole_ext.blend.part import Component

    def train(*args, **kwargs):
        raise AssertionError("a part is trained again")

    monkeypatch.setattr(Component, "fit", train)
    keys = {"models": PARTS, "seeds": [1, 2], "refit": refit}
    assert main([f"--experiment={write_experiment(**keys)}"]) == 0
    for seed in (1, 2):
        place = f"try/toy/Both/seed-{seed}"
        tested, gru = record(place), record(f"try/toy/GRU4Rec/seed-{seed}")
        found = record(f"{place}/valid") if refit else tested
        assert len(found["blend"]["weights"]) == 11 and found["best_valid_score"] is not None
        weight = found["blend"]["weight"]
        scores = [valid[found["valid_metric"].lower()] for valid in found["blend"]["valid"]]
        assert scores[found["blend"]["weights"].index(weight)] == max(scores)
        assert tested["blend"]["weight"] == weight and tested["config"]["seed"] == seed
        used = [component["checkpoint"] for component in tested["blend"]["components"]]
        assert used == [
            f"runs/experiments/try/toy/{label}/seed-{seed}/best.pth" for label in ("GRU4Rec", "AR")
        ]
        assert tested["blend"]["components"][0]["config"]["learning_rate"] == gru["config"]["learning_rate"]
    chosen = yaml.safe_load(Path("results/try/chosen.yaml").read_text())["toy"]["Both"]
    assert chosen["blend_weight"][1] == record("try/toy/Both/seed-1")["blend"]["weight"]


def test_the_blend_of_finished_models_is_the_blend_of_their_checkpoints(write_experiment):
    from recbole_ext.run.run import run

    assert main([f"--experiment={write_experiment(models=PARTS, seeds=[1])}"]) == 0
    files = [f"runs/experiments/try/toy/{label}/seed-1/best.pth" for label in ("GRU4Rec", "AR")]
    alone = run("Blend", "toy", {**SETTINGS, "seed": 1, "blend_from": files})
    assert alone["test"] == record("try/toy/Both/seed-1")["test"]


def test_the_cost_of_a_blend_is_that_of_its_models_too(write_experiment, reported):
    assert main([f"--experiment={write_experiment(models=PARTS, seeds=[1])}"]) == 0
    told = {one["label"]: one["seconds"]["train"] for one in reported[-1][3]}
    own = record("try/toy/Both/seed-1")["seconds"]["train"]
    assert told["Both"] == pytest.approx(own + told["GRU4Rec"] + told["AR"])


def test_a_blend_waits_for_its_parts_fails_with_them_and_is_passed_over(
    write_experiment, capsys, monkeypatch
):
    from recbole_ext.trainer.session import SessionTrainer

    models = [PARTS[2], PARTS[1], "GRU4Rec"]  # the blend first
    file = write_experiment(models=models, seeds=[1])
    train = SessionTrainer._train_epoch
    monkeypatch.setattr(SessionTrainer, "_train_epoch", lambda *args, **kwargs: 1 / 0)
    assert main([f"--experiment={file}"]) == 1
    assert (
        "toy Both seed 1: failed: toy GRU4Rec seed 1 failed, which it is made of" in capsys.readouterr().out
    )
    monkeypatch.setattr(SessionTrainer, "_train_epoch", train)
    assert main([f"--experiment={file}"]) == 0
    capsys.readouterr()
    assert main([f"--experiment={file}"]) == 0
    assert capsys.readouterr().out.count("finished before") == 3


def test_a_blend_is_made_again_where_a_part_is_another(write_experiment, capsys):
    assert main([f"--experiment={write_experiment(models=PARTS, seeds=[1])}"]) == 0
    capsys.readouterr()
    changed = [{**PARTS[0], "settings": {"dropout_prob": 0.7}}, *PARTS[1:]]
    assert main([f"--experiment={write_experiment(models=changed, seeds=[1])}"]) == 0
    out = capsys.readouterr().out
    assert (
        "toy Both seed 1 runs again" in out and "toy AR seed 1" in out and out.count("finished before") == 1
    )


def test_validation_alone_chooses_the_weight_of_finished_models(write_experiment):
    file = write_experiment(models=PARTS, seeds=[1], refit=True)
    assert main([f"--experiment={file}", "--test=False"]) == 0
    assert not Path("results/try/test_readings.csv").exists()
    found = record("try/toy/Both/seed-1/valid")
    assert main([f"--experiment={file}"]) == 0
    assert record("try/toy/Both/seed-1")["blend"]["weight"] == found["blend"]["weight"]


def test_a_lost_checkpoint_of_a_part_is_named(write_experiment, capsys):
    file = write_experiment(models=PARTS[:2], seeds=[1], refit=True)
    assert main([f"--experiment={file}"]) == 0  # nothing is blended, so what chose the epochs is not kept
    file = write_experiment(models=PARTS, seeds=[1], refit=True)
    assert main([f"--experiment={file}"]) == 1
    assert "the checkpoint of GRU4Rec is not in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("blend", "said"),
    [
        ({"of": ["GRU4Rec"]}, "write the labels of two models"),
        ({"of": ["AR", "AR"]}, "write the labels of two models"),
        ({"of": ["GRU4Rec", "VSTAM"]}, "Both is a blend of VSTAM, which is no other model of this grid"),
        ({"of": ["GRU4Rec", "Both"]}, "Both is a blend of Both, which is no other model of this grid"),
        ({"model": "SASRec"}, "Both has of, which is for the model Blend"),
        ({"search": {"blend_scale": ["rank"]}}, "leave its search out"),
        ({"settings": {"blend_from": ["a", "b"]}}, "settings of Both give blend_from"),
    ],
)
def test_what_a_blend_of_the_experiment_may_not_say(write_experiment, capsys, blend, said):
    file = write_experiment(models=[*PARTS[:2], {**PARTS[2], **blend}])
    assert main([f"--experiment={file}"]) == 2
    assert said in capsys.readouterr().err
