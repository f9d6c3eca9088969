"""Blended scores: each scale worked out on paper, items that a model cannot score, ranks of many weights at once."""

import math

import pytest
import torch

from recbole_ext.blend.scores import BlendScores, fitted_temperature, scaled, side_by_side
from recbole_ext.scores.dense import DenseScores
from recbole_ext.scores.factored import FactoredScores
from recbole_ext.scores.ranks import target_ranks

NONE = -torch.inf
# one row, items 0 (padding) to 4
FIRST = torch.tensor([[NONE, math.log(4), math.log(2), 0.0, 0.0]])
SECOND = torch.tensor([[NONE, 0.0, math.log(2), math.log(5), 0.0]])


def blend(first, second, weight, scale, temperatures=(1.0, 1.0)):
    return BlendScores((DenseScores(first), DenseScores(second)), weight, scale, temperatures)


def test_softmax_is_the_mixture_of_chances():
    found = blend(FIRST, SECOND, 0.25, "softmax")
    # chances 4, 2, 1, 1 of 8 and 1, 2, 5, 1 of 9
    expected = [0.75 * a / 8 + 0.25 * b / 9 for a, b in zip((4, 2, 1, 1), (1, 2, 5, 1))]
    assert found.dense()[0, 1:].exp().tolist() == pytest.approx(expected, rel=1e-6)
    assert found.dense()[0, 0] == NONE
    assert torch.softmax(found.dense(), dim=1)[0, 1:].tolist() == pytest.approx(expected, rel=1e-5)


def test_softmax_divides_by_the_temperatures():
    found = blend(FIRST, SECOND, 0.5, "softmax", (0.5, 1.0)).dense()
    # squares of the first's odds: 16, 4, 1, 1 of 22
    expected = [0.5 * a / 22 + 0.5 * b / 9 for a, b in zip((16, 4, 1, 1), (1, 2, 5, 1))]
    assert found[0, 1:].exp().tolist() == pytest.approx(expected, rel=1e-6)


def test_zscore_is_over_the_items_that_have_a_score():
    first = torch.tensor([[NONE, 1.0, 2.0, 3.0, 6.0]])  # mean 3, variance (4 + 1 + 0 + 9) / 4
    second = torch.tensor([[NONE, 0.0, 0.0, 0.0, 4.0]])  # mean 1, variance 3
    a = [x / math.sqrt(3.5) for x in (-2, -1, 0, 3)]
    b = [x / math.sqrt(3) for x in (-1, -1, -1, 3)]
    found = blend(first, second, 0.4, "zscore").dense()
    assert found[0, 1:].tolist() == pytest.approx([0.6 * x + 0.4 * y for x, y in zip(a, b)], rel=1e-5)


def test_rank_is_reciprocal_and_ties_share_the_middle():
    first = torch.tensor([[NONE, 5.0, 7.0, 5.0, 1.0]])  # ranks 2.5, 1, 2.5, 4
    second = torch.tensor([[NONE, 1.0, 2.0, 3.0, 4.0]])  # ranks 4, 3, 2, 1
    found = blend(first, second, 0.5, "rank").dense()
    expected = [0.5 / (60 + x) + 0.5 / (60 + y) for x, y in ((2.5, 4), (1, 3), (2.5, 2), (4, 1))]
    assert found[0, 1:].tolist() == pytest.approx(expected, rel=1e-6)


def test_rank_gives_nothing_beyond_the_list(monkeypatch):
    monkeypatch.setattr("recbole_ext.blend.scores.RANK_TOP", 2)
    values, _ = scaled(torch.tensor([[NONE, 9.0, 8.0, 7.0, 6.0], [NONE, 9.0, 0.0, 0.0, 0.0]]), "rank")
    assert values[0].tolist() == pytest.approx([0, 1 / 61, 1 / 62, 0, 0])
    # zeros tie across the end of the list: none of them is on it
    assert values[1].tolist() == pytest.approx([0, 1 / 61, 0, 0, 0])


@pytest.mark.parametrize("scale", ["softmax", "zscore", "rank"])
def test_an_item_ranks_if_one_model_can_score_it(scale):
    first = torch.tensor([[NONE, 3.0, 2.0, 1.0, NONE, NONE]])
    second = torch.tensor([[NONE, 1.0, 2.0, 0.0, 3.0, NONE]])
    values, hidden = scaled(first, scale)
    assert hidden[0].tolist() == [True, False, False, False, True, True]
    assert values[0, 4] == values[0, 3]  # the first model's lowest
    blended = blend(first, second, 0.5, scale)
    assert blended.dense()[0, 5] == NONE and blended.dense()[0, 1:5].isfinite().all()
    # neither knows item 5: last of the five
    assert blended.ranks(torch.tensor([5])).item() == 5
    assert blended.ranks(torch.tensor([4])).item() < 5


