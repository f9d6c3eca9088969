"""Our yaml files: where they lie, reading and merging them."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from recbole_ext.errors import UsageError


def configs_dir() -> Path:
    """Folder of the yaml files we ship: recbole_ext/configs in an installed wheel, configs/ in a checkout.

    Raises UsageError when neither exists.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "overall.yaml").is_file():
            return folder
    raise UsageError(
        f"recbole_ext lacks its configs/ folder (looked in {package} and beside it): install it again"
    )


def config_files(name: str) -> list[Path]:
    """Existing files for `name` (such as "model/HRNNFeat.yaml"), ours first, the working directory's last."""
    files: list[Path] = []
    for file in (configs_dir() / name, Path.cwd() / "configs" / name):
        if file.is_file() and not any(file.samefile(other) for other in files):
            files.append(file)
    return files


@functools.lru_cache(maxsize=256)
def _parsed(text: str, loader: Any, resolvers: int) -> Any:
    """What a yaml text holds; every Config reads the same dozen files, which takes longer than all else it does."""
    return yaml.load(text, Loader=loader)


def load_yaml(file: str | os.PathLike[str], loader: Any = yaml.FullLoader) -> dict[str, Any]:
    """Read one yaml file of keys and values; an empty file gives {}.

    Raises UsageError naming file and line when it is missing, is not yaml or holds no mapping.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read config file {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"config file {file} is not UTF-8 text (byte {error.start})") from error
    try:
        # a resolver added to the loader since reads numbers otherwise
        content = _parsed(text, loader, len(loader.yaml_implicit_resolvers.get("1", ())))
        check_size(content, file)
        content = copy.deepcopy(content)
    except RecursionError as error:
        raise UsageError(f"{file} nests lists and mappings too deeply") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UsageError(f"{file}{line} is not valid yaml: {problem}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(
            f"{file}, line 1: a config file holds `key: value` lines, not a {type(content).__name__}"
        )
    return content


MOST_VALUES = 100_000


def check_size(content: Any, where: object) -> None:
    """Raise UsageError where what is read holds itself, or by its aliases (`*name`) more than MOST_VALUES values."""
    known: dict[int, int | None] = {}

    def values(item: Any) -> int:
        if not isinstance(item, dict | list | tuple):
            return 1
        if id(item) not in known:
            known[id(item)] = None  # it is being counted
            parts = [*item, *item.values()] if isinstance(item, dict) else item
            known[id(item)] = 1 + sum(values(part) for part in parts)
        size = known[id(item)]
        if size is None:
            raise UsageError(f"{where} has an alias of what it stands in: write the value itself")
        return size

    size = values(content)
    if size > MOST_VALUES:
        raise UsageError(f"{where} holds {size:,} values with its aliases: {MOST_VALUES:,} is the most")


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers over earlier ones; eval_args is merged key by key, so that it may be given in part."""
    merged: dict[str, Any] = {}
    for layer in layers:
        before = merged.get("eval_args")
        merged.update(layer)
        if isinstance(before, dict) and isinstance(layer.get("eval_args"), dict):
            merged["eval_args"] = {**before, **layer["eval_args"]}
    return merged


def load_files(files: Iterable[str | os.PathLike[str]], loader: Any = yaml.FullLoader) -> dict[str, Any]:
    """Read yaml files and merge them, later over earlier."""
    return merge(*(load_yaml(file, loader) for file in files))
