"""LINK: a linear item-item model of sessions that a trained network may teach.

It counts, and lies here beside Blend as its teacher is a finished run; what it counts is model/counting/linear.py.
What differs from the papers: docs/neighbours.md.

References: Choi et al., "Linear Item-Item Model with Neural Knowledge for Session-based Recommendation", SIGIR 2025;
Choi et al., "Session-aware Linear Item-Item Models for Session-based Recommendation", WWW 2021.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from recbole_ext.blend.teacher import taught
from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.errors import UsageError
from recbole_ext.model.counting.ages import ages, note_of, unit_of_age
from recbole_ext.model.counting.base import CountingModel, CountingSettings, TrainingSessions, wider
from recbole_ext.model.counting.counted import linked
from recbole_ext.model.counting.linear import Normal, similarity, solve, transitions
from recbole_ext.settings.base import Number, Text, Whole, key

LARGE = 1e9


class LINKSettings(CountingSettings):
    """Keys of LINK."""

    neighbours: Whole = key(100, "weights that are solved for, for each item to recommend", ge=1)
    alpha: Number = key(0.8, "share of sessions as sets; the rest is what follows what", ge=0, le=1)
    regularization: Number = key(20, "pull of all weights to 0", ge=1e-6, le=LARGE)
    train_decay: Number = key(
        3, "decay by distance between two events of training, in events", ge=1e-9, le=LARGE
    )
    predict_decay: Number | None = key(
        2, "decay by position in the session that is ranked for, in events", ge=1e-9, le=LARGE
    )
    session_decay: Number | None = key(
        80, "decay by age of a training session, in units of age", ge=1e-9, le=LARGE
    )
    age: Literal["auto", "days", "share"] = key(
        "auto",
        "days; share: percent of the training sessions that are newer; auto: days where the log has times, else share",
    )
    teacher: Text | None = key(
        None, "checkpoint of a finished run on the same data, whose transitions are learnt too"
    )
    teacher_weight: Number = key(10, "pull of all weights to the teacher's", ge=1e-6, le=LARGE)
    teacher_temperature: Number = key(1, "of the softmax over the teacher's scores", ge=1e-6, le=LARGE)

    def check(self) -> None:
        """Raise UsageError where the teacher is no file, or has a weight and is none."""
        super().check()
        if self.teacher is not None and not Path(self.teacher).is_file():
            raise UsageError(f"teacher names {self.teacher}, which does not exist")
        for name in ("teacher_weight", "teacher_temperature"):
            given = getattr(self, name)
            if self.teacher is None and given != type(self).model_fields[name].default:
                raise UsageError(f"{name} is {given}, but there is no teacher: give one, or leave {name} out")


class LINK(CountingModel):
    """score(i | s) = sum over the session's items s_p, p = 1 … n, of exp(-(n - p) / predict_decay) B[s_p, i]

    B, (n_items, n_items), minimises

        alpha sum_m w_m |x_m - x_m B / sqrt|m||^2 + (1 - alpha) sum_(m, t) w_m |y_mt - B[m_t]|^2
            + regularization |B|^2 + teacher_weight |T - B|^2

    over its strongest `neighbours` entries a column. m: training sessions, w_m = exp(-age(m) / session_decay). x_m: 1
    for the |m| different items of m. y_mt: exp(-(d - 1) / train_decay) for the event d steps after the t-th, m_t.
    T: the teacher's chances of what follows an item alone, softmax(scores / teacher_temperature), the largest
    `neighbours` a row; without a teacher the last term is not there.

    Items whose sum is not above 0 have no score.
    """

    settings_class = LINKSettings

    def look_at(self, config: Any, dataset: SessionDataset) -> None:
        own = self.settings
        self.age_unit = None
        if own.session_decay is not None:
            self.age_unit = unit_of_age(own.age, dataset)
            self.notes.append(note_of(self.age_unit))
        self._taught: sp.csr_matrix | None = None
        if own.teacher is not None:
            self._taught = taught(config, dataset, own.teacher, own.teacher_temperature, own.neighbours)
            self.notes.append(f"taught by {own.teacher}")

    def learn(self, sessions: TrainingSessions) -> dict[str, Any]:
        own = self.settings
        weight = np.ones(len(sessions.session))
        if own.session_decay is not None:
            weight = np.exp(-ages(sessions.last_time, self.age_unit) / own.session_decay)
        sets = similarity(sessions, weight, self.n_items)
        normal = sets.mixed(transitions(sessions, weight, self.n_items, own.train_decay), own.alpha)
        ridge = own.regularization
        if self._taught is not None:
            normal = Normal(normal.gram, (normal.cross + own.teacher_weight * self._taught).tocsr())
            ridge += own.teacher_weight
            self._taught = None  # it is in the weights from here on
        return {"weights": solve(normal, ridge, own.neighbours)}

    def enlarged(self, learnt: dict[str, Any], n_items: int) -> dict[str, Any]:
        return {**super().enlarged(learnt, n_items), "weights": wider(learnt["weights"], n_items)}

    def score(self, prefixes: np.ndarray, sessions: np.ndarray | None) -> sp.csr_matrix:
        return linked(prefixes, self.learnt["weights"], self.settings.predict_decay, sp)
