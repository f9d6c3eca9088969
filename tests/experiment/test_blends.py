"""A blend in an experiment: refitted with the weight and the epochs that validation found, and resumed."""

import json
from pathlib import Path

import pytest

from recbole_ext.quick_start import main

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
    from recbole_ext.trainer import progress
    from recbole_ext.trainer.session_trainer import SessionTrainer

    monkeypatch.setattr(progress, "SECONDS", 0)
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
