"""The items of a log by their names, as who asks a model knows them; `Catalogue` is what a model is made of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from recbole_ext.errors import UsageError, did_you_mean


class Shelf:
    """n_items items, item 0 the padding.

    item_field, session_field, time_field, event_field: names of the log's columns; the last two None where there are
    none. names: column of tokens to its names by id, the items' and the event kinds' among them. features: the columns
    of item features, by name. counts, recent: (n_items,) training events, and those of the last days, tensors or
    arrays. time_origin: Unix time of the log's timestamp 0; None: its timestamps are running numbers.
    """

    item_field: str
    session_field: str
    time_field: str | None
    event_field: str | None
    names: Mapping[str, Sequence[str]]
    features: Mapping[str, Any]
    counts: Any
    recent: Any
    time_origin: float | None

    @abstractmethod
    def column(self, name: str) -> np.ndarray:
        """(n_items,) values of a feature: names of tokens ("" unknown), numbers (nan missing), tuples of sequences.

        Raises UsageError for a column that there is not.
        """

    def require(self, name: str) -> None:
        """UsageError, with the nearest name, where there is no feature `name`."""
        if name not in self.features:
            known: Collection[str] = list(self.features)
            hint = did_you_mean(name, known) or f": there are {', '.join(known) or 'none'}"
            raise UsageError(f"the items have no feature {name}{hint}")

    @property
    def item_num(self) -> int:
        """Items, the padding included."""
        return len(self.names[self.item_field])

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each item by its name."""
        return numbered(self.names[self.item_field])

    @cached_property
    def item_names(self) -> np.ndarray:
        """(n_items,) names, of objects."""
        found = np.empty(self.item_num, dtype=object)
        found[:] = self.names[self.item_field]
        return found

    @cached_property
    def events(self) -> dict[str, int]:
        """Number of each event kind by its name; empty where the log has none."""
        return {} if self.event_field is None else numbered(self.names[self.event_field])

    @cached_property
    def popular(self) -> np.ndarray:
        """(n_items - 1,) all items by recent training events, then by all of them, then by row."""
        recent, counts = np.asarray(self.recent)[1:], np.asarray(self.counts)[1:]
        return np.lexsort((-counts, -recent)) + 1


def numbered(tokens: Sequence[str]) -> dict[str, int]:
    """Number of each name, the padding's left out."""
    found = dict(zip(tokens, range(len(tokens))))
    found.pop(tokens[0], None)
    return found
