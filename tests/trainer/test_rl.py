"""Training of actor-critic models: coin and copy, warm-up and its optimizer, divergence, resumed as whole."""

import math

import pytest
import torch

from recbole_ext.errors import UsageError
from recbole_ext.trainer.rl import ActorCriticTrainer

SPLIT = {"session_time": [0.7, 0.1, 0.2]}
REWARDS = {"view": 0.2, "purchase": 1.0}


@pytest.fixture
def build(write_log, make_config, random_log):
    """(loaders, model, trainer) on one log; the same seed gives the same weights."""

    def make(model="SASRecSQN", rows=None, **settings):
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model, get_trainer, init_seed

        write_log(random_log(ties=False) if rows is None else rows)
        known = {
            "split": SPLIT,
            "rewards": REWARDS,
            "hidden_size": 16,
            "inner_size": 16,
            "embedding_size": 16,
        }
        config = make_config(model, **{**known, **settings})
        loaders = data_preparation(config, create_dataset(config))
        init_seed(3, True)
        network = get_model(model)(config, loaders[0]._dataset)
        return loaders, network, get_trainer(config["MODEL_TYPE"], model)(config, network)

    return make


def weights(network):
    return [parameter.detach().clone() for parameter in network.parameters()]


def moved(network, before):
    return any(not torch.equal(*pair) for pair in zip(network.parameters(), before))


def test_a_coin_says_which_network_learns(build):
    (train, _, _), net, trainer = build()
    assert isinstance(trainer, ActorCriticTrainer)
    trainer._meet_training(train)
    chosen = []
    for _ in range(3):
        for batch in train:
            before = [weights(network) for network in net.networks]
            trainer._step(batch, trainer._loss_of)
            chosen.append(net.trained)
            assert moved(net.networks[net.trained], before[net.trained])
            assert not moved(net.networks[1 - net.trained], before[1 - net.trained])
    assert set(chosen) == {0, 1} and net.steps == len(chosen)
    other = build()[1]
    again = []
    for step in range(len(chosen)):  # a function of seed and step
        other.steps = step
        other.begin_step()
        again.append(other.trained)
    assert again == chosen
    throws = []
    for step in range(400):
        other.steps = step
        other.begin_step()
        throws.append(other.trained)
    assert 150 < sum(throws) < 250


def test_a_lagged_copy_follows(build):
    (train, _, _), net, trainer = build(target_network="lagged", target_tau=0.25, target_every=2)
    trainer._meet_training(train)
    main, copy = net.networks
    assert not moved(copy, weights(main)), "it starts as the trained one"
    for step, batch in enumerate(train, 1):
        before = weights(copy)
        trainer._step(batch, trainer._loss_of)
        assert net.trained == 0
        way = 0.25 if step % 2 == 0 else 0.0
        for old, new, leader in zip(before, copy.parameters(), main.parameters()):
            torch.testing.assert_close(new.detach(), old + way * (leader.detach() - old))
    assert step >= 3


@pytest.mark.parametrize(
    "settings, steps",
    [({"warm_up_epochs": 2}, 2), ({"warm_up_epochs": 0.5}, 0.5), ({"warm_up_steps": 5}, None)],
)
def test_the_warm_up_is_counted_in_epochs_or_steps(build, settings, steps):
    (train, _, _), net, trainer = build("SASRecSAC", **settings)
    trainer._meet_training(train)
    assert len(train) >= 3
    assert net.warm_up_steps == (5 if steps is None else round(steps * len(train)))


def test_training_that_ends_within_the_warm_up_says_so(build):
    (train, valid, _), net, trainer = build("SASRecSAC", warm_up_epochs=3, epochs=1)
    trainer.fit(train, valid, saved=False, verbose=False)
    assert any("never weighted" in note for note in net.notes)
    (train, valid, _), net, trainer = build("SASRecSAC", warm_up_epochs=1, epochs=2)
    trainer.fit(train, valid, saved=False, verbose=False)
    assert not any("never weighted" in note for note in net.notes)


