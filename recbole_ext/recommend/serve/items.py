"""Items looked for by id or by the words of their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recbole_ext.recommend import Lister

NAMES = ("name", "title", "item_name", "product_name")  # columns that call an item


@dataclass(frozen=True)
class Described:
    """What is known of an item. name: empty where no column calls it. about: its category, such as "category 12"."""

    item: str
    name: str
    about: str


class ItemSearch:
    """The items of a model, as a person looks for them."""

    def __init__(self, recommender: Lister):
        catalogue = recommender.catalogue
        self._recommender = recommender
        self._rows = catalogue.rows
        self._items: list[str] = catalogue.item_names.tolist()
        texts = {name: _texts(catalogue.column(name)) for name in catalogue.features}
        called = next((name for name in NAMES if name in texts), None)
        self._names = texts[called] if called else [""] * len(self._items)
        words = [" ".join(own) for own in zip(*texts.values())] if texts else [""] * len(self._items)
        self._words = [f"{item} {own}".lower() for item, own in zip(self._items, words)]

    def found(self, text: str, limit: int) -> list[Described]:
        """The first `limit` items whose id or features hold every word of `text`: that id, ids that begin so, more."""
        wanted = text.lower().split()
        whole = text.strip()
        ranked: tuple[list[int], list[int], list[int]] = ([], [], [])
        for row in range(1, len(self._items)):
            words = self._words[row]
            if all(word in words for word in wanted):
                item = self._items[row]
                ranked[0 if item == whole else 1 if item.startswith(whole) else 2].append(row)
        return [self._described(row) for row in sum(ranked, [])[:limit]]

    def described(self, items: Sequence[str]) -> list[Described]:
        """What is known of these items, in their order; those that the model does not know are left out."""
        return [self._described(self._rows[item]) for item in items if item in self._rows]

    def _described(self, row: int) -> Described:
        item = self._items[row]
        return Described(item, self._names[row], self._recommender.category(item))


def _texts(column: Any) -> list[str]:
    """Values of a feature as text, empty where it is unknown."""
    if column.dtype.kind == "f":
        return ["" if value != value else f"{value:g}" for value in column.tolist()]
    return [" ".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in column]
