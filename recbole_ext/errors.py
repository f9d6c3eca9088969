"""The exceptions of a user's mistakes and the name that a misspelt one may mean; loads nothing else of ours."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from importlib.util import find_spec
from types import ModuleType


class UsageError(Exception):
    """Something the user can put right; its text is one sentence: what is wrong, where, what to do."""


class ConvertError(UsageError):
    """What stops a conversion: the UsageError of raw logs and converters' options."""


class Ended(Exception):
    """Ends a run that did nothing wrong before its last epoch; what a `watch` raises."""


# alone: all that it imports comes with recbole-ext, and its own metadata wants a ray that Python 3.12 cannot have
RECBOLE = "pip install --no-deps recbole==1.2.1"
# what brings a package: an extra of ours, all of it, or the package by its own name
_EXTRAS = {
    **dict.fromkeys(("starlette", "uvicorn", "httptools", "uvloop", "prometheus_client"), "serve"),
    **dict.fromkeys(("onnx", "onnxruntime"), "onnx"),
    "optuna": "search",
    "mlflow": "mlflow",
    "wandb": "wandb",
}
_NAMES = {"yaml": "pyyaml", "sklearn": "scikit-learn", "prometheus_client": "prometheus-client"}


def needs(package: str, what: str) -> ModuleType:
    """The package, imported; UsageError, saying what to install, where it is not there. what: it is needed for."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise missing(error, what) from error


def are_installed(*packages: str) -> bool:
    """Whether all of these could be imported; none is."""
    try:
        return all(find_spec(package) is not None for package in packages)
    except (ImportError, ValueError):  # somebody hides one
        return False


def missing(error: ModuleNotFoundError, what: str, whole: bool = False) -> UsageError:
    """The error of a package that is not there. what: it is needed for; whole: which needs all that we do.

    Raises `error` again where it is a module of ours.
    """
    name = str(error.name or "").partition(".")[0]
    if name in ("", "recbole_ext"):
        raise error
    install = f"pip install {_NAMES.get(name, name)}"
    if name == "recbole":
        install = RECBOLE
    elif whole or name == "torch":
        install = "pip install recbole-ext"
    elif name in _EXTRAS:
        extra = f"pip install 'recbole-ext[{_EXTRAS[name]}]'"
        install = (
            extra if find_spec("torch") else f"{install}, as docs/export.md has it, or with torch {extra}"
        )
    return UsageError(f"{what} needs {name}, which is not installed: {install}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`: did you mean X?` with the one of `known` that is spelt most like `name`, case aside; empty without one."""
    spelling = {str(item).lower(): str(item) for item in known}
    close = difflib.get_close_matches(str(name).lower(), spelling, n=1, cutoff=0.6)
    return f": did you mean {spelling[close[0]]}?" if close else ""
