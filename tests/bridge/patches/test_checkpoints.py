"""Checkpoints, saved data sets and loaders, without pickle and whole: patches/checkpoints.py.

Scenarios are run by test_every_patch.py.
"""

import os
import pickle
import re
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import scipy.sparse
import torch

from recbole_ext.errors import UsageError

from .toy import make_config, run_toy


def checkpoints(folder: Path) -> Any:
    result = run_toy("BPR", folder)
    [file] = (folder / "saved").glob("*.pth")
    state = torch.load(file, weights_only=True)
    return [sorted(result["test_result"]), state["config"]["model"], sorted(state)]


def data_caches(folder: Path) -> Any:
    conf = make_config("BPR", folder)
    from recbole.data import create_dataset, data_preparation

    (folder / "saved").mkdir()
    for name in ("toy-Dataset", "toy-for-BPR-dataloader"):
        (folder / "saved" / f"{name}.pth").write_bytes(pickle.dumps(Bomb(folder / f"{name} went off")))
    try:
        data_preparation(conf, create_dataset(conf))
    except Exception as error:  # what RecBole makes of a pickle that is no data set does not matter here
        print(error, file=sys.stderr)
    return sorted(file.name for file in folder.glob("*went off"))


def saved_loaders(folder: Path) -> Any:
    """Whether the order in which rows come is the same with loaders that are saved and without."""
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import init_seed

    (folder / "saved").mkdir()
    orders = []
    for saves in (False, True):
        conf = make_config("BPR", folder, train_neg_sample_args=None, save_dataloaders=saves)
        train = data_preparation(conf, create_dataset(conf))[0]
        init_seed(7, True)
        orders.append(torch.cat([batch["timestamp"] for batch in train]).tolist())
    return [len(set(orders[0])), orders[0] == orders[1]]


class Bomb:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.folder,)


CHECKPOINT_KEYS = [
    *(
        "best_valid_result",
        "best_valid_score",
        "config",
        "cur_step",
        "epoch",
        "epoch_values",
        "numbering",
        "optimizer",
        "optimizers",
    ),
    *(
        "other_parameter",
        "rng",
        "state_dict",
        "train_loss_dict",
        "train_seconds",
        "trained_on",
        "valid_scores",
    ),
]


EXPECTED: dict[str, Any] = {
    "checkpoints": [["hit@3", "ndcg@3"], "BPR", CHECKPOINT_KEYS],
    "data_caches": [],
    "saved_loaders": [36, True],
}

# what the scenario says without the patch, as a part of its JSON
FAULTS = {
    "checkpoints": "Weights only load failed",
    "data_caches": "toy-Dataset went off",
    "saved_loaders": "[36, False]",
}


