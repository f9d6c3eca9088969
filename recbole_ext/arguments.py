"""The command line of every door: argparse that says what is wrong in one sentence, with the nearest right word."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from recbole_ext.errors import did_you_mean


class Arguments(argparse.ArgumentParser):
    """argparse without abbreviated options; a wrong command line ends with one sentence on stderr and exit code 2.

    What the parser does not know is refused in `parse_known_args` too, so that a subcommand answers for its own
    options: with its name in front and its options as suggestions.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **more})

    def error(self, message: str) -> NoReturn:
        """End the process: the sentence, and where to read on."""
        self.exit(2, f"{self.prog}: {message} (--help lists the options).\n")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As argparse's, but nothing is left over."""
        found, left = super().parse_known_args(args, namespace)
        if left:
            self.error(self._unknown(left[0]))
        return found, left

    def _unknown(self, word: str) -> str:
        if not word.startswith("-"):
            return f"unexpected argument {word!r}"
        name = word.partition("=")[0]
        known = [option for option in self._option_string_actions if option.startswith("--")]
        longer = [option for option in known if option.startswith(name)]
        hint = f": did you mean {longer[0]}?" if longer else did_you_mean(name, known)
        return f"unknown option {name}{hint}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse's check of choices, with the nearest one in place of a list of all where one is near."""
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        hint = did_you_mean(str(value), known) or f": write one of {', '.join(known)}"
        raise argparse.ArgumentError(action, f"{value!r} is not known{hint}")


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")


def printable(text: str) -> str:
    """The text with control characters written out: what a log or a label holds does not steer the terminal."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


class _Out:
    """stdout as it is; where who reads it goes away, as `… | head -1` does, the rest is written to nowhere.

    The command itself goes on: it may be half way through its work, or its exit code a verdict.
    """

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        """As a stream's."""
        try:
            self._stream.write(printable(text))
        except BrokenPipeError:
            _to_nowhere(self._stream)
        return len(text)

    def flush(self) -> None:
        """As a stream's."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            _to_nowhere(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def exit_code(do: Callable[[], int]) -> int:
    """What a command returns, whether or not somebody reads to the end what it prints."""
    out = sys.stdout
    if out is None or isinstance(out, _Out):  # within another command's
        return do()
    sys.stdout = _Out(out)  # type: ignore[assignment]
    try:
        return do()
    finally:
        sys.stdout.flush()  # Python would complain of a closed pipe at its end
        sys.stdout = out


def _to_nowhere(stream: Any) -> None:
    """Lead what is written to a stream, and what waits in it, to nowhere."""
    with suppress(OSError, ValueError):  # a stream that is no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
