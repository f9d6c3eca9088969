"""What ranking adds to a row's scores for the few items that the row itself names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

NOTHING = -1e29  # the log of a share that is none
AT_A_TIME = 16  # rows of which a sum is made
LATER = 1e-3  # in a score, so that of items that are otherwise alike the one named later comes first


class RowTerms(Protocol):
    """Terms of B rows for K items each, which the scores of all items are known to."""

    def __getitem__(self, rows: slice) -> RowTerms:
        """The same of some rows."""

    def add_to(self, scores: Tensor) -> Tensor:
        """Scores (B, n_items), -inf = no candidate, changed in place; what gets a term is a candidate in its row."""


@dataclass(frozen=True)
class Raised:
    """Items (B, K) in the order of their events, and what is added to the score of each (once), 0 or more.

    The score of one that is no candidate says nothing; it starts from that of the best other item that the row names,
    or of the best of all where it names none, the later the better.
    """

    items: Tensor
    values: Tensor

    def __getitem__(self, rows: slice) -> Raised:
        return Raised(self.items[rows], self.values[rows])

    def add_to(self, scores: Tensor) -> Tensor:
        """As RowTerms'."""
        own = scores.gather(1, self.items)
        unknown = (own == -torch.inf) & (self.values > 0)
        if unknown.any():
            best = own.amax(1, keepdim=True)
            best = torch.where(best > -torch.inf, best, scores.amax(1, keepdim=True))
            later = torch.arange(self.items.shape[1], device=scores.device) * LATER
            own = torch.where(unknown, best + later, own)
        return scores.scatter_reduce_(1, self.items, own + self.values, "amax")


@dataclass(frozen=True)
class Copied:
    """A mixture: `p(j) = exp(log_rest) softmax(scores)_j + sum of exp(log_share) over the places that hold item j`.

    items: (B, K) int64, 0 = none, an item may stand there more than once. log_share: (B, K), far below NOTHING
    where an item is not pointed at and so is no candidate by it. log_rest: (B,). Scores become `log p + log Z -
    log_rest`, Z the softmax's sum, so that those of items that a row does not name stay as they are: the order of a row
    is that of p, and no matrix is made.
    """

    items: Tensor
    log_share: Tensor
    log_rest: Tensor

    def __getitem__(self, rows: slice) -> Copied:
        return Copied(self.items[rows], self.log_share[rows], self.log_rest[rows])

    def add_to(self, scores: Tensor) -> Tensor:
        """As RowTerms'."""
        # on a CPU what it makes on the way stays in cache
        rows = len(scores) if scores.is_cuda else AT_A_TIME
        log_total = torch.cat([_log_total(part) for part in scores.split(max(rows, 1))])
        log_total = torch.where(log_total > -torch.inf, log_total, 0.0)
        items, log_share = self._by_item()
        raised = log_share + (log_total - self.log_rest.unsqueeze(1)).to(log_share.dtype)
        mixed = torch.logaddexp(scores.gather(1, items), raised.to(scores.dtype))
        return scores.scatter_(1, items, mixed)

    def _by_item(self) -> tuple[Tensor, Tensor]:
        """(B, K) each item once, and the log of its share, summed without leaving the logs, which may be far below what
        a number can be; places that are left over name item 0, with -inf."""
        items, order = self.items.sort(dim=1)
        log_share = self.log_share.gather(1, order)
        new = torch.zeros_like(items)
        new[:, 1:] = items[:, 1:] != items[:, :-1]
        group = new.cumsum(1)
        highest = torch.full_like(log_share, NOTHING).scatter_reduce_(1, group, log_share, "amax")
        parts = (log_share - highest.gather(1, group)).exp()
        summed = highest + torch.zeros_like(parts).scatter_add_(1, group, parts).log()
        named = torch.zeros_like(items).scatter_(1, group, items)
        return named, summed.masked_fill(named == 0, -torch.inf)


def _log_total(scores: Tensor) -> Tensor:
    """(B, 1) log of the sum of exp(scores), as torch.logsumexp; on a CPU without its two passes for the highest score,
    where the sum is a number that float32 holds well."""
    if not scores.is_cuda and scores.dtype == torch.float32:
        total = scores.exp().sum(1, keepdim=True)
        if bool(((total > 1e-20) & (total < 1e30)).all()):
            return total.log_()
    return scores.logsumexp(1, keepdim=True)


def hide_and_add(scores: Tensor, hidden: Tensor, terms: RowTerms | None) -> Tensor:
    """Scores (B, n_items), changed in place: the items `hidden` (H,) are no candidates, then the terms are added."""
    scores[:, hidden] = -torch.inf
    return scores if terms is None else terms.add_to(scores)
