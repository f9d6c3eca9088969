"""What a record says of a run's split and of what one ranking is, in a line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_ext.bridge.choice import dataset_class
from recbole_ext.data.filters import CORE_KEYS, limits
from recbole_ext.data.splits import chosen_part, eval_targets, refits, split_of
from recbole_ext.settings import split
from recbole_ext.settings.split import straddles

# RecBole's sequential models that also learn a vector per session (their "user")
SESSION_VECTOR_MODELS = frozenset({"Caser", "FOSSIL", "FPMC", "HGN", "HRM", "NPE", "SHAN", "TransRec"})


def protocol_label(config: Any) -> str:
    """What one ranking is: "one ranking per (prefix, target) row", or "RecBole user-wise protocol".

    A sequential model that learns a vector per session meets sessions without one under splits that keep sessions
    whole: it runs, as any sequential model does, and the label says so.
    """
    from recbole.utils import ModelType

    if dataset_class(config) is None and config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        return "RecBole user-wise protocol"
    label = "one ranking per (prefix, target) row"
    encoder = getattr(config.model_class, "encoder_name", config["model"])
    if encoder in SESSION_VECTOR_MODELS and not straddles(split_of(config)[0]):
        label += f"; {encoder}'s vectors of the test sessions are untrained"
    return label


def inter_num_part(config: Any) -> str:
    """`train` or `all`: the part of the log that limits on numbers of events look at; RecBole's data sets know all."""
    chosen = chosen_part(config)
    return chosen if chosen == "all" or dataset_class(config) is not None else "all"


def describe_split(config: Any) -> str:
    """One line for output: the split, whether sessions straddle it, targets, what looked at which part of the log."""
    name, value = split_of(config)
    text = f"{name} {_plain(value)}: "
    if config["benchmark_filename"]:
        return f"the files {', '.join(config['benchmark_filename'])}: the rows that they hold are the targets"
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
    if core and config["inter_num_passes"] is not None:
        core.append(f"inter_num_passes {config['inter_num_passes']}")
    if core:
        where = "training part" if inter_num_part(config) == "train" else "whole log, test part included"
        text += f"; computed on the {where}: {', '.join(core)}"
    return text


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "without options"
    return str(value)
