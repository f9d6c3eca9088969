"""Losses worked out by hand on three rows."""

import math

import pytest
import torch

from recbole_ext.model.losses import cross_entropy, in_batch


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


SCORES = torch.tensor([[2.0, 1.0, 0.5], [0.0, 1.0, -1.0], [0.3, 0.2, 0.1]])


def test_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])
    # softmax: (1/4, 3/4) and (4/5, 1/5); targets 1 and 1
    expected = -(math.log(3 / 4) + math.log(1 / 5)) / 2
    assert cross_entropy(logits, torch.tensor([1, 1])).item() == pytest.approx(expected, abs=1e-6)


def test_bpr_by_hand():
    differences = [2 - 1, 2 - 0.5, 1 - 0, 1 + 1, 0.1 - 0.3, 0.1 - 0.2]
    expected = -sum(math.log(sigmoid(d)) for d in differences) / 6
    assert in_batch("BPR", SCORES, torch.tensor([7, 8, 9])).item() == pytest.approx(expected, abs=1e-6)


def test_top1_by_hand():
    pairs = [(2, 1), (2, 0.5), (1, 0), (1, -1), (0.1, 0.3), (0.1, 0.2)]
    expected = sum(sigmoid(j - i) + sigmoid(j * j) for i, j in pairs) / 6
    assert in_batch("TOP1", SCORES, torch.tensor([7, 8, 9])).item() == pytest.approx(expected, abs=1e-6)


def test_a_negative_that_is_the_target_is_left_out():
    # rows 0 and 1 aim at the same item, so only their pairs with row 2 count
    pairs = [(2, 0.5), (1, -1), (0.1, 0.3), (0.1, 0.2)]
    expected = -sum(math.log(sigmoid(i - j)) for i, j in pairs) / 4
    assert in_batch("BPR", SCORES, torch.tensor([7, 7, 9])).item() == pytest.approx(expected, abs=1e-6)


def test_one_row_has_no_negative():
    assert in_batch("TOP1", torch.ones(1, 1), torch.tensor([3])).item() == 0


def test_unknown_loss():
    with pytest.raises(ValueError, match="TOP2"):
        in_batch("TOP2", SCORES, torch.tensor([7, 8, 9]))


def test_sampled_softmax_by_hand():
    from recbole_ext.model.losses import sampled_softmax_loss

    states = torch.tensor([[1.0], [2.0]])
    vectors = torch.tensor([[9.0], [1.0], [2.0], [3.0]])
    target, negatives = torch.tensor([1, 3]), torch.tensor([2, 3])
    own, shared = torch.tensor([0.1, 0.2]), torch.tensor([0.3, 0.4])
    # row 0: target 1 - .1; negatives 2 - .3, 3 - .4. Row 1: target 6 - .2; negative 4 - .3, its own target left out
    first = math.log(math.exp(0.9) + math.exp(1.7) + math.exp(2.6)) - 0.9
    second = math.log(math.exp(5.8) + math.exp(3.7)) - 5.8
    weight = torch.tensor([1.0, 0.5])
    loss = sampled_softmax_loss(
        states, vectors[target], vectors[negatives], (target, negatives), (own, shared), weight
    )
    assert loss.item() == pytest.approx(first + 0.5 * second, abs=1e-6)


def test_binary_loss_and_gbce_by_hand():
    from recbole_ext.model.losses import binary_loss, gbce_exponent, shared_scores

    states, vectors = torch.tensor([[1.0]]), torch.tensor([[0.0], [2.0], [-1.0], [0.5]])
    target, negatives = torch.tensor([1]), torch.tensor([2, 3, 1])
    beta = 0.25
    expected = -(beta * math.log(sigmoid(2)) + math.log(1 - sigmoid(-1)) + math.log(1 - sigmoid(0.5)))
    loss = binary_loss(
        *shared_scores(states, vectors[target], vectors[negatives], target, negatives), torch.ones(1), beta
    )
    assert loss.item() == pytest.approx(expected / 4, abs=1e-6)
    assert gbce_exponent(10, 101, 0.0) == pytest.approx(1.0)
    assert gbce_exponent(10, 101, 1.0) == pytest.approx(0.1)  # the sampling rate
    assert gbce_exponent(10, 101, 0.5) == pytest.approx(0.55)


def test_negatives_are_drawn_as_often_as_their_log_q_says():
    from recbole_ext.model.losses import SharedNegatives

    torch.manual_seed(0)
    count = torch.tensor([0, 1, 4, 16, 100])
    draws = 200_000
    for power, chance in ((1.0, [1, 1, 4, 16, 100]), (0.5, [1, 1, 2, 4, 10]), (0.0, [1] * 5)):
        negatives = SharedNegatives(count, power)
        share = torch.bincount(negatives.draw(draws), minlength=5) / draws
        expected = torch.tensor(chance) / sum(chance)
        torch.testing.assert_close(share, expected, atol=5e-3, rtol=0)
        log_q = negatives.log_expected(torch.arange(5), 7)
        torch.testing.assert_close(log_q, (7 * expected).log(), atol=1e-5, rtol=0)


