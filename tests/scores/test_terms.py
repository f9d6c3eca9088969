"""What ranking adds to the few items that a row names: a mixture by definition, ranks by counting, blends."""

import math

import pytest
import torch

from recbole_ext.blend.scores import BlendScores
from recbole_ext.scores.dense import DenseScores
from recbole_ext.scores.factored import FactoredScores
from recbole_ext.scores.ranks import target_ranks
from recbole_ext.scores.terms import LATER, Copied, Raised, hide_and_add

INF = float("inf")
NEVER = -1e30


def mixture(scores, copied):
    """(B, n_items) p by definition, one place at a time, in float64; scores: -inf = not in the softmax."""
    p = torch.softmax(scores.double(), 1).nan_to_num(0)  # a row without candidates has no softmax
    p *= copied.log_rest.double().exp().unsqueeze(1)
    for row in range(len(p)):
        for item, share in zip(copied.items[row].tolist(), copied.log_share[row].double().exp().tolist()):
            if item:
                p[row, item] += share
    return p


def drawn(seed, rows=40, width=57, places=6):
    """Scores with hidden items, and what is copied: items repeat, and some places name none."""
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, width, generator=random) * 3
    hidden = torch.nonzero(torch.rand(width, generator=random) < 0.3).squeeze(1)
    hidden = torch.cat((torch.tensor([0]), hidden[hidden != 0]))
    items = torch.randint(0, width, (rows, places), generator=random)
    items[:, 2] = items[:, 4]
    items[::4] = hidden[torch.randint(len(hidden), (len(items[::4]), places), generator=random)]
    items[1] = 0  # a row that points at nothing
    log_share = torch.randn(rows, places, generator=random)
    log_rest = torch.randn(rows, generator=random)
    log_share = log_share.masked_fill(items == 0, NEVER)
    total = torch.cat((log_share, log_rest.unsqueeze(1)), 1).log_softmax(1)
    return scores, hidden, Copied(items, total[:, :-1], total[:, -1])


@pytest.mark.parametrize("seed", range(5))
def test_a_softmax_of_the_scores_is_the_mixture(seed):
    scores, hidden, copied = drawn(seed)
    known = scores.index_fill(1, hidden, -INF)
    p = mixture(known, copied)
    torch.testing.assert_close(p.sum(1), torch.ones(len(p), dtype=p.dtype))
    found = hide_and_add(scores.clone(), hidden, copied)
    torch.testing.assert_close(torch.softmax(found.double(), 1), p, atol=1e-6, rtol=1e-5)
    named = torch.zeros_like(p, dtype=torch.bool).scatter_(1, copied.items, True)
    named[:, 0] = False
    assert torch.equal(found > -INF, named | (known > -INF))
    assert torch.equal(found[~named], known[~named]), "what a row does not name stays as it is"
    assert (named & (known == -INF)).any(), "no row copied what is hidden"


def test_an_item_that_stands_twice_by_hand():
    scores = torch.tensor([[-INF, math.log(1.0), math.log(3.0), -INF]])
    copied = Copied(
        torch.tensor([[3, 1, 0, 1, 3]]),
        torch.tensor(
            [[0.1, 0.2, 1.0, 0.1, 0.1]]
        ).log(),  # the place that names none has no share, whatever it says
        torch.tensor([0.5]).log(),
    )
    found = copied.add_to(scores.clone())
    p = [0.0, 0.5 / 4 + 0.3, 0.5 * 3 / 4, 0.2]
    assert torch.softmax(found, 1)[0].tolist() == pytest.approx(p, abs=1e-6)
    assert found[0, 2] == scores[0, 2] and found[0, 0] == -INF


def test_where_nothing_else_is_rankable_the_copied_are_ranked():
    scores = torch.full((2, 5), -INF)
    copied = Copied(
        torch.tensor([[2, 4], [0, 0]]),
        torch.tensor([[0.2, 0.3], [0, 0]]).log(),
        torch.tensor([0.5, 1.0]).log(),
    )
    found = copied.add_to(scores)
    assert (found[0] > -INF).tolist() == [False, False, True, False, True] and found[0, 4] > found[0, 2]
    assert (found[1] == -INF).all()


