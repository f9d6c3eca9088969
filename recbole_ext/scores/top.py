"""The best items of rows of scores: without sorting them, and of equal scores the smaller item first.

torch.topk leaves ties to chance. Here a list depends on the scores alone, so that two ways to ask for it agree.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALL = 4096  # items up to which torch.topk looks at all of them
ROWS = 32  # rows up to which it does too


def best_items(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(B, k) items of the highest scores, best first, and their scores; k is at most the width of `scores` (B, n).

    Equal scores come in order of their items; -inf and scores that are no number are no candidates and come last, -inf
    in their place, their order unsaid.
    """
    width = scores.shape[1]
    values, items = _candidates(scores, min(k + 1, width))
    if values.isnan().any():
        scores = scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        values, items = _candidates(scores, min(k + 1, width))
    tied = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    if k < width:  # the last one's equals may be more than there is room for
        tied = (values[:, k] == values[:, k - 1]) & (values[:, k] > -torch.inf)
    values, items = values[:, :k], items[:, :k]
    if tied.any():
        rows = torch.nonzero(tied).squeeze(1)
        items = items.clone()
        items[rows] = _first_of_equals(scores[rows], values[rows, -1:], k)
        values = scores.gather(1, items)
    items, order = items.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return items.gather(1, order), values


def listed_items(scores: Tensor, k: int) -> Tensor:
    """(B, k) items of `best_items`, 0 in the place of those that are no candidates."""
    items, values = best_items(scores, k)
    return items.masked_fill(values == -torch.inf, 0)


def _candidates(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """torch.topk of rows (B, n), k values and items; ties as they come.

    Of many wide rows it looks at the best k blocks only: every one of the k highest scores is in a block whose highest
    score is among the k highest of blocks. A block is every m-th item, so that its highest is a maximum of columns.
    """
    width = scores.shape[1]
    blocks = _blocks(width, k)
    if blocks is None or len(scores) < ROWS:
        return scores.topk(k, dim=1)
    size = width // blocks
    inside = scores[:, : blocks * size].unflatten(1, (size, blocks))
    chosen = inside.amax(1).topk(k, dim=1).indices  # (B, k)
    place = torch.arange(size, device=scores.device) * blocks
    rest = torch.arange(blocks * size, width, device=scores.device).expand(len(scores), -1)
    items = torch.cat(((chosen.unsqueeze(2) + place).flatten(1), rest), dim=1)
    values, order = scores.gather(1, items).topk(k, dim=1)
    return values, items.gather(1, order)


def _blocks(width: int, k: int) -> int | None:
    """How many blocks rows are cut into, so that as many blocks as scores of the chosen ones are looked at."""
    if width <= SMALL:
        return None
    blocks = int((width * k) ** 0.5)
    return blocks if blocks > 2 * k else None


def _first_of_equals(scores: Tensor, least: Tensor, k: int) -> Tensor:
    """(B, k) ascending items: all scores above `least` (B, 1), and the first of those that equal it."""
    above, equal = scores > least, scores == least
    room = k - above.sum(1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(1) <= room))
    return torch.nonzero(chosen)[:, 1].view(len(scores), k)