def test_log_q_makes_the_sampled_partition_unbiased():
    from recbole_ext.model.losses import SharedNegatives

    torch.manual_seed(0)
    scores = torch.randn(6)
    negatives = SharedNegatives(torch.tensor([10, 20, 30, 40, 50, 60]), 1.0)
    drawn = negatives.draw(300_000)
    estimate = (scores[drawn] - negatives.log_expected(drawn, len(drawn))).exp().sum()
    assert estimate.item() == pytest.approx(scores.exp().sum().item(), rel=0.02)


def test_without_log_q_of_the_target_it_counts_once():
    from recbole_ext.model.losses import sampled_softmax_loss

    states, vectors = torch.tensor([[2.0]]), torch.tensor([[0.0], [1.0], [0.5], [-1.0]])
    # item 1 is the target, and drawn; 2 and 3 are, expected 2 and .5 times
    items, shared = (torch.tensor([1]), torch.tensor([1, 2, 3])), torch.tensor([0.3, 2.0, 0.5]).log()
    expected = math.log(math.exp(2) + math.exp(1) / 2 + math.exp(-2) / 0.5) - 2
    loss = sampled_softmax_loss(
        states, vectors[[1]], vectors[[1, 2, 3]], items, (None, shared), torch.ones(1)
    )
    assert loss.item() == pytest.approx(expected, abs=1e-6)


COUNT = torch.tensor([0, 10, 20, 30, 40, 50, 60])  # how often each item of a small world is a training event


def objective(**settings):
    """Of that world, item 0 being the padding."""
    from recbole_ext.model.objective import Objective
    from recbole_ext.settings.training import Training

    known = {"train_loss": "sampled_softmax", "target_log_q": False, "negative_power": 0.5}
    return Objective(Training.read({**known, **settings}), COUNT, torch.arange(1, 7))


CANDIDATES = {
    "drawn": {"negatives": 4},
    "drawn and of the batch": {"negatives": 2, "batch_negatives": True},
    "of a pool by score": {"negatives": 3, "negative_pool": 8},
    "of a pool with the batch": {"negatives": 3, "negative_pool": 5, "batch_negatives": True},
}


@pytest.mark.parametrize("kind", CANDIDATES)
def test_the_sum_over_other_items_is_estimated_without_bias(kind, monkeypatch):
    """Whatever is drawn, exp(score - log Q) summed over the negatives is on average that of all items but the target.

    The other rows' targets come as often as training events, as `batch_negatives` takes them to.
    """
    from recbole_ext.model import objective as module
    from recbole_ext.model.factored import Scoring
    from recbole_ext.settings.training import Training

    asked = []
    monkeypatch.setattr(module, "sampled_softmax_loss", lambda *given: asked.append(given))
    torch.manual_seed(0)
    world, rounds, rows = objective(**CANDIDATES[kind]), 1200, 5
    vectors, state = torch.randn(7, 3), torch.randn(1, 3)
    states = torch.cat((state, torch.randn(rows - 1, 3)))
    scores = (state @ vectors.T)[0, 1:]  # of the candidates, items 1 to 6
    found = torch.zeros(rounds)
    for number in range(rounds):
        others = torch.multinomial(COUNT.double(), rows - 1, replacement=True)
        target = torch.cat((torch.tensor([2]), others))
        weight = torch.tensor([1.0, 1, 1, 1, 0])  # the last row has no target: nothing of it is a negative
        world(Scoring(Training()), states, vectors, target, weight)
        _, _, _, (column, negatives), (own, log_q), *_ = asked.pop()
        assert own is None and column[0] == 1
        found[number] = (scores[negatives] - log_q)[negatives != 1].exp().sum()
    wanted = scores[[0, 2, 3, 4, 5]].exp().sum().item()
    error = found.std().item() / math.sqrt(rounds)
    assert error < 0.04 * wanted, "too few rounds to tell"
    assert found.mean().item() == pytest.approx(wanted, abs=4 * error)


def test_those_kept_of_a_pool_are_the_ones_that_score_high():
    from recbole_ext.model.losses import drawn_by_score

    torch.manual_seed(0)
    scores = torch.tensor([[4.0, 0, 0, -math.inf], [0, 0, 4.0, 0]])
    kept, log_q = drawn_by_score(scores, torch.zeros(4), 40_000, torch.tensor([3.0, 1.0]))
    first, second = math.exp(4) / (math.exp(4) + 2), math.exp(4) / (math.exp(4) + 3)
    shares = [0.75 * first + 0.25 * (1 - second) / 3, 0.75 * (1 - first) / 2 + 0.25 * (1 - second) / 3]
    shares += [0.75 * (1 - first) / 2 + 0.25 * second, 0.25 * (1 - second) / 3]
    expected = torch.tensor(shares) / 2 + 1 / 8
    torch.testing.assert_close(torch.bincount(kept, minlength=4) / 40_000, expected, atol=0.01, rtol=0)
    torch.testing.assert_close(log_q, (40_000 * expected).log()[kept])


def test_of_millions_each_is_drawn_as_its_chance_says():
    from recbole_ext.model.losses import SharedNegatives

    negatives = SharedNegatives(torch.ones(3_000_000, dtype=torch.int64), 0.0)
    width = negatives.cumulative.diff()[-1000:]
    torch.testing.assert_close(width, torch.full_like(width, 1 / 3_000_000), rtol=1e-6, atol=0)
