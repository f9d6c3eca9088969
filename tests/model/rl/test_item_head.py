"""Scores of a head against a plain matrix of all of them, and negatives against what they are to be drawn by."""

import pytest
import torch

from recbole_ext.model.losses import UnlikeSampler
from recbole_ext.model.rl import item_head
from recbole_ext.model.rl.item_head import ItemHead

ITEMS, DIM, STATES = 11, 5, 40
KINDS = pytest.mark.parametrize("tied", [False, True], ids=["free", "tied"])


@pytest.fixture
def world():
    """A head with a bias, states, item vectors and the (STATES, ITEMS) scores written as plain sums."""

    def make(tied):
        generator = torch.Generator().manual_seed(3)
        head = ItemHead(DIM, ITEMS, DIM, generator, tied)
        states, vectors = (torch.randn(n, DIM, generator=generator) for n in (STATES, ITEMS))
        with torch.no_grad():
            head.bias.copy_(torch.randn(ITEMS, generator=generator))
        scores = torch.empty(STATES, ITEMS)
        for n, state in enumerate(states):
            for a in range(ITEMS):
                row = vectors[a] @ head.weight if tied else head.weight[a]
                scores[n, a] = sum(s * r for s, r in zip(state.tolist(), row.tolist())) + head.bias[a].item()
        return head, states, vectors, scores

    return make


@KINDS
def test_scores_of_chosen_items(world, tied):
    head, states, vectors, scores = world(tied)
    items = torch.randint(ITEMS, (STATES, 3), generator=torch.Generator().manual_seed(0))
    query = head.query(states)
    torch.testing.assert_close(head.at(query, vectors, items), scores.gather(1, items))
    one = items[:, 0]
    torch.testing.assert_close(head.at(query, vectors, one), scores.gather(1, items[:, :1]).squeeze(1))


@KINDS
def test_the_best_of_the_allowed(world, tied):
    head, states, vectors, scores = world(tied)
    query = head.query(states)
    everything = torch.ones(ITEMS, dtype=torch.bool)
    assert head.best(query, vectors, everything).tolist() == scores.argmax(1).tolist()
    allowed = everything.clone()
    allowed[scores.argmax(1).unique()[:3]] = False
    rest = scores.masked_fill(~allowed, -torch.inf)
    assert rest.argmax(1).tolist() != scores.argmax(1).tolist()
    assert head.best(query, vectors, allowed).tolist() == rest.argmax(1).tolist()
    torch.testing.assert_close(head.log_sum(query, vectors, allowed), rest.logsumexp(1))
    low = head.best(query, vectors, allowed, torch.bfloat16)
    missed = rest.max(1).values - rest.gather(1, low.unsqueeze(1)).squeeze(1)
    assert missed.max() < 0.05, "rounding may take a near equal, nothing worse"


@KINDS
def test_states_some_at_a_time_are_as_all_at_once(world, tied, monkeypatch):
    head, states, vectors, scores = world(tied)
    monkeypatch.setattr(item_head, "CHUNK_SCORES", 1)  # 16 states at a time: 16, 16 and 8
    allowed = torch.arange(ITEMS) % 3 != 0
    rest = scores.masked_fill(~allowed, -torch.inf)
    pieces = [piece for piece, _ in head._chunks(head.query(states), vectors, allowed, torch.float32)]
    assert [(piece.start, piece.stop) for piece in pieces] == [(0, 16), (16, 32), (32, 40)]
    assert head.best(head.query(states), vectors, allowed).tolist() == rest.argmax(1).tolist()
    torch.testing.assert_close(head.log_sum(head.query(states), vectors, allowed), rest.logsumexp(1))


@KINDS
def test_no_state_has_no_best(world, tied):
    head, states, vectors, _ = world(tied)
    allowed = torch.ones(ITEMS, dtype=torch.bool)
    assert head.best(head.query(states[:0]), vectors, allowed).shape == (0,)


@KINDS
def test_extended_product_is_the_score_with_its_gradient(world, tied):
    head, states, vectors, scores = world(tied)
    queries, rows = head.extended(head.query(states), vectors)
    assert queries.shape == (STATES, DIM + 1) and rows.shape == (ITEMS, DIM + 1)
    torch.testing.assert_close(queries @ rows.T, scores)
    (queries @ rows.T)[0, 4].backward()
    assert head.bias.grad.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    expected = torch.zeros_like(head.weight)
    if tied:
        expected = torch.outer(vectors[4], states[0])  # d/dM of vector · M state
    else:
        expected[4] = states[0]
    torch.testing.assert_close(head.weight.grad, expected)


