"""Interactions of a large log: columns in narrow types, and rows that gather theirs from the events when asked.

To who asks for a column both are RecBole's Interaction: numbers are int64 and float32, and each column may be set,
left out, sorted and indexed. `Events` holds ids in the narrowest type and widens a column that is asked for; `Rows`
holds one place of an event a row, where RecBole's would hold every column of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor


def wide(column: Tensor) -> Tensor:
    """Whole numbers as int64, all others as they are."""
    return column if column.is_floating_point() or column.dtype == torch.bool else column.long()


class _Columns(MutableMapping[str, Tensor]):
    """Columns by name; made by `make` of those in `kept`, in their order, until one is set."""

    def __init__(self, names: list[str], make: Callable[[str], Tensor]) -> None:
        self._made: dict[str, Tensor | None] = dict.fromkeys(names)
        self._make = make

    def __getitem__(self, name: str) -> Tensor:
        column = self._made[name]
        return self._make(name) if column is None else column

    def __setitem__(self, name: str, column: Tensor) -> None:
        self._made[name] = column

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._made

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)

    @property
    def own(self) -> dict[str, Tensor]:
        """Those that are not made of anything."""
        return {name: column for name, column in self._made.items() if column is not None}


class Events(Interaction):  # type: ignore[misc]
    """The events (E,) of a log. columns: as narrow as they go."""

    def __init__(self, columns: dict[str, Tensor]) -> None:
        self.interaction: Any = {}
        self._narrow = columns
        self.interaction = _Columns(list(columns), self._widened)
        self.length = len(next(iter(columns.values()))) if columns else -1

    def _widened(self, name: str) -> Tensor:
        return wide(self._narrow[name])

    def narrow(self, name: str) -> Tensor:
        """(E,) or (E, D) a column in the type that it is held in."""
        own: Tensor | None = self.interaction.own.get(name)
        return self._narrow[name] if own is None else own

    def __getitem__(self, index: Any) -> Any:
        return self.interaction[index] if isinstance(index, str) else Interaction(self.at(index))

    def at(self, index: Any) -> dict[str, Tensor]:
        """All columns of some events."""
        return {name: wide(self.narrow(name)[index]) for name in self.interaction}


class Rows(Interaction):  # type: ignore[misc]
    """Rows (R,) that each have the columns of one event, and their own.

    index: (R,) int32, the event of each row, or (R,) int64. columns: of `events`, those that rows have. index_field: a
    column that `index` is; None: it is none. own: (R,) columns beside these.
    """

    def __init__(
        self,
        events: Events,
        index: Tensor,
        columns: list[str],
        own: dict[str, Tensor],
        index_field: str | None = None,
    ) -> None:
        self.interaction: Any = {}
        self._events, self._index, self._index_field, self._own = events, index, index_field, own
        names = [*columns, *own, *([index_field] if index_field else [])]
        self.interaction = _Columns(names, self._whole)
        self.length = len(index)

    def _whole(self, name: str) -> Tensor:
        return self._gathered(name, slice(None))

    def _gathered(self, name: str, rows: Any) -> Tensor:
        if name == self._index_field:
            return self._index[rows]
        if name in self._own:
            return wide(self._own[name][rows])
        return wide(self._events.narrow(name)[self._index[rows].long()])

    def at(self, rows: Any) -> dict[str, Tensor]:
        """All columns of some rows: a slice, places or a mask as torch takes them."""
        own = self.interaction.own
        return {
            name: own[name][rows] if name in own else self._gathered(name, rows) for name in self.interaction
        }

    def taken(self, place: Tensor) -> Rows:
        """Some rows, over the same events. place: (n,) int64."""
        made = Rows(
            self._events,
            self._index[place],
            [],
            {name: column[place] for name, column in self._own.items()},
            self._index_field,
        )
        made.interaction = _Columns(list(self.interaction), made._whole)
        made.interaction.update({name: column[place] for name, column in self.interaction.own.items()})
        return made

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            return self.interaction[index]
        return Interaction(self.at(torch.from_numpy(index) if isinstance(index, np.ndarray) else index))

    def _reindex(self, index: Any) -> None:
        place = torch.as_tensor(np.asarray(index))
        self._index = self._index[place]
        self._own = {name: column[place] for name, column in self._own.items()}
        self.interaction.update({name: column[place] for name, column in self.interaction.own.items()})
