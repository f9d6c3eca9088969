"""Data sets as they are after loading, filtering and giving out ids, kept on disk for the next run (`data_cache`).

An entry is a folder `<folder of the atomic files>/.cache/<hash>/` of `entry.json` and .npy files, without pickle, and
of their sums: one that was cut or changed anywhere is made anew.
While a data set is made from its files, every config key that is read is noted with its value: an entry fits when
all of them, the files, the versions and the sources of this package are the same now. No list of keys is kept.

Arrays are mapped into memory, private to the process ("c"): whoever writes into one, RecBole included, never changes
the file. Whatever goes wrong here, the data set is made from its files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import recbole
import torch

from recbole_ext import plain, sealed
from recbole_ext.errors import UsageError
from recbole_ext.files import locked
from recbole_ext.plain import TAG, plain_value
from recbole_ext.version import __version__

FORMAT = 3
FOLDER = ".cache"
ENTRIES = 8  # of one data set; the ones used longest ago go
_SCRATCH = "tmp-"
_LOCK = ".lock"  # of a scratch folder, beside it
_SCRATCH_AGE = 3600  # seconds after which a writer is taken for dead where a file system knows no locks
_ENTRY_FILE = "entry.json"
_PACKAGES = (recbole, np, pd, torch)
_ARRAY_LIKE = (np.ndarray, torch.Tensor, pd.Series, pd.DataFrame)
_NOT_STATE = ("config", "logger")
# set from the config before loading, which does not read them: they neither belong to the key nor to the state
_NOT_READ = ("max_item_list_len", "empty_history")

# what a file that someone else has written into may raise
_BROKEN = (UsageError, OSError, ValueError, KeyError, TypeError, IndexError, AttributeError)
_NAME = re.compile("[0-9a-f]{16}")  # of an entry; others may keep things in .cache too

Key = dict[str, Any]


class _NotStorableError(Exception):
    """A value, or a way of reading the config, that an entry cannot hold: the data set is not cached."""


def load(dataset: Any, from_files: Callable[[], None]) -> None:
    """Fill `dataset` from a fitting entry, else by `from_files()`, and then make an entry of it.

    `from_files` sets the attributes of `dataset`, a RecBole Dataset that has `config` and `logger`.
    """
    config, logger = dataset.config, dataset.logger
    if config["data_cache"] not in (None, True, False):
        raise UsageError(f"data_cache is {config['data_cache']!r}: write True or False")
    if not config["data_cache"]:
        from_files()
        return
    try:
        before = _encoded_attributes(dataset, None)
        key = _key(dataset, before)
    except (_NotStorableError, OSError) as error:
        logger.info(f"data not cached: {error}")
        from_files()
        return
    place = Path(config["data_path"]) / FOLDER
    if _from_entries(dataset, place, key):
        return
    reads, messages = _RecordingConfig(config), _RecordingLogger(logger)
    dataset.config, dataset.logger = reads, messages
    try:
        from_files()
    finally:
        dataset.config, dataset.logger = config, logger
    try:
        if _files(dataset) != key["files"]:
            raise _NotStorableError("the atomic files have changed meanwhile")
        stored = _store(dataset, place, {**key, "config": reads.values()}, before, messages.said)
    except (_NotStorableError, OSError) as error:
        logger.info(f"data not cached: {error}")
        return
    logger.info(f"data cached in {stored}")


# --- what an entry is for -----------------------------------------------------------------------------------


class _RecordingConfig:
    """A Config that notes which keys are read, and with which values."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self._values: dict[str, str] = {}
        self._obstacle: str | None = None

    def __getitem__(self, key: str) -> Any:
        self._note(_value_text, key)
        return self._config[key]

    def __contains__(self, key: str) -> bool:
        self._note(_presence_text, key)
        return key in self._config

    def __setitem__(self, key: str, value: Any) -> None:
        self._obstacle = f"loading sets the config key {key}"
        self._config[key] = value

    def __getattr__(self, name: str) -> Any:
        if name in self._config:
            return self[name]
        self._obstacle = f"loading reads config.{name}"
        return getattr(self._config, name)

    def _note(self, text: Callable[[Any, str], str], key: str) -> None:
        name = f"{key} in" if text is _presence_text else key
        try:
            self._values.setdefault(name, text(self._config, key))
        except TypeError as error:
            self._obstacle = f"config key {key} holds {error}"

    def values(self) -> dict[str, str]:
        """Key read (`KEY in` for a question whether it is there) -> its value as text."""
        if self._obstacle is not None:
            raise _NotStorableError(self._obstacle)
        return dict(self._values)


