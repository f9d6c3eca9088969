"""Keys and values of a config, checked before a run looks at anything."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_ext.errors import UsageError, did_you_mean
from recbole_ext.settings.checks import LEARNERS, number, one_of
from recbole_ext.settings.files import recbole_folder

# keys inside dict-valued keys; {}: whatever it holds is not looked at
_SAMPLING = ("distribution", "sample_num", "alpha", "dynamic", "candidate_num")


_INNER_KEYS: dict[str, dict[str, Any]] = {
    "eval_args": {
        "split": {
            "RS": {},
            "LS": {},
            "TS": {},
            "session_time": {"test_days": {}, "valid_days": {}},
            "given": {"valid_share": {}},
            "session_random": {"shares": {}, "seed": {}},
        },
        "group_by": {},
        "order": {},
        "mode": {"valid": {}, "test": {}},
    },
    "train_neg_sample_args": {name: {} for name in _SAMPLING},
    "cold_items": {name: {} for name in ("holdout", "seed", "fold")},
    "off_policy": {name: {} for name in ("policy", "temperature", "clip", "epsilon", "bootstrap", "seed")},
}


_RUN_KEYS = (
    "model",
    "dataset",
    "config_files",
    "config_file_list",
    "nproc",
    "world_size",
    "ip",
    "port",
    "offset",
)


def check_keys(config: Any) -> None:
    """Raise UsageError for the first key of command line, config_dict or config files that nothing reads.

    A key is known when RecBole lists it, a yaml file read for this model and dataset holds it, or the source
    of RecBole, of this package or of the model reads `config["key"]`.
    """
    known = set(config.internal_config_dict).union(*config.parameters.values(), _RUN_KEYS, ("local_rank",))
    if hasattr(config.model_class, "known_keys"):  # of the models that it is made of
        known |= config.model_class.known_keys(config)
    unknown = [key for key in config.external_config_dict if key not in known]
    if unknown:
        known |= _keys_read_in_source(config.model_class)
    for key in unknown:
        if key not in known:
            raise UsageError(f"unknown key {key}{did_you_mean(key, known) or ': nothing reads it'}")
    for key, inner in _INNER_KEYS.items():
        _check_inner(key, config.external_config_dict.get(key), inner)


def check_values(config: Any) -> None:
    """Raise UsageError for a value that would only fail, or mislead, hours into a run."""
    for key, low in (
        ("epochs", 0),
        ("seed", 0),
        ("train_batch_size", 1),
        ("eval_batch_size", 1),
        ("eval_step", 0),
    ):
        number(config, key, low, whole=True)
    for key in ("learning_rate", "weight_decay"):
        number(config, key, 0)
    learner = str(config["learner"]).lower()
    if learner not in LEARNERS:
        raise UsageError(
            f"learner is {config['learner']}{did_you_mean(learner, LEARNERS)}: write one of {', '.join(LEARNERS)}"
        )
    metric, _, k = str(config["valid_metric"]).partition("@")
    metrics = [str(name).lower() for name in config["metrics"]]
    if metric.lower() not in metrics or (k and int(k) not in config["topk"] if k.isdigit() else bool(k)):
        raise UsageError(
            f"valid_metric is {config['valid_metric']}, which is not measured: metrics are "
            f"{', '.join(config['metrics'])} at {', '.join(map(str, config['topk']))}"
        )

    _check_log_settings(config)
    _check_off_policy(config)
    _check_facts(config)


def _check_log_settings(config: Any) -> None:
    """Raise UsageError for a wrong value of the keys that say which of a log's events train, test and pay."""
    from recbole_ext.data.cold import settings_of as cold_items
    from recbole_ext.data.filters import CORE_KEYS, parse_limits

    for key in CORE_KEYS:
        parse_limits(config, key)
    if config["inter_num_part"] is not None:
        one_of(config, "inter_num_part", ("train", "all"))
    for key in ("inter_num_passes", "max_sessions_per_user"):
        if config[key] is not None:
            number(config, key, 1, whole=True)
    if config["empty_history"] not in (None, True, False):
        raise UsageError(f"empty_history is {config['empty_history']!r}: write True or False")
    cold_items(config)
    rewards = config["rewards"]
    if rewards is None:
        return
    if not isinstance(rewards, Mapping) or not rewards:
        raise UsageError(
            f"rewards is {rewards!r}: write a number an event kind, as in {{view: 0.2, addtocart: 1.0}}"
        )
    for kind, value in rewards.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"rewards of {kind} is {value!r}: it has to be a number")


def _check_off_policy(config: Any) -> None:
    if config["off_policy"] is None:
        return
    from recbole_ext.evaluate.off_policy import settings_of

    settings_of(config)


def _check_facts(config: Any) -> None:
    from recbole_ext.evaluate.facts import check_settings

    check_settings(config)


def _check_inner(path: str, value: Any, known: Mapping[str, Any]) -> None:
    if not isinstance(value, dict) or not known:
        return
    for key, item in value.items():
        if key not in known:
            hint = did_you_mean(str(key), known) or f": it may hold {', '.join(sorted(known))}"
            raise UsageError(f"unknown key {key} in {path}{hint}")
        _check_inner(f"{path}.{key}", item, known[key])


def _keys_read_in_source(model_class: Any) -> set[str]:
    sources = list(recbole_folder().rglob("*.py")) + list(Path(__file__).resolve().parents[1].rglob("*.py"))
    module_file = getattr(sys.modules.get(getattr(model_class, "__module__", "")), "__file__", None)
    if module_file:
        sources.append(Path(module_file))
    keys: set[str] = set()
    for file in sources:
        text = file.read_text(encoding="utf-8")
        keys.update(re.findall(r"config(?:_dict)?(?:\[|\.get\()\s*[\"'](\w+)[\"']", text))
        keys.update(re.findall(r"[\"'](\w+)[\"'] in (?:self\.)?config\b", text))
    return keys
