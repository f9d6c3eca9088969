"""polars and numpy, loaded when first used: the help texts and the checks of options need neither.

A source is one file, its options beside its code, and a run checks `convert_options` at its door, where half a second
for two libraries that it will not use is felt. A module that uses these names while it is imported loads them then.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["np", "pl"]

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
else:

    class _Later(ModuleType):
        """The module of that name, imported at the first look into it."""

        def __getattr__(self, name: str) -> Any:
            value = getattr(importlib.import_module(self.__name__), name)
            setattr(self, name, value)  # found without this function from now on
            return value

    np, pl = _Later("numpy"), _Later("polars")
