"""Checkpoints as plain data: written and read without pickle."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse
import torch
from pandas.util import hash_array

from recbole_ext import plain
from recbole_ext.data.tokens import PADDING, Tokens
from recbole_ext.errors import UsageError
from recbole_ext.files import torn, whole_zip, write_beside
from recbole_ext.plain import TAG, config_to_plain
from recbole_ext.segments import place_in, spans
from recbole_ext.settings.roles import RUN, identity

# in which a run that goes on may differ from what was begun: for how long, and what is averaged on the way
ENDS = frozenset({"epochs", "stopping_step", "eval_step", "weight_average"})


def encode(value: Any) -> Any:
    """A value of other_parameter as tensors, numbers, strings, lists and mappings.

    Raises TypeError for what has no such form.
    """
    return plain.encode(value, _encode_array)


def _encode_array(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        kind = "matrix" if isinstance(value, np.matrix) else "array"
        return {TAG: kind, "data": torch.from_numpy(np.array(value, order="C", subok=False))}
    if scipy.sparse.issparse(value):
        return _encode_sparse(value)
    if isinstance(value, torch.nn.Module):
        return {TAG: "module", "data": value.state_dict()}
    if isinstance(value, dict):  # a subclass
        return encode(dict(value))
    return plain.refuse(value)


def _encode_sparse(value: Any) -> dict[str, Any]:
    csr = value.tocsr()
    return {
        TAG: "sparse array" if isinstance(value, scipy.sparse.sparray) else "sparse",
        "format": value.format,
        "shape": list(csr.shape),
        "indptr": torch.from_numpy(csr.indptr.astype(np.int64)),
        "indices": torch.from_numpy(csr.indices.astype(np.int64)),
        "data": torch.from_numpy(np.ascontiguousarray(csr.data)),
    }


def decode(value: Any, current: Any = None) -> Any:
    """The inverse of `encode`; `current` is the value it replaces: a module gets its parameters loaded."""

    def array(tagged: Any) -> Any:
        kind, data = tagged[TAG], tagged["data"]
        if kind == "array":
            return data.cpu().numpy()
        if kind == "matrix":
            return np.asmatrix(data.cpu().numpy())
        if kind.startswith("sparse"):
            return _decode_sparse(tagged)
        if kind == "module":
            current.load_state_dict(data)
            return current
        items = [decode(item) for item in data]  # of checkpoints before version 0.2
        return tuple(items) if kind == "tuple" else set(items)

    return plain.decode(value, array)


def _decode_sparse(tagged: Any) -> Any:
    parts = tuple(tagged[key].cpu().numpy() for key in ("data", "indices", "indptr"))
    cls = scipy.sparse.csr_array if tagged[TAG] == "sparse array" else scipy.sparse.csr_matrix
    return cls(parts, shape=tuple(tagged["shape"])).asformat(tagged["format"])


def split_tensors(value: Any, prefix: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """What `encode` gives, for JSON and safetensors: its tensors are taken out, and named `<prefix>.<number>`."""
    tensors: dict[str, torch.Tensor] = {}

    def split(part: Any) -> Any:
        if isinstance(part, torch.Tensor):
            name = f"{prefix}.{len(tensors)}"
            tensors[name] = part
            return {TAG: "tensor", "name": name}
        if isinstance(part, dict):
            return {key: split(item) for key, item in part.items()}
        return [split(item) for item in part] if isinstance(part, list) else part

    return split(value), tensors


def join_tensors(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """The inverse of `split_tensors`; KeyError where a tensor is missing."""
    if isinstance(value, dict):
        if value.get(TAG) == "tensor":
            return tensors[value["name"]]
        return {key: join_tensors(item, tensors) for key, item in value.items()}
    return [join_tensors(item, tensors) for item in value] if isinstance(value, list) else value


def _encoded_other_parameter(model: Any, trust_pickle: bool) -> dict[str, Any]:
    encoded = {}
    children = dict(model.named_children())
    for key, value in (model.other_parameter() or {}).items():
        if isinstance(value, torch.nn.Module) and children.get(key) is value:
            continue  # its parameters are in state_dict already (GRU4RecF, SASRecF, FDSA, DIN)
        try:
            encoded[key] = encode(value)
        except TypeError as error:
            if not trust_pickle:
                raise UsageError(
                    f"{type(model).__name__} cannot be saved without pickle, as its {key} holds {error}; "
                    "set trust_pickle: True to save and load it with pickle"
                ) from error
            encoded[key] = value
    return encoded


def load_other_parameter(model: Any, stored: dict[str, Any] | None) -> None:
    """Decode other_parameter of a checkpoint, ours or RecBole's own, and hand it to the model."""
    if stored is not None:
        model.load_other_parameter({k: decode(v, getattr(model, k, None)) for k, v in stored.items()})


