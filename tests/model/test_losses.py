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
    loss = sampled_softmax_loss(states, vectors, target, negatives, (own, shared), weight)
    assert loss.item() == pytest.approx(first + 0.5 * second, abs=1e-6)


def test_binary_loss_and_gbce_by_hand():
    from recbole_ext.model.losses import binary_loss, gbce_exponent

    states, vectors = torch.tensor([[1.0]]), torch.tensor([[0.0], [2.0], [-1.0], [0.5]])
    target, negatives = torch.tensor([1]), torch.tensor([2, 3, 1])
    beta = 0.25
    expected = -(beta * math.log(sigmoid(2)) + math.log(1 - sigmoid(-1)) + math.log(1 - sigmoid(0.5)))
    loss = binary_loss(states, vectors, target, negatives, torch.ones(1), beta)
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
