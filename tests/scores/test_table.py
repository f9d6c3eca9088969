"""Products with item vectors, laid out: as the plain product, with groups of items and without."""

import pytest
import torch

from recbole_ext.scores.factored import FactoredScores
from recbole_ext.scores.table import ItemTable


@pytest.mark.parametrize("groups", [3, 60])
@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("bias", [False, True])
def test_as_the_plain_product(groups, rows, bias):
    torch.manual_seed(groups)
    raw = torch.cat((torch.randn(60, 5), torch.randn(groups, 4)[torch.arange(60) % groups]), dim=1)
    raw[0] = raw[7] = 0
    vectors = torch.nn.functional.normalize(raw, dim=1)
    vectors = torch.cat((vectors, torch.randn(60, 1)), dim=1) if bias else vectors
    states = torch.randn(rows, vectors.shape[1])
    rankable = torch.rand(60) < 0.8
    table = ItemTable(vectors, rankable, raw, own=5)
    assert (table._groups is None) == (groups == 60)
    expected = states @ vectors.T
    torch.testing.assert_close(table.product(states, torch.empty(rows, 60)), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(table.vectors, vectors)
    assert torch.equal(table.raw, raw)
    plain, laid_out = FactoredScores(states, vectors, rankable), FactoredScores(states, table)
    torch.testing.assert_close(laid_out.dense(), plain.dense(), rtol=1e-5, atol=1e-5)
    assert (plain.dense()[:, 0] == -torch.inf).all() and plain.width == laid_out.width == 60
