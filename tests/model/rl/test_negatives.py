"""Negatives against what they are to be drawn by."""

import torch

from recbole_ext.model.rl.negatives import UnlikeSampler

COUNT = torch.tensor([0, 50, 1, 0, 9, 20, 4])  # items 0 and 3 are never trained


def test_negatives_are_drawn_alike_among_the_others():
    torch.manual_seed(5)
    sampler = UnlikeSampler(COUNT)
    rows = 400
    for own in (1, 2, 4, 5, 6):
        drawn = sampler.draw(torch.full((rows,), own), 100)
        assert drawn.shape == (rows, 100)
        found = torch.bincount(drawn.flatten(), minlength=len(COUNT)).double()
        others = COUNT > 0
        others[own] = False
        assert (found[~others] == 0).all(), "neither the own item nor one that never trains"
        expected = rows * 100 / 4
        chi_square = ((found[others] - expected) ** 2 / expected).sum()
        assert chi_square < 25, "3 degrees of freedom: one in 65,000"


def test_every_row_leaves_out_its_own_item():
    torch.manual_seed(6)
    own = torch.tensor([1, 2, 4, 5, 6]).repeat(200)
    drawn = UnlikeSampler(COUNT).draw(own, 20)
    assert not (drawn == own.unsqueeze(1)).any()
    by_own = {item: set(drawn[own == item].flatten().tolist()) for item in (1, 2, 4, 5, 6)}
    assert all(others == {1, 2, 4, 5, 6} - {item} for item, others in by_own.items())


def test_a_catalogue_of_one_item_has_no_other():
    drawn = UnlikeSampler(torch.tensor([0, 0, 7])).draw(torch.tensor([2, 2]), 3)
    assert drawn.tolist() == [[2, 2, 2], [2, 2, 2]]


def test_two_items_are_each_others_negatives():
    drawn = UnlikeSampler(torch.tensor([0, 3, 7])).draw(torch.tensor([1, 2, 1]), 4)
    assert drawn.tolist() == [[2] * 4, [1] * 4, [2] * 4]


def test_items_for_a_whole_batch():
    torch.manual_seed(8)
    found = torch.bincount(UnlikeSampler(COUNT).some(40_000), minlength=len(COUNT)).double()
    assert (found[COUNT == 0] == 0).all()
    assert ((found[COUNT > 0] - 8000) ** 2 / 8000).sum() < 28, "4 degrees of freedom"


def test_one_seed_gives_one_draw():
    sampler = UnlikeSampler(COUNT)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(sampler.draw(torch.tensor([1, 5]), 30).tolist())
    assert draws[0] == draws[1] != draws[2]
