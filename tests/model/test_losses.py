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
