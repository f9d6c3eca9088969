"""RecBole, extended: converters for e-commerce logs, session recommenders, honest evaluation.

Importing this package changes nothing and loads neither torch nor RecBole; `install()` does, once, when asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_ext.version import __version__

__all__ = ["__version__", "compare", "convert", "install", "load", "run"]


def install() -> None:
    """Mend RecBole for today's stack and register our models, datasets and splits with it. Idempotent."""
    from recbole_ext.errors import needs

    needs("recbole", "recbole_ext.install()")
    from recbole_ext.bridge.registry import install as install_into_recbole

    install_into_recbole()


def run(model: str | type, dataset: str, **config: Any) -> dict[str, Any]:
    """Run one experiment and return its record; `config` holds RecBole's keys and ours (see run.run.run).

    model: its name, a class of your own, or `file.py:Class`.
    """
    from recbole_ext.errors import needs

    needs("recbole", "recbole_ext.run()")
    from recbole_ext.run.run import run as run_experiment

    return run_experiment(model, dataset, config)


def compare(*runs: Any, **options: Any) -> dict[str, Any]:
    """Compare runs, given one by one or in a list, by their records (see evaluate.comparison.compare).

    A run is its folder, or the record that `run` has returned.
    """
    from recbole_ext.evaluate.comparison import compare as compare_runs

    if len(runs) == 1 and isinstance(runs[0], list | tuple):
        runs = tuple(runs[0])
    return compare_runs([_folder(run) for run in runs], **options)


def convert(source: str, raw: Any, out: Any, **options: Any) -> dict[str, Any]:
    """Turn raw logs into atomic files and return the manifest (see recbole_ext.convert.convert)."""
    from recbole_ext.convert import convert as convert_logs

    return convert_logs(source, raw, out, **options)


def load(folder: Any, device: str = "cpu") -> Any:
    """Open the model of a finished run to ask it for lists, without its data set (see recommend.load).

    folder: of the run, its model folder, or the record that `run` has returned.
    """
    from recbole_ext.recommend import load as load_model

    return load_model(_folder(folder), device)


def _folder(run: Any) -> Any:
    """Where a run lies: of a record the folder of its file, as it is told at the run's end."""
    if not isinstance(run, Mapping):
        return run
    from pathlib import Path

    from recbole_ext.errors import UsageError

    file = run.get("files", {}).get("record")
    if file is None:
        raise UsageError(
            "the record names no folder: give one that recbole_ext.run has returned, or the run's folder"
        )
    return Path(file).parent
