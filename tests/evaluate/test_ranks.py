"""The rank of a target, ties and non-candidates included, worked out by hand."""

import pytest
import torch

from recbole_ext.evaluate.ranks import CandidateScores, FactoredScores, target_ranks

INF = float("inf")


def rank(scores, item):
    return target_ranks(torch.tensor([scores]), torch.tensor([0]), torch.tensor([item])).item()


def test_rank_counts_higher_scores():
    scores = [-INF, 0.1, 0.9, 0.5]
    assert [rank(scores, i) for i in (1, 2, 3)] == [3, 1, 2]


def test_ties_share_the_middle_rank():
    # five items alike: two of the four others count as better
    assert rank([-INF, 1.0, 1.0, 1.0, 1.0, 1.0], 4) == 3
    # one better, one tie: half a tie rounds down
    assert rank([-INF, 2.0, 1.0, 1.0, 0.0], 2) == 2


def test_a_target_that_is_no_candidate_ranks_last():
    assert rank([-INF, 0.5, -INF, 0.1], 2) == 3


def test_several_targets_of_one_row():
    scores = torch.tensor([[-INF, 3.0, 2.0], [-INF, 1.0, 5.0]])
    ranks = target_ranks(scores, torch.tensor([0, 0, 1]), torch.tensor([1, 2, 1]))
    assert ranks.tolist() == [1, 2, 2]


def test_a_score_that_is_no_number_ranks_last():
    assert rank([-INF, 0.5, float("nan"), 0.1], 2) == 3


def test_infinite_scores_and_others_that_are_no_numbers():
    assert rank([-INF, INF, INF, INF, 1.0], 2) == 2
    assert rank([-INF, float("nan"), 3.0, 2.0], 3) == 2


@pytest.mark.parametrize("seed", range(5))
def test_products_are_ranked_as_their_matrix(seed):
    """Ties included: small whole numbers make many."""
    random = torch.Generator().manual_seed(seed)
    states = torch.randint(-2, 3, (40, 3), generator=random).float()
    vectors = torch.randint(-2, 3, (57, 3), generator=random).float()
    rankable = torch.rand(57, generator=random) < 0.8
    items = torch.randint(1, 57, (40,), generator=random)
    scores = FactoredScores(states, vectors, rankable)
    dense = states @ vectors.T
    dense[:, 0] = -INF
    dense[:, ~rankable] = -INF
    assert torch.equal(scores.dense(), dense)
    expected = []
    for row, item in zip(dense, items.tolist()):
        higher, ties = (row > row[item]).sum().item(), (row == row[item]).sum().item() - 1
        expected.append(56 if row[item] == -INF else higher + ties // 2 + 1)
    assert scores.ranks(items).tolist() == expected
    assert target_ranks(dense, torch.arange(40), items).tolist() == expected
    assert torch.equal(dense.gather(1, scores.top(7)), dense.topk(7).values)


def test_a_candidate_drawn_twice_counts_once():
    scores = torch.tensor([[0.5, 0.9, 0.9, 0.1, 0.5], [1.0, 2.0, 3.0, 4.0, 1.0]])
    items = torch.tensor([[7, 3, 3, 2, 7], [5, 1, 2, 3, 4]])
    found = CandidateScores(scores, items, 10)
    assert found.ranks(items[:, 0]).tolist() == [2, 4]  # row 2: 3 better, one tie, half of it rounds down
    assert found.top(2).tolist() == [[3, 7], [3, 2]]
