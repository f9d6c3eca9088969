"""Which data set, loader and evaluation protocol a model gets."""

from __future__ import annotations

from typing import Any

from recbole_ext.data.filters import CORE_KEYS, limits
from recbole_ext.data.splits import _plain, chosen_part, eval_targets, refits, split_of
from recbole_ext.errors import UsageError
from recbole_ext.settings import split
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
    from recbole_ext.data.splits import split_of, straddles

    if config["benchmark_filename"]:
        return None
    split, _ = split_of(config)
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
    if _layout(config) == "recbole":
        return None
    if hasattr(recbole.data.dataset, f"{config['model']}Dataset"):
        return None
    if config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
        return SessionDataset
    return SessionEventsDataset if _scores_prefixes(config) else None


def _layout(config: Any) -> str:
    layout = config["data_layout"] or "pointers"
    if layout not in ("pointers", "recbole"):
        raise UsageError(f"data_layout is {layout}: write pointers or recbole")
    return layout


def _scores_prefixes(config: Any) -> bool:
    from recbole_ext.data.general import PREFIX_MODELS

    return config["model"] in PREFIX_MODELS and config["knn_method"] != "user"


def _refusal(config: Any, split: str) -> str:
    import recbole.data.dataset

    model = config["model"]
    if _layout(config) == "recbole":
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


# RecBole's sequential models that also learn a vector per session (their "user")
SESSION_VECTOR_MODELS = frozenset({"Caser", "FOSSIL", "FPMC", "HGN", "HRM", "NPE", "SHAN", "TransRec"})


def protocol_label(config: Any) -> str:
    """What one ranking is: "one ranking per (prefix, target) row", or "RecBole user-wise protocol".

    A sequential model that learns a vector per session meets sessions without one under splits that keep sessions
    whole: it runs, as any sequential model does, and the label says so.
    """
    from recbole.utils import ModelType

    from recbole_ext.data.splits import split_of, straddles

    if dataset_class(config) is None and config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        return "RecBole user-wise protocol"
    label = "one ranking per (prefix, target) row"
    encoder = getattr(config.model_class, "encoder_name", config["model"])
    if encoder in SESSION_VECTOR_MODELS and not straddles(split_of(config)[0]):
        label += f"; {encoder}'s vectors of the test sessions are untrained"
    return label


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


def inter_num_part(config: Any) -> str:
    """`train` or `all`: the part of the log that limits on numbers of events look at; RecBole's data sets know all."""
    chosen = chosen_part(config)
    return chosen if chosen == "all" or dataset_class(config) is not None else "all"


def describe_split(config: Any) -> str:
    """One line for output: the split, whether sessions straddle it, targets, what looked at which part of the log."""
    name, value = split_of(config)
    text = f"{name} {_plain(value)}: "
    if straddles(name):
        text += "sessions straddle the split by definition"
    elif name == "given":
        text += "the data's own split, no session straddles"
    elif name == "session_random":
        shares, seed = split.shares_and_seed(value)
        text = f"{name} {', '.join(f'{share:g}' for share in shares)}, seed {seed}: "
        text += "random sessions: training holds later sessions than the test part"
    else:
        text += "by session start, no session straddles"
    if refits(config):
        text += "; trained on training + validation"
    text += f"; targets: {eval_targets(config, config['data_path'])}"
    if config["empty_history"]:
        text += ", first events too, from an empty history"
    if config["max_sessions_per_user"] is not None:
        text += f"; at most {config['max_sessions_per_user']} sessions a user"
    if config["cold_items"] is not None:
        text += f"; cold items held out: {_plain(config['cold_items'])}"
    core = [f"{key} {config[key]}" for key in CORE_KEYS if limits(config[key])]
    whole_log = [
        f"{key} {config[key]}" for key in ("normalize_field", "normalize_all") if limits(config[key])
    ]
    if core and config["inter_num_passes"] is not None:
        core.append(f"inter_num_passes {config['inter_num_passes']}")
    if core and inter_num_part(config) == "train":
        text += f"; computed on the training part: {', '.join(core)}"
    else:
        whole_log = core + whole_log
    if whole_log:
        text += f"; computed on the whole log, test part included: {', '.join(whole_log)}"
    return text


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