@pytest.mark.parametrize(
    "model, settings",
    [
        ("SASRecSNQN", {}),
        ("SASRecSNQN", {"train_targets": "all_positions", "target_network": "lagged", "target_every": 3}),
        # the warm-up ends before and after the interruption
        ("SASRecSA2C", {"warm_up_epochs": 1}),
        ("SASRecSA2C", {"warm_up_epochs": 3}),
        ("SASRecSA2C", {"warm_up_epochs": 1, "weight_average": 0.9, "recency": 0.5}),
    ],
)
def test_resumed_training_is_the_uninterrupted_one(build, trained_in_two_halves, model, settings):
    def fresh():
        return build(model, epochs=4, eval_step=1, stopping_step=9, **settings)

    def half(whole, resumed):
        assert resumed.steps == whole.steps // 2 > 0

    trainer, second = trained_in_two_halves(fresh, half)
    assert second.model.steps == trainer.model.steps


def test_what_q_does_is_told_by_epoch(build):
    (train, _, _), net, trainer = build("SASRecSA2C", warm_up_epochs=1, epochs=2)
    trainer.fit(train, None, saved=False, verbose=False)
    first, second = trainer.epoch_values[0], trainer.epoch_values[1]
    names = {"ce", "td_loss", "q_taken", "q_greedy", "overestimation", "negative_td_loss", "advantage"}
    assert names <= set(first) == set(second)
    assert first["actor_weight"] == pytest.approx(1.0) and first["clipped"] == 0, "in the warm-up"
    assert second["actor_weight"] != pytest.approx(1.0)
    assert all(math.isfinite(value) for value in second.values())
    assert first["ce"] == pytest.approx(math.log(31), abs=0.3), "of 30 items and the padding, hardly trained"
    assert net.epoch_figures.sums.abs().sum() == 0, "every epoch starts anew"


def test_a_run_that_diverges_is_stopped(build):
    (train, _, _), net, trainer = build(learning_rate=0.01)
    with torch.no_grad():
        for network in net.networks:
            network.q.bias.fill_(1e4)
    assert net.epoch_figures.limit == pytest.approx(100 * 1.0 / (1 - 0.5))
    with pytest.raises(
        UsageError, match=r"SASRecSQN diverged at step 1 .*q_limit 200.*learning_rate \(0.01\)"
    ):
        trainer._train_epoch(train, 0)
    (train, _, _), net, trainer = build(q_limit=1e9)
    with torch.no_grad():
        net.networks[0].q.bias[1:] = float("nan")
        net.networks[1].q.bias[1:] = float("nan")
    with pytest.raises(UsageError, match="a loss that is no number"):
        trainer._train_epoch(train, 0)


def test_a_q_below_the_limit_goes_on(build):
    (train, _, _), net, trainer = build(q_limit=1e5)
    with torch.no_grad():
        for network in net.networks:
            network.q.bias.fill_(1e4)
    trainer._train_epoch(train, 0)
    assert int(net.epoch_figures.first_bad) == -1 and net.steps == len(train)


@pytest.mark.parametrize(
    "model, settings",
    [
        ("SASRecSQN", {"hidden_dropout_prob": 0, "attn_dropout_prob": 0}),
        (
            "SASRecSA2C",
            {
                "hidden_dropout_prob": 0,
                "attn_dropout_prob": 0,
                "rl_negatives": 3,
                "warm_up_epochs": 20,
                "actor_clip": [0.1, 10],
            },
        ),
        ("GRU4RecSNQN", {"dropout_prob": 0, "rl_negatives": 3}),
    ],
)
def test_a_tiny_log_is_learnt_by_heart(build, model, settings):
    """Ranked by the supervised head, and the Q head knows the rewards that are near."""
    rows = [
        {
            "session_id": f"s{n}",
            "item_id": f"i{(n * 3 + k) % 12}",
            "timestamp": 100.0 * n + k,
            "event": "purchase" if k == 3 else "view",
        }
        for n in range(20)
        for k in range(4)
    ]
    (train, _, test), _, trainer = build(
        model,
        rows=rows,
        train_targets="all_positions",
        learning_rate=0.01,
        target_network="lagged",
        target_tau=0.1,
        split={"session_time": [0.5, 0.0, 0.5]},
        **settings,
    )
    for epoch in range(150):
        trainer._train_epoch(train, epoch)
    assert trainer.evaluate(test, load_best_model=False)["hit@1"] == 1.0
    last = trainer.epoch_values[149]
    # view, view, purchase: 1, .2 + .5 · 1 = .7, .2 + .5 · .7 = .55
    assert last["q_taken"] == pytest.approx((1 + 0.7 + 0.55) / 3, abs=0.1)
    assert last["td_loss"] < 0.02