def _value_text(config: Any, key: str) -> str:
    return repr(plain_value(config[key]))


def _presence_text(config: Any, key: str) -> str:
    return repr(key in config)


def _same_config(config: Any, values: dict[str, str]) -> bool:
    try:
        return all(
            (_presence_text(config, name[:-3]) if name.endswith(" in") else _value_text(config, name)) == text
            for name, text in values.items()
        )
    except TypeError:
        return False


class _RecordingLogger:
    """A logger that keeps what is said from `info` upwards: who loads from the entry is told the same."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self.said: list[tuple[int, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)

    def info(self, message: Any, *values: Any) -> None:
        self._say(logging.INFO, message, values)

    def warning(self, message: Any, *values: Any) -> None:
        self._say(logging.WARNING, message, values)

    def _say(self, level: int, message: Any, values: tuple[Any, ...]) -> None:
        text = str(message) % values if values else str(message)
        self.said.append((level, text))
        self._logger.log(level, text)


def _key(dataset: Any, before: dict[str, Any]) -> Key:
    """All that an entry depends on but for the config; `before`: the attributes that loading starts with."""
    return {
        "format": FORMAT,
        "class": f"{type(dataset).__module__}.{type(dataset).__qualname__}",
        "versions": _versions(),
        "sources": _sources(type(dataset)),
        "files": _files(dataset),
        "before": {name: value for name, value in before.items() if name not in _NOT_READ},
    }


def _versions() -> dict[str, str]:
    versions = {package.__name__: str(package.__version__) for package in _PACKAGES}
    return {"recbole_ext": __version__, "python": sys.version.split()[0], **versions}


def _sources(cls: type) -> str:
    """SHA-256 of the sources that make a data set: ours, and those of the class where it is someone else's."""
    package = Path(__file__).resolve().parents[1]
    files = {
        package / "plain.py",
        package / "segments.py",
        *package.glob("data/*.py"),
        *package.glob("settings/*.py"),
        *package.glob("bridge/patches/*.py"),
    }
    for part in cls.__mro__:
        if part.__module__.split(".")[0] in ("recbole", "torch", "typing", "builtins"):
            continue
        file = getattr(sys.modules.get(part.__module__), "__file__", None)
        if file is None:
            raise _NotStorableError(f"the source of {part.__qualname__} is in no file")
        files.add(Path(file))
    digest = hashlib.sha256()
    for source in sorted(files):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()


def _files(dataset: Any) -> list[list[Any]]:
    """Name, size and times of the atomic files, whether they are read or not, and of manifest.json."""
    stats = []
    with os.scandir(dataset.config["data_path"]) as folder:
        for file in folder:
            if file.name.startswith(f"{dataset.dataset_name}.") or file.name == "manifest.json":
                stat = file.stat()
                # the second time tells a file that was replaced by one with the first time set back
                stats.append([file.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns])
    return sorted(stats)


# --- reading ------------------------------------------------------------------------------------------------


def _from_entries(dataset: Any, place: Path, key: Key) -> bool:
    for folder in _entry_folders(place):
        entry = _read_entry(folder)
        if not _is_for(entry, key) or not _same_config(dataset.config, entry["config"]):
            continue
        try:
            attributes, messages = _decoded(folder, entry)
        except _BROKEN:
            continue  # `_store` replaces it
        vars(dataset).update(attributes)
        for level, text in messages:
            dataset.logger.log(level, text)
        dataset.logger.info(f"data from cache {folder}")
        _mark_used(folder)
        return True
    return False


def _entry_folders(place: Path) -> list[Path]:
    try:
        return [folder for folder in place.iterdir() if _NAME.fullmatch(folder.name)]
    except OSError:
        return []


