"""Scores of rows by the model of a folder, as the run's evaluation made them, see trainer/session.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_ext.blend.scores import BlendScores
from recbole_ext.data.live import PAST_ITEMS, LiveSessions
from recbole_ext.data.live_rows import LiveRows, live_rows
from recbole_ext.errors import UsageError
from recbole_ext.model.counting.base import CountingModel
from recbole_ext.model.factored import DotProductModel, Factored, Scoring
from recbole_ext.model.item_encoder import ItemEncoder, ItemsRanked
from recbole_ext.model.pointer import Looks
from recbole_ext.recommend.folder import Part
from recbole_ext.scores.dense import DenseScores, RowScores
from recbole_ext.scores.factored import FactoredScores
from recbole_ext.scores.table import ItemTable
from recbole_ext.settings.run_settings import settings_of
from recbole_ext.settings.training import Training

Evidence = dict[str, sp.csr_matrix]  # (B, n_items) by name of the column


class Scorer(Protocol):
    """What ranks."""

    @property
    def visitors(self) -> bool:
        """Whether it reads a visitor's past."""

    @property
    def knows_features(self) -> bool:
        """Whether it ranks an item that training never saw, by its features."""

    @property
    def grows(self) -> bool:
        """Whether it may be made again with items more, which it ranks by their features or not at all."""

    def scores(self, sessions: LiveSessions) -> RowScores:
        """Scores of all items for S sessions."""

    def evidence(self, sessions: LiveSessions) -> Evidence:
        """What speaks for items, by column; empty where the model cannot say."""

    def vectors(self) -> Tensor | None:
        """(n_items, d) vectors of the items of which the closer ones are alike; None: it has none."""


def scorer_of(part: Part) -> Scorer:
    """What ranks by a model."""
    if part.parts:
        return _Blended(part)
    if part.factored:
        return _Factored(part)
    if isinstance(part.model, CountingModel):
        return _Counting(part)
    return _Dense(part)


class _Single:
    """Of one model."""

    def __init__(self, part: Part):
        self.part, self.model, self.reads = part, part.model, part.reads

    @property
    def visitors(self) -> bool:
        return self.reads.visitors

    @property
    def knows_features(self) -> bool:
        return False

    @property
    def grows(self) -> bool:
        return self.knows_features

    def rows(self, sessions: LiveSessions) -> LiveRows:
        config = self.part.config
        rows = live_rows(sessions, self.reads, config)
        if config["transform"] not in (None, "mask_itemseq"):  # which masks what ranking masks itself
            from recbole.data.transform import construct_transform

            rows = construct_transform(config)(self, rows)
        return rows if config["device"].type == "cpu" else rows.to(config["device"])

    def evidence(self, sessions: LiveSessions) -> Evidence:
        return {}

    def vectors(self) -> Tensor | None:
        return None


class _Factored(_Single):
    """A model whose score is a product; the item vectors are made once."""

    @torch.no_grad()
    def __init__(self, part: Part):
        super().__init__(part)
        model = part.model
        self.factored: Factored = (
            model
            if isinstance(model, Factored)
            else DotProductModel(model, Scoring(settings_of(part.config, Training)))
        )
        raw = self.factored.item_vectors().detach()
        items = getattr(model, "items", None)
        parts = items.parts if isinstance(items, ItemEncoder) else []
        own = parts[0] if len(parts) == 2 else 0
        self.table = ItemTable(self.factored.scoring.vectors(raw), self.factored.rankable(), raw, own)
        self.raw = raw if self.table.raw is None else self.table.raw
        if isinstance(items, ItemEncoder):
            items.forget()  # the table is made, and takes as much memory

    @property
    def knows_features(self) -> bool:
        networks = getattr(self.model, "networks", None)
        if networks is not None:  # a free head has a vector an item
            encoder = networks[0].encoder
            return networks[0].supervised is None and _has_features(encoder)
        return _has_features(self.model)

    def _read(self, rows: LiveRows) -> Any:
        with reading(self.part.name):
            return self.factored.read_rows(rows, self.raw)

    @torch.no_grad()
    def scores(self, sessions: LiveSessions) -> RowScores:
        rows = self.rows(sessions)
        read = self._read(rows)
        states = self.factored.scoring.states(read.states)
        return FactoredScores(states, self.table, terms=self.factored.terms(rows, read))

    @torch.no_grad()
    def evidence(self, sessions: LiveSessions) -> Evidence:
        """from_session, from_past: the chance that the pointer copies the item from the session, from the past."""
        rows = self.rows(sessions)
        looks = self._read(rows).looks
        if looks is None:
            return {}
        past = rows[PAST_ITEMS].shape[1] if PAST_ITEMS in rows else 0
        if not past and self.reads.past:
            past = 1  # nothing is known of anybody: one empty place
        own = looks.items.shape[1] - past
        n_items = len(self.raw)
        found = {"from_session": _copied(looks, slice(0, own), n_items)}
        if self.reads.past:
            found["from_past"] = _copied(looks, slice(own, None), n_items)
        return found

    def vectors(self) -> Tensor | None:
        return self.raw


