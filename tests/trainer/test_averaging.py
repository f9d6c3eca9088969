"""`weight_average` against a plain loop over kept weights: what is ranked, what is saved, resumed as uninterrupted."""

import pytest
import torch

from recbole_ext.errors import UsageError

SPLIT = {"session_time": [0.7, 0.1, 0.2]}
DECAY = 0.9
REWARDS = {"rewards": {"view": 0.2, "purchase": 1.0}}
MODELS = {
    "SASRec": {"train_targets": "all_positions"},
    "HRNNFeat": {},
    "GRU4Rec": {"train_loss": "sampled_softmax", "negatives": 2, "row_updates": True, "train_batch_size": 8},
    "SASRecSQN": {**REWARDS, "target_network": "lagged"},
}


def weights_of(network):
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def trained(build, model, average, epochs=2):
    """Loaders, model, trainer after some epochs, and the weights after every step."""
    loaders, network, trainer = build(model, weight_average=average, split=SPLIT, **MODELS[model])
    after, update = [], trainer.update

    def note():
        update()
        after.append(weights_of(network))

    trainer.update = note
    losses = [trainer._train_epoch(loaders[0], epoch) for epoch in range(epochs)]
    return loaders, network, trainer, after, losses


def averaged(after):
    """By the formula, in one sum: the weight of step t of n is (1 - d) d^(n - t), over 1 - d^n."""
    total = len(after)
    shares = [(1 - DECAY) * DECAY ** (total - t) / (1 - DECAY**total) for t in range(1, total + 1)]
    assert sum(shares) == pytest.approx(1)
    return {name: sum(s * w[name].double() for s, w in zip(shares, after)) for name in after[0]}


@pytest.mark.parametrize("model", MODELS)
def test_it_is_the_average_of_a_loop_and_what_is_ranked(build, model):
    (_, valid, _), network, trainer, after, _ = trained(build, model, DECAY)
    assert len(after) > 3
    wanted = averaged(after)
    found = trainer.average.averaged()
    learnt = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert set(found) == learnt
    for name, value in found.items():
        torch.testing.assert_close(value.double(), wanted[name], atol=1e-6, rtol=1e-5)
    raw = weights_of(network)
    metrics = trainer.evaluate(valid, load_best_model=False)
    assert all(torch.equal(value, raw[name]) for name, value in weights_of(network).items())
    network.load_state_dict(found, strict=False)
    _, plain, again, *_ = trained(build, model, None, epochs=0)
    plain.load_state_dict(network.state_dict())
    assert again.evaluate(valid, load_best_model=False) == metrics
    plain.load_state_dict({**network.state_dict(), **raw})
    assert again.evaluate(valid, load_best_model=False) != metrics, "a log that could not tell"


def test_after_one_step_it_is_the_weights(build):
    (train, *_), network, trainer = build("SASRec", weight_average=0.999, split=SPLIT)
    trainer._meet_training(train)
    trainer._begin_average()
    assert trainer.average.averaged() == {}
    trainer._step(next(iter(train)), trainer._loss_of)
    for name, value in trainer.average.averaged().items():
        torch.testing.assert_close(value, network.state_dict()[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_training_does_not_know_of_it(build, model):
    """Weights and losses with and without are the same bits."""
    _, one, _, _, losses = trained(build, model, DECAY)
    _, other, trainer, _, plain = trained(build, model, None)
    assert losses == plain and trainer.average is None
    assert all(torch.equal(value, one.state_dict()[name]) for name, value in other.state_dict().items())


def test_the_checkpoint_holds_the_average_and_tests_it(build, tmp_path):
    (_, _, test), network, trainer, _, _ = trained(build, "SASRec", DECAY)
    found, raw = trainer.average.averaged(), weights_of(network)
    file = str(tmp_path / "one.pth")
    trainer._save_checkpoint(1, verbose=False, saved_model_file=file)
    stored = torch.load(file, weights_only=True)
    assert all(torch.equal(stored["state_dict"][name], value) for name, value in found.items())
    assert all(torch.equal(stored["weight_average"]["weights"][name], raw[name]) for name in found)
    now = trainer.evaluate(test, load_best_model=False)
    assert trainer.evaluate(test, load_best_model=True, model_file=file) == now
    # the average is not put over the checkpoint's weights once more
    assert trainer.evaluate(test, load_best_model=False) == now
    assert all(torch.equal(network.state_dict()[name], value) for name, value in found.items())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("recency", [None, 0.5])
def test_resumed_training_is_the_uninterrupted_one(build, trained_in_two_halves, model, recency):
    def fresh():
        own = {"weight_average": DECAY, "recency": recency, "split": SPLIT, **MODELS[model]}
        return build(model, epochs=4, eval_step=1, stopping_step=9, **own)

    trainer, second = trained_in_two_halves(fresh)
    assert second.valid_scores == trainer.valid_scores
    for name, value in trainer.average.averaged().items():
        assert torch.equal(value, second.average.averaged()[name]), name


def test_who_goes_on_without_an_average_has_the_weights_of_training(build, tmp_path):
    _, network, trainer, _, _ = trained(build, "SASRec", DECAY)
    file = str(tmp_path / "half.pth")
    trainer._save_checkpoint(1, verbose=False, saved_model_file=file)
    _, plain, second, *_ = trained(build, "SASRec", None, epochs=0)
    second.resume_checkpoint(file)
    assert second.average is None
    assert all(torch.equal(v, plain.state_dict()[name]) for name, v in weights_of(network).items())


def test_taken_for_good_it_is_the_model(build):
    _, network, trainer, _, _ = trained(build, "SASRec", DECAY)
    found = trainer.average.averaged()
    trainer.take_average()
    assert trainer.average is None
    assert all(torch.equal(network.state_dict()[name], value) for name, value in found.items())


def test_weights_with_two_names_are_averaged_once():
    from recbole_ext.trainer.averaging import WeightAverage

    model = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    average = WeightAverage(model, 0.5)
    average.add()
    average.count()
    with torch.no_grad():
        model[0].weight += 3
    average.add()
    average.count()
    found = average.averaged()
    assert set(found) == {"0.weight", "1.weight"}
    for value in found.values():  # a third of w and two thirds of w + 3
        torch.testing.assert_close(value, model[0].weight.detach() - 1)


@pytest.mark.parametrize("settings", [{"weight_average": 1.0}, {"enable_amp": True, "enable_scaler": True}])
def test_what_cannot_be_is_said(build, settings):
    with pytest.raises(UsageError, match="weight_average"):
        build("SASRec", **{"weight_average": 0.9, **settings})