def test_what_is_not_copied_loses_no_more_places_than_items_are_copied():
    """The most that a pointer can cost an item that training never saw, and the least that it gives one it names."""
    scores, hidden, copied = drawn(3)
    before = scores.index_fill(1, hidden, -INF)
    after = hide_and_add(scores.clone(), hidden, copied)
    for row in range(len(before)):
        named = set(copied.items[row].tolist()) - {0}
        others = torch.tensor([item for item in range(before.shape[1]) if item not in named])
        assert torch.equal(after[row, others], before[row, others])  # seen by training or not
        assert (after[row] >= before[row]).all()
        places = [(x[row] > x[row, others].unsqueeze(1)).sum(1) for x in (before, after)]
        assert ((places[1] - places[0] >= 0) & (places[1] - places[0] <= len(named))).all()


@pytest.mark.parametrize("away", [-100.0, 100.0])
def test_a_gate_that_saturates_keeps_every_item_in_its_place(away):
    """In log space: a share of e^-200 still tells a copied item from one that is no candidate, and from another."""
    logits = torch.tensor([[away, away + math.log(2), 0.0]])
    log_gates = torch.cat((logits, torch.zeros(1, 1)), 1).log_softmax(1)
    log_share, log_rest = log_gates[:, :2] + min(away, 0), log_gates[:, 3]
    scores = torch.tensor([[-INF, 1.0, 2.0, -INF, -INF]])
    found = Copied(torch.tensor([[3, 4]]), log_share, log_rest).add_to(scores.clone())
    assert found[0, 1:].isfinite().all() and torch.equal(found[0, 1:3], scores[0, 1:3])
    assert found[0, 4] - found[0, 3] == pytest.approx(math.log(2), abs=1e-4)


def test_a_share_of_never_is_nothing():
    """What a pointer cannot point at: a later event, or anything under a gate that is shut for good."""
    scores = torch.tensor([[-INF, 1.0, 2.0, -INF]])
    copied = Copied(torch.tensor([[1, 3]]), torch.tensor([[NEVER - 3, NEVER]]), torch.zeros(1))
    assert torch.equal(copied.add_to(scores.clone()), scores)


def tied(seed):
    """A table of small whole numbers, and shares that are alike: ties of scores, of copied items, and of both."""
    random = torch.Generator().manual_seed(seed)
    states = torch.randint(-1, 2, (40, 3), generator=random).float()
    vectors = torch.randint(-1, 2, (57, 3), generator=random).float()
    rankable = torch.rand(57, generator=random) < 0.7
    rankable[0] = False
    items = torch.randint(0, 57, (40, 6), generator=random)
    items[:, 3] = items[:, 1]
    log_share = torch.full((40, 6), math.log(1 / 16)).masked_fill(items == 0, NEVER)
    rest = 1 - (items != 0).sum(1) / 16
    return states, vectors, rankable, Copied(items, log_share, rest.log())


