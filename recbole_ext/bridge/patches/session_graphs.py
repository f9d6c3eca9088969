"""Patch for the session graphs of SRGNN and GCSAN (srgnn.py:163-199, gcsan.py:169-201 of RecBole 1.2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def patch_session_graphs() -> None:
    """Replace `_get_slice` of both models, which loops over rows and events in Python on the CPU."""
    from recbole.model.sequential_recommender.gcsan import GCSAN
    from recbole.model.sequential_recommender.srgnn import SRGNN

    def of_gcsan(self: Any, item_seq: Tensor) -> tuple[Tensor, ...]:
        return tuple(part.to(self.device) for part in session_graphs(item_seq))

    def of_srgnn(self: Any, item_seq: Tensor) -> tuple[Tensor, ...]:
        return *of_gcsan(self, item_seq), item_seq.gt(0)

    GCSAN._get_slice = of_gcsan
    SRGNN._get_slice = of_srgnn


def session_graphs(item_seq: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each row's graph: the node of each event (B, L), the links in and out (B, L, 2L), the nodes' items (B, L).

    A row's nodes are its distinct items in rising order, the padding 0 among them, as np.unique gives them.
    """
    import torch

    batch, width = item_seq.shape
    rising, order = item_seq.long().sort(dim=1)
    rank = torch.zeros_like(rising)
    rank[:, 1:] = (rising[:, 1:] != rising[:, :-1]).cumsum(dim=1)
    alias = torch.empty_like(rank).scatter_(1, order, rank)
    items = torch.zeros_like(rising).scatter_(1, rank, rising)

    # one cell more than the matrices have takes what is no link: choosing links would wait for the device
    cells = torch.zeros(batch * width * 2 * width + 1, device=item_seq.device)
    source, target = alias[:, :-1], alias[:, 1:]
    first = torch.arange(batch, device=item_seq.device).unsqueeze(1) * width  # the row's first node
    into = (first + target) * 2 * width + source
    out_of = (first + source) * 2 * width + width + target
    # a link ends at an event that is not 0, nor is any before it; the first event may be 0
    linked = item_seq[:, 1:].ne(0).cumprod(dim=1).bool()
    cells.scatter_(0, torch.where(linked, torch.stack([into, out_of]), len(cells) - 1).flatten(), 1.0)
    links = cells[:-1].view(batch, width, 2, width)
    links /= links.sum(dim=3, keepdim=True).clamp_(min=1)
    return alias, links.view(batch, width, 2 * width), items
