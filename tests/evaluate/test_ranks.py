"""The rank of a target, ties and non-candidates included, worked out by hand."""

import torch

from recbole_ext.evaluate.ranks import target_ranks

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
