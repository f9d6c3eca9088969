"""Item vectors laid out once for many questions."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_ext.scores.products import by_onednn, product

SHARED = 0.25  # share of the items up to which groups are worth it


class ItemTable:
    """Vectors (n_items, d) of all items, ready for products with states.

    They are kept column by column, as a product with one state then reads memory in order, which takes two thirds of
    the time. Where the last dimensions are those of groups of items (item features that many items share), they are
    multiplied once a group; then `columns` holds `raw` and what `vectors` has beyond it, and products are multiplied
    with a number an item, so that a raw table needs no memory of its own.

    hidden: (H,) int64 items that are no candidates, the padding among them.
    """

    def __init__(
        self,
        vectors: Tensor,
        rankable: Tensor | None = None,
        raw: Tensor | None = None,
        own: int = 0,
        lay_out: bool = True,
    ):
        """rankable: (n_items,) bool; None: all. raw: (n_items, e) whose rows `vectors` are, each times a number, in the
        first e of d columns; own: the columns before those that groups of items may share, 0: there are none. lay_out:
        False leaves the vectors as they lie, for one question."""
        allowed = torch.ones(len(vectors), dtype=torch.bool) if rankable is None else rankable.cpu().clone()
        allowed[0] = False
        self.hidden = torch.nonzero(~allowed).squeeze(1).to(vectors.device)
        self._own = own
        self._groups = groups(vectors, raw, own) if raw is not None and own else None
        if raw is not None and self._groups is not None:
            self.columns = vectors.new_empty(vectors.shape[1], len(vectors))  # (d, n_items)
            self.columns[: raw.shape[1]] = raw.T
            self.columns[raw.shape[1] :] = vectors[:, raw.shape[1] :].T
            self._raw: Tensor | None = self.columns[: raw.shape[1]].T
        else:
            self.columns = vectors.T.contiguous() if lay_out else vectors.T
            self._raw = raw

    @property
    def raw(self) -> Tensor | None:
        """(n_items, e) as it was given."""
        return self._raw

    @property
    def vectors(self) -> Tensor:
        """(n_items, d)."""
        if self._groups is None:
            return self.columns.T
        found = self.columns.T.clone()
        found[:, : self._own + self._groups[0].shape[1]] *= self._groups[2].unsqueeze(1)
        return found

    @property
    def plain(self) -> bool:
        """Whether its products are those with `vectors` and nothing else."""
        return self._groups is None

    def fast(self, states: Tensor) -> bool:
        """Whether products with states (B, d) are oneDNN's; one row reads memory, which MKL does faster."""
        return len(states) > 1 and by_onednn(states, self.columns)

    def product(self, states: Tensor, room: Tensor) -> Tensor:
        """(B, n_items) products of states (B, d) with all vectors; they lie in `room` (B, n_items) or elsewhere."""
        fast = self.fast(states)
        if self._groups is None:
            return product(states, self.columns) if fast else torch.mm(states, self.columns, out=room)
        shared, group, factor = self._groups
        own, end = self._own, self._own + shared.shape[1]
        torch.index_select(states[:, own:end] @ shared.T, 1, group, out=room)
        if fast:
            room += product(states[:, :own], self.columns[:own])
        else:
            room.addmm_(states[:, :own], self.columns[:own])
        room.mul_(factor)
        for place in range(end, states.shape[1]):  # a bias
            room.addcmul_(states[:, place : place + 1], self.columns[place])
        return room


def groups(vectors: Tensor, raw: Tensor, own: int) -> tuple[Tensor, Tensor, Tensor] | None:
    """(G, e - own) what groups of items share, (n_items,) int64 the group of each, (n_items,) float by what its shared
    part is multiplied; None where there are many groups."""
    part = raw[:, own:]
    mark = torch.randn(part.shape[1], generator=torch.Generator().manual_seed(1))
    keys = part @ mark.to(part.device, part.dtype)  # what differs by rounding only is a group more
    _, group = torch.unique(keys, return_inverse=True)
    count = int(group.max()) + 1
    if count > SHARED * len(part):
        return None
    shared = part.new_zeros(count, part.shape[1])
    shared[group] = part  # one of each
    if not torch.equal(shared[group], part):
        return None
    length = raw.norm(dim=1)
    factor = torch.where(length > 0, vectors[:, : raw.shape[1]].norm(dim=1) / length.clamp_min(1e-30), 0.0)
    return shared, group, factor
