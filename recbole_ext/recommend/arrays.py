"""What scores/top.py and scores/terms.py do with tensors, with arrays of numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_ext.recommend.choice import Best, Means

LATER = 1e-3  # as scores.terms.LATER


BLOCKS = 4  # times k, and at least
FEWEST = 256  # blocks that rows are cut into


def best_items(scores: np.ndarray, k: int) -> Best:
    """(B, k) items of the highest scores, best first, equal ones by their number, and their scores; k is at most the
    width of `scores` (B, n). Where there are fewer than k candidates, item 0 with -inf follows."""
    items = np.zeros((len(scores), k), dtype=np.int64)
    values = np.full((len(scores), k), -np.inf, dtype=np.float32)
    for row, (own, least) in enumerate(zip(scores, _least(scores, k))):
        place = np.flatnonzero(own >= least)
        kept = place[own[place] > -np.inf]
        kept = kept[np.argsort(-own[kept], kind="stable")[:k]]
        items[row, : len(kept)], values[row, : len(kept)] = kept, own[kept]
    return items, values


def _least(scores: np.ndarray, k: int) -> np.ndarray:
    """(B,) scores that k items of each row reach at least, and few more do: the highest of many blocks of items are
    scores of different items."""
    width = scores.shape[1]
    blocks = max(BLOCKS * k, FEWEST)
    size = width // blocks
    if size > 1:
        scores = scores[:, : size * blocks].reshape(len(scores), size, blocks).max(axis=1)
    place = scores.shape[1] - k
    return np.asarray(np.partition(scores, place, axis=1)[:, place])


def _add(scores: np.ndarray, bias: np.ndarray) -> None:
    scores += bias


ARRAYS = Means(best_items, _add)


def in_order(items: np.ndarray, values: np.ndarray, k: int) -> Best:
    """(B, k) the best of items (B, K) by their values, equal ones by their number."""
    order = np.lexsort((items, -values), axis=-1)[:, :k]
    return np.take_along_axis(items, order, axis=1), np.take_along_axis(values, order, axis=1)


def exact(
    states: np.ndarray, table: np.ndarray, scale: np.ndarray, bias: np.ndarray, items: np.ndarray
) -> np.ndarray:
    """(B, K) float32 scores of items (B, K): states (B, e) · table (n_items, e) * scale + bias (n_items,)."""
    product = np.einsum("be,bke->bk", states, table[items])
    return np.asarray(product * scale[items] + bias[items], dtype=np.float32)


@dataclass(frozen=True)
class Raised:
    """As scores.terms.Raised."""

    items: np.ndarray
    values: np.ndarray

    def __getitem__(self, rows: slice) -> Raised:
        return Raised(self.items[rows], self.values[rows])

    def add_to(self, scores: np.ndarray) -> None:
        """Change scores (B, n_items), -inf = no candidate, in place."""
        own = np.take_along_axis(scores, self.items, axis=1)
        unknown = np.isneginf(own) & (self.values > 0)
        if unknown.any():
            best = own.max(axis=1, keepdims=True)
            best = np.where(best > -np.inf, best, scores.max(axis=1, keepdims=True))
            later = np.arange(self.items.shape[1], dtype=np.float32) * np.float32(LATER)
            own = np.where(unknown, best + later, own)
        np.maximum.at(scores, (np.arange(len(scores))[:, None], self.items), own + self.values)


@dataclass(frozen=True)
class Copied:
    """As scores.terms.Copied."""

    items: np.ndarray
    log_share: np.ndarray
    log_rest: np.ndarray

    def __getitem__(self, rows: slice) -> Copied:
        return Copied(self.items[rows], self.log_share[rows], self.log_rest[rows])

    def add_to(self, scores: np.ndarray) -> None:
        """Change scores (B, n_items), -inf = no candidate, in place."""
        highest = scores.max(axis=1, keepdims=True)
        there = highest[:, 0] > -np.inf
        highest[~there] = 0
        log_total = (
            np.log(np.maximum(np.exp(scores - highest).sum(axis=1), np.float32(1e-30))) + highest[:, 0]
        )
        log_total[~there] = 0
        row, item, log_share = self._by_item()
        scores[row, item] = np.logaddexp(scores[row, item], log_share + (log_total - self.log_rest)[row])

    def _by_item(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N,) each pair of a row and an item once, and the log of its share."""
        order = np.argsort(self.items, axis=1, kind="stable")
        items = np.take_along_axis(self.items, order, axis=1)
        new = np.ones(items.shape, dtype=bool)
        new[:, 1:] = items[:, 1:] != items[:, :-1]
        opens = np.flatnonzero(new)
        log_share = np.take_along_axis(self.log_share, order, axis=1).reshape(-1)
        highest = np.maximum.reduceat(log_share, opens)
        size = np.diff(np.append(opens, log_share.size))
        summed = highest + np.log(np.add.reduceat(np.exp(log_share - np.repeat(highest, size)), opens))
        item, row = items.reshape(-1)[opens], opens // items.shape[1]
        named = item != 0
        return row[named], item[named], summed[named]

    def share_of(self, items: np.ndarray, places: slice) -> np.ndarray:
        """(B, k) float64 chance of copying items (B, k) from some of the places; 0 for item 0."""
        share = np.exp(self.log_share[:, places].astype(np.float64))
        same = (items[:, :, None] == self.items[:, None, places]) & (items != 0)[:, :, None]
        return np.asarray((same * share[:, None, :]).sum(axis=2))
