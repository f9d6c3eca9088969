"""A model that is given as a class, or as `file.py:Class`, where others are given by name."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from recbole_ext.bridge.registry import register_model
from recbole_ext.errors import UsageError, did_you_mean

# processes that this one starts register the same classes
FILES = "RECBOLE_EXT_MODEL_FILES"


def named(model: str | type) -> str:
    """The name of a model; a class of the user's, or one in `file.py:Class`, is registered by its name first.

    Raises UsageError for a file or a class that is not there, and as `registry.register_model`.
    """
    _register_handed_down()
    if isinstance(model, str):
        return _of_file(model) if ".py:" in model else model
    if model.__module__.startswith("recbole.model."):
        return model.__name__  # of RecBole's own, some of which have another class in their place
    return register_model(model).__name__


def _of_file(entry: str) -> str:
    file, _, name = entry.rpartition(".py:")
    path = Path(f"{file}.py").resolve()
    register_model(_class(path, name))
    _hand_down(f"{path}:{name}")
    return name


def _class(path: Path, name: str) -> type:
    if not path.is_file():
        raise UsageError(f"the model {name} is to come from {path}, which does not exist")
    module = _module(path)
    found = getattr(module, name, None)
    if not isinstance(found, type):
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise UsageError(f"{path} has no class {name}{did_you_mean(name, classes)}")
    return found


def _module(path: Path) -> ModuleType:
    known = sys.modules.get(path.stem)
    if known is not None and Path(getattr(known, "__file__", None) or "").resolve() == path:
        return known
    name = path.stem if known is None else f"{path.stem}_of_models"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _hand_down(entry: str) -> None:
    entries = os.environ.get(FILES, "").splitlines()
    os.environ[FILES] = "\n".join(dict.fromkeys([*entries, entry]))


def _register_handed_down() -> None:
    """Register what the process that started this one has registered from files."""
    for entry in os.environ.get(FILES, "").splitlines():
        if Path(entry.rpartition(":")[0]).is_file():
            _of_file(entry)
