"""Which data set, loader and evaluation protocol a model gets."""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from typing import Any

from recbole_ext.data.filters import CORE_KEYS, limits
from recbole_ext.data.splits import _plain, _random, chosen_part, eval_targets, refits, split_of, straddles
from recbole_ext.errors import UsageError

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


TRAIN_TARGETS = ("prefixes", "all_positions")


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
    from recbole_ext.settings.checks import one_of

    if config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        return None
    if config["train_targets"] is None:
        return RowTrainLoader
    positions = one_of(config, "train_targets", TRAIN_TARGETS) == "all_positions"
    return PositionTrainLoader if positions else RowTrainLoader


def create_dataset(config: Any, recbole_create: Callable[[Any], Any]) -> Any:
    """The model's data set, loaded and filtered but not split; `recbole_create` is RecBole's own function."""
    from recbole_ext.bridge.prepare import prepare_atomic_files
    from recbole_ext.data.splits import refits

    cls = dataset_class(config)
    refits(config)  # RecBole's own data sets would pass over it
    _refuse_training_settings(config, cls)
    if config["source"]:
        prepare_atomic_files(config)  # for RecBole's own run_recbole; recbole_ext.run has done it before
    if cls is None:
        _refuse_row_settings(config)
        _hide_split_column(config)
        dataset = recbole_create(config)
        check_selected_features(config, dataset)
        return dataset
    if config["save_dataset"] or config["dataset_save_path"]:
        getLogger().warning("save_dataset and dataset_save_path are used with data_layout: recbole only")
    if _scores_prefixes(config):
        config["train_neg_sample_args"] = dict(NO_NEGATIVES)  # none of them learns from negatives
    dataset = cls(config)
    check_selected_features(config, dataset)
    return dataset


def _refuse_training_settings(config: Any, cls: type | None) -> None:
    """Raise UsageError for a setting of training that this model's trainer or data would pass over."""
    from recbole_ext.data.session_dataset import SessionDataset

    if _has_session_trainer(config) and cls is not None and issubclass(cls, SessionDataset):
        return
    settings = {
        "train_targets: all_positions": config["train_targets"] == "all_positions",
        "train_loss": config["train_loss"] is not None,
        "score: cosine": config["score"] == "cosine",
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
    from recbole_ext.settings.files import recbole_folder

    encoder = getattr(config.model_class, "encoder_name", config["model"])  # of SASRecFSQN it is SASRecF
    defaults = recbole_folder() / "properties" / "model" / f"{encoder}.yaml"
    if not defaults.is_file() or "selected_features" not in defaults.read_text(encoding="utf-8"):
        return
    present = (
        [] if dataset.item_feat is None else [c for c in dataset.item_feat.columns if c != dataset.iid_field]
    )
    for field in config["selected_features"] or []:
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
        shares, seed = _random(value)
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