def _read_entry(folder: Path) -> dict[str, Any]:
    """What entry.json says, {} where it is missing or broken."""
    try:
        entry = json.loads((folder / _ENTRY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entry if isinstance(entry, dict) and isinstance(entry.get("config"), dict) else {}


def _is_for(entry: dict[str, Any], key: Key) -> bool:
    return bool(entry) and all(entry.get(name) == value for name, value in key.items())


def _mark_used(folder: Path) -> None:
    with contextlib.suppress(OSError):  # someone else's folder
        os.utime(folder / _ENTRY_FILE)


def _decoded(folder: Path, entry: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[int, str]]]:
    """Attributes of the data set, and the level and text of what was said; one of _BROKEN where it is not whole."""
    sealed.check(folder)
    files = (_array_file(folder, number) for number in range(entry["arrays"]))
    arrays = [np.asarray(np.load(file, mmap_mode="c", allow_pickle=False)) for file in files]
    attributes = {name: _decode(value, arrays) for name, value in entry["state"].items()}
    attributes["field2token_id"] = _token_ids(attributes["field2id_token"])
    return attributes, [(int(level), str(text)) for level, text in entry["messages"]]


def _token_ids(id_tokens: dict[str, np.ndarray]) -> dict[str, dict[str, int]]:
    """Token -> id of each field; fields that share their tokens share the dict, as in RecBole."""
    known: dict[int, dict[str, int]] = {}
    for tokens in id_tokens.values():
        if id(tokens) not in known:
            known[id(tokens)] = dict(zip(tokens.tolist(), range(len(tokens))))
    return {field: known[id(tokens)] for field, tokens in id_tokens.items()}


# --- writing ------------------------------------------------------------------------------------------------


def _store(
    dataset: Any, place: Path, key: Key, before: dict[str, Any], messages: list[tuple[int, str]]
) -> Path:
    """Write the entry beside its place and move it there; of two writers at once, one moves."""
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    scratch = place / f"{_SCRATCH}{uuid.uuid4().hex}"
    place.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        held.enter_context(locked(_lock_of(scratch)))  # before there is a folder that it guards
        scratch.mkdir()
        held.callback(shutil.rmtree, scratch, ignore_errors=True)
        arrays = _Arrays(scratch)
        state = _encoded_attributes(dataset, arrays)
        state = {name: value for name, value in state.items() if name not in before or before[name] != value}
        entry = {**key, "state": state, "messages": messages, "arrays": len(arrays)}
        (scratch / _ENTRY_FILE).write_text(json.dumps(entry), encoding="utf-8")
        sealed.seal(scratch, sorted(file.name for file in scratch.iterdir()))
        _move(scratch, place / name, key)
    _tidy(place, key)
    return place / name


def _move(scratch: Path, folder: Path, key: Key) -> None:
    # an entry that is there was written by another process just now, or it did not load
    if _is_whole(folder, key):
        return
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
    try:
        scratch.rename(folder)
    except OSError:
        if not _is_whole(folder, key):
            raise


def _is_whole(folder: Path, key: Key) -> bool:
    entry = _read_entry(folder)
    try:
        _decoded(folder, entry)
    except _BROKEN:
        return False
    return _is_for(entry, key)


def _tidy(place: Path, key: Key) -> None:
    """Remove entries of files that are no longer there, all but the last used, and what dead writers left."""
    used = {}
    for folder in _entry_folders(place):
        entry = _read_entry(folder)
        if entry.get("files") != key["files"]:
            shutil.rmtree(folder, ignore_errors=True)
            continue
        try:
            used[folder] = (folder / _ENTRY_FILE).stat().st_mtime_ns
        except OSError:
            continue  # another process removes it
    for folder in sorted(used, key=lambda folder: used[folder])[:-ENTRIES]:
        shutil.rmtree(folder, ignore_errors=True)
    for scratch in place.glob(f"{_SCRATCH}*"):
        if scratch.suffix == _LOCK:
            continue
        with locked(_lock_of(scratch)) as dead, contextlib.suppress(OSError):
            if dead or time.time() - scratch.stat().st_mtime > _SCRATCH_AGE:
                shutil.rmtree(scratch, ignore_errors=True)


def _lock_of(scratch: Path) -> Path:
    return scratch.with_name(f"{scratch.name}{_LOCK}")


# --- values as JSON and arrays ------------------------------------------------------------------------------


class _Arrays:
    """Arrays of one entry, written as they come; views of the same memory become one file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[Any, ...], int] = {}
        self._held: list[np.ndarray] = []  # so that no address is used again

    def __len__(self) -> int:
        return len(self._held)

    def add(self, array: np.ndarray) -> int:
        """The number of the array's file."""
        place = array.__array_interface__["data"][0] if array.size else 0
        memory = (place, array.shape, array.strides, array.dtype.str)
        if memory not in self._known:
            number = self._known[memory] = len(self._held)
            self._held.append(array)
            np.save(_array_file(self._folder, number), array, allow_pickle=False)
        return self._known[memory]


def _array_file(folder: Path, number: int) -> Path:
    return folder / f"{number}.npy"


def _encoded_attributes(dataset: Any, arrays: _Arrays | None) -> dict[str, Any]:
    """The data set's attributes as JSON; `arrays` takes what is not plain, and None refuses that."""
    attributes = {name: value for name, value in vars(dataset).items() if name not in _NOT_STATE}
    token_ids = attributes.pop("field2token_id", {})
    id_tokens = attributes.get("field2id_token", {})
    if {field: len(ids) for field, ids in token_ids.items()} != {
        field: len(tokens) for field, tokens in id_tokens.items()
    }:
        raise _NotStorableError("field2id_token and field2token_id differ in length")
    encoded = {}
    for name, value in attributes.items():
        try:
            encoded[name] = _encode(value, arrays)
        except _NotStorableError as error:
            raise _NotStorableError(f"the data set's {name} {error}") from error
    return encoded


def _encode(value: Any, arrays: _Arrays | None) -> Any:
    """Plain values in their plain form, all others as a mapping of kind and parts."""
    return plain.encode(value, lambda other: _encode_other(other, arrays))


def _encode_other(value: Any, arrays: _Arrays | None) -> Any:
    if type(value) is np.str_:  # names of fields that went through numpy
        return str(value)
    if arrays is None or (type(value) not in _ARRAY_LIKE and not isinstance(value, np.generic)):
        raise _NotStorableError(f"holds a {type(value).__name__}")
    if isinstance(value, np.generic):
        return _tagged("scalar", arrays.add(np.array(value)))
    if isinstance(value, np.ndarray):
        return _encode_array(value, arrays)
    if isinstance(value, torch.Tensor):
        return _tagged("tensor", arrays.add(value.numpy()))
    if isinstance(value, pd.Series):
        index = _encode_array(np.asarray(value.index, dtype=object), arrays)
        return _tagged("series", _encode_array(np.asarray(value), arrays), index, str(value.index.dtype))
    if not value.index.equals(pd.RangeIndex(len(value))):
        raise _NotStorableError("has rows that are not numbered from 0")
    columns = [[name, _encode_array(value[name].to_numpy(), arrays)] for name in value.columns]
    return _tagged("frame", columns, len(value))


def _tagged(kind: str, *parts: Any) -> dict[str, Any]:
    return {TAG: kind, "parts": list(parts)}


def _encode_array(array: np.ndarray, arrays: _Arrays) -> dict[str, Any]:
    if not array.dtype.hasobject:
        return _tagged("array", arrays.add(array))
    if array.ndim == 1 and all(type(value) is str for value in array):
        texts = np.array(array.tolist(), dtype=str)
        if texts.tolist() != array.tolist():  # numpy drops zeros at the end of a text
            raise _NotStorableError("holds a text that ends in a zero byte")
        return _tagged("texts", arrays.add(texts))
    if array.ndim == 1 and _of_one_kind(array):
        ends = np.cumsum([len(value) for value in array])
        return _tagged("ragged", arrays.add(np.concatenate(list(array))), arrays.add(ends))
    raise _NotStorableError("holds values of several kinds")


def _of_one_kind(array: np.ndarray) -> bool:
    if not all(isinstance(value, np.ndarray) and value.ndim == 1 for value in array):
        return False
    kinds = {value.dtype for value in array}
    return len(kinds) == 1 and not kinds.pop().hasobject


def _decode(value: Any, arrays: list[np.ndarray]) -> Any:
    return plain.decode(value, lambda tagged: _DECODERS[tagged[TAG]](arrays, *tagged["parts"]))


def _decode_series(arrays: list[np.ndarray], values: Any, index: Any, dtype: str) -> pd.Series:
    return pd.Series(_decode(values, arrays), index=pd.Index(_decode(index, arrays), dtype=dtype), copy=False)


def _decode_frame(arrays: list[np.ndarray], columns: list[Any], rows: int) -> pd.DataFrame:
    values = {name: _decode(column, arrays) for name, column in columns}
    return pd.DataFrame(values, index=pd.RangeIndex(rows), copy=False)


def _objects(values: Iterator[Any], count: int) -> np.ndarray:
    objects = np.empty(count, dtype=object)
    for place, value in enumerate(values):
        objects[place] = value
    return objects


def _decode_ragged(arrays: list[np.ndarray], flat: int, ends: int) -> np.ndarray:
    values, last = arrays[flat], arrays[ends].tolist()
    return _objects((values[start:end] for start, end in zip([0, *last], last)), len(last))


_DECODERS: dict[str, Callable[..., Any]] = {
    "scalar": lambda arrays, number: arrays[number][()],
    "array": lambda arrays, number: arrays[number],
    "texts": lambda arrays, number: arrays[number].astype(object),
    "ragged": _decode_ragged,
    "tensor": lambda arrays, number: torch.from_numpy(arrays[number]),
    "series": _decode_series,
    "frame": _decode_frame,
}
