"""What processes make of their gradients, worked out by hand; tests/run/test_several.py lets processes do it."""

import pytest
import torch
from torch import nn

from recbole_ext.trainer.gradients import SharedGradients, clip


class Weights(nn.Module):
    """One weight of three numbers, which lie behind one of four; one that nothing learns, and one that is not to."""

    def __init__(self):
        super().__init__()
        self.odd = nn.Parameter(torch.zeros(3))
        self.even = nn.Parameter(torch.zeros(2, 2))
        self.idle = nn.Parameter(torch.zeros(4))
        self.fixed = nn.Parameter(torch.zeros(4), requires_grad=False)


def of_process(odd, even):
    model = Weights()
    model.odd.grad = None if odd is None else torch.tensor(odd)
    model.even.grad = torch.tensor(even)
    return model, SharedGradients(model)


def test_a_mean_over_all_targets_is_that_of_the_processes_weighed_by_theirs():
    """Losses and gradients of 1 target and of 3, the odd weight's in the second process alone: (1 a + 3 b) / 4."""
    one, mine = of_process(None, [[1.0, 2.0], [3.0, 4.0]])
    two, theirs = of_process([4.0, 0.0, -8.0], [[5.0, 2.0], [-1.0, 0.0]])
    mine.pack([torch.tensor(8.0)], 1)
    theirs.pack([torch.tensor(4.0)], torch.tensor(3))
    both = mine.flat + theirs.flat
    for model, shared in ((one, mine), (two, theirs)):
        shared.flat.copy_(both)
        (loss,) = shared.unpack([True, False, True])  # even, idle, odd: odd sizes come last
        assert loss == (8 + 3 * 4) / 4
        assert model.even.grad.tolist() == [[4.0, 2.0], [0.0, 1.0]]
        assert model.odd.grad.tolist() == [3.0, 0.0, -6.0]
        assert model.idle.grad is None and model.fixed.grad is None


def test_losses_of_several_parts_stay_apart_and_the_next_step_does_not_change_them():
    model, shared = of_process([1.0, 1.0, 1.0], [[1.0, 1.0], [1.0, 1.0]])
    shared.pack([torch.tensor(2.0), torch.tensor(6.0)], 5)
    losses = shared.unpack([True, False, True])
    assert torch.stack(losses).tolist() == pytest.approx([2.0, 6.0])
    model.zero_grad()
    model.even.grad = torch.full((2, 2), 7.0)
    shared.pack([torch.tensor(1.0), torch.tensor(1.0)], 2)
    assert torch.stack(losses).tolist() == pytest.approx([2.0, 6.0])


def test_no_targets_anywhere_teach_nothing():
    model, shared = of_process([0.0, 0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]])
    shared.pack([torch.tensor(0.0)], 0)
    assert shared.unpack([True, True, True])[0] == 0
    assert not model.odd.grad.any() and not model.idle.grad.any()


@pytest.mark.parametrize("most, expected", [(5.0, [3.0, 4.0]), (10.0, [3.0, 4.0]), (2.5, [1.5, 2.0])])
def test_gradients_are_clipped_by_their_norm_together(most, expected):
    """3 and 4: together 5."""
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(3)]
    weights[0].grad, weights[2].grad = torch.tensor([3.0]), torch.tensor([4.0])
    clip(iter(weights), max_norm=most)
    found = [weights[0].grad.item(), weights[2].grad.item()]
    assert found == pytest.approx(expected, rel=1e-5) and weights[1].grad is None


def test_a_norm_of_another_kind_is_torchs():
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    clip([weight], max_norm=3.5, norm_type=1)
    assert weight.grad.tolist() == pytest.approx([1.5, 2.0], rel=1e-5)
