"""From atomic files to batches: which data set, loader and evaluation protocol a model gets.

Importing this package loads neither torch nor RecBole; its functions need both.
"""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from typing import Any

from recbole_ext.bridge.choice import (
    _has_session_trainer,
    _refuse_row_settings,
    _refuse_training_settings,
    dataset_class,
)
from recbole_ext.errors import UsageError
from recbole_ext.settings.unread import Path


def path_of(config: Any) -> Path:
    """What the configured model's way through data and training reads, see settings/unread.py.

    Raises UsageError for a split that the model cannot be evaluated on.
    """
    from recbole.utils import ModelType

    from recbole_ext.data.session_dataset import SessionDataset

    cls = dataset_class(config)
    rows = cls is not None and issubclass(cls, SessionDataset)
    once = config["MODEL_TYPE"] == ModelType.TRADITIONAL or getattr(config.model_class, "fits_at_once", False)
    return Path(rows, rows and _has_session_trainer(config) and not once, once)


def check_settings(config: Any) -> None:
    """Raise UsageError for settings that do not go with the model's data path, before any data are looked at."""
    from recbole_ext.data.splits import check_limits, refits
    from recbole_ext.run.prepare import check_options

    cls = dataset_class(config)
    check_options(config)
    refits(config)  # RecBole's own data sets would pass over it
    _refuse_training_settings(config, cls)
    if cls is None:
        _refuse_row_settings(config)
    elif not config["benchmark_filename"]:
        check_limits(config)


def _loaded(make: Callable[[Any], Any], config: Any) -> Any:
    """The data set; UsageError where filters leave nothing of it."""
    try:
        return make(config)
    except ValueError as error:
        if "Some feat is empty" not in str(error):
            raise
        filters = [
            key
            for key in ("val_interval", "user_inter_num_interval", "item_inter_num_interval")
            if config[key]
        ]
        raise UsageError(f"{', '.join(filters)} leave no event of the log: widen them") from error
