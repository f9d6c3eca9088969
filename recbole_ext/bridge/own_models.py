"""A model that is given as a class, or as `file.py:Class`, where others are given by name.

A file is run where the user names it, in a command, a settings file or a call, and nowhere else: what a run has left
names its classes' files for people to read, and `require` asks for them.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from recbole_ext.bridge import encoders
from recbole_ext.bridge.registry import register_model, strangers
from recbole_ext.errors import UsageError, did_you_mean
from recbole_ext.files import sha256

# processes that this one starts register the same classes
FILES = "RECBOLE_EXT_MODEL_FILES"
OF_FILE = ".py:"  # in what names a class of a file


def named(model: str | type) -> str:
    """The name of a model; a class of the user's, or one in `file.py:Class`, is registered by its name first.

    Raises UsageError for a file or a class that is not there, and as `registry.register_model`.
    """
    register_handed_down()
    if isinstance(model, str):
        return _of_file(model) if OF_FILE in model else model
    if model.__module__.startswith("recbole.model."):
        return model.__name__  # of RecBole's own, some of which have another class in their place
    return register_model(model).__name__


def name_parts(config: Any) -> None:
    """Put names in the place of `file.py:Class` in the models of a blend, whose settings may be by either.

    config: of a run that a user asks for, as the files are run. Raises UsageError as `named`.
    """
    models = list(config["blend_models"] or ()) if config["model"] == "Blend" else []
    if not any(OF_FILE in model for model in models):
        return
    names = {model: named(model) for model in models}
    config["blend_models"] = [names[model] for model in models]
    if isinstance(settings := config["blend_settings"], Mapping):
        config["blend_settings"] = {names.get(model, model): own for model, own in settings.items()}


# --- what a run says of its classes -------------------------------------------------------------------------


def own_classes() -> list[dict[str, str | None]]:
    """What a record says of each class of the user's that is registered: `name`, `file`, and `sha256` of that as it is.

    file: as it is found from the working directory. It and the sum are None of a notebook's class and of a script's.
    """
    return [{"name": name, **_file_of(cls)} for name, cls in strangers().items()]


def _file_of(cls: type) -> dict[str, str | None]:
    module = sys.modules.get(cls.__module__)
    file = Path(getattr(module, "__file__", None) or "").resolve()
    if cls.__module__ == "__main__" or not file.is_file():
        return {"file": None, "sha256": None}
    here = Path.cwd()
    path = file.relative_to(here) if file.is_relative_to(here) else file
    return {"file": str(path), "sha256": sha256(file)}


def class_of(model: str) -> str:
    """The class that a user would register for a model: of `<encoder><method>` the encoder, else the model itself."""
    return encoders.actor_critics().get(model, (model, ""))[0]


def require(stated: Mapping[str, Any], folder: str | Path) -> None:
    """UsageError where a class of the user's that a run in `folder` states, in its record or its model folder, is not
    known here: its file is not run unless it is named."""
    register_handed_down()
    for own in stated.get("own_classes") or ():
        if own["name"] not in strangers():
            raise UsageError(unknown_class(own["name"], own["file"], f"the model of {folder}"))


def unknown_class(name: str, file: str | None, who: str = "the model") -> str:
    """The sentence on a class of the user's that is not known here; who: how it begins."""
    of = (
        "of one's own"
        if file is None
        else f"of {file}{'' if Path(file).is_file() else ', which is not there now'}"
    )
    there = file if file is not None and Path(file).is_file() else "FILE.py"
    return (
        f"{who} is the class {name} {of}, and no file is run that is not named: add --model={there}:{name}, or in "
        f"Python import it and call recbole_ext.bridge.registry.register_model({name}) first"
    )


# --- files --------------------------------------------------------------------------------------------------


def _of_file(entry: str) -> str:
    file, _, name = entry.rpartition(OF_FILE)
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
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, SyntaxError) and Path(error.filename or "").resolve() == path:
            raise UsageError(f"{path} is no Python, line {error.lineno}: {error.msg}") from error
        if isinstance(error, ModuleNotFoundError) and (lacks := _top(error)) not in ("", "recbole_ext"):
            raise UsageError(
                f"{path} imports {lacks}, which is not found: pip install {lacks}, or start where it lies"
            ) from error
        raise
    return module


def _top(error: ModuleNotFoundError) -> str:
    return str(error.name or "").partition(".")[0]


def _hand_down(entry: str) -> None:
    entries = os.environ.get(FILES, "").splitlines()
    os.environ[FILES] = "\n".join(dict.fromkeys([*entries, entry]))


def register_handed_down() -> None:
    """Register what the process that started this one has registered from files."""
    for entry in os.environ.get(FILES, "").splitlines():
        if Path(entry.rpartition(":")[0]).is_file():
            _of_file(entry)
