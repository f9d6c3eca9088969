"""A room that answers a call: Python puts a package in its parent's namespace when it is first imported, so
`recbole_ext.run` is the public function before that and the package after it; both must answer a call alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def answer_calls(room: str, function: Callable[..., Any]) -> None:
    """Make the imported package named `room` callable, as `function`."""

    class Room(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    Room.__doc__ = f"The package {room}, callable as the function of its name."
    sys.modules[room].__class__ = Room
