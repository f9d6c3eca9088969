"""Scores as a product of states and item vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

import torch
from torch import Tensor

from recbole_ext.scores.products import by_onednn
from recbole_ext.scores.ranks import WIDE, ranks_among, ranks_in_products, rows_at_a_time
from recbole_ext.scores.table import ItemTable
from recbole_ext.scores.terms import RowTerms, hide_and_add
from recbole_ext.scores.threads import rows_of_each, side_by_side
from recbole_ext.scores.top import listed_items

LAID_OUT = 512  # rows whose products make up for a copy of the vectors, column by column, on a CPU
MOST = 32 << 20  # numbers in vectors that are copied: 128 MB


class FactoredScores:
    """Scores of B rows for all items as a product: state (B, d) · vector (n_items, d); never stored whole.

    vectors: (n_items, d), or an ItemTable of them, which knows what may be ranked. rankable: (n_items,) bool, None:
    all. Item 0, the padding, never is. terms: what is added to the scores of items
    that a row names, which makes them rankable there; None: nothing.
    """

    def __init__(
        self,
        states: Tensor,
        vectors: Tensor | ItemTable,
        rankable: Tensor | None = None,
        terms: RowTerms | None = None,
    ):
        self.states, self.terms = states, terms
        self.table = (
            vectors
            if isinstance(vectors, ItemTable)
            else ItemTable(vectors, rankable, lay_out=_worth(states, vectors))
        )

    @property
    def vectors(self) -> Tensor:
        """(n_items, d)."""
        return self.table.vectors

    @property
    def hidden(self) -> Tensor:
        """(H,) int64 items that are no candidates."""
        return self.table.hidden

    def __len__(self) -> int:
        return len(self.states)

    @property
    def width(self) -> int:
        """Number of items, the padding included."""
        return self.table.columns.shape[1]

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows and their scores, some at a time: as many as stay in cache on a CPU; the next ones overwrite them."""
        rows = rows_at_a_time(self.width, self.states.is_cuda)
        room = self._room(min(rows, len(self)))
        for first in range(0, len(self), rows):
            piece = slice(first, min(first + rows, len(self)))
            yield piece, self._scores(piece, room)

    def _room(self, rows: int) -> Tensor:
        return self.states.new_empty(rows, self.width)

    def _scores(self, piece: slice, room: Tensor) -> Tensor:
        """Of some rows, which lie in the room or elsewhere."""
        scores = self.table.product(self.states[piece], room[: piece.stop - piece.start])
        return hide_and_add(scores, self.hidden, None if self.terms is None else self.terms[piece])

    def _each(self, do: Callable[[slice, Tensor], None]) -> None:
        """Call `do` with the rows and their scores of every chunk; threads of a CPU take turns at chunks."""
        if self.states.is_cuda:
            for piece, scores in self.chunks():
                do(piece, scores)
            return
        pieces = rows_of_each(len(self), rows_at_a_time(self.width, False))
        rooms: SimpleQueue[Tensor] = SimpleQueue()

        def work(piece: slice) -> None:
            try:
                room = rooms.get_nowait()
            except Empty:
                room = self._room(pieces[0].stop)
            do(piece, self._scores(piece, room))
            rooms.put(room)

        side_by_side(work, pieces)

    def ranks(self, items: Tensor) -> Tensor:
        """(B,) rank of item `items[b]` in row b, as `target_ranks`."""
        if self.terms is None and self.table.plain and self.width >= WIDE and self.table.fast(self.states):
            return ranks_in_products(self.states, self.vectors, self.hidden, items)
        found = torch.empty(len(self), dtype=torch.int64, device=self.states.device)

        def rank(piece: slice, scores: Tensor) -> None:
            own = scores.gather(1, items[piece].unsqueeze(1)).squeeze(1)
            found[piece] = ranks_among(scores, own, self.width - 1)

        self._each(rank)
        return found

    def ranks_and_top(self, items: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """What `ranks` and `top` say, of scores that are made once."""
        found = torch.empty(len(self), dtype=torch.int64, device=self.states.device)
        best = found.new_empty(len(self), k)

        def rank_and_list(piece: slice, scores: Tensor) -> None:
            own = scores.gather(1, items[piece].unsqueeze(1)).squeeze(1)
            found[piece] = ranks_among(scores, own, self.width - 1)
            best[piece] = listed_items(scores, k)

        self._each(rank_and_list)
        return found, best

    def top(self, k: int) -> Tensor:
        """(B, k) best items of every row, best first; 0 where no candidate is left."""
        best = torch.empty(len(self), k, dtype=torch.int64, device=self.states.device)

        def list_best(piece: slice, scores: Tensor) -> None:
            best[piece] = listed_items(scores, k)

        self._each(list_best)
        return best

    def of(self, items: Tensor) -> Tensor:
        """(B, C) scores of the items (B, C)."""
        return torch.cat([scores.gather(1, items[piece]) for piece, scores in self.chunks()])

    def dense(self) -> Tensor:
        """(B, n_items) all scores, for metrics that need them."""
        return torch.cat([scores.clone() for _, scores in self.chunks()])


def worth_a_copy(vectors: Tensor) -> bool:
    """Whether vectors (n_items, d) are laid out for the products with many states, by MKL; oneDNN needs no copy."""
    return not vectors.is_cuda and vectors.numel() <= MOST and not by_onednn(vectors, vectors)


def _worth(states: Tensor, vectors: Tensor) -> bool:
    return len(states) >= LAID_OUT and worth_a_copy(vectors)
