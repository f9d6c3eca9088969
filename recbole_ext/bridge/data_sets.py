"""A run's data set and loaders: settings that go with them checked, then made."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from logging import getLogger
from typing import Any

from recbole_ext.bridge.choice import (
    NO_NEGATIVES,
    _has_session_trainer,
    _scores_prefixes,
    dataset_class,
    loader_class,
)
from recbole_ext.bridge.needs import check_model_data, check_model_settings
from recbole_ext.data.manifest import check_finished
from recbole_ext.data.splits import refits
from recbole_ext.errors import UsageError
from recbole_ext.processes import current
from recbole_ext.progress import staged

STAGES = {  # seconds of each for 10 million events, 426,000 items with three features, on two cores
    "events": 2.1,
    "features": 1.6,
    "filters": 0.1,
    "ids": 1.3,
    "rows": 0.9,
    "parts": 0.3,
    "loaders": 0.3,
}


@contextmanager
def loading(config: Any) -> Iterator[None]:
    """While a data set and its loaders are made: how far that is, where it takes long; of several processes the first
    one says it."""
    with nullcontext() if current().number else staged(f"loading {config['dataset']}", STAGES):
        yield


def create_dataset(config: Any, recbole_create: Callable[[Any], Any]) -> Any:
    """The model's data set, loaded and filtered but not split; `recbole_create` is RecBole's own function."""
    from recbole_ext.bridge.keys import warn_of_unread
    from recbole_ext.bridge.prepare import prepare_for_run
    from recbole_ext.data.columns import check_columns

    _check_lists(config)
    cls = dataset_class(config)
    refits(config)  # RecBole's own data sets would pass over it
    _refuse_training_settings(config, cls)
    if config["source"]:
        # for RecBole's own run_recbole; recbole_ext.run has done it before
        prepare_for_run(config, getattr(config, "log_is_told", False))
    check_finished(config["data_path"])
    check_columns(config)
    warn_of_unread(config)
    if cls is None:
        _refuse_row_settings(config)
        _hide_split_column(config)
        dataset = _loaded(recbole_create, config)
        _check_features_and_needs(config, dataset)
        return dataset
    if config["save_dataset"] or config["dataset_save_path"]:
        getLogger().warning("save_dataset and dataset_save_path are used with data_layout: recbole only")
    if _scores_prefixes(config):
        config["train_neg_sample_args"] = dict(NO_NEGATIVES)  # none of them learns from negatives
    dataset = _loaded(cls, config)
    _check_features_and_needs(config, dataset)
    return dataset


def _check_features_and_needs(config: Any, dataset: Any) -> None:
    check_selected_features(config, dataset)
    check_model_data(config, dataset)


def _check_lists(config: Any) -> None:
    from recbole.utils import ModelType

    from recbole_ext.data.list_files import check_lists

    if config["benchmark_filename"]:
        model = config.model_class
        known = [
            base.__module__ for base in model.__mro__ if base.__module__.startswith("recbole_ext.model.")
        ]
        reads_sessions = bool(known) or hasattr(model, "dataset_class")
        check_lists(config, config["MODEL_TYPE"] == ModelType.SEQUENTIAL, reads_sessions)


def _refuse_training_settings(config: Any, cls: type | None) -> None:
    """Raise UsageError for a setting of training that this model's trainer or data would pass over."""
    from recbole_ext.data.session_dataset import SessionDataset

    if _has_session_trainer(config) and cls is not None and issubclass(cls, SessionDataset):
        return
    settings = {
        "train_targets: all_positions": config["train_targets"] == "all_positions",
        "train_loss": config["train_loss"] is not None,
        "score: cosine": config["score"] == "cosine",
        "train_batch_size: auto": config["train_batch_size"] == "auto",
    }
    for setting in (name for name, given in settings.items() if given):
        raise UsageError(
            f"{setting} is for sequential models that train on our rows (data_layout: pointers) and have no trainer of "
            f"their own, and {config['model']} here is none: leave {setting.partition(':')[0]} out"
        )