@KINDS
def test_what_is_best_teaches_nothing_but_a_chosen_score_does(world, tied):
    head, states, vectors, _ = world(tied)
    states.requires_grad_()
    query = head.query(states)
    allowed = torch.ones(ITEMS, dtype=torch.bool)
    best = head.best(query, vectors, allowed)
    assert not head.log_sum(query, vectors, allowed).requires_grad
    head.at(query, vectors, best).sum().backward()
    assert states.grad.abs().min() > 0 and head.weight.grad.abs().sum() > 0
    assert head.bias.grad.tolist() == torch.bincount(best, minlength=ITEMS).tolist()


@KINDS
def test_making_a_head_leaves_the_global_random_state_alone(tied):
    before = torch.get_rng_state()
    one = ItemHead(DIM, ITEMS, DIM, torch.Generator().manual_seed(1), tied)
    again = ItemHead(DIM, ITEMS, DIM, torch.Generator().manual_seed(1), tied)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.weight, again.weight) and one.weight.std() > 0


# --- negatives --------------------------------------------------------------------------------------------

COUNT = torch.tensor([0, 50, 1, 0, 9, 20, 4])  # items 0 and 3 are never trained


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_negatives_are_drawn_by_their_count_among_the_others(power):
    torch.manual_seed(5)
    sampler = UnlikeSampler(COUNT, power)
    rows = 400
    for own in (1, 2, 4, 5, 6):
        drawn = sampler.draw(torch.full((rows,), own), 100)
        assert drawn.shape == (rows, 100)
        found = torch.bincount(drawn.flatten(), minlength=len(COUNT)).double()
        chance = torch.where(COUNT > 0, COUNT.double() ** power, 0.0)
        chance[own] = 0
        assert (found[chance == 0] == 0).all(), "neither the own item nor one that never trains"
        expected = chance[chance > 0] / chance.sum() * rows * 100
        chi_square = ((found[chance > 0] - expected) ** 2 / expected).sum()
        assert chi_square < 25, "3 degrees of freedom: one in 65,000"


def test_every_row_leaves_out_its_own_item():
    torch.manual_seed(6)
    own = torch.tensor([1, 2, 4, 5, 6]).repeat(200)
    drawn = UnlikeSampler(COUNT, 1.0).draw(own, 20)
    assert not (drawn == own.unsqueeze(1)).any()
    assert (COUNT[drawn] > 0).all()
    by_own = {item: set(drawn[own == item].flatten().tolist()) for item in (1, 2, 4, 5, 6)}
    assert all(len(others) >= 3 for others in by_own.values())


def test_one_item_of_nearly_all_events_is_left_out_all_the_same():
    torch.manual_seed(7)
    count = torch.tensor([0, 1, 10**9, 1])
    drawn = UnlikeSampler(count, 1.0).draw(torch.full((2000,), 2), 1)
    assert set(drawn.flatten().tolist()) == {1, 3}


def test_a_catalogue_of_one_item_has_no_other():
    drawn = UnlikeSampler(torch.tensor([0, 0, 7]), 1.0).draw(torch.tensor([2, 2]), 3)
    assert drawn.tolist() == [[2, 2, 2], [2, 2, 2]]


def test_two_items_are_each_others_negatives():
    drawn = UnlikeSampler(torch.tensor([0, 3, 7]), 1.0).draw(torch.tensor([1, 2, 1]), 4)
    assert drawn.tolist() == [[2] * 4, [1] * 4, [2] * 4]


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_items_for_a_whole_batch(power):
    torch.manual_seed(8)
    found = torch.bincount(UnlikeSampler(COUNT, power).some(40_000), minlength=len(COUNT)).double()
    chance = torch.where(COUNT > 0, COUNT.double() ** power, 0.0)
    assert (found[chance == 0] == 0).all()
    expected = chance[chance > 0] / chance.sum() * 40_000
    assert ((found[chance > 0] - expected) ** 2 / expected).sum() < 28, "4 degrees of freedom"


def test_one_seed_gives_one_draw():
    sampler = UnlikeSampler(COUNT, 0.5)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(sampler.draw(torch.tensor([1, 5]), 30).tolist())
    assert draws[0] == draws[1] != draws[2]
