"""What models that count make of what they have learnt, with numpy alone: matrices are scipy's, or those of csr.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import scipy.sparse as sp


def popularity_of(counts: np.ndarray) -> np.ndarray:
    """(n_items,) float32 in (0, 1), in the order of the items' training events (n_items,)."""
    different, place = np.unique(counts, return_inverse=True)
    # a place among the different counts, as float32 does not tell large counts' shares apart
    found: np.ndarray = ((place.reshape(-1) + 1) / (len(different) + 1)).astype(np.float32)
    return found


def highest_one(scores: sp.csr_matrix) -> sp.csr_matrix:
    """The scores, in place, divided by the highest of their row."""
    # before float32, whose smallest number decays would reach
    filled = np.diff(scores.indptr) > 0
    highest = np.ones(len(filled))
    highest[filled] = np.maximum.reduceat(scores.data, scores.indptr[:-1][filled]) if filled.any() else 1
    scores.data /= np.repeat(highest, np.diff(scores.indptr))
    return scores


def last_items(prefixes: np.ndarray) -> np.ndarray:
    """(B,) each row's last item, 0 in a row of padding only."""
    length = (prefixes != 0).sum(axis=1)
    return np.where(length > 0, prefixes[np.arange(len(prefixes)), np.maximum(length, 1) - 1], 0)


def linked(prefixes: np.ndarray, weights: sp.csr_matrix, decay: float | None, sparse: Any) -> sp.csr_matrix:
    """(B, n_items) LINK's scores of prefixes (B, L), 0 = padding on the right, by its weights and predict_decay.

    sparse: what makes matrices, scipy.sparse or csr.
    """
    row, step = np.nonzero(prefixes)
    length = (prefixes != 0).sum(axis=1)[row]
    weight = np.ones(len(row)) if decay is None else np.exp((step + 1.0 - length) / decay)
    views = sparse.csr_matrix((weight, (row, prefixes[row, step])), shape=(len(prefixes), weights.shape[0]))
    scores = (views @ weights).tocsr()  # repeats add up
    scores.data[scores.data <= 0] = 0
    scores.eliminate_zeros()
    return scores
