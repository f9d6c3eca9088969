"""The session data set of models that read a user's earlier sessions: rows to evaluate, user chains to train on."""

from __future__ import annotations

from functools import cached_property

from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.data.user_sequences import UserSequences, UserTrainLoader


class UserSessionDataset(SessionDataset):
    """SessionDataset whose training batches are whole users; evaluation rows are everyone's (prefix, target) rows."""

    @cached_property
    def user_sequences(self) -> UserSequences:
        """All sessions chained by user, with the training part of each as this split has it."""
        return UserSequences(self)

    @classmethod
    def loader_class(cls, phase: str) -> type | None:
        """The training loader; None leaves evaluation to RecBole's loaders."""
        return UserTrainLoader if phase == "train" else None