def _has_features(model: Any) -> bool:
    return isinstance(model, ItemsRanked) and model.items.features is not None


def _copied(looks: Looks, places: slice, n_items: int) -> sp.csr_matrix:
    """(B, n_items) chance of each item at some of the places."""
    items, share = looks.items[:, places].cpu().numpy(), looks.log_share[:, places].exp().cpu().numpy()
    row, column = np.nonzero((items != 0) & (share > 0))
    values = share[row, column].astype(np.float64)
    return sp.csr_matrix((values, (row, items[row, column])), shape=(len(items), n_items))


class _Counting(_Single):
    """A model that learns at once."""

    @property
    def grows(self) -> bool:
        return True  # of an item that never was in a session it knows nothing, as after training

    def scores(self, sessions: LiveSessions) -> RowScores:
        with reading(self.part.name):
            found: RowScores = self.model.sparse_scores(self.rows(sessions))
        return found

    def evidence(self, sessions: LiveSessions) -> Evidence:
        ask = getattr(self.model, "evidence", None)
        if ask is None:
            return {}
        found: Evidence = ask(self.rows(sessions)[self.model.ITEM_SEQ].cpu().numpy())
        return found


class _Dense(_Single):
    """Any other model of RecBole's."""

    @property
    def knows_features(self) -> bool:
        return self.part.name == "CategoryPop"

    @torch.no_grad()
    def scores(self, sessions: LiveSessions) -> RowScores:
        with reading(self.part.name):
            scores = self.model.full_sort_predict(self.rows(sessions))
        scores = scores.view(len(sessions), -1)
        scores[:, 0] = -torch.inf
        return DenseScores(scores)

    def vectors(self) -> Tensor | None:
        table = getattr(self.model, "item_embedding", None)
        return table.weight.detach() if isinstance(table, torch.nn.Embedding) else None


class _Blended:
    """Two models by a weight."""

    def __init__(self, part: Part):
        self.part = part
        self.sides = [scorer_of(own) for own in part.parts]

    @property
    def visitors(self) -> bool:
        return any(side.visitors for side in self.sides)

    @property
    def knows_features(self) -> bool:
        return any(side.knows_features for side in self.sides)

    @property
    def grows(self) -> bool:
        return all(side.grows for side in self.sides)

    def scores(self, sessions: LiveSessions) -> RowScores:
        first, second = (side.scores(sessions) for side in self.sides)
        own = self.part
        return BlendScores((first, second), own.weight, own.scale, own.temperatures or (1.0, 1.0))

    def evidence(self, sessions: LiveSessions) -> Evidence:
        found: Evidence = {}
        for side, own in zip(self.sides, self.part.parts):
            for name, matrix in side.evidence(sessions).items():
                found[f"{name}_{own.label}" if name in found else name] = matrix
        return found

    def vectors(self) -> Tensor | None:
        return next((found for side in self.sides if (found := side.vectors()) is not None), None)


@contextmanager
def reading(model: str) -> Iterator[None]:
    """Within the block a column that rows do not have becomes a sentence."""
    try:
        yield
    except KeyError as error:
        raise UsageError(
            f"{model} reads {error.args[0]} of every session, which these sessions do not say: give a frame with the "
            "columns of the log, or ask a model that reads items alone"
        ) from error


def alike(vectors: Tensor, items: Tensor) -> Tensor:
    """(B, n_items) cosines of items (B,) with all; -inf for the padding and for items without a vector."""
    unit = F.normalize(vectors.float(), dim=1)
    found = unit[items] @ unit.T
    found[:, ~vectors.any(dim=1)] = -torch.inf
    found[:, 0] = -torch.inf
    return found
