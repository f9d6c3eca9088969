"""Which data set, loader and trainer a model gets."""

from __future__ import annotations

from typing import Any

from recbole_ext.data.splits import split_of
from recbole_ext.errors import UsageError
from recbole_ext.settings.split import straddles
from recbole_ext.settings.unread import Path

NO_NEGATIVES = {
    "distribution": "none",
    "sample_num": "none",
    "alpha": "none",
    "dynamic": False,
    "candidate_num": 0,
}


def dataset_class(config: Any) -> type | None:
    """Data set class of the configured model; None leaves the choice to RecBole.

    RecBole's own stay in charge under `data_layout: recbole`, with `benchmark_filename`, for models with a
    `<Model>Dataset` of RecBole's, and for models that need a trained user vector.

    Raises UsageError when the split keeps sessions whole and the model cannot be evaluated so.
    """
    if config["benchmark_filename"]:
        return None
    split = split_of(config).name
    chosen = _row_class(config)
    if chosen is None and not straddles(split):
        raise UsageError(_refusal(config, split))
    return chosen


def _row_class(config: Any) -> type | None:
    import recbole.data.dataset
    from recbole.utils import ModelType

    from recbole_ext.data.general import SessionEventsDataset
    from recbole_ext.data.session_dataset import SessionDataset

    own = getattr(getattr(config, "model_class", None), "dataset_class", None)
    if own is not None:
        return own
    if config["data_layout"] == "recbole":
        return None
    if hasattr(recbole.data.dataset, f"{config['model']}Dataset"):
        return None
    if config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
        return SessionDataset
    return SessionEventsDataset if _scores_prefixes(config) else None


def _scores_prefixes(config: Any) -> bool:
    from recbole_ext.data.general import PREFIX_MODELS

    return config["model"] in PREFIX_MODELS and config["knn_method"] != "user"


def _refusal(config: Any, split: str) -> str:
    import recbole.data.dataset

    model = config["model"]
    if config["data_layout"] == "recbole":
        return f"data_layout recbole knows the splits LS, RS and TS, not {split}: set data_layout: pointers"
    if hasattr(recbole.data.dataset, f"{model}Dataset"):
        return (
            f"{model} reads RecBole's {model}Dataset, which does not know split {split}: "
            "use split LS, RS or TS"
        )
    if model == "ItemKNN":
        return (
            f"ItemKNN with knn_method user compares training sessions, so it cannot score the unseen test "
            f"sessions of split {split}: set knn_method: item or use split LS"
        )
    return (
        f"{model} learns a vector per training session, so it cannot score the unseen test sessions of "
        f"split {split}: use split LS or a sequential model"
    )


def loader_class(config: Any, dataset: Any, phase: str) -> Any:
    """What makes the loader for "train", "valid" or "test" of a data set (class or object); None leaves it to RecBole.

    A data set class may bring its own with `loader_class(phase)`.
    """
    from recbole_ext.data.loaders import (
        CandidateEvalDataLoader,
        RowFullSortEvalDataLoader,
        RowNegSampleEvalDataLoader,
    )
    from recbole_ext.data.session_dataset import SessionDataset

    phase = "test" if phase == "evaluation" else phase
    declared = getattr(dataset, "loader_class", None)
    own = declared(phase) if declared is not None else None
    cls = dataset if isinstance(dataset, type) else type(dataset)
    if own is not None or not issubclass(cls, SessionDataset):
        return own
    if phase == "train":
        return _train_loader_class(config)
    mode = config["eval_args"]["mode"][phase]
    if mode == "full":
        return RowFullSortEvalDataLoader
    if not mode.startswith(("uni", "pop")):
        return None
    return CandidateEvalDataLoader if _has_session_trainer(config) else RowNegSampleEvalDataLoader


def _has_session_trainer(config: Any) -> bool:
    """Whether our Trainer is in charge: of sequential models without a Trainer of their own, or with one of ours."""
    import recbole.trainer
    from recbole.utils import EvaluatorType, ModelType

    from recbole_ext.trainer.session import SessionTrainer

    trainer = getattr(recbole.trainer, f"{config['model']}Trainer", None)
    own = trainer is not None and not issubclass(trainer, SessionTrainer)
    ranks = config["eval_type"] == EvaluatorType.RANKING
    return config["MODEL_TYPE"] == ModelType.SEQUENTIAL and ranks and not own


def _train_loader_class(config: Any) -> Any:
    from recbole.utils import ModelType

    from recbole_ext.data.loaders import RowTrainLoader
    from recbole_ext.data.positions import PositionTrainLoader

    if config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        return None
    return PositionTrainLoader if config["train_targets"] == "all_positions" else RowTrainLoader


def path_of(config: Any) -> Path:
    """What the configured model's way through data and training reads, see settings/unread.py.

    Raises UsageError for a split that the model cannot be evaluated on.
    """
    from recbole.utils import ModelType

    from recbole_ext.data.session_dataset import SessionDataset

    cls = dataset_class(config)
    rows = cls is not None and issubclass(cls, SessionDataset)
    once = config["MODEL_TYPE"] == ModelType.TRADITIONAL or getattr(
        config.model_class, "learns_in_one_pass", False
    )
    return Path(rows, rows and _has_session_trainer(config) and not once, once)
