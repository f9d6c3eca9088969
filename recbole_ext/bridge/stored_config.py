"""A RecBole Config as plain data and back."""

from __future__ import annotations

import enum
import importlib
import importlib.util
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


def _from_plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"__enum__"}:
        class_name, member = value["__enum__"]
        return getattr(importlib.import_module("recbole.utils.enum_type"), class_name)[member]
    if set(value) == {"__tuple__"}:
        return tuple(_from_plain(item) for item in value["__tuple__"])
    if set(value) == {"__set__"}:
        return {_from_plain(item) for item in value["__set__"]}
    return {key: _from_plain(item) for key, item in value.items()}


def config_from_plain(plain: Mapping[str, Any]) -> Any:
    """The RecBole Config of `config_to_plain`: the same final values, this machine's device, one process."""
    import torch
    from recbole.config import Config
    from recbole.utils import get_model

    config = Config.__new__(Config)
    config.compatibility_settings()
    config._init_parameters_category()
    config.yaml_loader = config._build_yaml_loader()
    final = {key: _from_plain(value) for key, value in plain.items()}
    final.update(single_spec=True, local_rank=0, device=torch.device("cuda" if on_gpu(final) else "cpu"))
    config.final_config_dict = final
    config.internal_config_dict = {}
    config.external_config_dict = dict(final)
    config.keys_are_known = True  # nobody has given them now
    config.model, config.dataset = final["model"], final["dataset"]
    try:
        config.model_class = get_model(config.model)
    except (ValueError, ImportError, AttributeError):
        config.model_class = None  # a class that the user handed to Config itself
    return config


def on_gpu(final: Mapping[str, Any]) -> bool:
    """Whether a run with these values uses a GPU: one is there, gpu_id names one, use_gpu is not False."""
    import torch

    return (
        str(final.get("gpu_id", "")) != "" and final.get("use_gpu") is not False and torch.cuda.is_available()
    )
