"""A model folder that answers: lists for live sessions, items like an item, items more. `load` opens one."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recbole_ext.data.catalogue import Catalogue
from recbole_ext.data.live import LiveSessions
from recbole_ext.errors import UsageError
from recbole_ext.recommend.asked import Report, Session, name_of
from recbole_ext.recommend.choice import Best, Choice, Means, Several
from recbole_ext.recommend.folder import ModelFolder, Part, read
from recbole_ext.recommend.lists import Lister, Lists, State
from recbole_ext.recommend.scoring import Evidence, alike, scorer_of
from recbole_ext.scores.top import best_items


class _Ranking:
    """Of a model of torch's."""

    def __init__(self, part: Part):
        self.part, self.scorer = part, scorer_of(part)
        # RecBole's encoders are lent their item table for the time of a call
        self.computes = threading.Lock()

    @property
    def visitors(self) -> bool:
        return self.scorer.visitors

    @property
    def longest(self) -> int | None:
        return _longest(self.part)

    @property
    def starts(self) -> bool:
        return self.part.starts

    @torch.inference_mode()
    def best(
        self, live: LiveSessions, sessions: np.ndarray, choice: Choice | Several, k: int
    ) -> list[tuple[np.ndarray, Best]]:
        with self.computes:
            found = self.scorer.scores(live)
            ranked = getattr(found, "ranked_chunks", found.chunks)
            return [
                (sessions[piece], choice.best(chunk, sessions[piece], k, TENSORS))
                for piece, chunk in ranked()
            ]

    @torch.inference_mode()
    def evidence(self, live: LiveSessions, items: np.ndarray) -> dict[str, np.ndarray]:
        with self.computes:
            found = self.scorer.evidence(live)
        return {name: _looked_up(matrix, items) for name, matrix in found.items()}

    @torch.inference_mode()
    def alike(self, items: np.ndarray, choice: Choice, k: int) -> Best | None:
        vectors = self.scorer.vectors()
        if vectors is None:
            return None
        near = alike(vectors, torch.from_numpy(items).to(vectors.device))
        return choice.best(near, np.arange(len(items)), k, TENSORS)


@dataclass(frozen=True)
class _Made(State):
    """State of a model of torch's, which may be made again with items more."""

    catalogue: Catalogue
    ranking: _Ranking


class Recommender(Lister):
    """The model of a run, ready to be asked. Made by `load`; any number of threads may ask, and the model computes for
    one of them at a time."""

    def __init__(self, folder: ModelFolder, device: torch.device):
        self.folder, self.stated = folder, folder.stated
        self.device = device
        self._state: _Made = self._made(folder.catalogue)

    def _made(self, catalogue: Catalogue) -> _Made:
        part = self.folder.part(catalogue, self.device)
        return _Made(catalogue, _Ranking(part), str(part.config["category_field"]))

    @property
    def path(self) -> Path:
        """The model folder."""
        return self.folder.path

    def add_items(self, features: Any) -> int:
        """Rank new items from now on, by their features; how many there are more.

        features: a pandas or polars frame with the column item and columns of the `.item` file, or a list of dicts of
        these. A token that training did not see counts as missing. Raises UsageError for an item that is there already
        and where the model knows items by their ids alone.
        """
        state = self._state
        part, scorer = state.ranking.part, state.ranking.scorer
        if not (scorer.knows_features and scorer.grows):
            who = " or ".join(own.label for own in part.parts) or self.model
            raise UsageError(
                f"{self.model} cannot rank items that it has not learnt, as {who} knows items by their ids alone: "
                "train it again, or a model with item features such as HRNNFeat"
            )
        columns = _feature_columns(features, state.catalogue)
        names = [name_of(name) for name in columns.pop("item")]
        if not names:
            return 0
        scaled = [key for key in ("normalize_field", "normalize_all") if part.config[key]]
        if scaled:
            raise UsageError(
                f"add_items does not know how {scaled[0]} has scaled the numbers: train without it"
            )
        self._state = self._made(state.catalogue.grown(names, columns))
        return len(names)


def load(folder: str | Path, device: str = "cpu") -> Recommender:
    """Open the model of a run's folder, or a model folder itself, to ask it. No data set is needed.

    device: where it computes, as torch names it. Raises UsageError in one sentence: there is no model, a file was cut
    or changed, another version wrote it, or the model cannot be asked for a new session.
    """
    return Recommender(read(folder), torch.device(device))


def _best(scores: Tensor, k: int) -> Best:
    items, values = best_items(scores, k)
    return items.cpu().numpy(), values.float().cpu().numpy()


def _add(scores: Tensor, bias: np.ndarray) -> None:
    scores.add_(torch.from_numpy(bias).to(scores.device))


TENSORS = Means(_best, _add)


def _looked_up(matrix: sp.csr_matrix, items: np.ndarray) -> np.ndarray:
    """(B, k) values of a csr matrix (B, n_items) at items (B, k)."""
    row = np.repeat(np.arange(len(items)), items.shape[1])
    return np.asarray(matrix.tocsr()[row, items.reshape(-1)]).reshape(items.shape)


def _longest(part: Part) -> int | None:
    """Events that the model reads of a session; None: all of them."""
    if part.parts:
        return min((n for n in map(_longest, part.parts) if n is not None), default=None)
    return None if part.reads.whole else part.reads.longest


def _feature_columns(features: Any, catalogue: Catalogue) -> dict[str, list[Any]]:
    """Columns of new items, `item` among them."""
    if hasattr(features, "columns") and hasattr(features, "shape"):
        columns = {str(name): features[name].to_numpy().tolist() for name in features.columns}
    elif isinstance(features, Iterable) and all(isinstance(one, Mapping) for one in features):
        rows = list(features)
        names = list(dict.fromkeys(str(name) for row in rows for name in row))
        columns = {name: [row.get(name) for row in rows] for name in names} or {"item": []}
    else:
        raise UsageError("the new items are no frame: give one with the column item and columns of features")
    own = "item" if "item" in columns else catalogue.item_field
    if own not in columns:
        raise UsageError(f"the new items have no column item: it has {', '.join(columns) or 'none'}")
    return {"item": columns.pop(own), **columns}


__all__ = ["Evidence", "Lists", "Recommender", "Report", "Session", "load"]
