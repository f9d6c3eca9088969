"""The command line of every door: argparse that says what is wrong in one sentence, with the nearest right word."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
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
