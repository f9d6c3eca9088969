"""What a key is part of, asked in one place: identity of a cell, sameness of protocols, settings that a page shows.

Values are those of a configuration as plain data (a record's `config`), read now or long ago: keys that nobody declares
any more are a model's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_ext.settings.base import Role
from recbole_ext.settings.of_model import WORKED_OUT, settings_class
from recbole_ext.settings.place import Place
from recbole_ext.settings.protocol import Protocol
from recbole_ext.settings.run_settings import GENERAL

# what a run is of, not how it is set
RUN = frozenset({"model", "dataset", "saved", "label"})
# what the seeds of one model differ in after a refit, as each has found it on its own validation part
FOUND_BY_REFIT = ("epochs", "blend_weight", "blend_temperatures", "blend_from", "blend_settings")
# written by one run for another
_HANDED_ON = frozenset({"blend_from", "blend_components"})


def role_of(key: str, model_class: type | None = None) -> Role:
    """Role of a key; the model's own class goes first, and a key that nobody declares is a model's own."""
    own = settings_class(model_class) if model_class is not None else None
    if own is not None and key in own.model_fields:
        return own.role_of(key)
    for group in GENERAL:
        if key in group.model_fields:
            return group.role_of(key)
    return Role.PLACE if key in ("device", "local_rank", "single_spec") else Role.MODEL


def from_ranks(key: str) -> bool:
    """Whether what a key asks for can be worked out from the ranks of a finished run."""
    return key in Protocol.model_fields and bool(Protocol.says(key, "from_ranks"))


def identity(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keys and values that determine a run's result: all but place, and what its ranks can answer afterwards."""
    return {
        key: value for key, value in values.items() if role_of(key) is not Role.PLACE and not from_ranks(key)
    }


def rows_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of the protocol, what says which rows train and are ranked; two parts of a blend agree in it."""
    return {key: values[key] for key in Protocol.keys_of("rows") if key in values}


def measures() -> tuple[str, ...]:
    """Keys of the protocol that say what is measured, and neither which rows train nor which are ranked."""
    return Protocol.keys_of("measures")


def places() -> tuple[str, ...]:
    """Keys of machine, folders and output."""
    return tuple(Place.model_fields)


def shown_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keys and values of model and training, as a page shows them: no seed, and nothing that other keys determine."""
    left_out = {"seed", *RUN, *WORKED_OUT, *_HANDED_ON}
    return {
        key: value
        for key, value in values.items()
        if key not in left_out and role_of(key) in (Role.MODEL, Role.TRAINING)
    }


def of_training(key: str) -> bool:
    """Whether a key says how a model learns."""
    return role_of(key) is Role.TRAINING


def of_one_model(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keys and values in which the runs of one model agree, whatever their seeds."""
    return {key: value for key, value in identity(values).items() if key not in ("seed", *RUN, *_HANDED_ON)}
