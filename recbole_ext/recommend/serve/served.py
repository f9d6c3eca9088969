"""The model that a server answers by, and its exchange for another run's while questions come."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recbole_ext.errors import UsageError
from recbole_ext.recommend import Lister, Lists, Question, load
from recbole_ext.recommend.serve.door import Swap
from recbole_ext.recommend.serve.items import ItemSearch
from recbole_ext.recommend.serve.question import answer_of


@dataclass(frozen=True)
class Loaded:
    """A model that was opened. run: name of its run. since: Unix time when it was."""

    recommender: Lister
    run: str
    since: float

    @cached_property
    def shelf(self) -> ItemSearch:
        """Its items, to be looked for."""
        return ItemSearch(self.recommender)

    def said(self) -> str:
        """What it is, in words."""
        return f"{self.recommender.model} of {self.run}, {len(self.recommender.items):,} items"


def opened(folder: Path, device: str = "cpu") -> Loaded:
    """The model of a run's folder, or of a link to one, ready to answer; UsageError as of `load`.

    The link is followed once, so that all files are those of one run.
    """
    place = folder.resolve()
    recommender = load(place, device)
    recommender.lists([[]], min(20, len(recommender.items)))  # what is made at the first question
    return Loaded(recommender, recommender.run, time.time())


class Served:
    """Answers by the model of now. Any thread may swap it."""

    def __init__(self, folder: Path, device: str = "cpu"):
        """Raises UsageError as `opened` does."""
        self.device = device
        self.now = opened(folder, device)
        self.last_swap: Swap | None = None
        self.swaps = {"done": 0, "refused": 0}
        self._swapping = threading.Lock()

    def answer(self, questions: Sequence[Question]) -> list[bytes | Exception]:
        """Each question's JSON, or the UsageError that it earns; all by one model."""
        loaded = self.now
        return [
            answer_of(lists, loaded.run) if isinstance(lists, Lists) else lists
            for lists in loaded.recommender.together(questions)
        ]

    def swap(self, folder: Path) -> Swap:
        """Open the model of a folder and answer by it from then on; where it cannot be opened the old one stays."""
        with self._swapping:
            try:
                self.now = opened(folder, self.device)
                swap = Swap(True, self.now.since, self.now.said())
            except Exception as error:
                if not isinstance(error, UsageError):
                    traceback.print_exc(file=sys.stderr)
                said = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
                swap = Swap(False, time.time(), said)
            self.last_swap = swap
            self.swaps["done" if swap.done else "refused"] += 1
            return swap

    def about(self) -> dict[str, Any]:
        """The model of now as plain values, and what became of the last swap."""
        loaded, last = self.now, self.last_swap
        return {
            "run": loaded.run,
            "loaded": loaded.since,
            **loaded.recommender.about(),
            "examples": loaded.recommender.examples,
            "swaps": dict(self.swaps),
            "last_swap": None if last is None else vars(last),
        }
