"""Raw logs to atomic files: one module a source in `sources/`, each its options, a class, and `read(raw, options)`.

Converting knows neither RecBole nor torch; polars is the engine, and loaded when a file is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from recbole_ext.convert import sources as _sources
from recbole_ext.errors import ConvertError, UsageError
from recbole_ext.rooms import answer_calls

if TYPE_CHECKING:
    from recbole_ext.convert.options import ConvertOptions
    from recbole_ext.convert.synthetic import Options as GenerateOptions

__all__ = ["ConvertError", "check_generate", "check_options", "convert"]


def convert(source: str, raw: Any, out: str | Path | None = None, **options: Any) -> dict[str, Any]:
    """Convert the logs in `raw` to atomic files in `out` (without one: where the command line puts them).

    raw: a file or folder; for `events` also a glob, a frame (polars, pandas, Arrow), or a list of any of these.
    `options` are those of the source's command line, with underscores: strict=True, max_bad_rows=0.05 …
    Returns the manifest. Raises ConvertError, one sentence, for whatever the user can mend.
    """
    return converted(source, raw, out, _module(source).Options.from_command(options))


def converted(source: str, raw: Any, out: str | Path | None, options: ConvertOptions) -> dict[str, Any]:
    """As `convert`, with options that are checked already."""
    from recbole_ext.convert.atomic import write_conversion

    source = _sources.new_name(source)
    raw = options.named_raw(raw)
    out = options.default_out(source, raw) if out is None else Path(out)
    return write_conversion(out, source, _sources.load(source).read(raw, options), options.inter)


def check_options(source: Any, options: Any, path: str = "convert_options") -> ConvertOptions:
    """The options of a `source` that a configuration names under `path`, checked; None: all defaults.

    Loads neither polars nor torch. Raises UsageError: no such source, an unknown key, a wrong value, an option that
    the others leave without effect.
    """
    checked: ConvertOptions = _module(source).Options.read(_mapping(options, path), path)
    return checked


def check_generate(options: Any, path: str = "generate") -> GenerateOptions:
    """The generator's options that a configuration names under `path`, checked as `check_options` does."""
    from recbole_ext.convert.synthetic import Options

    return Options.read(_mapping(options, path), path)


def _module(source: Any) -> ModuleType:
    if source == "synthetic":
        raise ConvertError("synthetic makes raw logs and converts none: call its generate")
    return _sources.load(source)


def _mapping(options: Any, path: str) -> Mapping[str, Any]:
    if options is not None and not isinstance(options, Mapping):
        raise UsageError(f"{path} is {options!r}: write a mapping of options, such as {{strict: True}}")
    return options or {}


answer_calls(__name__, convert)
