"""The rank of a target, ties and non-candidates included, worked out by hand."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_ext.scores import factored, ranks
from recbole_ext.scores.candidates import CandidateScores
from recbole_ext.scores.factored import FactoredScores
from recbole_ext.scores.products import by_onednn
from recbole_ext.scores.ranks import ranks_among, target_ranks
from recbole_ext.scores.sparse import SparseScores
from recbole_ext.scores.table import ItemTable
from recbole_ext.scores.terms import Copied

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


def adversarial(random, count, width):
    """(count, width) float32 rows: ties, neighbours of a number, huge, tiny, zeros of both signs, none and infinite."""
    scores = random.normal(0, 1, (count, width)).astype(np.float32)
    scores[::5] = random.integers(-2, 3, (len(scores[::5]), width)) * np.float32(0.1)
    scores[1::5] = np.nextafter(
        np.float32(0.3), random.choice([-9, 0.3, 9], (len(scores[1::5]), width)), dtype="f4"
    )
    scores[2::5] *= np.float32(10) ** random.integers(-44, 38, (len(scores[2::5]), 1))
    odd = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-45], dtype=np.float32)
    scores[3::5] = np.where(
        random.random(scores[3::5].shape) < 0.2, random.choice(odd, scores[3::5].shape), scores[3::5]
    )
    return scores


@pytest.mark.parametrize("threads", [1, 2])
def test_counting_row_by_row_gives_the_ranks_of_signs(monkeypatch, threads):
    """10,000 tables of scores, and what a rank is in so many words."""
    random = np.random.default_rng(threads)
    scores = adversarial(random, 10_000, 97)
    own = torch.from_numpy(scores[np.arange(10_000), random.integers(0, 97, 10_000)])
    expected = ranks_among(torch.from_numpy(scores), own, 96)
    monkeypatch.setattr(ranks, "WIDE", 1)
    monkeypatch.setattr(ranks.torch, "get_num_threads", lambda: threads)
    found = ranks_among(torch.from_numpy(scores), own, 96)
    assert found.dtype == expected.dtype and torch.equal(found, expected)
    for row in range(0, 10_000, 97):
        mine = own[row].item()
        ties = sum(not (score > mine or score < mine) for score in scores[row]) - 1
        better = sum(score > mine for score in scores[row]) + ties // 2
        assert found[row] == (96 if mine == -INF or mine != mine else better + 1)


@pytest.mark.parametrize("kind", ["normal", "whole numbers", "alike"])
def test_ranks_and_lists_of_scores_made_once(monkeypatch, kind):
    """Of vectors that are laid out, too, and several pieces; as one by one."""
    random = torch.Generator().manual_seed(5)
    states, vectors = torch.randn(600, 8, generator=random), torch.randn(5000, 8, generator=random)
    if kind == "whole numbers":
        states, vectors = states.round(), vectors.round()
    if kind == "alike":
        vectors = vectors[:10].repeat(500, 1)
    rankable = torch.rand(5000, generator=random) < 0.9
    items = torch.randint(1, 5000, (600,), generator=random)
    monkeypatch.setattr(ranks, "CHUNK_SCORES", 16 * 200 * 5000)
    found, top = FactoredScores(states, vectors, rankable).ranks_and_top(items, 20)
    monkeypatch.setattr(factored, "LAID_OUT", 10_000)
    monkeypatch.setattr(ranks, "WIDE", 10_000)
    before = FactoredScores(states, vectors, rankable)
    assert torch.equal(found, before.ranks(items)) and torch.equal(top, before.top(20))


def test_a_candidate_drawn_twice_counts_once():
    scores = torch.tensor([[0.5, 0.9, 0.9, 0.1, 0.5], [1.0, 2.0, 3.0, 4.0, 1.0]])
    items = torch.tensor([[7, 3, 3, 2, 7], [5, 1, 2, 3, 4]])
    found = CandidateScores(scores, items, 10)
    assert found.ranks(items[:, 0]).tolist() == [2, 4]  # row 2: 3 better, one tie, half of it rounds down
    assert found.top(2).tolist() == [[3, 7], [3, 2]]


def sparse(rows, below, open_, width=6):
    """SparseScores of rows {item: score}."""
    known = sp.lil_matrix((len(rows), width), dtype=np.float32)
    for row, scores in enumerate(rows):
        for item, score in scores.items():
            known[row, item] = score
    return SparseScores(known.tocsr(), np.array(below, dtype=np.float32), np.array(open_))


def test_sparse_scores_on_paper():
    below = [9, -0.5, -0.25, -0.5, -0.5, -0.75]  # the padding's is not looked at
    rows = [{2: 0.5, 3: 1.0, 5: 0.5}] * 6 + [{}]
    scores = sparse(rows, below, [True, True, True, True, False, False, True])
    # 3 leads, 2 and 5 tie, 1 and 4 tie below them, or rank last where they are no candidates; nothing known: by below
    items = torch.tensor([3, 2, 5, 4, 4, 2, 4])
    assert scores.ranks(items).tolist() == [1, 2, 2, 4, 5, 2, 3]
    assert target_ranks(scores.dense(), torch.arange(7), items).tolist() == [1, 2, 2, 4, 5, 2, 3]
    assert scores.top(3)[0].tolist() == [3, 2, 5]
    assert scores.top(3)[6].tolist() == [2, 1, 3]
    assert scores.top(5)[4].tolist() == [3, 2, 5, 0, 0]
    assert scores.of(torch.tensor([[1, 3], [5, 1]] + [[0, 0]] * 5))[:2].tolist() == [[-0.5, 1.0], [0.5, -0.5]]


@pytest.mark.parametrize("seed", range(6))
def test_sparse_scores_are_ranked_as_their_matrix(seed):
    """Ties included, among what is known and among what is not; rows without any, and items that none knows."""
    random = np.random.default_rng(seed)
    count, width = 50, 23
    known = random.random((count, width)) < random.choice([0, 0.1, 0.5, 1], (count, 1))
    known[:, 0] = False
    values = random.integers(1, 4, (count, width)) / 3
    matrix = sp.csr_matrix(np.where(known, values, 0))
    below = random.integers(1, 5, width) / 5 - 1
    open_ = random.random(count) < 0.6
    scores = SparseScores(matrix, below, open_)
    dense = torch.tensor(np.where(known, values, np.where(open_[:, None], below, -np.inf))).float()
    dense[:, 0] = -INF
    assert torch.equal(scores.dense(), dense)
    assert torch.equal(torch.cat([piece for _, piece in scores.chunks()]), dense)
    items = torch.from_numpy(random.integers(1, width, count))
    expected = target_ranks(dense, torch.arange(count), items)
    assert torch.equal(scores.ranks(items), expected)
    for k in (1, 5, 22):
        top = scores.top(k)
        assert torch.equal(dense.gather(1, top), dense.topk(k).values)
        for row, ranked in zip(top.tolist(), (dense > -INF).sum(1).tolist()):
            listed = row[: min(k, ranked)]
            assert len(set(listed)) == len(listed) and 0 not in listed
            assert row[len(listed) :] == [0] * (k - len(listed))  # nothing else is ranked
    several = torch.from_numpy(random.integers(0, width, (count, 7)))
    assert torch.equal(scores.of(several), dense.gather(1, several))


def test_sparse_scores_of_no_known_score():
    scores = SparseScores(sp.csr_matrix((2, 4)), np.array([0, -0.2, -0.4, -0.4]), np.array([True, False]))
    assert scores.ranks(torch.tensor([3, 1])).tolist() == [2, 3]
    assert scores.of(torch.tensor([[1], [1]])).flatten().tolist() == [pytest.approx(-0.2), -INF]
    assert scores.top(2)[0].tolist() == [1, 2]


# --- products by oneDNN -----------------------------------------------------------------------------------


def one_after_the_other(states, vectors):
    """float32 sums of products whose terms are added in turn by fused multiply and add: (G, B, d) · (G, N, d).

    In float64 the product of two float32 is exact.
    """
    total = np.zeros((*states.shape[:2], vectors.shape[1]), np.float32)
    for k in range(states.shape[2]):
        terms = states[:, :, None, k].astype(np.float64) * vectors[:, None, :, k]
        total = (total + terms).astype(np.float32)
    return total


def by_the_rule(scores, items):
    """(G, B) ranks of items (G, B) among scores (G, B, N), of which item 0 is none."""
    own = np.take_along_axis(scores, items[..., None], 2)
    others = scores[..., 1:]
    return 1 + (others > own).sum(2) + ((others == own).sum(2) - 1) // 2


def hard_vectors(kind, draw, states, count):
    """(G, N, d) vectors whose scores tie, or nearly do."""
    tables, width = len(states), states.shape[2]
    vectors = draw.standard_normal((tables, count, width), np.float32)
    if kind == "whole numbers":
        return np.rint(vectors)
    if kind == "neighbours":  # each next to another one, some of them its like
        vectors[:, 1::2] = vectors[:, ::2]
        places = draw.integers(0, width, (tables, count // 2))
        moved = np.take_along_axis(vectors[:, 1::2], places[..., None], 2)
        moved = np.nextafter(moved, draw.choice(np.float32([-9, 9]), moved.shape))
        np.put_along_axis(vectors[:, 1::2], places[..., None], moved, 2)
        vectors[:, 2::4] = vectors[:, 1:2]
    if kind == "cancelling":  # large terms that leave small sums
        vectors[..., width // 2 :] = -vectors[..., : width // 2] + 1e-4 * vectors[..., width // 2 :]
        states[..., width // 2 :] = states[..., : width // 2]
    if kind == "sizes":
        vectors *= np.float32(10.0) ** draw.integers(-9, 9, (tables, count, 1))
    return vectors


@pytest.mark.parametrize("kind", ["drawn", "whole numbers", "neighbours", "cancelling", "sizes"])
@pytest.mark.parametrize("width", [8, 64])
def test_ranks_by_onednn_are_exact_in_1000_hard_tables(monkeypatch, kind, width):
    """… and the same in every batch of two or more rows, whatever it is cut into, and in blocks of items."""
    for name, value in {"BLOCK_ROWS": 4, "BLOCK_ITEMS": 16, "FEW": 4, "BLOCKS": 2}.items():
        monkeypatch.setattr(ranks, name, value)
    tables, rows, count = 1000, 6, 60
    draw = np.random.default_rng(width)
    states = draw.standard_normal((tables, rows, width), np.float32)
    if kind == "whole numbers":
        states = np.rint(states)
    vectors = hard_vectors(kind, draw, states, count)
    items = draw.integers(1, count, (tables, rows))
    if not by_onednn(torch.from_numpy(states[0]), torch.from_numpy(vectors[0].T)):
        pytest.skip("oneDNN multiplies by AVX-512 alone, which this processor lacks")
    expected = by_the_rule(one_after_the_other(states, vectors), items)
    for table in range(tables):
        mine, theirs, asked = (torch.from_numpy(part[table]) for part in (states, vectors, items))
        for piece in (slice(None), slice(0, 2), slice(2, 6)):
            found = FactoredScores(mine[piece], theirs).ranks(asked[piece])
            assert found.tolist() == expected[table, piece].tolist(), (table, piece)
        in_blocks = ranks.ranks_in_products(mine, theirs, torch.tensor([0]), asked)
        assert in_blocks.tolist() == expected[table].tolist(), table


@pytest.mark.parametrize("rows", [2, 513, 514])
@pytest.mark.parametrize("terms", [False, True])
def test_ranks_in_blocks_are_those_of_all_scores(monkeypatch, rows, terms):
    """With items that are no candidates, targets among them, ties, and scores that are no numbers."""
    draw = torch.Generator().manual_seed(rows)
    states, vectors = torch.randn(rows, 16, generator=draw), torch.randn(4200, 16, generator=draw)
    vectors[1::9] = vectors[3]
    vectors[17, 3] = torch.nan
    vectors[21, 3] = torch.inf
    states[-1, 3] = -torch.inf
    states[0, 3] = torch.nan
    rankable = torch.rand(4200, generator=draw) < 0.7
    items = torch.randint(1, 4200, (rows,), generator=draw)
    asked = []
    in_blocks = factored.ranks_in_products
    monkeypatch.setattr(factored, "ranks_in_products", lambda *given: asked.append(1) or in_blocks(*given))
    added = Copied(items[:, None], torch.zeros(rows, 1), torch.full((rows,), -1.0)) if terms else None
    scores = FactoredScores(states, vectors, rankable, added)
    found = scores.ranks(items)
    assert torch.equal(found, target_ranks(scores.dense(), torch.arange(rows), items))
    assert bool(asked) == (by_onednn(states, vectors.T) and not terms)
    assert (found[~rankable[items]] == 4199).all() or terms


@pytest.mark.parametrize("width", [16, 64, 128])
def test_scores_by_onednn_are_those_of_torch_to_the_last_bit(monkeypatch, width):
    """Up to some 192 numbers a vector, and from some rows on."""
    draw = torch.Generator().manual_seed(width)
    states, vectors = torch.randn(40, width, generator=draw), torch.randn(3000, width, generator=draw)
    raw = torch.cat((vectors, torch.randn(5, 8, generator=draw)[torch.arange(3000) % 5]), dim=1)
    wide = torch.randn(40, width + 8, generator=draw)
    mkl = (states @ vectors.T).numpy()
    if (mkl != one_after_the_other(*(part[None].numpy() for part in (states, vectors)))[0]).any():
        pytest.skip("MKL adds in another order on this processor")
    plain = FactoredScores(states, vectors).dense()
    grouped = FactoredScores(wide, ItemTable(raw, None, raw, own=width)).dense()
    monkeypatch.setattr("recbole_ext.scores.table.by_onednn", lambda *_: False)
    assert torch.equal(plain, FactoredScores(states, vectors).dense())
    assert torch.equal(grouped, FactoredScores(wide, ItemTable(raw, None, raw, own=width)).dense())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_ranks_of_short_numbers_are_counted_exactly(dtype):
    draw = torch.Generator().manual_seed(1)
    scores = FactoredScores(
        torch.randn(20, 8, generator=draw).to(dtype), torch.randn(5000, 8, generator=draw).to(dtype)
    )
    items = torch.randint(1, 5000, (20,), generator=draw)
    dense = scores.dense().float()
    own = dense.gather(1, items[:, None])
    ties = (dense[:, 1:] == own).sum(1) - 1
    assert torch.equal(scores.ranks(items), 1 + (dense[:, 1:] > own).sum(1) + ties // 2)
