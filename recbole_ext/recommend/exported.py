"""A folder that `export` wrote, asked as a run's folder is: numpy, pandas and onnxruntime, no torch, no RecBole.

export.json          format, what it was exported from, what the model reads, how its scores are made up
items.json           names of items and of event kinds by row, item features
arrays.npz           training events of the items, what may be ranked, what is added to and multiplied with scores; of a
                     model that counts, what it has learnt
vectors.npy          (n_items, e) float32 item vectors: what the encoder reads and what states are multiplied with
encoder.onnx         items (B, L), their vectors and lengths (B) to states (B, e), and to what a pointer copies
scan.onnx            with --int8: states to rough scores of all items, by vectors of 8 bits
SHA256SUMS           the sums of the others; see recbole_ext/sealed.py

docs/export.md says what every key is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recbole_ext import sealed
from recbole_ext.data.live import LiveSessions, Reads, past_items
from recbole_ext.data.shelf import Shelf
from recbole_ext.errors import UsageError
from recbole_ext.recommend.arrays import ARRAYS, Copied, Raised, best_items, exact, in_order
from recbole_ext.recommend.choice import Best, Choice, Several
from recbole_ext.recommend.lists import Lister, Ranking, State
from recbole_ext.segments import place_in, spans, start_of

FORMAT = 1
STATED, ITEMS, ARRAYS_FILE, VECTORS = "export.json", "items.json", "arrays.npz", "vectors.npy"
ENCODER, SCAN = "encoder.onnx", "scan.onnx"
ENTRIES = 1 << 20  # scores that exist at a time, 4 MB of them
ROUGHLY = 4  # times k items that 8 bits choose, and at least
AT_LEAST = 600  # more than k
ZERO = 128  # of states in 8 bits, which onnxruntime multiplies many times faster without a sign


@dataclass(frozen=True, eq=False)
class ExportedItems(Shelf):
    """As Shelf; features: column of the `.item` file to its (n_items,) values as `Shelf.column` has them."""

    item_field: str
    session_field: str
    time_field: str | None
    event_field: str | None
    time_origin: float | None
    names: Mapping[str, list[str]]
    features: Mapping[str, np.ndarray]
    counts: np.ndarray
    recent: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """(n_items,) the feature of this name. Raises UsageError where the items have none."""
        self.require(name)
        return self.features[name]


class Exported(Lister):
    """An exported model, ready to be asked. Made by `load`; any number of threads may ask at once."""

    def __init__(self, path: Path, stated: Mapping[str, Any], state: State):
        self._path, self.stated, self._state = path, stated, state

    @property
    def path(self) -> Path:
        """The exported folder."""
        return self._path

    def add_items(self, features: Any) -> int:
        """Always UsageError: what encodes features stays with the run."""
        raise UsageError(
            f"{self._path} was exported with the items that there were: add_items to the run that it came from, which "
            f"was started {self.stated['started']}, or export a run that has learnt them"
        )


def is_one(folder: str | Path) -> bool:
    """Whether `folder` says that it was exported."""
    return (Path(folder) / STATED).is_file()


def load(folder: str | Path, device: str = "cpu") -> Exported:
    """Open an exported folder. Raises UsageError in one sentence: a file was cut or changed, another version wrote it,
    onnxruntime is not there, or another device than the CPU is asked for."""
    place = Path(folder)
    if str(device) != "cpu":
        raise UsageError(
            f"device is {device}, and an exported folder computes on the CPU: leave device out, or load the run"
        )
    files = sealed.check(place)
    try:
        stated = json.loads((place / STATED).read_text(encoding="utf-8"))
        version = stated["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{place} is no exported folder: export a run to it again") from error
    if version != FORMAT:
        raise UsageError(
            f"{place} was exported in format {version}, and this version reads format {FORMAT}: export the run again"
        )
    try:
        with np.load(place / ARRAYS_FILE) as read:
            arrays = dict(read)
        items = _items(stated, json.loads((place / ITEMS).read_text(encoding="utf-8")), arrays)
        ranking = _RANKINGS[stated["kind"]](place, stated, arrays)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{place} lacks a part of its model ({error}; it has {', '.join(files)}): export the run again"
        ) from error
    return Exported(place, stated, State(items, ranking, stated["category_field"]))


def _items(stated: Mapping[str, Any], told: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Shelf:
    features: dict[str, np.ndarray] = {}
    for name, values in told["features"].items():
        if values is None:
            features[name] = arrays[f"feature.{name}"]
            continue
        features[name] = np.empty(len(values), dtype=object)
        features[name][:] = [tuple(value) if isinstance(value, list) else value for value in values]
    return ExportedItems(
        **stated["columns"],
        names=told["names"],
        features=features,
        counts=arrays["counts"],
        recent=arrays["recent"],
    )


# --- rows as the model reads them -----------------------------------------------------------------------------


def last_rows(live: LiveSessions, longest: int, steps: int) -> np.ndarray:
    """(S, steps) int64 the last `longest` items of each session, oldest first, 0 = padding on the right."""
    kept = np.minimum(live.length, longest)
    found = np.zeros((len(live), steps), dtype=np.int64)
    owner = np.repeat(np.arange(len(live)), kept)
    found[owner, place_in(kept)] = live.item[spans(start_of(live.length) + live.length - kept, kept)]
    return found


@dataclass(frozen=True)
class _Rows:
    """items: (B, L) what the encoder reads. length: (B,) up to where. prefix: (B, M) what the model's own prefix is.
    past: (B, P) newest first; None: it reads none."""

    items: np.ndarray
    length: np.ndarray
    prefix: np.ndarray
    past: np.ndarray | None


def _rows(live: LiveSessions, reads: Reads) -> _Rows:
    known = np.minimum(live.length, reads.longest)
    steps = max(int(known.max(initial=0)), 1)
    prefix = last_rows(live, reads.longest, steps if reads.trims or reads.whole else reads.longest)
    items, length = prefix, np.maximum(known, 1)
    if reads.whole:  # from the first event on, after a step of padding where there is a start step
        lead = int(reads.start_step)
        whole = last_rows(
            live, int(live.length.max(initial=0)), max(int(live.length.max(initial=0)), 1 - lead)
        )
        items = np.pad(whole, ((0, 0), (lead, 0)))
        length = np.maximum(live.length, 1 - lead) + lead
    past = None
    if reads.past and live.earlier is not None:
        past = past_items(live.earlier, len(live), reads.past)
    elif reads.past:
        past = np.zeros((len(live), 1), dtype=np.int64)
    return _Rows(items, length, prefix, past)


# --- what ranks ----------------------------------------------------------------------------------------------


class _Network:
    """score = (state · vector) * scale + bias, and what the rows add to items that they name."""

    def __init__(self, place: Path, stated: Mapping[str, Any], arrays: Mapping[str, np.ndarray]):
        self.reads = Reads(**stated["reads"])
        self.table = np.load(place / VECTORS, mmap_mode="r")  # (n_items, e)
        self.scale, self.bias = arrays["scale"], arrays["bias"]
        self.shared = arrays.get("shared")  # (G, e - own)
        self.group = arrays.get("group", np.zeros(0, dtype=np.int32))  # (n_items,)
        self.biased = bool(self.bias.any())
        self.hidden, self.unseen = np.flatnonzero(~arrays["rankable"]), arrays["unseen"]
        self.starts = bool(stated.get("starts", True))  # older folders do not say
        self.repeat_bias = float(stated["repeat_bias"])
        self.encoder = _session(place / ENCODER)
        self.inputs = {one.name for one in self.encoder.get_inputs()}
        self.points = len(self.encoder.get_outputs()) > 1
        self.scan = _session(place / SCAN) if stated["int8"] else None
        # column by column a product with one state reads memory in order
        self.columns = None if self.scan else self.table.T[: self._own].copy()

    @property
    def _own(self) -> int:
        """Columns before those that groups of items share."""
        width: int = self.table.shape[1]
        return width if self.shared is None else width - self.shared.shape[1]

    @property
    def visitors(self) -> bool:
        return self.reads.visitors

    @property
    def longest(self) -> int | None:
        return None if self.reads.whole else self.reads.longest

    def _read(self, rows: _Rows) -> tuple[np.ndarray, Copied | Raised | None]:
        """(B, e) states, and what is added to the scores of items that the rows name."""
        given = {"items": rows.items, "length": rows.length, "vectors": self.table[rows.items]}
        if rows.past is not None:
            given |= {"past": rows.past, "past_vectors": self.table[rows.past]}
        states, *looks = self.encoder.run(None, {n: v for n, v in given.items() if n in self.inputs})
        if looks:
            return states, Copied(*looks)
        if self.repeat_bias:
            values = ((rows.prefix != 0) & self.unseen[rows.prefix]) * np.float32(self.repeat_bias)
            return states, Raised(rows.prefix, values)
        return states, None

    def best(
        self, live: LiveSessions, sessions: np.ndarray, choice: Choice | Several, k: int
    ) -> Iterator[tuple[np.ndarray, Best]]:
        states, terms = self._read(_rows(live, self.reads))
        step = max(ENTRIES // len(self.table), 1)
        for first in range(0, len(states), step):
            piece = slice(first, first + step)
            own = None if terms is None else terms[piece]
            how = self._best if self.scan is None else self._roughly_best
            yield sessions[piece], how(states[piece], own, choice, sessions[piece], k)

    def _best(
        self,
        states: np.ndarray,
        terms: Copied | Raised | None,
        choice: Choice | Several,
        sessions: np.ndarray,
        k: int,
    ) -> Best:
        scores = self._products(states)
        scores *= self.scale
        if self.biased:
            scores += self.bias
        scores[:, self.hidden] = -np.inf
        if terms is not None:
            terms.add_to(scores)
        return choice.best(scores, sessions, k, ARRAYS)

    def _products(self, states: np.ndarray) -> np.ndarray:
        """(B, n_items) of states and item vectors; what many items share is multiplied once."""
        assert self.columns is not None
        scores: np.ndarray = states[:, : self._own] @ self.columns
        if self.shared is not None:
            scores += np.take(states[:, self._own :] @ self.shared.T, self.group, axis=1)
        return scores

    def _roughly_best(
        self,
        states: np.ndarray,
        terms: Copied | Raised | None,
        choice: Choice | Several,
        sessions: np.ndarray,
        k: int,
    ) -> Best:
        """8 bits choose some of the items, and the scores of these are made as `_best` makes them."""
        assert self.scan is not None
        largest = np.maximum(np.abs(states).max(axis=1, keepdims=True), np.float32(1e-30))
        rounded = (np.rint(states * (127 / largest)) + ZERO).astype(np.uint8)
        (scores,) = self.scan.run(None, {"states": rounded, "size": (largest / 127).astype(np.float32)})
        scores += self.bias
        scores[:, self.hidden] = -np.inf
        count = min(max(ROUGHLY * k, k + AT_LEAST), scores.shape[1])
        row = np.arange(len(states))[:, None]
        known = np.zeros((len(states), 0), dtype=np.int64)  # items whose scores are exact
        if terms is not None:
            known = terms.items
            if isinstance(terms, Copied):  # the sum over all items is next to that over the best of them
                known = np.concatenate((best_items(scores, count)[0], known), axis=1)
            own = exact(states, self.table, self.scale, self.bias, known)
            scores[row, known] = np.where(np.isneginf(scores[row, known]), -np.inf, own)
            terms.add_to(scores)
        items, values = choice.best(scores, sessions, count, ARRAYS)
        again = exact(states, self.table, self.scale, self.bias, items)
        done = np.zeros(scores.shape, dtype=bool)
        done[row, known] = True
        return in_order(items, np.where(done[row, items] | np.isneginf(values), values, again), k)

    def evidence(self, live: LiveSessions, items: np.ndarray) -> dict[str, np.ndarray]:
        """from_session, from_past: the chance that the pointer copies the item from the session, from the past."""
        if not self.points:
            return {}
        rows = _rows(live, self.reads)
        _, terms = self._read(rows)
        assert isinstance(terms, Copied)
        own = terms.items.shape[1] - (0 if rows.past is None else rows.past.shape[1])
        found = {"from_session": terms.share_of(items, slice(0, own))}
        if rows.past is not None:
            found["from_past"] = terms.share_of(items, slice(own, None))
        return found

    @cached_property
    def _lengths(self) -> np.ndarray:
        return np.linalg.norm(self.table, axis=1)

    def alike(self, items: np.ndarray, choice: Choice, k: int) -> Best | None:
        length = np.maximum(self._lengths, np.float32(1e-12))
        near = (self.table[items] / length[items, None]) @ self.table.T
        near /= length
        near[:, self._lengths == 0] = -np.inf
        near[:, 0] = -np.inf
        return choice.best(near, np.arange(len(items)), k, ARRAYS)


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(
            f"{path.parent} needs onnxruntime: pip install -r {path.parent / 'requirements.txt'}"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", 0))  # 0: one a core
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class _Counted:
    """Of a model that counts: scores of the items that have one, others below them or no candidates."""

    starts = True

    def __init__(self, place: Path, stated: Mapping[str, Any], arrays: Mapping[str, np.ndarray]):
        from recbole_ext.recommend.counted import scoring_of

        self.reads = Reads(**stated["reads"])
        self.filled = stated["fill"] == "popularity"
        self.scoring = scoring_of(stated, arrays)
        self.below = self.scoring.popularity - 1  # (n_items,)
        self.below[0] = -np.inf

    @property
    def visitors(self) -> bool:
        return self.reads.visitors

    @property
    def longest(self) -> int | None:
        return self.reads.longest

    def best(
        self, live: LiveSessions, sessions: np.ndarray, choice: Choice | Several, k: int
    ) -> Iterator[tuple[np.ndarray, Best]]:
        prefixes = _rows(live, self.reads).prefix
        known = self.scoring.score(prefixes)  # csr
        follow = self.filled | ~(prefixes != 0).any(axis=1)
        step = max(ENTRIES // len(self.below), 1)
        for first in range(0, len(prefixes), step):
            piece = slice(first, first + step)
            scores = np.where(follow[piece, None], self.below, np.float32(-np.inf))
            pointers = known.indptr[first : first + len(scores) + 1]
            stored = slice(pointers[0], pointers[-1])
            scores[np.repeat(np.arange(len(scores)), np.diff(pointers)), known.indices[stored]] = known.data[
                stored
            ]
            yield sessions[piece], choice.best(scores, sessions[piece], k, ARRAYS)

    def evidence(self, live: LiveSessions, items: np.ndarray) -> dict[str, np.ndarray]:
        found = self.scoring.evidence(_rows(live, self.reads).prefix)
        row = np.repeat(np.arange(len(items)), items.shape[1])
        return {
            name: np.asarray(matrix.tocsr()[row, items.reshape(-1)]).reshape(items.shape)
            for name, matrix in found.items()
        }

    def alike(self, items: np.ndarray, choice: Choice, k: int) -> Best | None:
        return None


_RANKINGS: dict[str, Callable[..., Ranking]] = {"network": _Network, "counted": _Counted}
