"""`study LOG`: from a table of events to a model that answers, within a time, with pages that say why that one."""

from __future__ import annotations

import argparse
import glob
import re
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_ext.arguments import Arguments
from recbole_ext.bridge.names import check_early
from recbole_ext.convert import sources
from recbole_ext.convert.options import ConvertOptions
from recbole_ext.errors import UsageError
from recbole_ext.files import events_file
from recbole_ext.settings.files import config_files

SOURCE = "events"  # of a log that is named by its path
PLACE = Path("runs") / "studies"
MINUTES = 30.0


def _parser(prog: str) -> Arguments:
    parser = Arguments(
        prog=prog,
        description="Which model for this log? It is converted and looked at; models are searched alike on its "
        "validation part, within a time, and tested once; the best one on validation is ready to be asked for lists. "
        "The same command goes on where it was stopped.",
    )
    parser.add_argument(
        "log",
        metavar="LOG",
        help="a table of events (csv, jsonl, parquet, arrow, plain or packed), a folder or a glob of them, or the "
        "name of a data set",
    )
    parser.add_argument(
        "--minutes",
        type=_minutes,
        default=MINUTES,
        metavar="NUMBER",
        help=f"for searching and training all models, of all calls together (default {MINUTES:g})",
    )
    parser.add_argument(
        "--seed",
        type=_seeds,
        default=(1,),
        metavar="1,2,3",
        help="seeds of every model; the first one is searched on (default 1)",
    )
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help=f"pages, runs and the chosen model (default {PLACE}/NAME)"
    )
    parser.add_argument(
        "--name", metavar="NAME", help="of the data set, in atomic_data (default: the log's own name)"
    )
    reading = parser.add_argument_group(
        "how a table of events is read", f"as of convert {SOURCE}, and only when it is converted"
    )
    _options().add_arguments(reading)
    return parser


def _options() -> type[ConvertOptions]:
    found: type[ConvertOptions] = sources.load(SOURCE).Options
    return found


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < 10**6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes above 0")
    return minutes


def _seeds(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers, each once, parted by commas")
    return tuple(map(int, parts))


def main(arguments: Sequence[str], prog: str = "recbole-ext study") -> int:
    """Do the study, print its paragraph and what to type next; the exit code, 1 where a model has failed."""
    given = _parser(prog).parse_args(arguments)
    dataset, settings = read_log(given)
    check_early([], [dataset], settings)
    if "raw_path" in settings and not (Path(given.log).exists() or glob.glob(given.log)):
        raise UsageError(f"there is no file {given.log}: name the table of events, or a data set by its name")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")  # nothing a user can mend
    from recbole_ext.experiment.study import Wanted, study

    command = shlex.join(["recbole-ext", "study", *arguments])
    found = study(Wanted(dataset, settings, given.to or PLACE / dataset, given.minutes, given.seed, command))
    print(f"\n{found.text}\n")
    for line in found.commands:
        print(f"  {line}")
    print(f"\n  {found.index}")
    return 1 if found.failed else 0


def read_log(given: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Name of the data set that a command line means, and settings that say where its log lies and how it is read.

    Raises UsageError for a name that cannot be one, and for options that would do nothing.
    """
    options = _options().of_arguments(given)
    said = sorted(options.model_fields_set)
    path = Path(given.log)
    atomic = events_file(path, path.name) is not None  # atomic_data/NAME itself
    if atomic or not _is_path(given.log):
        if given.name is not None or said:
            flag = "--name" if given.name is not None else options.spelt(said[0])
            raise UsageError(
                f"{flag} is of a table of events, and {given.log} is a data set, which has its name and is read as it "
                "is: leave it out"
            )
        return path.name, {"data_path": str(path.parent)} if atomic else {}
    dataset = given.name or options.default_out(SOURCE, options.named_raw([given.log])).name
    if not re.fullmatch(r"[\w+.-]+", dataset) or not dataset.strip("."):
        raise UsageError(
            f"{dataset!r} cannot be the name of a data set: give it another one with --name (letters, digits and "
            "+ . _ -)"
        )
    if files := config_files(f"dataset/{dataset}.yaml"):
        raise UsageError(
            f"{files[-1]} says how the data set {dataset} is read: study it by that name, or give {given.log} another "
            "one with --name"
        )
    settings: dict[str, Any] = {"source": SOURCE, "raw_path": given.log}
    if said:
        settings["convert_options"] = options.model_dump(mode="json", include=set(said))
    if options.given("split"):
        settings["eval_args"] = {"split": {"given": {"valid_share": 0.1}}}
    return dataset, settings


def _is_path(log: str) -> bool:
    """Whether a log is named by a path, in contrast to the name of a data set."""
    return (
        Path(log).exists() or Path(log).name != log or bool(Path(log).suffix) or any(m in log for m in "*?[")
    )
