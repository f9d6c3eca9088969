"""Experiments: models × data sets × seeds by one command, chosen on validation, tested once, resumable.

plan.py what is asked for (space.py, sampling.py: of a search) · checked.py whether each model can do it · groups.py the
runs that it means · search.py those that choose (study.py: by Optuna) · cells.py one of them · grid.py which is next ·
workers.py processes side by side · over_machines.py tasks of a Ray cluster · ledger.py every reading of a test part ·
results.py what it leaves. See docs/experiments.md.
Importing this package loads neither torch nor RecBole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# keys of an experiment that a single run does not know
GRID_KEYS = (
    "experiment",
    "name",
    "title",
    "search",
    "search_trials",
    "search_seed",
    "sampler",
    "pruner",
    "search_minutes",
    "search_storage",
    "test",
    "baseline",
    "ray",
    "gpus_per_cell",
    "workers",
    "threads",
)


def is_grid(settings: Mapping[str, Any]) -> bool:
    """Whether a command line (parsed) asks for an experiment: a file of one, more than one run, or a key of its own."""
    return bool(set(GRID_KEYS) & set(settings)) or any(
        isinstance(value := settings.get(key), list | tuple) or (isinstance(value, str) and "," in value)
        for key in ("model", "dataset", "seed")
    )
