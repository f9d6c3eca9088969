"""Values as JSON has them, and back: the one codec of records, checkpoints and caches.

Numbers, texts, None, lists and mappings of texts stand as they are; tuples, sets, RecBole's enums and mappings with
other keys are tagged mappings. What is none of these (arrays, tensors) is the caller's, by a function.
"""

from __future__ import annotations

import enum
import importlib
import os
from collections.abc import Callable, Mapping
from logging import getLogger
from typing import Any

TAG = "recbole_ext"  # key that marks what a caller has encoded


def refuse(value: Any) -> Any:
    """TypeError, naming the value's type: it has no plain form."""
    raise TypeError(f"a {type(value).__name__}")


def encode(value: Any, other: Callable[[Any], Any] = refuse) -> Any:
    """The plain form of a value; `other` gives that of what is neither a plain value nor a container of such."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if isinstance(value, enum.Enum):
        return {"__enum__": [kind.__name__, value.name]}
    if kind is dict:
        if all(type(key) is str for key in value):
            return {key: encode(item, other) for key, item in value.items()}
        return {"__pairs__": [[encode(key, other), encode(item, other)] for key, item in value.items()]}
    if kind in (list, tuple):
        items = [encode(item, other) for item in value]
        return items if kind is list else {"__tuple__": items}
    if kind in (set, frozenset):
        return {"__set__": [encode(item, other) for item in sorted(value, key=repr)]}
    return other(value)


def decode(value: Any, other: Callable[[Mapping[str, Any]], Any] | None = None) -> Any:
    """The inverse of `encode`; `other` takes the mappings that hold TAG."""
    if isinstance(value, list):
        return [decode(item, other) for item in value]
    if not isinstance(value, dict):
        return value
    if other is not None and TAG in value:
        return other(value)
    if len(value) == 1:
        ((tag, held),) = value.items()
        if tag == "__enum__":
            return getattr(importlib.import_module("recbole.utils.enum_type"), held[0])[held[1]]
        if tag == "__pairs__":
            return {decode(key, other): decode(item, other) for key, item in held}
        if tag in ("__tuple__", "__set__"):
            items = (decode(item, other) for item in held)
            return tuple(items) if tag == "__tuple__" else set(items)
    return {key: decode(item, other) for key, item in value.items()}


def config_to_plain(config: Any) -> dict[str, Any]:
    """The final values of a RecBole Config in plain form.

    `device` belongs to the machine and is left out, and so, with a warning, is a value that has no plain form.
    """
    plain = {}
    for key, value in config.final_config_dict.items():
        if key == "device":
            continue
        try:
            plain[key] = plain_value(value)
        except TypeError as error:
            getLogger().warning(f"Config key {key} holds {error} and is not stored")
    return plain


def plain_value(value: Any) -> Any:
    """One value of a config as `config_to_plain` writes it; TypeError, naming its type, where it has no plain form."""
    return encode(value, _setting)


def _setting(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain_value(dict(value))
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    for plain_type in (bool, int, float, str):  # their subclasses, numpy's float64 among them
        if isinstance(value, plain_type):
            return plain_type(value)
    if hasattr(value, "tolist"):  # other numpy scalars and arrays
        return plain_value(value.tolist())
    return refuse(value)
