"""Raw logs to atomic files: one module a source, each with `add_arguments(parser)` and `convert(raw, out,
**options)`.

Converting knows neither RecBole nor torch; polars is the engine. A new source is one module and one line in
SOURCES.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from recbole_ext.errors import ConvertError, did_you_mean

__all__ = ["SOURCES", "ConvertError", "convert", "source_module"]

SOURCES: dict[str, str] = {
    "csv": "recbole_ext.convert.csv_log",
    "diginetica": "recbole_ext.convert.diginetica",
    "retailrocket": "recbole_ext.convert.retailrocket",
    "session-lists": "recbole_ext.convert.session_lists",
    "synthetic": "recbole_ext.convert.synthetic",
}


def source_module(source: str) -> ModuleType:
    """The module that reads `source`, imported on demand; ConvertError for a name not in SOURCES."""
    if source not in SOURCES:
        hint = did_you_mean(source, SOURCES) or f": known are {', '.join(SOURCES)}."
        raise ConvertError(f"No converter for {source!r}{hint}")
    return importlib.import_module(SOURCES[source])


def convert(source: str, raw: str | Path, out: str | Path, **options: Any) -> dict[str, Any]:
    """Convert the logs in `raw` to atomic files in `out` and return the manifest.

    `options` are those of the source's command line, with underscores: strict=True, max_bad_rows=0.05 …
    Raises ConvertError, one sentence, for whatever the user can mend.
    """
    module = source_module(source)
    if not hasattr(module, "convert"):
        raise ConvertError(f"{source} makes raw logs and converts none: call its generate.")
    _check_options(source, module, options)
    manifest: dict[str, Any] = module.convert(Path(raw), Path(out), **options)
    return manifest


def _check_options(source: str, module: ModuleType, options: Mapping[str, Any]) -> None:
    """ConvertError for an option that the source does not have, or a flag that is no flag (as yaml may have it)."""
    parameters = inspect.signature(module.convert).parameters
    known = [name for name in parameters if name not in ("raw", "out")]
    for name, value in options.items():
        if name not in known:
            hint = did_you_mean(str(name), known) or f": it has {', '.join(known)}."
            raise ConvertError(f"The converter {source} has no option {name}{hint}")
        if isinstance(parameters[name].default, bool) and not isinstance(value, bool):
            raise ConvertError(f"Option {name} of the converter {source} is {value!r}: write True or False.")


class _Room(ModuleType):
    """This package as the function of its name.

    Python puts a package in its parent's namespace when it is first imported, so `recbole_ext.convert` is the
    public function before that and this package after it: both must answer a call alike.
    """

    def __call__(self, source: str, raw: str | Path, out: str | Path, **options: Any) -> dict[str, Any]:
        return convert(source, raw, out, **options)


sys.modules[__name__].__class__ = _Room
