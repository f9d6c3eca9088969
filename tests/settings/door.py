"""What `configure` does with keys that a user gives, on values prepared once a model: a ms each, not 40."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from recbole_ext.bridge.data_sets import check_settings
from recbole_ext.bridge.keys import unread_keys
from recbole_ext.errors import UsageError
from recbole_ext.settings.command_line import command_line
from recbole_ext.settings.files import merge
from recbole_ext.settings.run_settings import parse, read_given, write_back

DATASET = "diginetica-demo"


@functools.cache
def prepared(model: str, dataset: str = DATASET) -> Any:
    """RecBole's Config of a model, nothing given."""
    from recbole_ext.run.run import build_config

    with command_line([]):
        extra = {"blend_models": ["HRNNFeat", "VSTAN"]} if model == "Blend" else {}
        return build_config(model, dataset, extra)


def refusal(model: str, given: Mapping[str, Any], dataset: str = DATASET) -> str:
    """The sentence with which these keys are refused, empty where they are taken. Anything but UsageError is raised."""
    config = prepared(model, dataset)
    try:
        keys = read_given(given, config.model_class)
        final = merge(copy.deepcopy(config.final_config_dict), keys)
        final |= {"model": model, "dataset": dataset}
        settings = parse(final, config.model_class)
        settings.protocol.check_valid_metric()
        write_back(final, settings)
        changed = _Changed(config, final, keys)
        check_settings(changed)
        for sentence in unread_keys(changed).values():
            return sentence
    except UsageError as error:
        return str(error)
    return ""


class _Changed(SimpleNamespace):
    """A Config with other final values."""

    def __init__(self, config: Any, final: dict[str, Any], given: dict[str, Any]):
        super().__init__(
            final_config_dict=final,
            external_config_dict=given,
            internal_config_dict=config.internal_config_dict,
            model_class=config.model_class,
            yaml_loader=config.yaml_loader,
        )

    def __getitem__(self, key: str) -> Any:
        return self.final_config_dict.get(key)

    def __contains__(self, key: str) -> bool:
        return key in self.final_config_dict
