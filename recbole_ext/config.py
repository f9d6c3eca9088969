"""Where configuration comes from: our yaml files, command line, checks of names and keys, plain data.

Precedence, low to high: RecBole's overall.yaml, its quick-start and model files, our configs/overall.yaml (and
sessions.yaml for session data), configs/model/<model>.yaml, RecBole's and our dataset/<dataset>.yaml,
config_file_list, config_dict, command line. A file in ./configs of the working directory is read over the one of
the same name that we ship.
RecBole's `Config` does all this once `recbole_ext.install()` has run (patch config_files of compat).
"""

from __future__ import annotations

import functools
from typing import Any

import yaml

# --- our yaml files -----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def _parsed(text: str, loader: Any, resolvers: int) -> Any:
    """What a yaml text holds; every Config reads the same dozen files, which takes longer than all else it does."""
    return yaml.load(text, Loader=loader)


# --- command line -------------------------------------------------------------------------------------------


# --- checks of names and keys -------------------------------------------------------------------------------


# --- configs as plain data ----------------------------------------------------------------------------------
