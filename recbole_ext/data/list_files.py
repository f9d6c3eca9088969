"""Files of a published split, one row a target with its history (`benchmark_filename`): checked before they are loaded.

RecBole gives ids to a history's items of their own unless `alias_of_item_id` names the column, and models then train on
targets of one numbering against histories of another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_ext.data.atomic import encoding_of, head_of
from recbole_ext.errors import UsageError

PARTS = 3


def check_lists(config: Any, sequential: bool, reads_sessions: bool) -> None:
    """Give histories and targets one numbering; UsageError where the files cannot be what the model reads.

    sequential: the model asks for histories. reads_sessions: it asks for more of a session than RecBole's data sets
    hold.
    """
    names, folder, dataset = config["benchmark_filename"], Path(config["data_path"]), config["dataset"]
    if isinstance(names, str) or len(names) != PARTS:
        raise UsageError(
            f"benchmark_filename is {names}: name the parts for training, validation and test, as [train, valid, test]"
        )
    heads = {}
    for name in names:
        file = folder / f"{dataset}.{name}.inter"
        if not file.is_file():
            raise UsageError(f"benchmark_filename names {name}, but {file} does not exist")
        columns = head_of(file, encoding_of(config), config["field_separator"])
        heads[file.name] = {column: kind for column, kind in columns if _is_loaded(config, column)}
    if reads_sessions:
        raise UsageError(
            f"{config['model']} reads whole sessions, and benchmark_filename gives rows of RecBole's own: "
            + _join(dataset)
        )
    if not sequential:
        return
    item, suffix = config["ITEM_ID_FIELD"], config["LIST_SUFFIX"]
    history = item + suffix
    for name, head in heads.items():
        if head.get(history) != "token_seq" or head.get(item) != "token":
            raise UsageError(
                f"{name} has no columns {item}:token and {history}:token_seq, one row a target with its history, which "
                f"benchmark_filename is for: {_join(dataset)}"
            )
        for column, kind in head.items():
            twin = column.removesuffix(suffix)
            if twin != column and twin != item and twin in head and kind.startswith("token"):
                raise UsageError(
                    f"{name}: {twin} and {column} would be numbered apart, so a model could not compare them: name one "
                    "in unload_col"
                )
    aliases = list(config["alias_of_item_id"] or [])
    if history not in aliases:
        config["alias_of_item_id"] = [*aliases, history]


def _is_loaded(config: Any, column: str) -> bool:
    wanted, unwanted = config["load_col"], (config["unload_col"] or {}).get("inter") or ()
    names = "*" if wanted is None else wanted.get("inter", ())
    return (names == "*" or column in names) and column not in unwanted


def _join(dataset: str) -> str:
    return (
        f"join the files to one {dataset}.inter, one event a row, with a column split:token that says train, valid or "
        "test, and use eval_args.split given"
    )
