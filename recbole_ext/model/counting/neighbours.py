"""Nearest sessions: what SKNN, VSKNN, STAN and VSTAN share; how they are found is in nearest.py.

References: Jannach and Ludewig, "When Recurrent Neural Networks meet the Neighborhood for Session-Based
Recommendation", RecSys 2017 (SKNN); Ludewig and Jannach, "Evaluation of Session-based Recommendation Algorithms",
UMUAI 2018 (VSKNN); Garg et al., "Sequence and Time Aware Neighborhood for Session-based Recommendations: STAN",
SIGIR 2019; Ludewig et al., "Empirical Analysis of Session-Based Recommendation Algorithms", UMUAI 2021 (VSTAN).
Formulas, and what differs from the released code: docs/neighbours.md.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.model.counting.ages import ages, note_of, unit_of_age
from recbole_ext.model.counting.base import CountingModel, CountingSettings, TrainingSessions
from recbole_ext.model.counting.nearest import Formula, Neighbourhood
from recbole_ext.segments import owner_of, place_in, pointers_of
from recbole_ext.settings.base import Flag, Number, Whole, key


class NeighbourSettings(CountingSettings):
    """Keys of every neighbour model."""

    k: Whole = key(200, "nearest sessions", ge=1)
    sample_size: Whole = key(
        1000, "most recent sessions that share an item, among which they are looked for; 0: all", ge=0
    )
    remind: Flag = key(True, "whether items of the session may be recommended again")


class StanSettings(NeighbourSettings):
    """Keys of STAN and VSTAN: decays."""

    lambda_spw: Number | None = key(9.8, "decay by position in the session, in events", ge=1e-9)
    lambda_snh: Number | None = key(80, "decay by age of the neighbour, in units of age", ge=1e-9)
    lambda_inh: Number | None = key(
        9.8, "decay by distance from the shared item in the neighbour, in events", ge=1e-9
    )
    age: Literal["auto", "days", "share"] = key(
        "auto",
        "days; share: percent of the training sessions that are newer; auto: days where the log has times, else share",
    )


class NeighbourModel(CountingModel):
    """score(i | s) = sum over the k most similar of the `sample_size` most recent sessions n that share an item with s

        sim(s, n) * decay(n's age) * decay(place of the shared item in s) * decay(place of i in n) * idf(i)

    of which each model takes some factors (see `Formula`). Sessions are as recent as their last training event. A
    session whose events are in the training part is no neighbour of itself (RecBole's LS, RS and TS cut inside
    sessions). Sessions alike are taken newest first.
    """

    @abstractmethod
    def formula(self) -> Formula:
        """The model's factors, by its settings."""

    def read_settings(self) -> None:
        self.k, self.sample_size = self.settings.k, self.settings.sample_size
        self.factors = self.formula()

    def look_at(self, config: Any, dataset: SessionDataset) -> None:
        self.age_unit = self._age_unit(dataset) if self.factors.age is not None else None

    def _age_unit(self, dataset: SessionDataset) -> str:
        unit = unit_of_age(self.settings.age, dataset)
        self.notes.append(note_of(unit))
        return unit

    # --- learning --------------------------------------------------------------------------------------

    def learn(self, sessions: TrainingSessions) -> dict[str, Any]:
        count = len(sessions.session)
        session, position = owner_of(sessions.length), place_in(sessions.length) + 1
        keys = session * self.n_items + sessions.item
        distinct, last = np.unique(keys[::-1], return_index=True)
        session, item = np.divmod(distinct, self.n_items)
        entries = np.bincount(session, minlength=count)
        with_item = np.bincount(item, minlength=self.n_items)
        return {
            "session": sessions.session,
            "age": ages(sessions.last_time, self.age_unit),  # without an age decay not used
            "start": pointers_of(entries),  # into the next two, the sessions' sets of items
            "item": item,
            "position": position[len(keys) - 1 - last],
            "entry": np.argsort(item, kind="stable"),  # items' entries, an item's sessions from old to new
            "item_start": pointers_of(with_item),  # into `entry`
            "idf": np.log(count / np.maximum(with_item, 1)),
        }

    def enlarged(self, learnt: dict[str, Any], n_items: int) -> dict[str, Any]:
        start, count = learnt["item_start"], len(learnt["session"])
        more = n_items + 1 - len(start)
        return {
            **super().enlarged(learnt, n_items),
            "item_start": np.concatenate((start, np.full(more, start[-1]))),
            "idf": np.concatenate((learnt["idf"], np.full(more, np.log(max(count, 1))))),
        }

    def _prepare(self) -> None:
        super()._prepare()
        self.near = Neighbourhood(
            self.learnt, self.factors, self.n_items, self.k, self.sample_size, self.settings.remind, sp
        )

    def score(self, prefixes: np.ndarray, sessions: np.ndarray | None) -> sp.csr_matrix:
        return self.near.score(prefixes, sessions)

    def evidence(self, prefixes: np.ndarray) -> dict[str, sp.csr_matrix]:
        """neighbours: (B, n_items) how many of a row's nearest sessions hold the item."""
        return self.near.evidence(prefixes)


def same(position: np.ndarray, length: np.ndarray) -> np.ndarray:
    """All items of the current session weigh 1."""
    return np.ones(len(position))


def exponential(rate: float | None) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """exp((position - length) / rate), 1 for the last item; rate None: 1 for all."""
    if rate is None:
        return same
    return lambda position, length: np.exp((position - length) / rate)
