"""Where configuration comes from: our yaml files, command line, checks of names and keys, plain data.

Precedence, low to high: RecBole's overall.yaml, its quick-start and model files, our configs/overall.yaml (and
sessions.yaml for session data), configs/model/<model>.yaml, RecBole's and our dataset/<dataset>.yaml,
config_file_list, config_dict, command line. A file in ./configs of the working directory is read over the one of
the same name that we ship.
RecBole's `Config` does all this once `recbole_ext.install()` has run (patch config_files of compat).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_ext.bridge.names import _model_files
from recbole_ext.settings.files import load_files

# --- our yaml files -----------------------------------------------------------------------------------------


# --- command line -------------------------------------------------------------------------------------------


# --- checks of names and keys -------------------------------------------------------------------------------


def refuse_unread(config: Any, given: Mapping[str, Any] | None = None) -> None:
    """Raise UsageError for the first key of `given` (command line, config_dict, config files) that nothing reads."""
    from recbole_ext.data import path_of
    from recbole_ext.settings.unread import refuse_unread

    known = getattr(config.model_class, "known_keys", None)  # of the models that it is made of
    of_files = set(load_files(_model_files(config["model"]), config.yaml_loader))
    refuse_unread(
        config.external_config_dict if given is None else given,
        config.final_config_dict,
        config.internal_config_dict,
        config["model"],
        config.model_class,
        path_of(config),
        of_files | known(config) if known is not None else of_files,
    )


# --- configs as plain data ----------------------------------------------------------------------------------
