"""Actor-critic models in small worlds whose answer is known, beside plain SASRec, and on every encoder."""

import json
from pathlib import Path

import pytest
import torch

SPLIT = {"session_time": [0.8, 0.1, 0.1]}
SMALL = {"hidden_size": 16, "inner_size": 16, "embedding_size": 16, "n_layers": 1, "n_heads": 1}


def small(model):
    """Of SMALL what a model reads."""
    from recbole.utils import get_model

    from recbole_ext.settings.of_model import settings_class

    keys = settings_class(get_model(model)).model_fields
    return {key: value for key, value in SMALL.items() if key in keys}


@pytest.fixture
def trained(write_log, make_config):
    """A model after `epochs` on rows; returns (model, trainer, loaders)."""

    def train(model, rows, epochs, seed=5, **settings):
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model, get_trainer, init_seed

        write_log(rows)
        config = make_config(model, **{"split": SPLIT, "seed": seed, **SMALL, **settings})
        loaders = data_preparation(config, create_dataset(config))
        init_seed(seed, True)
        network = get_model(model)(config, loaders[0]._dataset)
        trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
        trainer._meet_training(loaders[0])
        for epoch in range(epochs):
            trainer._train_epoch(loaders[0], epoch)
        network.eval()
        return network, trainer, loaders

    return train


@pytest.mark.parametrize("targets", ["prefixes", "all_positions"])
def test_without_weight_of_q_it_is_plain_sasrec_bit_for_bit(trained, random_log, targets):
    rows = random_log(sessions=60, ties=False)
    settings = {"train_targets": targets, "hidden_dropout_prob": 0.3, "attn_dropout_prob": 0.3}
    plain, plain_trainer, loaders = trained("SASRec", rows, 3, **settings)
    rewards = {"view": 0.2, "purchase": 1.0}
    ours, trainer, _ = trained(
        "SASRecSQN",
        rows,
        3,
        target_network="lagged",
        q_weight=0.0,
        rewards=rewards,
        **settings,
    )
    encoder = ours.networks[0].encoder.state_dict()
    assert encoder.keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        assert torch.equal(encoder[name], value), name
    assert trainer.evaluate(loaders[2], load_best_model=False) == plain_trainer.evaluate(
        loaders[2], load_best_model=False
    )
    learning, _, _ = trained(
        "SASRecSQN",
        rows,
        3,
        target_network="lagged",
        q_weight=1.0,
        rewards=rewards,
        **settings,
    )
    assert any(
        not torch.equal(learning.networks[0].encoder.state_dict()[name], value)
        for name, value in plain.state_dict().items()
    )


def bandit():
    """After `shop` nine of ten visitors view `common` and one buys `rare`; other sessions fill the catalogue."""
    rows, time = [], 0

    def session(*events):
        nonlocal time
        for item, event in events:
            rows.append({"session_id": f"s{len(rows)}", "item_id": item, "timestamp": time, "event": event})
            rows[-1]["session_id"] = f"s{time // 10}"
            time += 1
        time += 10 - len(events)

    for number in range(300):
        session(("shop", "view"), ("rare", "purchase") if number % 10 == 3 else ("common", "view"))
        session((f"x{number % 60}", "view"), (f"x{(number + 1) % 60}", "view"))
    return rows


def scores_of_two(model, loaders):
    """Scores of the two items after `shop`."""
    dataset = loaders[0]._dataset
    ids = {token: dataset.token2id("item_id", token) for token in ("shop", "common", "rare")}
    rows = dataset[torch.arange(len(dataset))]
    place = int(torch.nonzero(rows["item_id_list"][:, 0] == ids["shop"])[0])
    with torch.no_grad():
        scores = model.full_sort_predict(dataset[torch.tensor([place])])[0]
    return {token: float(scores[ids[token]]) for token in ("common", "rare")}


def first_of_two(model, loaders):
    """Which of the two items the model ranks higher after `shop`."""
    scores = scores_of_two(model, loaders)
    return max(scores, key=scores.get)


BANDIT = {
    "rewards": {"view": 0.2, "purchase": 1.0},
    "target_network": "lagged",
    "target_tau": 0.05,
    "learning_rate": 0.01,
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
    "train_targets": "all_positions",
    "train_batch_size": 64,
}


