"""`run --model=NAME --dataset=NAME [--key=value …]`: one run, or a grid where there are several names."""

from __future__ import annotations

import glob
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_ext.bridge.early import check_checkpoint, check_settings_early
from recbole_ext.bridge.names import ATOMIC, check_early
from recbole_ext.errors import UsageError
from recbole_ext.processes import started
from recbole_ext.settings.command_line import parse_command_line
from recbole_ext.settings.files import config_files, load_files

USAGE = """usage: {prog} --model=NAME --dataset=NAME [--key=value ...]
       {prog} --experiment=FILE [--key=value ...]

  --model=HRNNFeat           one of ours, or any RecBole model (GRU4Rec, SASRec, NARM, Pop, ...)
  --model=my_model.py:Mine   a class of your own (docs/your_model.md)
  --dataset=diginetica       a file of configs/dataset/, or a folder of atomic files in atomic_data/
  --model=SASRec,SASRecSQN --dataset=diginetica,retailrocket --seed=1,2,3   several: a grid, resumed by a second call
  --experiment=demo          a grid of configs/experiment/, with a search on validation and a page (docs/experiments.md)
  --config_files="a.yaml b.yaml"   more settings, later files win
  --key=value                any key of RecBole or of configs/*.yaml, for example --epochs=5 --raw_path=FOLDER
"""


def main(arguments: Sequence[str], prog: str = "python run.py") -> int:
    """Do the run or the grid that the arguments ask for; the exit code."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(USAGE.format(prog=prog))
        return 0 if arguments else 2
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")  # nothing a user can mend
    settings = parse_command_line(arguments)
    files = _files(settings)
    all_known = not _register_files(settings)
    from recbole_ext.experiment import GRID_KEYS, is_grid

    grid = is_grid(settings)
    if grid and started().count > 1:
        raise UsageError("a grid runs in one process, and its cells side by side: start it without torchrun")
    if "experiment" not in settings:  # which names its own models, and those of a command line by labels
        _check_early(settings, {*settings, *(["config_files"] if files else [])})
        if all_known:  # what a class of the user's reads, its file says
            check_settings_early(_of_a_run(settings, grid), load_files(files), GRID_KEYS)
    if grid:
        from recbole_ext.experiment.conduct import main as run_grid

        return run_grid(settings, files, arguments, strangers=not all_known)
    model, dataset = _names(settings)
    if settings.get("resume_from"):
        check_checkpoint(settings["resume_from"])
    from recbole_ext.report.text import result_table
    from recbole_ext.run.run import run

    record = run(model, dataset, settings, files)
    if not started().number:  # the first of several processes speaks for all
        print(result_table(record), flush=True)
    return 1 if "not_written" in record else 0


def _register_files(settings: dict[str, Any]) -> bool:
    """Put names in the place of models that are given as `file.py:Class`; whether there are any."""
    given = settings.get("model")
    models = given.split(",") if isinstance(given, str) else given
    if not isinstance(models, list) or not any(".py:" in str(model) for model in models):
        return False
    from recbole_ext.bridge.own_models import named

    settings["model"] = ",".join(named(str(model).strip()) for model in models)
    return True


def _files(settings: dict[str, Any]) -> list[str]:
    """The files of --config_files, taken out of the settings; UsageError for one that is not there."""
    files = shlex.split(str(settings.pop("config_files", "")))
    for file in files:
        if not Path(file).is_file():
            raise UsageError(f"--config_files names {file}, which does not exist")
    return files


def _check_early(settings: dict[str, Any], given: set[str]) -> None:
    """UsageError for names and for a log that are not there, before what takes seconds to import; given: all keys.

    Of a log that was converted before, or of whose data set a yaml says more, a run speaks.
    """
    datasets = _words(settings, "dataset")
    check_early(_words(settings, "model"), datasets, given)
    raw = settings.get("raw_path")
    if not isinstance(raw, str) or {"data_path", "generate", "config_files"} & given:
        return
    told = any(config_files(f"dataset/{name}.yaml") or Path(ATOMIC, name).exists() for name in datasets)
    if not told and not Path(raw).exists() and not glob.glob(raw):
        raise UsageError(
            f"there is no file {raw}, which --raw_path names: name a log, or a folder or a glob of it"
        )


def _of_a_run(settings: dict[str, Any], grid: bool) -> dict[str, Any]:
    """The settings less what is a grid's."""
    from recbole_ext.experiment import GRID_KEYS

    of_grid = {*GRID_KEYS, "seed", "label"} if grid else set()
    return {key: value for key, value in settings.items() if key not in of_grid}


def _words(settings: dict[str, Any], key: str) -> list[str]:
    """The names that a key has, of one run or of a grid; none where it is not given, or is no word."""
    given = settings.get(key) or []
    names = given.split(",") if isinstance(given, str) else given
    return [name.strip() for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _names(settings: dict[str, Any]) -> tuple[str, str]:
    """Model and data set, taken out of the settings; UsageError where one of them is missing or no word."""
    model, dataset = settings.pop("model", None), settings.pop("dataset", None)
    if not model or not dataset:
        raise UsageError(
            "--model=NAME and --dataset=NAME are both needed: try --model=HRNNFeat --dataset=diginetica-demo"
        )
    if not all(isinstance(name, str) for name in (model, dataset)):
        raise UsageError(f"--model={model} --dataset={dataset}: a name is a word")
    return model, dataset
