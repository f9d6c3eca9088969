"""Values of models' own keys by what configs/schema.json has written down of them: no model is imported.

Read are those keys alone that all models understand alike, as a number with its bounds or as one of some words.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from recbole_ext.settings.base import ModelSettings, NoneWord
from recbole_ext.settings.files import configs_dir
from recbole_ext.settings.run_settings import GENERAL

_NUMBERS = {"integer": int, "number": float}
_BOUNDS = {"minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt"}
_TOLD = frozenset({"type", "default", "description", "enum", *_BOUNDS})


@functools.cache
def written() -> dict[str, dict[str, Any]]:
    """What the schema says of each key of any run."""
    schema = json.loads((configs_dir() / "schema.json").read_text(encoding="utf-8"))
    return dict(schema["properties"])


def read_of_models(given: Mapping[str, Any]) -> None:
    """Raise UsageError, in the words of the models' classes, for the first value of a model's key that no model takes.

    Keys of any run and keys that models understand differently are passed over.
    """
    general = {name for group in GENERAL for name in group.model_fields}
    kinds = {name: _kind(written().get(name, {})) for name in given if name not in general}
    fields: Any = {name: (kind, None) for name, kind in kinds.items() if kind is not None}
    create_model("Written", __base__=ModelSettings, **fields).read({name: given[name] for name in fields})


def _kind(said: Mapping[str, Any]) -> Any:
    """The type that a schema says, None where it is neither a number nor words."""
    if not set(said) <= _TOLD:
        return None
    words = tuple(said.get("enum", ()))
    if words and said.get("type") == "string":
        return Annotated[Literal[words], NoneWord] if "none" in words else Literal[words]
    if words or said.get("type") not in _NUMBERS:
        return None
    bounds = {_BOUNDS[name]: said[name] for name in _BOUNDS if name in said}
    return Annotated[_NUMBERS[said["type"]], Field(strict=True, **bounds)]
