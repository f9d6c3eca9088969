"""One door: `recbole-ext COMMAND …`. A command is a file here with `main(arguments, prog)`, and a line in COMMANDS.

Exit codes are the same everywhere: 0 done, 1 done in part (a cell of an experiment failed), 2 a mistake that the user
can mend, in one sentence on stderr, 130 interrupted; `promote` adds 3, worse, and 4, not known. They are the same
where nobody reads to the end what is printed.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from recbole_ext.arguments import exit_code, printable
from recbole_ext.cli.threads import choose_waiting
from recbole_ext.errors import UsageError, did_you_mean, missing
from recbole_ext.interrupts import reason

COMMANDS = {
    "study": "from a log to the model for it: data page, models within a time, tests, a paragraph that says why",
    "run": "train a model on a data set, test it once and leave a record; several names make a grid",
    "experiment": "a grid from a file: searches on validation, seeds, tests, one page",
    "convert": "raw logs to RecBole's atomic files",
    "compare": "finished runs of one data set side by side: intervals, paired tests, slices",
    "promote": "may a new run's model take the place of the one in use? the exit code says it",
    "recommend": "lists for live sessions or for those of a file, by the model of a finished run",
    "serve": "the same over HTTP: requests answered together, another run swapped in under load",
    "update": "new days join the log of a finished run, and a new run goes on from it",
    "export": "the model of a finished run as a folder that answers without torch",
    "new": "a folder to start from: a commented yaml, an example log and the commands",
    "doctor": "what is installed, what is missing for which command, and the line that mends it",
    "settings": "every key of a run or of a model: what it does, what it takes, its default",
}
ANEW = "the same command begins anew"
GO_ON = {  # after Ctrl-C, where nobody knows better how
    "study": "the same command goes on",
    "experiment": "the same command goes on",
    "convert": f"what was there before is unchanged, {ANEW}",
    "serve": "the same command serves again",
}
TRAIN = ("study", "run", "experiment", "update", "export")  # they need torch and all the rest


def main(arguments: Sequence[str] | None = None, prog: str = "recbole-ext") -> int:
    """Run one command; returns its exit code. A first word that is an option belongs to `run`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return exit_code(lambda: _main(words, prog))


def _main(words: list[str], prog: str) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(usage(prog))
        return 0 if words else 2
    if words[0] == "--version":
        from recbole_ext.version import __version__

        print(f"recbole-ext {__version__}")
        return 0
    if words[0].startswith("--"):
        return command("run", words, prog)
    if words[0] not in COMMANDS:
        hint = did_you_mean(words[0], COMMANDS) or f": there are {', '.join(COMMANDS)}"
        print(f"error: there is no command {words[0]}{hint}", file=sys.stderr)
        return 2
    return command(words[0], words[1:], f"{prog} {words[0]}")


def usage(prog: str) -> str:
    """What `--help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {sentence}" for name, sentence in COMMANDS.items()]
    return "\n".join([f"usage: {prog} COMMAND …  ({prog} COMMAND --help says more)", "", *lines])


def command(name: str, arguments: Sequence[str], prog: str) -> int:
    """Run the command `name`; whatever ends it becomes an exit code."""
    return exit_code(lambda: _command(name, list(arguments), prog))


def _command(name: str, arguments: list[str], prog: str) -> int:
    try:
        load = functools.partial(importlib.import_module, f"recbole_ext.cli.{name}")
        choose_waiting(os.environ, name in TRAIN, load)
        do: Callable[[list[str], str], int] = load().main
        return do(arguments, prog)
    except ModuleNotFoundError as error:
        return _mistake(missing(error, name, name in TRAIN))
    except UsageError as error:
        return _mistake(error)
    except KeyboardInterrupt as stop:
        _say(f"interrupted: {reason(stop) or GO_ON.get(name, ANEW)}")
        return 130


def _mistake(error: UsageError) -> int:
    _say(f"error: {error}")
    return 2


def _say(line: str) -> None:
    with suppress(BrokenPipeError):  # nobody reads it
        print(printable(line), file=sys.stderr, flush=True)