@pytest.mark.parametrize("scale", ["softmax", "zscore", "rank"])
def test_a_row_that_one_model_cannot_score_is_the_other_s(scale):
    torch.manual_seed(0)
    first, second = torch.full((1, 9), NONE), torch.randn(1, 9)
    second[0, 0] = NONE
    alone = second.argsort(dim=1, descending=True)[0, :8]
    assert blend(first, second, 0.3, scale).top(8)[0].tolist() == alone.tolist()
    nothing = torch.zeros(1, 9)  # no neighbour: alike throughout
    nothing[0, 0] = NONE
    assert blend(nothing, second, 0.3, scale).top(8)[0].tolist() == alone.tolist()


@pytest.mark.parametrize("scale", ["softmax", "zscore", "rank"])
def test_ranks_of_all_weights_equal_a_plain_loop(scale):
    torch.manual_seed(1)
    states, vectors = torch.randn(300, 4), torch.randn(40, 4)
    sparse = torch.randn(300, 40).relu()
    sparse[:, 0] = NONE
    items = torch.randint(1, 40, (300,))
    pair = FactoredScores(states, vectors), DenseScores(sparse)
    weights = [0.0, 0.3, 0.5, 1.0]
    at_once = BlendScores(pair, 0.5, scale).at(weights, items)
    rows = torch.arange(300)
    dense = states @ vectors.T
    dense[:, 0] = NONE
    for weight, found in zip(weights, at_once):
        alone = BlendScores(pair, weight, scale)
        assert torch.equal(found.ranks(items), alone.ranks(items))
        a, b = (scaled(scores, scale)[0] for scores in (dense, sparse))
        looped = (1 - weight) * a + weight * b if 0 < weight < 1 else (dense, sparse)[int(weight)].clone()
        looped[:, 0] = NONE
        same = found.ranks(items) == target_ranks(looped, rows, items)
        assert same.float().mean() > 0.99  # rounding may part scores that tie
        assert torch.equal(found.top(1).squeeze(1), alone.top(1).squeeze(1))
        assert torch.equal(found.of_candidates(items.unsqueeze(1)), alone.of_candidates(items.unsqueeze(1)))


def test_weights_0_and_1_are_the_models_own_scores():
    scores = torch.tensor([[NONE, 1.0, 1.0 + 2**-23, 900.0]])  # a softmax would make the first two alike
    other = torch.zeros(1, 4)
    assert blend(scores, other, 0, "softmax").ranks(torch.tensor([2])).item() == 2
    assert blend(other, scores, 1, "softmax").ranks(torch.tensor([1])).item() == 3
    assert torch.equal(blend(other, scores, 1, "softmax").dense(), scores)


class Pieces(DenseScores):
    def __init__(self, scores, cuts):
        super().__init__(scores)
        self.cuts = cuts

    def chunks(self):
        for start, stop in zip((0, *self.cuts), (*self.cuts, len(self))):
            yield slice(start, stop), self.scores[start:stop]


def test_side_by_side_whatever_the_chunks():
    first, second = torch.arange(20.0).view(10, 2), torch.arange(20.0, 40).view(10, 2)
    found = list(side_by_side(Pieces(first, (3, 6)), Pieces(second, (4,))))
    assert [(piece.start, piece.stop) for piece, _, _ in found] == [(0, 3), (3, 4), (4, 6), (6, 10)]
    assert torch.equal(torch.cat([a for _, a, _ in found]), first)
    assert torch.equal(torch.cat([b for _, _, b in found]), second)


def test_temperature_is_that_of_the_likeliest_targets():
    torch.manual_seed(2)
    logits = torch.randn(4000, 30)
    logits[:, 0] = NONE
    items = torch.distributions.Categorical(logits=logits).sample()
    # scores five times too sharp: divided by 5 they are the chances that the targets were drawn by
    assert fitted_temperature(DenseScores(logits * 5), items) == pytest.approx(5, rel=0.1)
    assert fitted_temperature(DenseScores(logits * 0.01), items) == pytest.approx(0.01, rel=0.1)
    grid = [t / 20 for t in range(60, 160)]
    likelihood = [
        torch.log_softmax(logits * 5 / t, dim=1).gather(1, items[:, None]).mean().item() for t in grid
    ]
    best = grid[max(range(len(grid)), key=likelihood.__getitem__)]
    assert fitted_temperature(DenseScores(logits * 5), items) == pytest.approx(best, abs=0.06)


def test_temperature_of_scores_that_say_nothing_is_1():
    alike = torch.zeros(3, 5)
    assert fitted_temperature(DenseScores(alike), torch.tensor([1, 2, 3])) == 1
    unknown = torch.full((3, 5), NONE)
    assert fitted_temperature(DenseScores(unknown), torch.tensor([1, 2, 3])) == 1
