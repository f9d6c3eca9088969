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


def did_you_mean(name: str, known: Iterable[str], common: Iterable[str] = ()) -> str:
    """`: did you mean X?` with the one of `known` that `name` is most like, case aside; empty without one.

    One edit away, else what begins with the name, else two edits away, else what has most of its letters in order; of
    equals one of `common`.
    """
    spelling = {str(item).lower(): str(item) for item in known}
    first = {str(item).lower() for item in common}
    typed = str(name).lower()
    close = difflib.get_close_matches(typed, spelling, n=max(1, len(spelling)), cutoff=0.6)

    def far(word: str) -> tuple[int, bool]:
        edits = _edits(typed, word)
        return (
            edits if edits < 2 else 2 if word.startswith(typed) else 3 if edits == 2 else 4
        ), word not in first

    return f": did you mean {spelling[min(close, key=far)]}?" if close else ""


def _edits(one: str, other: str) -> int:
    """How many letters are left out, put in, changed or swapped with the next one from one word to the other (optimal
    string alignment)."""
    before, row = [0], list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        last, before, row = before, row, [at]
        for to, there in enumerate(other, 1):
            edits = min(before[to] + 1, row[-1] + 1, before[to - 1] + (letter != there))
            if at > 1 and to > 1 and letter == other[to - 2] and one[at - 2] == there:
                edits = min(edits, last[to - 2] + 1)
            row.append(edits)
    return row[-1]