@pytest.mark.parametrize("seed", range(5))
def test_ranks_by_counting_are_those_of_p(seed):
    states, vectors, rankable, copied = tied(seed)
    scores = FactoredScores(states, vectors, rankable, copied)
    p = mixture((states @ vectors.T).masked_fill(~rankable, -INF), copied)
    dense = scores.dense()
    rows, tie = torch.arange(40), 0
    for column in (copied.items[:, 0], copied.items[:, 1], torch.randint(1, 57, (40,))):
        column = column.clamp_min(1)
        own = p[rows, column].unsqueeze(1)  # compared but for the last bits, which may part what ties
        higher = (p > own * (1 + 1e-5)).sum(1)
        ties = ((p - own).abs() <= own * 1e-5).sum(1) - 1
        expected = torch.where(own.squeeze(1) > 0, higher + ties // 2 + 1, 56)
        assert torch.equal(scores.ranks(column), expected)
        assert torch.equal(scores.ranks(column), target_ranks(dense, rows, column))
        tie += ((ties > 0) & (own.squeeze(1) > 0)).sum().item()
    assert tie > 5


@pytest.mark.parametrize("seed", range(3))
def test_all_ways_to_the_scores_agree(seed, monkeypatch):
    from recbole_ext.scores import ranks

    states, vectors, rankable, copied = tied(seed)
    scores = FactoredScores(states, vectors, rankable, copied)
    dense = scores.dense()
    assert torch.equal(dense, hide_and_add(states @ vectors.T, torch.nonzero(~rankable).squeeze(1), copied))
    some = torch.randint(0, 57, (40, 9))
    top, of, found = scores.top(7), scores.of(some), scores.ranks(some[:, 0])
    assert torch.equal(dense.gather(1, some), of)
    assert torch.equal(dense.gather(1, top), dense.topk(7).values)
    monkeypatch.setattr(ranks, "CHUNK_SCORES", 1)  # 16 rows at a time
    pieces = [(piece, chunk.clone()) for piece, chunk in scores.chunks()]
    assert [piece.stop - piece.start for piece, _ in pieces] == [16, 16, 8]
    assert torch.equal(torch.cat([chunk for _, chunk in pieces]), dense)
    assert torch.equal(scores.ranks(some[:, 0]), found) and torch.equal(scores.of(some), of)
    assert torch.equal(scores.top(7), top)


@pytest.mark.parametrize("scale", ["softmax", "zscore", "rank"])
def test_a_blend_takes_them(scale):
    states, vectors, rankable, copied = tied(0)
    mixed, other = FactoredScores(states, vectors, rankable, copied), torch.randn(40, 57)
    other[:, 0] = -INF
    items = torch.randint(1, 57, (40,))
    whole = DenseScores(mixed.dense())
    for weight in (0, 0.3, 1):
        ours, dense = (BlendScores((first, DenseScores(other)), weight, scale) for first in (mixed, whole))
        assert torch.equal(ours.ranks(items), dense.ranks(items))
        assert torch.equal(ours.dense(), dense.dense())
    if scale == "softmax":  # of chances: that of the mixture
        p = mixture((states @ vectors.T).masked_fill(~rankable, -INF), copied)
        blend = torch.softmax(BlendScores((mixed, DenseScores(other)), 0.3, scale).dense().double(), 1)
        expected = 0.7 * p + 0.3 * torch.softmax(other.double(), 1)
        assert (p == 0)[:, 1:].any()
        # an item that one cannot score counts as its lowest there, so only the others are compared
        both = p.gt(0).all(0)
        ratio = blend[:, both] / expected[:, both]
        torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), atol=1e-5, rtol=1e-5)


def test_raised_by_hand():
    scores = torch.tensor([[-INF, 3.0, 1.0, -INF, -INF], [-INF, 3.0, 1.0, -INF, -INF]])
    raised = Raised(
        torch.tensor([[2, 3, 2, 4], [3, 0, 0, 0]]), torch.tensor([[0.5, 0.5, 0.5, 0.0], [2.0, 0, 0, 0]])
    )
    found = raised.add_to(scores.clone())
    # of no candidate: from the best other that the row names, or of all; what is raised by nothing stays none
    expected = [[-INF, 3.0, 1.5, 1.0 + LATER + 0.5, -INF], [-INF, 3.0, 1.0, 3.0 + 2.0, -INF]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_terms_of_some_rows():
    scores, hidden, copied = drawn(1)
    raised = Raised(copied.items, copied.items.bool() * 0.5)
    for terms in (copied, raised):
        whole = hide_and_add(scores.clone(), hidden, terms)
        assert torch.equal(hide_and_add(scores[5:11].clone(), hidden, terms[5:11]), whole[5:11])