def numbering(dataset: Any) -> dict[str, torch.Tensor]:
    """Names of items, of tokens of their features and of event kinds by id, as UTF-8 bytes with a zero between two:
    a checkpoint's weights are those of these numbers."""
    table = dataset.item_feat
    fields = [dataset.iid_field, dataset.config["EVENT_FIELD"], *(() if table is None else table.columns)]
    return {
        field: torch.frombuffer(bytearray(_joined(dataset.field2id_token[field])), dtype=torch.uint8)
        for field in dict.fromkeys(fields)
        if field in dataset.field2id_token
    }


def _joined(names: Any) -> bytes:
    return "\0".join(map(str, names.tolist())).encode("utf-8", "surrogatepass")


def training_sums(train: Any) -> dict[str, Any]:
    """What a training part and the features of its log hold: `events`, their number, and `products` by column.

    Sums of products of the hashes of an event (session and place) and of its value (its name or its number), whatever
    the ids and the order of the lines. (Checkpoints of before 0.2 have `sums` of other hashes, which are not compared.)
    """
    hashed = _Hashed(train)
    count, sums = 0, Counter[str]()
    for events, place in _training_columns(train):
        sessions = events.pop(train.uid_field)
        of_event = (hashed(train.uid_field, sessions) + place.astype(np.uint64) * _ODD) | np.uint64(1)
        count += len(sessions)
        sums.update({field: _product(of_event, hashed(field, column)) for field, column in events.items()})
    table = getattr(train, "item_feat", None)
    if table is not None:
        columns = {field: np.asarray(column) for field, column in table.interaction.items()}
        of_item = hashed(train.iid_field, columns.pop(train.iid_field)) | np.uint64(1)
        sums.update(
            {
                f"{field} of items": _product(of_item, hashed(field, column))
                for field, column in columns.items()
            }
        )
    return {"events": count, "products": {field: f"{value % 2**64:016x}" for field, value in sums.items()}}


_ODD = np.uint64(0x9E3779B97F4A7C15)
_SESSIONS = 2**20  # whose events are looked at together
_NAMES = 2**18  # likewise


def _training_columns(train: Any) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Columns of the training events, some sessions at a time, or rows of RecBole's own data sets at once, and each
    one's place in its session."""
    if not hasattr(train, "_training_events"):
        rows = train.inter_feat.interaction
        yield _known(train, rows), np.zeros(len(train.inter_feat), dtype=np.int64)
        return
    sessions = np.flatnonzero(train.train_length > 0)
    for some in np.split(sessions, range(_SESSIONS, len(sessions), _SESSIONS)):
        length = train.train_length[some]
        index = torch.from_numpy(spans(train.session_start[some], length))
        yield _known(train, train.events[index].interaction), place_in(length)


