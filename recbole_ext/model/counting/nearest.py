"""Finding the nearest sessions of many prefixes at a time, with numpy alone: see neighbours.py.

Matrices are scipy's, or those of csr.py, which are the same without scipy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_ext.segments import owner_of, pointers_of, runs, spans

if TYPE_CHECKING:
    import scipy.sparse as sp

Decay = Callable[[np.ndarray], np.ndarray]

CHUNK_PAIRS = 1 << 16  # (prefix, session) pairs that exist at a time: about what stays in cache
CHUNK_ROWS = 1 << 15  # rows at a time, so that 16 bits number them, which sort several times faster


@dataclass(frozen=True)
class Formula:
    """What tells the neighbour models apart.

    weights: of the current session's items, from their (last) positions 1 … n and n, (N,) float64 each.
    cosine: similarity is their cosine with the neighbour's set of items; False: the sum of the weights of shared items
        over the number of items of the current session.
    matched: weight of a neighbour by how many steps back its most recent shared item lies, 1 = the last item.
    age: decay of a neighbour's similarity, exp(-age / age); None: none.
    distance: decay of a neighbour's item, exp(-|its position - position of the shared item| / distance); None: none.
    idf: an item counts 1 + idf * log(sessions / sessions with the item) times.
    """

    weights: Callable[[np.ndarray, np.ndarray], np.ndarray]
    cosine: bool
    matched: Decay | None = None
    age: float | None = None
    distance: float | None = None
    idf: float = 0.0


@dataclass(frozen=True)
class Prefixes:
    """The different items of some rows, row by row: (N,) each.

    row; item; position of the item's last occurrence, from 1; length, number of events of the row.
    """

    row: np.ndarray
    item: np.ndarray
    position: np.ndarray
    length: np.ndarray

    @classmethod
    def of(cls, prefixes: np.ndarray, n_items: int) -> Prefixes:
        """prefixes: (B, L) int64, 0 = padding on the right."""
        row, step = np.nonzero(prefixes)
        item = prefixes[row, step]
        keys = row * n_items + item
        _, last = np.unique(keys[::-1], return_index=True)  # of the reversed: the last occurrence
        kept = len(keys) - 1 - last
        row, step = row[kept], step[kept]
        return cls(row, item[kept], step + 1, (prefixes != 0).sum(axis=1)[row])


@dataclass(frozen=True)
class Neighbours:
    """Pairs of a row and a training session, row by row, sessions from old to new: (P,) each.

    similarity, above 0; back: steps from the row's end to its most recent shared item, from 1; anchor: position in
    the neighbour of its last shared item.
    """

    row: np.ndarray
    session: np.ndarray
    similarity: np.ndarray
    back: np.ndarray
    anchor: np.ndarray

    def where(self, kept: np.ndarray) -> Neighbours:
        """Those pairs alone; kept: (P,) bool."""
        return Neighbours(*(getattr(self, name)[kept] for name in self.__dataclass_fields__))


class Neighbourhood:
    """Training sessions among which the nearest are looked for.

    learnt: what `NeighbourModel.learn` makes of them. k, sample_size, remind: as the settings of these names. sparse:
    what makes matrices, scipy.sparse or csr.
    """

    def __init__(
        self,
        learnt: Mapping[str, Any],
        formula: Formula,
        n_items: int,
        k: int,
        sample_size: int,
        remind: bool,
        sparse: Any,
    ):
        self.matrix, self.stack = sparse.csr_matrix, sparse.vstack
        self.learnt, self.factors, self.n_items = learnt, formula, n_items
        self.k, self.sample_size, self.remind = k, sample_size, remind
        self.entries = np.diff(learnt["start"])  # (S,) different items of each session
        self.session_of = owner_of(self.entries)  # of every entry
        place = np.full(max(learnt["session"].max(initial=0) + 1, 1), -1)
        place[learnt["session"]] = np.arange(len(learnt["session"]))
        self.place = place  # of a session id among the training sessions, -1: it is none
        weight = 1 + self.factors.idf * learnt["idf"][learnt["item"]]
        # what a session, and an entry of one, gives to the items
        shape = (len(self.entries), self.n_items)
        self.session_weights = self.matrix((weight, learnt["item"], learnt["start"]), shape=shape)
        pointers = np.arange(len(weight) + 1)
        shape = (len(weight), self.n_items)
        self.item_weights = self.matrix((weight, learnt["item"], pointers), shape=shape)
        if self.factors.distance is not None:
            longest = int(learnt["position"].max(initial=0))
            self.distances = np.exp(-np.arange(longest + 1) / self.factors.distance)

    def score(self, prefixes: np.ndarray, sessions: np.ndarray | None) -> sp.csr_matrix:
        """As CountingModel's."""
        own = np.full(len(prefixes), -1)
        if sessions is not None:
            inside = sessions < len(self.place)
            own[inside] = self.place[sessions[inside]]
        parts = [self._score(prefixes[piece], own[piece]) for piece in self._pieces(prefixes)]
        return self.stack(parts, format="csr") if parts else self.matrix((0, self.n_items))

    def evidence(self, prefixes: np.ndarray) -> dict[str, sp.csr_matrix]:
        """neighbours: (B, n_items) how many of a row's nearest sessions hold the item."""
        none = np.full(len(prefixes), -1)
        held = self.session_weights.copy()
        held.data = np.ones(len(held.data))
        parts = []
        for piece in self._pieces(prefixes):
            rows = Prefixes.of(prefixes[piece], self.n_items)
            nearest = self._nearest(self._candidates(rows, none[piece]))
            pointers = pointers_of(np.bincount(nearest.row, minlength=len(prefixes[piece])))
            shape = (len(prefixes[piece]), len(self.entries))
            ones = np.ones(len(nearest.session))
            parts.append(self.matrix((ones, nearest.session, pointers), shape=shape) @ held)
        empty = self.matrix((0, self.n_items))
        return {"neighbours": self.stack(parts, format="csr") if parts else empty}

    def _pieces(self, prefixes: np.ndarray) -> Iterator[slice]:
        """Rows whose candidates are together about CHUNK_PAIRS."""
        listed = np.diff(self.learnt["item_start"])
        if self.sample_size:
            listed = np.minimum(listed, self.sample_size + 1)
        pairs = np.cumsum(listed[prefixes].sum(axis=1))
        first = 0
        while first < len(prefixes):
            done = pairs[first - 1] if first else 0
            stop = max(int(np.searchsorted(pairs, done + CHUNK_PAIRS, side="right")), first + 1)
            stop = min(stop, first + CHUNK_ROWS)
            yield slice(first, stop)
            first = stop

    def _score(self, prefixes: np.ndarray, own: np.ndarray) -> sp.csr_matrix:
        rows = Prefixes.of(prefixes, self.n_items)
        nearest = self._nearest(self._candidates(rows, own))
        scores = self._add_up(nearest, len(prefixes))
        if not self.remind:
            entry_row = owner_of(np.diff(scores.indptr))
            seen = np.isin(entry_row * self.n_items + scores.indices, rows.row * self.n_items + rows.item)
            scores.data[seen] = 0
        scores.eliminate_zeros()
        return scores

    def _candidates(self, rows: Prefixes, own: np.ndarray) -> Neighbours:
        """The most recent sessions that share an item with each row, with their similarity before ageing."""
        weight = self.factors.weights(rows.position.astype(np.float64), rows.length.astype(np.float64))
        stop = self.learnt["item_start"][rows.item + 1]
        first = self.learnt["item_start"][rows.item]
        if self.sample_size:
            # who is among a row's newest is among the newest of each item it shares; one more, as `own` may be there
            first = np.maximum(first, stop - self.sample_size - 1)
        listed = stop - first
        entry = self.learnt["entry"][spans(first, listed)]
        source = owner_of(listed)
        session, row = self.session_of[entry], rows.row[source]
        keys = row * len(self.entries) + session
        order = np.argsort(keys, kind="stable")
        keys, source, entry = keys[order], source[order], entry[order]
        opens, _ = runs(keys)
        if not len(opens):
            none = np.zeros(0, dtype=np.int64)
            return Neighbours(none, none, np.zeros(0), none, none)
        row, session = np.divmod(keys[opens], len(self.entries))
        shared = np.add.reduceat(weight[source], opens)
        similarity = shared / self._norms(rows, weight, len(own), row, session)
        back = np.minimum.reduceat((rows.length - rows.position + 1)[source], opens)
        anchor = np.maximum.reduceat(self.learnt["position"][entry], opens)
        found = Neighbours(row, session, similarity, back, anchor).where(session != own[row])
        if self.sample_size:
            found = found.where(_from_end(found.row) < self.sample_size)
        return found.where(found.similarity > 0)

    def _norms(
        self, rows: Prefixes, weight: np.ndarray, count: int, row: np.ndarray, session: np.ndarray
    ) -> np.ndarray:
        if not self.factors.cosine:
            return np.bincount(rows.row, minlength=count)[row].astype(np.float64)
        square = np.bincount(rows.row, weights=weight**2, minlength=count)
        return np.sqrt(square[row]) * np.sqrt(self.entries[session])

    def _nearest(self, found: Neighbours) -> Neighbours:
        """The k of each row with the largest similarity, aged; alike: the newer."""
        similarity = found.similarity
        if self.factors.age is not None and len(similarity):
            age = self.learnt["age"][found.session]
            # the row's own time is a factor of all its scores; its newest candidate's age keeps them from vanishing
            opens, sizes = runs(found.row)
            newest = np.repeat(np.minimum.reduceat(age, opens), sizes)
            similarity = similarity * np.exp(-(age - newest) / self.factors.age)
        aged = Neighbours(found.row, found.session, similarity, found.back, found.anchor)
        crowded = np.flatnonzero((np.bincount(aged.row) > self.k)[aged.row])
        if not len(crowded):
            return aged
        # of a crowded row keep the k last in order of (similarity, recency)
        order = crowded[np.argsort(similarity[crowded], kind="stable")]
        order = order[np.argsort(aged.row[order].astype(np.uint16), kind="stable")]
        kept = np.ones(len(aged.row), dtype=bool)
        kept[order[_from_end(aged.row[order]) >= self.k]] = False
        return aged.where(kept)

    def _add_up(self, nearest: Neighbours, count: int) -> sp.csr_matrix:
        """(count, n_items) sums over the neighbours' items."""
        value = nearest.similarity
        if self.factors.matched is not None:
            value = value * self.factors.matched(nearest.back.astype(np.float64))
        per_row = np.bincount(nearest.row, minlength=count)
        if self.factors.distance is None:
            pointers = pointers_of(per_row)
            shape = (count, len(self.entries))
            return self.matrix((value, nearest.session, pointers), shape=shape) @ self.session_weights
        entries = self.entries[nearest.session]
        entry = spans(self.learnt["start"][nearest.session], entries)
        apart = np.abs(self.learnt["position"][entry] - np.repeat(nearest.anchor, entries))
        values = np.repeat(value, entries) * self.distances[apart]
        pointers = pointers_of(entries)[pointers_of(per_row)]
        pairs = self.matrix((values, entry, pointers), shape=(count, len(self.session_of)))
        return pairs @ self.item_weights


def _from_end(row: np.ndarray) -> np.ndarray:
    """(P,) place of each pair among its row's, 0 = the last; row: (P,) ascending."""
    after = np.searchsorted(row, row, side="right")
    return after - 1 - np.arange(len(row))
