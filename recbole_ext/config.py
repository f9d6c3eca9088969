"""Where configuration comes from: our yaml files, command line, checks of names and keys, plain data.

Precedence, low to high: RecBole's overall.yaml, its quick-start and model files, our configs/overall.yaml (and
sessions.yaml for session data), configs/model/<model>.yaml, RecBole's and our dataset/<dataset>.yaml,
config_file_list, config_dict, command line. A file in ./configs of the working directory is read over the one of
the same name that we ship.
RecBole's `Config` does all this once `recbole_ext.install()` has run (patch config_files of compat).
"""

from __future__ import annotations

from recbole_ext.bridge.names import _recbole_models
from recbole_ext.settings.files import configs_dir

# --- our yaml files -----------------------------------------------------------------------------------------


# --- command line -------------------------------------------------------------------------------------------


# --- checks of names and keys -------------------------------------------------------------------------------


def methods() -> list[str]:
    """Names of the methods of reinforcement learning: every configs/method/*.yaml but its base.yaml."""
    return sorted(file.stem for file in (configs_dir() / "method").glob("*.yaml") if file.stem != "base")


def recbole_sequential() -> list[str]:
    """Names of RecBole's sequential models, without importing them."""
    return sorted(_recbole_models("sequential"))


# --- configs as plain data ----------------------------------------------------------------------------------
