"""Keys that the chosen model and its way through data and training do not read."""

from __future__ import annotations

from collections.abc import Mapping
from logging import getLogger
from typing import Any

from recbole_ext.bridge.names import _model_files
from recbole_ext.convert import sources
from recbole_ext.errors import UsageError
from recbole_ext.settings.files import load_files


def unread_keys(
    config: Any, given: Mapping[str, Any] | None = None, searched: bool = False
) -> dict[str, str]:
    """Keys of `given` (all that a user gave, where it is left out) that nothing reads, with a sentence on each.

    To say a default again is no mistake, but where a key is `searched`.
    """
    from recbole_ext.bridge.choice import path_of
    from recbole_ext.settings.unread import known_keys, unread

    given = config.external_config_dict if given is None else given
    known = getattr(config.model_class, "known_keys", None)  # of the models that it is made of
    declared = known_keys(config.model_class)
    more: set[str] = set()
    if set(given) - declared:  # a user's yaml of a model may hold what its class does not say
        more = set(load_files(_model_files(config["model"]), config.yaml_loader)) - declared
    if known is not None:
        more |= known(config)
    final, defaults = config.final_config_dict, {} if searched else config.internal_config_dict
    name, model_class, path = config["model"], config.model_class, path_of(config)
    said = {key: unread(key, given, final, defaults, name, model_class, path, more) for key in given}
    return {key: _of_converter(config, key, given[key], said[key]) for key in said if said[key]}


def _of_converter(config: Any, key: str, value: Any, said: str) -> str:
    """The sentence on a key that nothing reads; of an option of the data set's converter how that is given."""
    source, name = config["source"], key.replace("-", "_")
    if not said.startswith("unknown key") or not source or not sources.is_known(source):
        return said
    options = sources.load(source).Options
    if name not in options.model_fields:
        return said
    return f"unknown key {key}: it is an option of the converter, so write {options.in_run(name, value)}"


def refuse_unread(config: Any, given: Mapping[str, Any] | None = None) -> None:
    """Raise UsageError for the first key of `unread_keys`; `warn_of_unread` has nothing more to say then."""
    config.keys_are_known = True
    for sentence in unread_keys(config, given).values():
        raise UsageError(sentence)


def warn_of_unread(config: Any) -> None:
    """Warn of keys that nothing reads, of a run by RecBole's own door; ours has refused them."""
    if not getattr(config, "keys_are_known", False):
        for sentence in unread_keys(config).values():
            getLogger().warning(sentence)
