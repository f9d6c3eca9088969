"""Values of settings as JSON has them, and back: tuples, sets and RecBole's enums are tagged mappings."""

from __future__ import annotations

import enum
import importlib
import os
from collections.abc import Mapping
from logging import getLogger
from typing import Any


def config_to_plain(config: Any) -> dict[str, Any]:
    """The final values of a RecBole Config as str, int, float, bool, None, list and dict only.

    Tuples, sets and RecBole's enums are tagged dicts; `device` belongs to the machine and is left out, and
    so, with a warning, is a value that has no plain form.
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
    if isinstance(value, enum.Enum):
        return {"__enum__": [type(value).__name__, value.name]}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return {plain_value(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain_value(item) for item in value]
    if isinstance(value, tuple):
        return {"__tuple__": [plain_value(item) for item in value]}
    if isinstance(value, set | frozenset):
        return {"__set__": [plain_value(item) for item in sorted(value, key=repr)]}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    for plain_type in (bool, int, float, str):  # their subclasses, numpy's float64 among them
        if isinstance(value, plain_type):
            return plain_type(value)
    if hasattr(value, "tolist"):  # other numpy scalars and arrays
        return plain_value(value.tolist())
    raise TypeError(f"a {type(value).__name__}")


def from_plain(value: Any) -> Any:
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"__enum__"}:
        class_name, member = value["__enum__"]
        return getattr(importlib.import_module("recbole.utils.enum_type"), class_name)[member]
    if set(value) == {"__tuple__"}:
        return tuple(from_plain(item) for item in value["__tuple__"])
    if set(value) == {"__set__"}:
        return {from_plain(item) for item in value["__set__"]}
    return {key: from_plain(item) for key, item in value.items()}
