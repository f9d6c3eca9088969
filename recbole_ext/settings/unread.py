"""Keys that a user gave and that nothing of the run would read: who reads them, or what name may be meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from recbole_ext.errors import did_you_mean
from recbole_ext.files import recbole_folder
from recbole_ext.settings import training
from recbole_ext.settings.of_model import WORKED_OUT, settings_class
from recbole_ext.settings.run_settings import GENERAL
from recbole_ext.settings.written import written

_GONE = {"data_cache": "a log is read about as fast as the cache was"}  # keys of ours, and why
_OLD_NAMES = {"neg_sampling": "train_neg_sample_args", "training_neg_sample_num": "train_neg_sample_args"}
_OF_RECBOLE_FILES = ("save_dataset", "dataset_save_path")  # of RecBole's own data sets
_OF_ROWS = {  # keys of our data path: the value that says nothing
    **dict.fromkeys(("max_sessions_per_user", "inter_num_passes", "cold_items")),
    "eval_targets": "all",
    "empty_history": False,
    "inter_num_part": "all",
}


@dataclass(frozen=True)
class Path:
    """What a model's way through data and training reads.

    rows: it is on our (prefix, target) rows. sessions: our trainer for sequential models trains it. one_pass: it learns
    in one pass, by counting or in closed form.
    """

    rows: bool
    sessions: bool
    one_pass: bool


def known_keys(model_class: type) -> set[str]:
    """Keys that a run of this model reads, whatever the others say."""
    return set(settings_class(model_class).model_fields).union(*(group.model_fields for group in GENERAL))


def unread(
    key: str,
    given: Mapping[str, Any],
    values: Mapping[str, Any],
    defaults: Mapping[str, Any],
    model: str,
    model_class: type,
    path: Path,
    more: Collection[str] = (),
) -> str:
    """A sentence where nothing reads a key that was given, else an empty text.

    given: what the user gave. values: all of the run. defaults: what would hold without him: to say it again is no
    mistake. more: keys that are known beside those of the model, as a blend's are.
    """
    if key in ("model", "dataset"):
        right = given[key] == values.get(key) or not isinstance(values.get(key), str)
        return "" if right else f"{key} is {given[key]!r}, but the run is of {values[key]}: leave it out"
    if key in WORKED_OUT:
        return f"{key} is worked out from other keys: leave it out"
    own = settings_class(model_class).model_fields
    if key not in known_keys(model_class) and key not in more:
        return _unknown(key, model, list(own))
    if key in own or key in more or (key in defaults and defaults[key] == given[key]):
        return ""
    return _idle(key, given, values, model, path)


def _idle(key: str, given: Mapping[str, Any], values: Mapping[str, Any], model: str, path: Path) -> str:
    """The sentence for a key that the model's way of data and training passes over."""
    if path.one_pass and key in training.OF_STEPS:
        if key == "epochs":
            return (
                ""
                if given[key] == 1
                else (f"epochs is {given[key]}, but {model} learns in one pass: leave epochs out, or write 1")
            )
        return f"{model} learns in one pass and does not read {key}: leave {key} out"
    if not path.sessions and key in training.OF_SESSIONS:
        return (
            f"{key} is for sequential models that train on our rows (data_layout: pointers) and have no trainer of "
            f"their own, and {model} here is none: leave {key} out"
        )
    if path.rows and key in _OF_RECBOLE_FILES and given[key]:
        return (
            f"{key} is of RecBole's own data sets, and {model} here is on our rows: set data_layout: recbole, or leave "
            f"{key} out"
        )
    if not path.rows and key in _OF_ROWS and given[key] not in (None, _OF_ROWS[key]):
        return (
            f"{key} is for (prefix, target) rows, and {model} here is on RecBole's own data set: leave {key} out, or "
            "set data_layout: pointers"
        )
    why = training.idle(values, given).get(key)
    return f"{key} would do nothing, as {why}, or leave {key} out" if why else ""


def _unknown(key: str, model: str, own: list[str]) -> str:
    """Who reads a key that this model does not, or which name may be meant."""
    readers = [] if key in _OLD_NAMES or key in _GONE else readers_of(key)
    if readers:
        near = _longer(key, own) or did_you_mean(key, own)
        who = _several(readers)
        if not near:
            return f"{model} does not read {key}: it is read by {who}"
        return f"{model} does not read {key}{near} ({who} read{'s' * (len(readers) == 1)} {key})"
    general = {name for group in GENERAL for name in group.model_fields}
    return said_of_no_model(key, general.union(own, all_model_keys()))


def said_of_no_model(key: str, known: Iterable[str]) -> str:
    """The sentence on a key that no model reads. known: keys that may be meant."""
    if key in _OLD_NAMES:
        return f"{key} is an old name of RecBole's: write {_OLD_NAMES[key]}"
    if key in _GONE:
        return f"{key} is gone, as {_GONE[key]}: leave it out"
    return f"unknown key {key}{did_you_mean(key, known) or ': nothing reads it'}"


def _longer(key: str, own: Iterable[str]) -> str:
    longer = [name for name in own if f"_{key}_" in f"_{name}_"]
    return f": did you mean {longer[0]}?" if longer else ""


def _several(names: list[str]) -> str:
    if len(names) <= 3:
        return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
    return f"{', '.join(names[:2])} and {len(names) - 2} others"


# --- who reads what -----------------------------------------------------------------------------------------

_models: Callable[[], Mapping[str, type]] = dict  # of ours, by name; the registry says how to find them


def our_models(find: Callable[[], Mapping[str, type]]) -> None:
    """Say how to find the classes of our own models, by name: who registers them knows."""
    global _models
    _models = find


def readers_of(key: str) -> list[str]:
    """Names of the models whose settings hold a key, ours first."""
    ours = [name for name, cls in _models().items() if key in settings_class(cls).model_fields]
    return ours + [name for name, keys in _recbole_keys().items() if key in keys and name not in ours]


def is_key(key: str) -> bool:
    """Whether a run of any model reads the key."""
    return key in all_model_keys() or any(key in group.model_fields for group in GENERAL)


def all_model_keys() -> set[str]:
    """Keys of any model."""
    ours = [set(settings_class(cls).model_fields) for cls in _models().values()]
    return set().union(*ours, *_recbole_keys().values())


def written_keys() -> set[str]:
    """Keys of any run, as configs/schema.json and RecBole's files have them: no model is imported."""
    return set(written()).union(*_recbole_keys().values())


def _recbole_keys() -> dict[str, set[str]]:
    """Model of RecBole's to the keys of its yaml and of its file, without importing any."""
    from recbole_ext.settings.of_model import _READS

    found = {}
    folder = recbole_folder()
    for file in sorted((folder / "model").glob("*_recommender/*.py")):
        text = file.read_text(encoding="utf-8")
        for name in re.findall(r"^class (\w+)", text, re.MULTILINE):
            if name.lower() == file.stem:
                settings = folder / "properties" / "model" / f"{name}.yaml"
                keys = set(_READS.findall(text))
                if settings.is_file():
                    keys |= set(re.findall(r"^(\w+):", settings.read_text(encoding="utf-8"), re.MULTILINE))
                found[name] = keys
    return found