def test_cross_entropy_alone_ranks_what_is_frequent(trained):
    settings = {
        key: BANDIT[key] for key in BANDIT if "drop" in key or "train" in key or key == "learning_rate"
    }
    model, _, loaders = trained("SASRec", bandit(), 20, **settings)
    assert first_of_two(model, loaders) == "common"


@pytest.mark.slow
def test_a_reward_that_is_rare_is_ranked_by_those_that_learn_of_it(trained):
    weighted = {**BANDIT, "warm_up_epochs": 10}
    alike = {"view": 0.2, "purchase": 0.2}
    for model, settings, first in (
        ("SASRecSA2C", weighted, "rare"),
        ("SASRecSA2C", {**weighted, "rewards": alike}, "common"),
        ("SASRecSQN", BANDIT, "common"),  # its supervised head stays with what is frequent
    ):
        found, _, loaders = trained(model, bandit(), 40, **settings)
        assert first_of_two(found, loaders) == first


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("SASRecSQN", {"train_targets": "all_positions", "q_actions": "sampled"}),
        ("GRU4RecSAC", {"target_network": "lagged", "warm_up_epochs": 1}),
        ("CaserSNQN", {"MAX_ITEM_LIST_LENGTH": 5}),
        ("NextItNetSA2C", {"MAX_ITEM_LIST_LENGTH": 8, "reproducibility": False, "warm_up_epochs": 1}),
        ("HRNNFeatSA2C", {"warm_up_epochs": 1}),
        ("GRU4RecCQL", {}),
        ("SASRecRCE", {"supervised_head": "free"}),
    ],
)
def test_every_encoder_carries_every_method(write_log, random_log, tmp_path, monkeypatch, model, settings):
    import recbole_ext
    from recbole_ext.testing.runs import readable

    recbole_ext.install()
    monkeypatch.chdir(tmp_path)
    write_log(random_log(sessions=80, ties=False))
    split = {"split": {"session_time": [7, 1, 2]}}
    given = {"data_path": "data", "epochs": 2, "use_gpu": False, "eval_args": split, **settings}
    record = recbole_ext.run(model, "toy", **readable(model, given, SMALL))
    epochs = json.loads(Path(record["files"]["record"]).read_text())["epochs"]
    assert [e["epoch"] for e in epochs] == [0, 1]
    wanted = {"ce", "td_loss", "q_taken", "q_taken_max", "q_greedy", "q_greedy_max", "overestimation"}
    if model.endswith(("SNQN", "SA2C")):
        wanted |= {"advantage", "advantage_spread", "negative_td_loss"}
    if model.endswith(("SAC", "SA2C")):
        wanted |= {"actor_weight", "clipped"}
        assert epochs[0]["actor_weight"] == pytest.approx(1.0) != epochs[1]["actor_weight"]
    assert wanted <= epochs[1].keys()
    assert "test_reward" in record and set(record["test_by_event"]) == {"view", "purchase"}
    assert any("rewards of training events" in note for note in record["notes"])


@pytest.mark.slow
def test_several_models_and_seeds_end_in_one_table(write_log, random_log, tmp_path, monkeypatch, capsys):
    from recbole_ext.cli import main

    monkeypatch.chdir(tmp_path)
    write_log(random_log(sessions=80, ties=False))
    arguments = [
        "--model=GRU4Rec,GRU4RecSQN",
        "--seed=1,2",
        "--dataset=toy",
        "--data_path=data",
        "--epochs=1",
    ]
    small = ["--hidden_size=8", "--embedding_size=8", "--use_gpu=False"]
    assert main([*arguments, *small, "--eval_args={split: {session_time: [7, 1, 2]}}"]) == 0
    table = capsys.readouterr().out.split("seeds 1, 2")[1].splitlines()
    rows = {line.split()[0]: line for line in table if line.startswith("GRU4Rec")}
    assert rows.keys() == {"GRU4Rec", "GRU4RecSQN"} and all("±" in row for row in rows.values())
    assert main(["--model=GRU4Rec,GRU4Rec", "--dataset=toy"]) == 2
