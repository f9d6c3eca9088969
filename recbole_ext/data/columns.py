"""Names of columns that settings hold, held against the heads of the atomic files: what only the data can refuse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recbole_ext.data.atomic import encoding_of, head_of, inter_file
from recbole_ext.errors import UsageError, did_you_mean

SUFFIXES = ("inter", "user", "item", "net", "kg", "link")
_COLUMNS = ("val_interval", "threshold", "discretization", "preload_weight", "seq_len")  # by column
_LISTS = ("numerical_features", "alias_of_user_id", "alias_of_item_id", "normalize_field")
_ONE = ("EVENT_FIELD", "LINK_USER_FIELD", "TIME_FIELD", "USER_ID_FIELD", "ITEM_ID_FIELD")
_BY_SUFFIX = ("load_col", "unload_col")


def given_now(config: Any) -> Mapping[str, Any]:
    """The keys that a user gave; none of a config that a checkpoint or a record kept, whose keys are the run's."""
    return {} if config.internal_config_dict == {} else config.external_config_dict


def check_columns(config: Any) -> None:
    """Raise UsageError for a name in the user's settings that the data set's files do not have.

    Looks at the first lines only; without a .inter file (data in parts) at nothing. The two ids are looked for whoever
    names them.
    """
    heads = {} if config["benchmark_filename"] else _heads(config)
    if "inter" not in heads:
        return
    for key in ("USER_ID_FIELD", "ITEM_ID_FIELD"):
        _find(key, config[key], heads["inter"], "the .inter file")
    given = given_now(config)
    everywhere = [column for head in heads.values() for column in head]
    defaults = config.internal_config_dict
    for key in (key for key in given if given[key] is not None and given[key] != defaults.get(key)):
        if key in _ONE:
            _find(key, config[key], heads["inter"], "the .inter file")
        elif key in (*_COLUMNS, *_LISTS):
            for column in config[key]:
                _find(key, column, everywhere, "no atomic file")
        elif key in _BY_SUFFIX:
            _check_by_suffix(key, config[key], heads)


def _check_by_suffix(key: str, columns: Mapping[str, Any], heads: Mapping[str, list[str]]) -> None:
    for suffix, names in columns.items():
        if suffix not in heads:
            raise UsageError(f"{key} names {suffix}, but the data set has only the files {', '.join(heads)}")
        for name in names if names != "*" else ():
            _find(key, name, heads[suffix], f"the .{suffix} file")


def _find(key: str, name: Any, columns: Iterable[str], where: str) -> None:
    columns = list(columns)
    if name in columns:
        return
    lacks = f"which {where} has" if where.startswith("no ") else f"which {where} does not have"
    hint = did_you_mean(str(name), columns) or f": it has {', '.join(dict.fromkeys(columns))}"
    raise UsageError(f"{key} names {name}, {lacks}{hint}")


def _heads(config: Any) -> dict[str, list[str]]:
    """Columns of each of the data set's files, by suffix."""
    folder, name = Path(config["data_path"]), config["dataset"]
    more = config["additional_feat_suffix"] or []
    heads = {}
    for suffix in (*SUFFIXES, *([more] if isinstance(more, str) else more)):
        file = inter_file(folder, name) if suffix == "inter" else folder / f"{name}.{suffix}"
        if file.is_file():
            head = head_of(file, encoding_of(config), config["field_separator"])
            heads[suffix] = [name for name, _ in head]
        elif suffix in more:
            raise UsageError(f"additional_feat_suffix names {suffix}, but {file} does not exist")
    return heads