def _refuse_row_settings(config: Any) -> None:
    """Raise UsageError for a setting that RecBole's own data sets would pass over."""
    settings = {
        "eval_targets: last": config["eval_targets"] == "last",
        "empty_history": bool(config["empty_history"]),
        "max_sessions_per_user": config["max_sessions_per_user"] is not None,
        "inter_num_passes": config["inter_num_passes"] is not None,
        "cold_items": config["cold_items"] is not None,
    }
    for setting in (name for name, given in settings.items() if given):
        raise UsageError(
            f"{setting} is for {config['model']} on (prefix, target) rows only: it runs on RecBole's own "
            f"data set here, so leave {setting.partition(':')[0]} out"
        )


def check_selected_features(config: Any, dataset: Any) -> None:
    """Raise UsageError when one of RecBole's feature models (GRU4RecF, SASRecF, FDSA …) names a missing column."""
    from recbole_ext.files import recbole_folder

    encoder = getattr(config.model_class, "encoder_name", config["model"])  # of SASRecFSQN it is SASRecF
    defaults = recbole_folder() / "properties" / "model" / f"{encoder}.yaml"
    if not defaults.is_file() or "selected_features" not in defaults.read_text(encoding="utf-8"):
        return
    present = (
        [] if dataset.item_feat is None else [c for c in dataset.item_feat.columns if c != dataset.iid_field]
    )
    numbers = [field for field in present if str(dataset.field2type[field].value).startswith("float")]
    numbers = [field for field in numbers if field not in (config["numerical_features"] or [])]
    for field in config["selected_features"] or []:
        if field in numbers:
            usable = ", ".join(column for column in present if column not in numbers) or "none"
            raise UsageError(
                f"selected_features of {config['model']} names {field}, a column of numbers, which it cannot embed: "
                f"choose among its columns of tokens, {usable}"
            )
        if field not in present:
            cure = f"it has {', '.join(present)}"
            if not present:
                cure = "it has no features, so convert the files that hold them, or choose a model without features"
            raise UsageError(
                f"selected_features of {config['model']} names {field}, which the .item file does not have: {cure}"
            )


def _hide_split_column(config: Any) -> None:
    """Keep the data's `split` column from models that read every column, where RecBole loads the files."""
    from recbole_ext.data.splits import SPLIT_COLUMN

    if config["USER_ID_FIELD"] != "session_id":
        return  # not session data: a column of that name means something else there
    if config["load_col"] or config["benchmark_filename"]:
        return
    unload = dict(config["unload_col"] or {})
    unload["inter"] = list(dict.fromkeys([*unload.get("inter", []), SPLIT_COLUMN]))
    config["unload_col"] = unload


def get_dataloader(config: Any, phase: str, recbole_get: Callable[[Any, str], Any]) -> Any:
    """Loader class of the configured model for `phase`; `recbole_get` is RecBole's own function."""
    cls = dataset_class(config)
    own = loader_class(config, cls, phase) if cls is not None else None
    return own or recbole_get(config, phase)


def check_settings(config: Any) -> None:
    """Raise UsageError for settings that do not go with the model's data path, before any data are looked at."""
    from recbole_ext.bridge.prepare import check_raw_settings
    from recbole_ext.data.splits import check_limits

    _check_lists(config)
    cls = dataset_class(config)
    check_model_settings(config)
    check_raw_settings(config)
    refits(config)  # RecBole's own data sets would pass over it
    _refuse_training_settings(config, cls)
    if cls is None:
        _refuse_row_settings(config)
    elif not config["benchmark_filename"]:
        check_limits(config)


def _loaded(make: Callable[[Any], Any], config: Any) -> Any:
    """The data set; UsageError where filters leave nothing of it, and for what else RecBole's refuse."""
    try:
        return make(config)
    except ValueError as error:
        if "Some feat is empty" not in str(error):
            if not _raised_by_recbole(error):
                raise
            said = str(error).splitlines()[0].rstrip(".")
            raise UsageError(
                f"{config['model']} cannot have its data from {config['data_path']}: {said} (RecBole's docs say "
                "which files and columns a model reads)"
            ) from error
        filters = [
            key
            for key in ("val_interval", "user_inter_num_interval", "item_inter_num_interval")
            if config[key]
        ]
        raise UsageError(f"{', '.join(filters)} leave no event of the log: widen them") from error


def _raised_by_recbole(error: ValueError) -> bool:
    """Whether RecBole's own data sets say so, and no library that they call."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__", "")).startswith("recbole.data.") and bool(str(error))
