"""The session data set of models that read a user's earlier sessions: rows to evaluate, user chains to train on."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from recbole_ext.data.loaders import RowTrainLoader
from recbole_ext.data.positions import PositionTrainLoader
from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.data.user_sequences import UserSequences, UserTrainLoader
from recbole_ext.errors import UsageError


class UserSessionDataset(SessionDataset):
    """SessionDataset whose training batches are whole users; evaluation rows are everyone's (prefix, target) rows."""

    @cached_property
    def user_sequences(self) -> UserSequences:
        """All sessions chained by user, with the training part of each as this split has it."""
        return UserSequences(self)

    @classmethod
    def loader_class(cls, phase: str) -> Any:
        """What makes the training loader; None leaves evaluation to the usual loaders."""
        return train_loader if phase == "train" else None

    def training_positions(self) -> tuple[Tensor, np.ndarray, np.ndarray, int | None]:
        """As SessionDataset's, but a session is read whole, and from a start step under `empty_history`."""
        return self.user_sequences.positions()

    def flat_place(self, event_index: np.ndarray) -> np.ndarray:
        """As SessionDataset's, start steps counted."""
        return self.user_sequences.flat_place(event_index)


def train_loader(config: Any, dataset: UserSessionDataset, sampler: Any = None, shuffle: bool = True) -> Any:
    """Whole users where a user state is to be learnt and a user has two sessions; else sessions on their own."""
    chained = config["user_state"] not in (None, "none") and dataset.user_sequences.returning_users
    if config["train_targets"] == "prefixes" and chained:
        raise UsageError(
            "train_targets prefixes knows no earlier session of a user: set train_targets: all_positions or "
            "user_state: none"
        )
    if config["train_targets"] == "prefixes":
        return RowTrainLoader(config, dataset, sampler, shuffle)
    loader = UserTrainLoader if chained else PositionTrainLoader
    return loader(config, dataset, sampler, shuffle)