def fit_toy(model: str, folder: Path, **more: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    """A trainer whose model has been built, its config and its loaders."""
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    conf = make_config(model, folder, **more)
    init_seed(conf["seed"], True)
    loaders = data_preparation(conf, create_dataset(conf))
    init_seed(conf["seed"], True)
    built = get_model(model)(conf, loaders[0]._dataset).to(conf["device"])
    return get_trainer(conf["MODEL_TYPE"], model)(conf, built), conf, loaders


def test_resumed_training_is_bit_for_bit_the_uninterrupted_one(patched: Path):
    more = {
        "epochs": 4,
        "dropout_prob": 0.3,
        "train_batch_size": 8,
        "stopping_step": 10,
        "learning_rate": 0.01,
    }
    whole, _, (train, valid, _) = fit_toy("GRU4Rec", patched, **more)
    middle = str(patched / "middle.pth")

    def save_after_second(epoch: int, score: float) -> None:
        if epoch == 1:
            whole._save_checkpoint(epoch, verbose=False, saved_model_file=middle)

    outcome = whole.fit(train, valid, verbose=False, callback_fn=save_after_second)

    resumed, _, (train, valid, _) = fit_toy("GRU4Rec", patched, **more)
    torch.manual_seed(99)
    np.random.seed(99)
    resumed.resume_checkpoint(middle)
    assert resumed.start_epoch == 2 and sorted(resumed.train_loss_dict) == [0, 1]
    assert resumed.fit(train, valid, verbose=False) == outcome
    assert resumed.train_loss_dict == whole.train_loss_dict
    assert resumed.valid_scores == whole.valid_scores and len(whole.valid_scores) == len(
        whole.train_loss_dict
    )
    assert resumed.cur_step == whole.cur_step
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_checkpoint_holds_the_result_of_the_epoch_it_was_saved_in(patched: Path):
    trainer, _, (train, valid, _) = fit_toy("GRU4Rec", patched, epochs=1)
    score, result = trainer.fit(train, valid, verbose=False)
    stored = torch.load(trainer.saved_model_file, weights_only=True)
    assert stored["best_valid_score"] == score and stored["best_valid_result"] == pytest.approx(result)
    assert not list(patched.rglob("*.tmp"))


@pytest.mark.parametrize("model", ["Pop", "ItemKNN", "EASE", "LightGCN", "SASRecF"])
def test_load_data_and_model_gives_the_same_scores(model: str, patched: Path):
    from recbole.quick_start import load_data_and_model

    trainer, conf, (train, valid, test) = fit_toy(model, patched, selected_features=["category"])
    trainer.fit(train, valid, verbose=False)
    before = trainer.evaluate(test, show_progress=False)
    torch.load(trainer.saved_model_file, weights_only=True)  # no pickle in it
    loaded_conf, loaded, _, _, _, loaded_test = load_data_and_model(trainer.saved_model_file)
    assert loaded_conf["eval_args"] == conf["eval_args"]
    for batch, again in zip(test, loaded_test):
        scores = trainer.model.eval().full_sort_predict(batch[0].to(conf["device"]))
        assert torch.equal(scores, loaded.eval().full_sort_predict(again[0].to(conf["device"])))
    fresh, _, (_, _, test) = fit_toy(model, patched, selected_features=["category"])
    after = fresh.evaluate(test, model_file=trainer.saved_model_file)
    assert after == before


def test_other_parameter_survives_as_plain_data():
    from recbole_ext.bridge.checkpoint import decode, encode

    dense = np.arange(6, dtype=np.float32).reshape(2, 3)
    sparse = scipy.sparse.lil_matrix(np.diag([1.0, 0.0, 2.0]).astype(np.float32))
    value = {
        "tensor": torch.ones(2, requires_grad=True),
        "array": dense,
        "matrix": np.asmatrix(dense),
        "lil": sparse,
        "csr array": scipy.sparse.csr_array(dense),
        "nested": [(1, "two", None), {3.5, 4.5}, {5: np.int64(6)}],
    }
    back = decode(encode(value))
    assert torch.equal(back["tensor"], torch.ones(2))
    assert type(back["array"]) is np.ndarray and back["array"].dtype == np.float32
    assert np.array_equal(back["array"], dense)
    assert isinstance(back["matrix"], np.matrix)
    assert back["lil"].format == "lil" and (back["lil"] != sparse).nnz == 0
    assert isinstance(back["csr array"], scipy.sparse.sparray) and np.array_equal(
        back["csr array"].toarray(), dense
    )
    assert back["nested"] == value["nested"]
    with pytest.raises(TypeError, match="a Bomb"):
        encode({"deep": [Bomb(Path("x"))]})


def test_recboles_own_checkpoint_needs_trust(patched: Path):
    from recbole.quick_start import load_data_and_model

    trainer, conf, (train, valid, test) = fit_toy("BPR", patched)
    trainer.fit(train, valid, verbose=False, saved=False)
    old = patched / "old.pth"
    state = {
        "config": conf,
        "epoch": 0,
        "cur_step": 0,
        "best_valid_score": 0.5,
        "state_dict": trainer.model.state_dict(),
        "other_parameter": trainer.model.other_parameter(),
        "optimizer": trainer.optimizer.state_dict(),
    }
    torch.save(state, old, pickle_protocol=4)  # as trainer.py:299-308 does
    for load in (
        load_data_and_model,
        trainer.resume_checkpoint,
        lambda file: trainer.evaluate(test, True, file),
    ):
        with pytest.raises(
            UsageError, match=r"old\.pth is a checkpoint that needs pickle.*trust_pickle: True"
        ):
            load(str(old))
    loaded = load_data_and_model(str(old), trust_pickle=True)[1]
    assert torch.equal(loaded.item_embedding.weight, trainer.model.item_embedding.weight)
    trainer.config["trust_pickle"] = True
    trainer.resume_checkpoint(str(old))
    assert trainer.start_epoch == 1 and trainer.best_valid_score == 0.5


def test_hostile_truncated_and_missing_checkpoints_are_refused_in_one_sentence(patched: Path):
    from recbole_ext.bridge.checkpoint import read_checkpoint

    hostile, short = patched / "hostile.pth", patched / "short.pth"
    torch.save({"config": Bomb(patched / "went off")}, hostile)
    torch.save({"weights": torch.ones(1000)}, short)
    short.write_bytes(short.read_bytes()[:700])
    for file, sentence in (
        (hostile, "needs pickle"),
        (short, "is not a readable checkpoint"),
        (patched / "none.pth", "there is no checkpoint"),
    ):
        with pytest.raises(UsageError, match=sentence) as caught:
            read_checkpoint(str(file))
        assert file.name in str(caught.value) and "\n" not in str(caught.value)
    assert not (patched / "went off").exists()


def test_changed_weights_are_refused(patched: Path):
    """torch reads them without a word: it does not look at the archive's sums."""
    from recbole_ext.bridge.checkpoint import read_checkpoint

    file = patched / "whole.pth"
    torch.save({"weights": torch.ones(1000)}, file)
    content = bytearray(file.read_bytes())
    place = content.index(torch.ones(8).numpy().tobytes())
    content[place + 2] ^= 1
    file.write_bytes(content)
    assert (torch.load(file)["weights"] != 1).sum() == 1
    with pytest.raises(UsageError, match=r"whole\.pth is not a readable checkpoint: it was cut or changed"):
        read_checkpoint(str(file))


def test_named_cache_is_refused_and_trusted_cache_is_loaded(patched: Path):
    from recbole.data import create_dataset, data_preparation

    conf = make_config("BPR", patched, save_dataset=True, save_dataloaders=True)
    data_preparation(conf, create_dataset(conf))
    cache, loaders = patched / "saved/toy-Dataset.pth", patched / "saved/toy-for-BPR-dataloader.pth"
    named = make_config("BPR", patched, dataset_save_path=str(cache), dataloaders_save_path=str(loaders))
    with pytest.raises(UsageError, match=r"dataset_save_path .*toy-Dataset\.pth is a pickle.*trust_pickle"):
        create_dataset(named)
    assert named["dataset_save_path"] == str(cache)
    with pytest.raises(UsageError, match=r"dataloaders_save_path .* is a pickle"):
        data_preparation(named, None)
    with mock.patch("recbole.data.dataset.Dataset.__init__", side_effect=AssertionError("made anew")):
        trusted = make_config("BPR", patched, trust_pickle=True)
        assert create_dataset(trusted).inter_num == 60
    with mock.patch("recbole.data.dataset.Dataset.build", side_effect=AssertionError("made anew")):
        assert len(data_preparation(trusted, create_dataset(trusted))) == 3


STALE = {
    "another setting of RecBole's": ({"rm_dup_inter": "first"}, "rm_dup_inter was None and is first"),
    "a setting of ours": ({"eval_targets": "last"}, "eval_targets was all and is last"),
    "another file": ({}, "toy.inter has changed"),
}


@pytest.mark.parametrize("case", STALE)
def test_saved_data_of_other_settings_or_files_are_made_anew(patched: Path, case: str, caplog):
    """Or refused, where the file was named; RecBole compares some of its own keys and no file."""
    from recbole.data import create_dataset, data_preparation

    own = {"data_layout": "pointers"}
    conf = make_config("GRU4Rec", patched, save_dataloaders=True, **own)
    data_preparation(conf, create_dataset(conf))
    settings, said = STALE[case]
    if not settings:
        file = patched / "data" / "toy" / "toy.inter"
        file.write_text(file.read_text() + "s11\ti0\t1000\n")
    asked = {**own, **settings, "trust_pickle": True}
    plain = make_config("GRU4Rec", patched, **own, **settings)
    fresh = [part._dataset for part in data_preparation(plain, create_dataset(plain))]
    with caplog.at_level("WARNING"):
        conf = make_config("GRU4Rec", patched, **asked)
        found = [part._dataset for part in data_preparation(conf, create_dataset(conf))]
    assert [len(part) for part in found] == [len(part) for part in fresh]
    assert said in caplog.text
    named = make_config(
        "GRU4Rec", patched, dataloaders_save_path="saved/toy-for-GRU4Rec-dataloader.pth", **asked
    )
    with pytest.raises(UsageError, match=f"was made of something else.*{re.escape(said)}"):
        data_preparation(named, create_dataset(named))


def test_a_saved_data_set_of_another_log_is_made_anew(patched: Path):
    from recbole.data import create_dataset

    create_dataset(make_config("BPR", patched, save_dataset=True))
    file = patched / "data" / "toy" / "toy.inter"
    file.write_text(file.read_text() + "s11\ti0\t1000\n")
    assert create_dataset(make_config("BPR", patched, trust_pickle=True)).inter_num == 61
