"""A category tree: each category's way to the root, whatever is wrong with the tree."""

from __future__ import annotations

from collections.abc import Iterable

MAX_DEPTH = 64


class CategoryTree:
    """Parents by category; what is wrong with it is counted in `notes`, and never stops or hangs a walk."""

    def __init__(self, rows: Iterable[tuple[int, int | None]]) -> None:
        """`rows` are (category, parent or None for a root), one a category."""
        self.parent: dict[int, int | None] = dict(rows)
        self.notes = {
            "category of the tree whose parent is not in it": sum(
                parent is not None and parent not in self.parent for parent in self.parent.values()
            ),
            "category of the tree that is in or under a cycle": 0,
            f"category of the tree over {MAX_DEPTH} levels deep (path cut there)": 0,
        }
        cyclic, deep = list(self.notes)[1:]
        for category in self.parent:
            path, end = self._walk(category)
            if end is not None:
                self.notes[cyclic if end in path else deep] += 1

    def path(self, category: int) -> list[int]:
        """The category, its parent, … up to the root.

        Ends before a category that came already (a cycle), at a parent that the tree does not have (which is left
        out), and at MAX_DEPTH. A category that is not in the tree is its own path.
        """
        return self._walk(category)[0]

    def _walk(self, category: int) -> tuple[list[int], int | None]:
        """The path, and where it was stopped though the tree goes on there."""
        path = [category]
        seen = {category}
        current = self.parent.get(category)
        while current is not None and current in self.parent:
            if current in seen or len(path) == MAX_DEPTH:
                return path, current
            path.append(current)
            seen.add(current)
            current = self.parent[current]
        return path, None

    def __contains__(self, category: int) -> bool:
        return category in self.parent
