"""The sources: one module each, found by its presence in this folder, or a stranger's by its entry point.

A source `my-shop` is the file my_shop.py here, or in another package a module that this names:

    [project.entry-points."recbole_ext.sources"]
    my-shop = "my_package.my_shop"

Its docstring begins with a sentence for the help. It holds `class Options(ConvertOptions)` and
`read(raw: Path, options: Options) -> Conversion`; the caller writes what it reads.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from types import ModuleType
from typing import Any

from recbole_ext.errors import ConvertError, did_you_mean

GROUP = "recbole_ext.sources"
OLD_NAMES = {"csv": "events"}  # sources that were called so, and still answer


def names() -> list[str]:
    """All sources that there are, ours first."""
    return list(dict.fromkeys([*_ours(), *(point.name for point in entry_points(group=GROUP))]))


def is_known(source: Any) -> bool:
    """Whether there is a source of this name, old or new; strangers' are looked for only where ours have none."""
    return source in OLD_NAMES or source in _ours() or source in names()


def new_name(source: Any) -> Any:
    """What a source is called now."""
    return OLD_NAMES.get(source, source) if isinstance(source, str) else source


def load(source: Any) -> ModuleType:
    """The module of a source; it loads no polars before something is read.

    Raises ConvertError for a name that no source has, and for a stranger's that cannot be used.
    """
    source = new_name(source)
    if source in _ours():
        return importlib.import_module(f"{__name__}.{source.replace('-', '_')}")
    for point in entry_points(group=GROUP):
        if point.name == source:
            return _stranger(point)
    known = names()
    hint = did_you_mean(str(source), known) or f": known are {', '.join(known)}"
    raise ConvertError(f"there is no converter for {source!r}{hint}")


def sentence(source: str) -> str:
    """What a source is, in the first sentence of its module; for one that cannot be used, why. Ours are not loaded."""
    try:
        text = ast.get_docstring(ast.parse(_text(source))) if source in _ours() else load(source).__doc__
    except ConvertError as error:
        return str(error)
    return (text or source).strip().splitlines()[0]


def _ours() -> list[str]:
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def _text(source: str) -> str:
    return (files(__name__) / f"{source.replace('-', '_')}.py").read_text(encoding="utf-8")


def _stranger(point: EntryPoint) -> ModuleType:
    owner = f"source {point.name} ({point.value})"
    try:
        module: ModuleType = point.load()
    except Exception as error:  # whatever a stranger's module does
        raise ConvertError(f"{owner} cannot be loaded ({error}): mend or remove its package") from error
    missing = [name for name in ("Options", "read") if not hasattr(module, name)]
    if missing:
        raise ConvertError(f"{owner} has no {missing[0]}: it has to hold a class Options and a function read")
    return module
