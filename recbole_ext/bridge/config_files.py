"""Our yaml files inside RecBole's Config.

Precedence, low to high: RecBole's overall.yaml, its quick-start and model files, our configs/overall.yaml (and
sessions.yaml for session data), configs/model/<model>.yaml, RecBole's and our dataset/<dataset>.yaml,
config_file_list, config_dict, command line. A file in ./configs of the working directory is read over the one of
the same name that we ship."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_ext.bridge.names import _model_files
from recbole_ext.data.manifest import manifest
from recbole_ext.data.splits import SPLIT_COLUMN
from recbole_ext.files import events_file, recbole_folder
from recbole_ext.settings.files import config_files, configs_dir, load_files, merge

ANY_LOG = "events"  # the source of a data set that nothing is known of but where its log is
# RecBole's models for click-through rates bring their own evaluation (AUC on labels), which is to stay
_EVALUATION_KEYS = ("eval_args", "metrics", "valid_metric")


def add_own_files(config: Any, model: str, dataset: str) -> None:
    """Put our files over `config.internal_config_dict`, RecBole's defaults for this model and dataset."""
    loader = config.yaml_loader
    recbole_defaults = config.internal_config_dict
    overall = load_files(config_files("overall.yaml"), loader)
    given = config.external_config_dict
    dataset_files = config_files(f"dataset/{dataset}.yaml")
    named = "/" not in dataset and "\\" not in dataset
    own_log = bool(given.get("raw_path")) and named and not dataset_files and "source" not in given
    sessions = own_log or bool(given.get("source")) or is_session_data(dataset, given.get("data_path"))
    if sessions:
        overall = merge(overall, load_files(config_files("sessions.yaml"), loader))
        recbole_dataset = recbole_folder() / "properties" / "dataset" / f"{dataset}.yaml"
        dataset_files = ([recbole_dataset] if recbole_dataset.is_file() else []) + dataset_files
    if _uses_value_metrics(recbole_defaults):
        overall = {key: value for key, value in overall.items() if key not in _EVALUATION_KEYS}
    of_dataset = load_files(dataset_files, loader)
    config.internal_config_dict = merge(
        recbole_defaults,
        overall,
        _published_split(dataset, merge(overall, of_dataset, given)) if sessions else {},
        getattr(config.model_class, "defaults", {}),  # of a class of the user's, see registry.register_model
        load_files(_model_files(model), loader),
        of_dataset,
        {"source": ANY_LOG} if own_log else {},
    )
    # raw logs that are named are converted where the command runs
    if not {"data_path", "raw_path"} & given.keys() and "data_path" in config.internal_config_dict:
        config.internal_config_dict["data_path"] = place_of(dataset, config.internal_config_dict["data_path"])


def place_of(dataset: str, data_path: str) -> str:
    """`data_path`, or that folder of the checkout where the data set lies there and not in the working directory."""
    beside = configs_dir().parent / data_path  # data_path itself where it is absolute
    if Path(data_path, dataset).exists() or events_file(beside / dataset, dataset) is None:
        return data_path
    return str(beside)


def is_session_data(dataset: str, data_path: str | os.PathLike[str] | None = None) -> bool:
    """Whether configs/sessions.yaml holds: a dataset yaml of ours or the user's, or a session_id column.

    The column is looked for in <data_path>/<dataset>/<dataset>.inter, or in a part of it, <dataset>.<part>.inter;
    data_path is sessions.yaml's by default.
    """
    if config_files(f"dataset/{dataset}.yaml"):
        return True
    if data_path is None:
        data_path = place_of(dataset, load_files(config_files("sessions.yaml"))["data_path"])
    return "session_id" in _columns(Path(data_path) / dataset, dataset)


def _columns(folder: Path, dataset: str) -> list[str]:
    """Names of the columns of the .inter file, or of its first part; none where there is no such file."""
    parts = (file for file in sorted(folder.glob(f"{glob.escape(dataset)}.*.inter")) if file.is_file())
    file = events_file(folder, dataset) or next(parts, None)
    if file is None:
        return []
    try:
        return [column.partition(":")[0] for column in _head(file)]
    except (OSError, UnicodeDecodeError):
        return []


def _head(file: Path) -> list[str]:
    """The typed names of the columns of an .inter file, text or parquet; OSError for what is no such file."""
    if file.suffix == ".inter":
        with file.open(encoding="utf-8-sig") as stream:
            return stream.readline().rstrip("\r\n").split("\t")
    import polars as pl

    try:
        return list(pl.read_parquet_schema(file))
    except pl.exceptions.PolarsError as error:
        raise OSError(str(error)) from error


PUBLISHED = "session-lists"  # the source whose split is part of the data


def _published_split(dataset: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The split and the targets that the data bring, whatever their folder is called; {} where they bring none.

    settings: from sessions.yaml to the user's, of which those of the data set and of the user win over this.
    """
    if settings.get("benchmark_filename"):
        return {}
    folder = Path(settings["data_path"]) / dataset
    converted = _columns(folder, dataset)
    brought = SPLIT_COLUMN in converted and manifest(str(folder)).get("converter") == PUBLISHED
    if not brought and (converted or settings.get("source") != PUBLISHED):
        return {}
    return {"eval_args": {"split": {"given": {"valid_share": 0.1}}}, "eval_targets": "all"}


def _uses_value_metrics(defaults: Mapping[str, Any]) -> bool:
    from recbole.evaluator import metric_types
    from recbole.utils import EvaluatorType

    metrics = defaults.get("metrics") or []
    return any(metric_types.get(str(name).lower()) == EvaluatorType.VALUE for name in metrics)


def finish(config: Any, final: dict[str, Any]) -> dict[str, Any]:
    """Last step of Config's merging: eval_args key by key, and no negative samples where the loss needs none.

    RecBole refuses `loss_type: CE` of a sequential model unless train_neg_sample_args is None; who did not
    set it meant that.
    """
    from recbole.utils import ModelType

    external = config.external_config_dict
    final["eval_args"] = merge(config.internal_config_dict, external).get("eval_args")
    ce_of_sequence = final.get("MODEL_TYPE") == ModelType.SEQUENTIAL and final.get("loss_type") == "CE"
    if (
        ce_of_sequence
        and not hasattr(config.model_class, "input_type")
        and "train_neg_sample_args" not in external
    ):
        final["train_neg_sample_args"] = None
    return final
