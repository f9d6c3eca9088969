"""What single models of RecBole's ask of settings and data beyond the rest, said before they are made.

Their constructors answer with an AssertionError, or fail inside of torch after an epoch. What is not said before is one
sentence then (`refusals`).
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_ext.errors import UsageError

# a key that counts the last items of a prefix
LAST_ITEMS = {"FOSSIL": "order_len", "HRM": "high_order", "SHAN": "short_item_length"}
RERANKED = ("GRU4RecCPR", "SASRecCPR")


def check_model_settings(config: Any) -> None:
    """Raise UsageError for settings of the configured model that do not go together."""
    model, longest = config["model"], config["MAX_ITEM_LIST_LENGTH"]
    key = LAST_ITEMS.get(model)
    if key is not None and config[key] > longest:
        raise UsageError(
            f"{key} is {config[key]}, and MAX_ITEM_LIST_LENGTH {longest}: {model} looks at so many last items of a "
            f"prefix, so set {key} to {longest} or less"
        )
    if model == "NCL" and not hasattr(_imported("faiss"), "Kmeans"):
        raise UsageError("NCL clusters by faiss, which is not installed: pip install faiss-cpu")
    if model == "FEARec" and longest < 2:
        raise UsageError(
            "MAX_ITEM_LIST_LENGTH is 1, and FEARec takes prefixes apart into frequencies: set it to 2 or more"
        )
    if model == "GCSAN" and not 0 <= config["weight"] <= 1:
        raise UsageError(
            f"weight is {config['weight']}, and GCSAN mixes attention and graph by it: set it to a number from 0 to 1"
        )
    if model == "S3Rec":
        _check_stages(config)


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _check_stages(config: Any) -> None:
    stage, epochs, step = config["train_stage"], config["pretrain_epochs"], config["save_step"]
    if stage == "pretrain" and step > epochs:
        raise UsageError(
            f"save_step is {step}, and pretrain_epochs {epochs}: S3Rec would save nothing, so set save_step to "
            f"{epochs} or less"
        )
    file = config["pre_model_path"]
    if stage == "finetune" and not Path(file or "").is_file():
        raise UsageError(
            f"pre_model_path is {file or 'empty'}, and S3Rec's train_stage finetune goes on from such a file: name the "
            "checkpoint of a run with train_stage: pretrain"
        )


def check_model_data(config: Any, dataset: Any) -> None:
    """Raise UsageError where the data have not what the configured model learns from."""
    model = config["model"]
    if model in RERANKED and config["reranker_CAN_NUM"] > dataset.item_num:
        raise UsageError(
            f"reranker_CAN_NUM is {config['reranker_CAN_NUM']}, and there are {dataset.item_num - 1:,} items: {model} "
            f"ranks so many of them again, so set it to {dataset.item_num - 1} or less"
        )
    if model == "S3Rec":
        _check_attribute(config, dataset)
    _check_label(config, dataset)


def _check_label(config: Any, dataset: Any) -> None:
    """Context-aware models learn from labels, and RecBole draws no negatives for them unless it is told to."""
    from recbole.utils import ModelType

    labelled = config["MODEL_TYPE"] in (ModelType.CONTEXT, ModelType.DECISIONTREE)
    drawn = (config["train_neg_sample_args"] or {}).get("distribution", "none") != "none"
    if labelled and not drawn and config["LABEL_FIELD"] not in dataset.inter_feat:
        raise UsageError(
            f"LABEL_FIELD is {config['LABEL_FIELD']}, and {config['model']} learns from such a column of the .inter "
            "file, which is not there: name one, let threshold make it, or draw negatives by train_neg_sample_args"
        )


def _check_attribute(config: Any, dataset: Any) -> None:
    columns = [] if dataset.item_feat is None else dataset.item_feat.columns
    usable = [
        column
        for column in columns
        if column != dataset.iid_field and str(dataset.field2type[column].value).startswith("token")
    ]
    name = config["item_attribute"]
    if name in usable:
        return
    cure = (
        f"set it to one of {', '.join(usable)}"
        if usable
        else "convert the files that hold them, as there are none"
    )
    raise UsageError(
        f"item_attribute is {name}, and S3Rec learns from a column of tokens of the .item file, which {name} is not: "
        f"{cure}"
    )


def made(config: Any, dataset: Any) -> Any:
    """The configured model; UsageError where its constructor refuses its settings: one of RecBole's may in any way."""
    from recbole.utils import get_model

    cls = get_model(config["model"])
    try:
        return cls(config, dataset)
    except UsageError:
        raise
    except Exception as error:
        refusal = isinstance(error, AssertionError | NotImplementedError | ValueError)
        if not refusal and not cls.__module__.startswith("recbole."):
            _check_numbers(config)
            raise  # a fault of the class's own
        raise UsageError(f"{config['model']} cannot be made with {_given(config)}: {_said(error)}") from error


def _check_numbers(config: Any) -> None:
    """UsageError where text was set for a key whose default, in the class's own `defaults`, is a number."""
    for key, default in (getattr(config.model_class, "defaults", None) or {}).items():
        value = config.external_config_dict.get(key)
        number = isinstance(default, int | float) and not isinstance(default, bool)
        if number and isinstance(value, str):
            raise UsageError(
                f"{config['model']} cannot be made with {key}={value[:60]}: its default is {default}, so write a number"
            )


@contextmanager
def refusals(config: Any) -> Iterator[None]:
    """Within the block, which trains or asks the model, what the code of one of RecBole's fails on is a UsageError.

    Errors of our own code, of a user's class and of files stay what they are.
    """
    try:
        yield
    except (UsageError, OSError):
        raise
    except Exception as error:
        if not _fails_in_recbole(error, config.model_class):
            raise
        raise UsageError(f"{config['model']} cannot run with {_given(config)}: {_said(error)}") from error


def _fails_in_recbole(error: Exception, cls: type) -> bool:
    """Whether the innermost code that knows of models is a model of RecBole's."""
    names = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    known = [name for name in names if name.startswith(("recbole.model.", "recbole_ext."))]
    ours = cls.__module__.startswith(("recbole.", "recbole_ext."))
    return ours and bool(known) and known[-1].startswith("recbole.model.")


def _given(config: Any) -> str:
    """What was set of the model's own keys, `use_filter=banana`."""
    from recbole_ext.settings.of_model import settings_class

    own = settings_class(config.model_class).model_fields
    given = {
        key: " ".join(str(value).split()) for key, value in config.external_config_dict.items() if key in own
    }
    return ", ".join(f"{key}={text[:60]}" for key, text in given.items()) or "these settings and data"


def _said(error: Exception) -> str:
    lines = str(error).splitlines()
    if isinstance(error, AssertionError | NotImplementedError | ValueError | RuntimeError) and lines:
        return lines[0]
    return ": ".join([type(error).__name__, *lines[:1]])
