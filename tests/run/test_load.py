"""A checkpoint of every family is loaded by `load_data_and_model` and by `--blend_from`, with the same metrics."""

import numpy as np
import pytest
import torch

import recbole_ext

ITEMS = [{"item_id": f"i{i}", "category": f"c{i % 4}"} for i in range(30)]
SMALL = {"embedding_size": 8, "hidden_size": 8, "epochs": 2}
SMALL_ATTENTION = {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1, "epochs": 2}
REWARDS = {"rewards": {"view": 0.2, "purchase": 1.0}}
STAGE = {"item_attribute": "category", "pretrain_epochs": 1, "save_step": 1, **SMALL_ATTENTION}
FAMILIES = {
    "GRU4Rec": SMALL,
    "GRU4RecF": {**SMALL, "selected_features": ["category"]},
    "BERT4Rec": SMALL_ATTENTION,  # a transform, and no product
    "S3Rec": STAGE,  # a trainer of its own
    "HRNNFeat": SMALL,
    "SASRecFeat": {**SMALL_ATTENTION},
    "VSTAN": {},
    "CategoryPop": {},
    "LINK": {},
    "Pop": {},
    "ItemKNN": {},
    "EASE": {},
    "GRU4RecSQN": {**SMALL, **REWARDS},
    "GRU4RecSAC": {**SMALL, **REWARDS},
    "GRU4RecSNQN": {**SMALL, **REWARDS},
    "GRU4RecSA2C": {**SMALL, **REWARDS},
    "HRNNFeatSQN": {**SMALL, **REWARDS},
}
WITHOUT_EVENTS = {name: {**keys, "rewards": None} for name, keys in FAMILIES.items() if "rewards" in keys}


@pytest.fixture
def run(write_log, random_log, tmp_path, monkeypatch, no_curves):
    def run_on(model, settings, events=True):
        log = random_log()
        rows = log if events else [{k: v for k, v in row.items() if k != "event"} for row in log]
        write_log(rows, items=ITEMS)
        monkeypatch.chdir(tmp_path)
        common = {
            **{"data_path": str(tmp_path / "data"), "use_gpu": False, "state": "ERROR", "topk": [5, 10]},
            **{"eval_args": {"split": {"session_time": [0.7, 0.1, 0.2]}}, "metric_decimal_place": 9},
        }
        return recbole_ext.run(
            model, "toy", **{**common, **{k: v for k, v in settings.items() if v is not None}}
        )

    return run_on


def loaded(record):
    """What `load_data_and_model` makes of the run's checkpoint, and its metrics on the test part."""
    from recbole.quick_start import load_data_and_model
    from recbole.utils import get_trainer

    config, model, _, _, _, test = load_data_and_model(record["checkpoint"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    return model, test, dict(trainer.evaluate(test, load_best_model=False))


CASES = [(name, keys, True) for name, keys in FAMILIES.items()]
CASES += [(name, keys, False) for name, keys in WITHOUT_EVENTS.items()]


@pytest.mark.parametrize(
    ("model", "settings", "events"), CASES, ids=[f"{m}{'' if e else ' without events'}" for m, _, e in CASES]
)
def test_a_checkpoint_of_every_family(model, settings, events, run):
    from recbole.utils.case_study import full_sort_topk

    record = run(model, settings, events)
    network, test, metrics = loaded(record)
    assert metrics == pytest.approx(record["test"], abs=1e-9)
    other = run("SR", {}, events)["checkpoint"]
    part = run("Blend", {"blend_from": [record["checkpoint"], other], "blend_weight": 0.0}, events)
    assert part["test"] == pytest.approx(record["test"], abs=1e-9)
    sessions = test.dataset.inter_feat[test.dataset.uid_field].unique()[:3]
    scores, items = full_sort_topk(sessions.numpy(), network, test, k=5)
    rows = torch.isin(test.dataset.inter_feat[test.dataset.uid_field], sessions).sum()
    assert scores.shape == items.shape == (rows, 5) and (items > 0).all()


def test_full_sort_topk_of_a_prefix_is_its_list(run):
    """EASE's, a general model: of each row of the session what the evaluation ranked first."""
    from recbole.utils.case_study import full_sort_topk

    record = run("EASE", {})
    with np.load(record["files"]["ranks"]) as arrays:
        top, session = arrays["top"], arrays["session_token"]
    network, test, _ = loaded(record)
    data = test.dataset
    name = session[0]
    number = data.token2id(data.uid_field, name)
    _, items = full_sort_topk(np.array([number]), network, test, k=3)
    assert items.tolist() == top[session == name][:, :3].tolist()
