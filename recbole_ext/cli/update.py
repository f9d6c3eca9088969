"""`update RUN --events DAYS …`: new days join the log of a finished run, and a new run goes on from it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from recbole_ext import records
from recbole_ext.arguments import Arguments
from recbole_ext.bridge.early import check_events, check_settings_early
from recbole_ext.bridge.names import known_models
from recbole_ext.cli.own_class import add_option, meet_for_training
from recbole_ext.errors import UsageError, are_installed
from recbole_ext.records import check_finished_run
from recbole_ext.settings.command_line import parse_command_line


def _parser(prog: str) -> Arguments:
    parser = Arguments(
        prog=prog,
        description="New days join the log of a finished run, and a new run of the model goes on from it, settings as "
        "they were but for the --key=value that are given (docs/update.md).",
    )
    parser.add_argument("run", metavar="RUN", help="folder of a finished run, runs/…")
    parser.add_argument(
        "--events",
        nargs="+",
        required=True,
        type=Path,
        metavar="DAYS",
        help="new days in order: .inter files or their folders, or raw logs, which the run's source reads with the "
        "run's convert_options (--convert_options=… of the new days alone)",
    )
    parser.add_argument(
        "--forget-before", metavar="DAY", help="sessions that start before YYYY-MM-DD (UTC) leave the log"
    )
    parser.add_argument(
        "--log", type=Path, metavar="FOLDER", help="where the joined log goes (default <data_path>/updates/…)"
    )
    parser.add_argument(
        "--max-bad-rows",
        type=float,
        metavar="SHARE",
        help="bad rows of a raw log that are left out and counted (default: as the run's log was converted)",
    )
    parser.add_argument(
        "--no-parent",
        action="store_true",
        help="do not ask the old model for its lists of the new test targets, which promote needs",
    )
    add_option(parser)
    return parser


def main(arguments: Sequence[str], prog: str = "recbole-ext update") -> int:
    """Do the update and print the new run's result; the exit code."""
    parser = _parser(prog)
    own = {option for action in parser._actions for option in action.option_strings}
    keys = [word for word in arguments if _is_key(word, own)]
    given = parser.parse_args([word for word in arguments if not _is_key(word, own)])
    settings = parse_command_line(keys)
    if are_installed("torch", "recbole"):  # who lacks them hears that first
        check_finished_run(Path(given.run))
        meet_for_training(given.run, given.model)
        _check_settings(Path(given.run), settings)
        check_events(given.events)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")  # nothing a user can mend
    from recbole_ext.recommend.update import update
    from recbole_ext.report.text import result_table

    day = None if given.forget_before is None else _day(given.forget_before)
    record = update(
        given.run,
        given.events,
        day,
        given.log,
        settings,
        rank_old=not given.no_parent,
        max_bad_rows=given.max_bad_rows,
    )
    print(result_table(record), flush=True)
    return 0


def _is_key(word: str, own: set[str]) -> bool:
    """Whether a word is a setting, --key=value, and no option of the command."""
    return word.startswith("--") and "=" in word and word.partition("=")[0] not in own


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """UsageError for settings that are wrong whatever the model, of a run whose model is no class of the user's."""
    model = records.read(folder).get("model") if settings else None
    if model in known_models() and model != "Blend":  # which may be of such classes
        check_settings_early(settings)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--forget-before is {text}: write a day as YYYY-MM-DD") from error
