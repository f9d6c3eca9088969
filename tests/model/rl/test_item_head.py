"""Scores of a head against a plain matrix of all of them."""

import pytest
import torch

from recbole_ext.model.rl import item_head
from recbole_ext.model.rl.item_head import ItemHead

ITEMS, DIM, STATES = 11, 5, 40


@pytest.fixture
def world():
    """A head with a bias, states and the (STATES, ITEMS) scores written as plain sums."""
    generator = torch.Generator().manual_seed(3)
    head = ItemHead(DIM, ITEMS, generator)
    states = torch.randn(STATES, DIM, generator=generator)
    with torch.no_grad():
        head.bias.copy_(torch.randn(ITEMS, generator=generator))
        scores = torch.tensor(
            [
                [
                    sum(s * w for s, w in zip(state, row)) + b
                    for row, b in zip(head.weight.tolist(), head.bias.tolist())
                ]
                for state in states.tolist()
            ]
        )
    return head, states, scores


def test_scores_of_chosen_items(world):
    head, states, scores = world
    items = torch.randint(ITEMS, (STATES, 3), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(head.at(states, items), scores.gather(1, items))
    torch.testing.assert_close(head.at(states, items[:, 0]), scores.gather(1, items[:, :1]).squeeze(1))


@pytest.mark.parametrize("chunk", [item_head.CHUNK_SCORES, 1])  # all at once, or 16, 16 and 8 states
def test_the_best_of_the_allowed(world, monkeypatch, chunk):
    monkeypatch.setattr(item_head, "CHUNK_SCORES", chunk)
    head, states, scores = world
    everything = torch.ones(ITEMS, dtype=torch.bool)
    assert head.best(states, everything).tolist() == scores.argmax(1).tolist()
    allowed = everything.clone()
    allowed[scores.argmax(1).unique()[:3]] = False
    rest = scores.masked_fill(~allowed, -torch.inf)
    assert rest.argmax(1).tolist() != scores.argmax(1).tolist()
    assert head.best(states, allowed).tolist() == rest.argmax(1).tolist()
    low = head.best(states, allowed, torch.bfloat16)
    missed = rest.max(1).values - rest.gather(1, low.unsqueeze(1)).squeeze(1)
    assert missed.max() < 0.05, "rounding may take a near equal, nothing worse"
    assert head.best(states[:0], allowed).shape == (0,)


def test_the_product_of_states_and_vectors_is_the_score_with_its_gradient(world):
    head, states, scores = world
    queries, rows = head.states(states), head.vectors(torch.zeros(ITEMS, DIM))
    torch.testing.assert_close(queries @ rows.T, scores)
    (queries @ rows.T)[0, 4].backward()
    assert head.bias.grad.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    expected = torch.zeros_like(head.weight)
    expected[4] = states[0]
    torch.testing.assert_close(head.weight.grad, expected)


def test_what_is_best_teaches_nothing_but_a_chosen_score_does(world):
    head, states, _ = world
    states.requires_grad_()
    best = head.best(states, torch.ones(ITEMS, dtype=torch.bool))
    head.at(states, best).sum().backward()
    assert states.grad.abs().min() > 0 and head.weight.grad.abs().sum() > 0
    assert head.bias.grad.tolist() == torch.bincount(best, minlength=ITEMS).tolist()


def test_making_a_head_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    one, again = (ItemHead(DIM, ITEMS, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.weight, again.weight) and one.weight.std() > 0