def _known(train: Any, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {field: np.asarray(column) for field, column in columns.items() if field in train.field2type}


class _Hashed:
    """(N,) uint64 of a column's values: tokens by their names, rows of several values by all of them in order."""

    def __init__(self, dataset: Any) -> None:
        self._tokens = dataset.field2id_token
        self._names: dict[str, np.ndarray] = {}

    def __call__(self, field: str, column: np.ndarray) -> np.ndarray:
        if field not in self._tokens or column.dtype.kind != "i":
            hashed = hash_array(np.ascontiguousarray(column).reshape(-1)).reshape(column.shape)
        else:
            hashed = self._of_names(field)[column]
        if hashed.ndim > 1:
            hashed = hashed.reshape(len(hashed), -1)
            weight = np.arange(hashed.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
            hashed = (hashed * weight).sum(axis=1, dtype=np.uint64)
        return hashed

    def _of_names(self, field: str) -> np.ndarray:
        if field not in self._names:
            tokens = self._tokens[field]
            numbers = tokens.numbers if isinstance(tokens, Tokens) else None
            if numbers is not None:
                padding = hash_array(np.array([PADDING], dtype=object), categorize=False)
                self._names[field] = np.concatenate([padding, hash_array(numbers)])
            else:
                starts = range(0, len(tokens), _NAMES)
                parts = (tokens[start : start + _NAMES].tolist() for start in starts)
                self._names[field] = np.concatenate([_of_texts([*map(str, part)]) for part in parts])
        return self._names[field]


def _of_texts(names: Sequence[str]) -> np.ndarray:
    """(n,) uint64: of whole numbers as Python writes them as of numbers, which is a hundred times as quick."""
    number = np.array([_is_number(name) for name in names], dtype=bool)
    texts = np.array(names, dtype=object)
    hashed = np.empty(len(names), dtype=np.uint64)
    hashed[number] = hash_array(texts[number].astype(np.int64))
    hashed[~number] = hash_array(texts[~number], categorize=False)
    return hashed


def _is_number(name: str) -> bool:
    return len(name) < 19 and name.isascii() and name.isdecimal() and (name[0] != "0" or name == "0")


def _product(events: np.ndarray, values: np.ndarray) -> int:
    return int((events * values).sum(dtype=np.uint64))


def check_training(stored: Mapping[str, Any] | None, own: Mapping[str, Any], file: str) -> None:
    """Raise UsageError where checkpoint `file` was trained on other events or features than these data hold.

    stored, own: the checkpoint's and the data's `training_sums`; stored None: it was written before there were any.
    """
    if stored is None:
        return
    before, now = stored.get("products", {}), own["products"]
    other = [field for field, value in before.items() if now.get(field, value) != value]
    if stored["events"] == own["events"] and not other:
        return
    counts = f"{stored['events']:,} training events, and here are {own['events']:,}"
    what = f"; other values of {', '.join(other)}" if other else ""
    raise UsageError(
        f"{file} was made with other data or another split ({counts}{what}): give it the data and the split that it "
        "was made with, or train anew"
    )


def check_settings(stored: Any, config: Any, file: str, free: Container[str] = ()) -> None:
    """Raise UsageError where checkpoint `file` is of a run with other settings than that of `config`, which goes on.

    stored: the checkpoint's config; one that is no plain data is not looked at. free: keys that may differ beside those
    of ENDS. What was written before a key existed says nothing of it.
    """
    if not isinstance(stored, Mapping):
        return
    before, now = (
        {
            key: json.dumps(value, default=str, sort_keys=True)
            for key, value in identity(values).items()
            if key not in RUN and key not in ENDS and key not in free
        }
        for values in (stored, config_to_plain(config))
    )
    other = [key for key in sorted(before.keys() & now.keys()) if before[key] != now[key]]
    if other:
        said = ", ".join(f"{key} was {before[key]} and is {now[key]}" for key in other)
        raise UsageError(
            f"{file} is of a run with other settings ({said}), and resume_from goes on with what was begun: give "
            "it the settings that it was made with, or train anew"
        )


def meet_data(trainer: Any, train_data: Any) -> None:
    """Before training: checkpoints of the trainer carry the numbering and the sums of these data, and one that it has
    resumed from has to have them too, else UsageError."""
    dataset = getattr(train_data, "_dataset", None)
    if dataset is None or getattr(dataset, "field2id_token", None) is None:
        return
    if trainer.met is not dataset:
        trainer.met = dataset
        trainer.numbered, trainer.trained_on = numbering(dataset), training_sums(dataset)
    check_numbering(trainer._resumed_numbering, trainer.numbered, str(trainer.resumed_from))
    check_training(trainer._resumed_training, trainer.trained_on, str(trainer.resumed_from))


def check_numbering(
    stored: Mapping[str, torch.Tensor] | None, own: Mapping[str, torch.Tensor], file: str
) -> None:
    """Raise UsageError where data number their items, or tokens of theirs, otherwise than checkpoint `file`.

    stored, own: the checkpoint's and the data's `numbering`; stored None: it was written before there was any.
    """
    if stored is None:
        return
    for field, names in stored.items():
        if field not in own:
            raise UsageError(
                f"{file} was made with a column {field}, which these data do not have: give it the data that it was "
                "made with, or train anew"
            )
        if torch.equal(names.cpu(), own[field]):
            continue
        before, now = (part.cpu().numpy().tobytes().split(b"\0") for part in (names, own[field]))
        place = next((n for n, pair in enumerate(zip(before, now)) if pair[0] != pair[1]), None)
        what = f"{len(before) - 1:,} of them where there are {len(now) - 1:,} now"
        if place is not None:
            was, is_ = (names[place].decode(errors="replace") for names in (before, now))
            what = f"number {place} was {was} and is {is_} now"
        raise UsageError(
            f"{file} was made with another numbering of {field} ({what}): give it the data that it was made with, or "
            "train anew"
        )


def write_checkpoint(state: dict[str, Any], file: str) -> None:
    """Write a checkpoint; an interrupted save leaves the last one whole."""
    with write_beside(file) as unfinished:
        try:
            torch.save(state, unfinished)
        except RuntimeError as error:  # what torch makes of a full disk
            raise torn(file) from error


def read_checkpoint(file: str, device: Any = "cpu", trust_pickle: bool = False) -> dict[str, Any]:
    """Load a checkpoint without running code from it; with `trust_pickle` also RecBole's own pickled ones.

    Raises UsageError naming the file when it needs pickle and is not trusted, is missing or is no checkpoint.
    """
    if not os.path.isfile(file):
        raise UsageError(f"there is no checkpoint {file}")
    if _is_zip(file) and not whole_zip(file):  # torch does not look at the sums, and takes changed weights
        raise UsageError(f"{file} is not a readable checkpoint: it was cut or changed since it was written")
    try:
        return torch.load(file, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        if trust_pickle:
            return torch.load(file, map_location=device, weights_only=False)
        raise UsageError(
            f"{file} is a checkpoint that needs pickle (RecBole's own are such), which can run any code: "
            "set trust_pickle: True if you made it yourself"
        ) from error
    except Exception as error:  # of a file that is none anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(f"{file} is not a readable checkpoint: {reason}") from error


def _is_zip(file: str) -> bool:
    with open(file, "rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def copy_checkpoint(file: str, place: str) -> None:
    """A copy of a checkpoint where a trainer that goes on from it saves, unless there is one of its own."""
    if not os.path.exists(place):
        with write_beside(place) as waiting:
            shutil.copyfile(file, waiting)


def _trusts(config: Any) -> bool:
    return bool(config["trust_pickle"])


def random_state() -> dict[str, Any]:
    """State of the generators of torch, CUDA, numpy and Python, as plain data."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [
            name,
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "python": [version, list(words), gauss],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set the generators as `random_state` found them; CUDA's only where as many devices are present."""
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([item.cpu() for item in state["cuda"]])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))


def _loader_states(trainer: Any) -> list[torch.Tensor | None]:
    generators = [getattr(loader, "generator", None) for loader in getattr(trainer, "_fit_loaders", ())]
    return [generator.get_state() if generator is not None else None for generator in generators]
