"""A model copied as it stands."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

from torch import Tensor, nn

_Module = TypeVar("_Module", bound=nn.Module)


def copied(model: _Module) -> _Module:
    """A deep copy, of a model too whose layers keep what they have computed.

    `torch.nn.utils.weight_norm` and `spectral_norm` put the weight of a layer beside its parameters, anew in each
    forward, and `copy.deepcopy` takes no tensor that has been computed. Raises what that raises of other things.
    """
    computed = (value for module in model.modules() for value in _tensors(vars(module)) if not value.is_leaf)
    return copy.deepcopy(model, {id(value): value.detach().clone() for value in computed})


def _tensors(value: Any) -> Iterator[Tensor]:
    """Tensors in dicts and lists, not those of other objects."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _tensors(one)
