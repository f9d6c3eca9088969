"""Pieces of rows side by side: all of them, by threads that compute alone, in the modes of who asks."""

import threading

import pytest
import torch

from recbole_ext.scores.factored import FactoredScores
from recbole_ext.scores.terms import Copied, Raised
from recbole_ext.scores.threads import rows_of_each, side_by_side


@pytest.fixture
def threads(request):
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 31, 512, 1025])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_row_is_in_one_piece(threads, rows, count):
    threads(count)
    pieces = rows_of_each(rows, 512)
    assert [row for piece in pieces for row in range(piece.start, piece.stop)] == list(range(rows))
    assert all(0 < piece.stop - piece.start <= 512 for piece in pieces)
    assert len(pieces) >= min(count, rows // 2)


def test_threads_compute_alone_in_the_modes_of_who_asks(threads):
    threads(3)
    found = {}

    def look(piece):
        found[piece] = (
            threading.get_ident(),
            torch.get_num_threads(),
            torch.is_inference_mode_enabled(),
            torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_autocast_dtype("cpu"),
        )

    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.float16):
        side_by_side(look, range(7))
    assert set(found) == set(range(7))
    assert {tuple(seen[1:]) for seen in found.values()} == {(1, True, False, True, torch.float16)}
    assert threading.get_ident() not in {seen[0] for seen in found.values()}
    side_by_side(look, range(3))
    assert {seen[2:5] for piece, seen in found.items() if piece < 3} == {(False, True, False)}
    assert torch.get_num_threads() == 3


def test_one_thread_does_the_work_itself(threads):
    threads(1)
    seen = []
    side_by_side(lambda piece: seen.append((piece, threading.get_ident())), range(3))
    assert seen == [(piece, threading.get_ident()) for piece in range(3)]


def test_what_a_piece_raises_is_raised_and_the_threads_are_as_before(threads):
    threads(2)
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda piece: piece / 0, range(40))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("kind", ["plain", "raised", "copied"])
@pytest.mark.parametrize("items", [300, 5000])
@torch.no_grad()
def test_ranks_and_lists_do_not_depend_on_the_number_of_threads(threads, kind, items):
    draw = torch.Generator().manual_seed(items)
    # whole numbers, whose sums are exact in any order: many ties, and no last bits
    states, vectors = (torch.randint(-2, 3, (n, 16), generator=draw).float() for n in (67, items))
    named = torch.randint(0, items, (67, 4), generator=draw)
    terms = {
        "plain": None,
        "raised": Raised(named, torch.rand(67, 4, generator=draw)),
        "copied": Copied(named, torch.randn(67, 4, generator=draw) - 3, -torch.rand(67, generator=draw)),
    }[kind]
    target = torch.randint(1, items, (67,), generator=draw)
    found = []
    for count in (1, 2, 5):
        threads(count)
        scores = FactoredScores(states, vectors, terms=terms)
        found.append((scores.ranks(target), scores.top(10), *scores.ranks_and_top(target, 10)))
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other))
    ranks, top, again, top_again = found[0]
    assert torch.equal(ranks, again) and torch.equal(top, top_again)
