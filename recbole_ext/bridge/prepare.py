"""Atomic files where they are missing: generated demo logs and raw logs are converted once, on the way to a run."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_ext.convert import (
    check_generate,
    check_options,
    converted,
    sources,
)  # polars is loaded once a file is read
from recbole_ext.data.columns import given_now
from recbole_ext.data.manifest import check_finished, manifest
from recbole_ext.errors import ConvertError, UsageError, did_you_mean
from recbole_ext.files import UNFINISHED, events_file, sha256
from recbole_ext.processes import current
from recbole_ext.progress import progress


def prepare_for_run(config: Any, told: bool = False) -> None:
    """As `prepare_atomic_files`, for a run: tells what was guessed and left out; errors name `convert_options`."""
    try:
        made = prepare_atomic_files(config, told=told)
    except ConvertError as error:
        raise ConvertError(with_settings(str(error), config["source"])) from error
    if made is not None:
        from recbole_ext.convert.__main__ import summary

        getLogger().warning(summary(made, config["data_path"]))


def with_settings(said: str, source: Any, who: str = "a run", own: Collection[str] = ()) -> str:
    """A converter's sentence, with how a run is given the option of the converter's command line that it names.

    who: takes the options. own: options that it has itself, under the same names.
    """
    if not sources.is_known(source):
        return said
    options = sources.load(source).Options
    flags = {options.spelt(name): name for name in options.model_fields if name not in own}
    named = [flags[word] for word in re.findall(r"--[a-z]+(?:-[a-z]+)*", said) if word in flags]
    if not named:
        return said
    return f"{said.rstrip('.')} ({who} takes these options as convert_options: {options.in_run(named[0])})"


def prepare_atomic_files(config: Any, mend: str = "", told: bool = False) -> dict[str, Any] | None:
    """Convert the data set's raw logs when its `.inter` file is missing; the manifest, or None where nothing was to do.

    Keys: `source` names the converter, `raw_path` the folder of the raw logs (default raw_data/<dataset>),
    `convert_options` the converter's options, `generate` the generator's options for demo data.
    mend: what an error says to do where the atomic files are of other logs; empty: what a run can do. told: somebody
    else says what `tell_of_files` would.

    Raises:
        UsageError: there are no atomic files and the data set's yaml names no source, or a wrong option.
        ConvertError: the raw logs are missing or cannot be read.
    """
    name, out = config["dataset"], Path(config["data_path"])
    source = config["source"]
    finished = not (out / UNFINISHED).exists()
    if not source:
        check_finished(str(out))
    if events_file(out, name) is not None and finished:
        _compare_raw(config, out, mend)
        if not told:
            tell_of_files(config)
        return None
    if config["benchmark_filename"] or name == "ml-100k":
        return None
    if not source:
        raise UsageError(
            f"{out / name}.inter does not exist and no `source` says which raw logs it comes from: "
            f"name your log with --raw_path=FILE, put the atomic files there, or write configs/dataset/{name}.yaml"
        )
    options = check_options(source, config["convert_options"])
    raw = Path(config["raw_path"] or Path("raw_data") / name)
    logger = getLogger()
    if config["generate"]:
        wanted = check_generate(config["generate"])
        if not raw.exists():
            from recbole_ext.convert.synthetic import generated

            logger.warning("generating demo logs in %s", raw)
            generated(wanted, raw)
    logger.warning("converting %s to atomic files in %s", raw, out)
    return converted(source, raw, out, options)


def check_raw_settings(config: Any) -> None:
    """Raise UsageError for a converter, an option of it or of the generator that cannot be used."""
    source, options = config["source"], config["convert_options"]
    if source is not None:
        if not sources.is_known(source):
            known = [*sources.names(), *sources.OLD_NAMES]
            hint = did_you_mean(str(source), known) or f": it has to be one of {', '.join(sources.names())}"
            raise UsageError(f"source is {source!r}{hint}")
        check_options(source, options)
    elif options and "convert_options" in given_now(config):
        raise UsageError("convert_options are for the converter that source names, and there is none")
    if config["generate"]:
        check_generate(config["generate"])


def _compare_raw(config: Any, out: Path, mend: str) -> None:
    """UsageError where the user names raw logs that are not those which the atomic files in `out` were made of."""
    if "raw_path" not in getattr(config, "external_config_dict", {}) or not config["raw_path"]:
        return
    raw, sources = Path(config["raw_path"]), manifest(str(out)).get("sources") or []
    while not raw.exists() and any(mark in raw.name for mark in "*?["):
        raw = raw.parent  # the folder that the parts of a glob are named from
    mend = (
        mend or f"leave raw_path out to use the atomic files in {out}, or delete that folder to convert again"
    )
    if not raw.exists():
        raise UsageError(f"raw_path {raw} does not exist: {mend}")
    if not sources:
        raise UsageError(
            f"nothing says which raw logs {out} was made of, so raw_path {raw} would be ignored: {mend}"
        )
    folder = raw if raw.is_dir() else raw.parent
    found = {entry["name"]: folder / entry["name"] for entry in sources}
    there = [e for e in sources if found[e["name"]].is_file() and raw in (folder, found[e["name"]])]
    names = ", ".join(found)
    if not there:
        raise UsageError(f"{out} was made of {names}, and raw_path {raw} holds none of these: {mend}")
    for entry in there:
        file = found[entry["name"]]
        now = file.stat()
        if now.st_size != entry["bytes"] or _sum(file, now.st_size, now.st_mtime_ns) != entry["sha256"]:
            raise UsageError(f"{file} is not the {entry['name']} that {out} was made of: {mend}")


@functools.lru_cache(maxsize=1024)  # an experiment compares once a cell
def _sum(file: Path, size: int, changed: int) -> str:
    """SHA-256 of a file of that size and time, in ns."""
    with progress(f"comparing {file.name} with what was converted", size) as advance:
        return sha256(file, advance)


def tell_of_files(config: Any) -> None:
    """Warn where the atomic files lie elsewhere and nobody has said so, and where they were converted otherwise."""
    out = Path(config["data_path"])
    if current().number or events_file(out, config["dataset"]) is None:
        return  # the first of several processes speaks for all
    if "data_path" not in getattr(config, "external_config_dict", {"data_path"}) and out.is_absolute():
        getLogger().warning(
            "%s is not in the working directory: its atomic files are those of %s", config["dataset"], out
        )
    _compare_options(config["convert_options"], out)


def _compare_options(options: Any, out: Path) -> None:
    """Warn where the atomic files in `out` were converted with other options than the configuration names."""
    for key, recorded, value in changed_options(options, out):
        getLogger().warning(
            "%s was converted with %s %s, and convert_options says %s: delete that folder to convert again",
            out,
            key,
            recorded,
            value,
        )


def changed_options(options: Any, out: Path) -> Iterator[tuple[str, Any, Any]]:
    """Options that are not those which the atomic files in `out` were converted with: name, then value, value now.

    options: a mapping, None or what is wrong anyway; options that it leaves out are not looked at.
    """
    made = manifest(str(out)).get("options")
    if not isinstance(made, dict) or not isinstance(options, dict):
        return
    for key, value in options.items():
        places = (made, made.get("columns") or {})  # those of a table stand together
        names = (key, f"{key}_file", f"{key}_files")
        recorded = next((place[name] for place in places for name in names if name in place), None)
        if _as_texts(recorded) != _as_texts(value):
            yield key, recorded, value


def _as_texts(value: Any) -> list[str]:
    """An option's value, or values, as text: yaml writes numbers and single values, the manifest lists of names."""
    values = value if isinstance(value, list | tuple) else [value]
    return [
        f"{one:g}" if isinstance(one, float) else str(one)
        for one in values
        if one is not None and one is not False
    ]
