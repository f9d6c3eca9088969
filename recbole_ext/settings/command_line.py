"""The command line as keys and values; nothing on it is evaluated."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from recbole_ext.errors import UsageError
from recbole_ext.settings.files import check_size

_given_arguments: list[list[str]] = []  # innermost `command_line` last


_RUNNERS = (
    "pytest",
    "py.test",
    "unittest",
    "ipykernel_launcher",
    "colab_kernel_launcher",
    "ipython",
    "jupyter",
)


_WORDS = {"true": True, "false": False, "none": None, "null": None, "~": None}


@contextmanager
def command_line(arguments: Iterable[str]) -> Iterator[None]:
    """Within the block, Config reads `arguments` (each `--key=value`) in place of sys.argv."""
    _given_arguments.append(list(arguments))
    try:
        yield
    finally:
        _given_arguments.pop()


def current_arguments() -> list[str]:
    """The arguments that Config reads now: the enclosing `command_line`, or sys.argv[1:] of a script."""
    if _given_arguments:
        return list(_given_arguments[-1])
    return sys.argv[1:] if reads_sys_argv() else []


def reads_sys_argv() -> bool:
    """Whether sys.argv belongs to a script: not to `python -c`, a notebook, a prompt or a test runner."""
    program = sys.argv[0] if sys.argv else ""
    if not os.path.isfile(program) or "pytest" in sys.modules:
        return False
    path = Path(program)
    names = {path.stem, path.name, path.parent.name if path.name == "__main__.py" else ""}
    return not names & set(_RUNNERS)


def parse_command_line(arguments: Iterable[str]) -> dict[str, Any]:
    """`--key=value` arguments as a dict of parsed values; what follows the first `=` is the value.

    `--key value` is the same. Names are never numbers: `--dataset=2019` is a data set.
    Raises UsageError for any other argument and for a key given twice with two values.
    """
    texts, others = split_arguments(_joined(arguments))
    if others:
        raise UsageError(f"argument {others[0]} is not of the form --key=value")
    return {key: _name(text) if key in _NAMES else parse_value(text) for key, text in texts.items()}


_NAMES = ("model", "dataset")


def _name(text: str) -> Any:
    """A name, or a list of names where it is written as one."""
    parsed = parse_value(text) if text.lstrip().startswith(("[", "(")) else text
    return [str(one) for one in parsed] if isinstance(parsed, list | tuple) else text


def _joined(arguments: Iterable[str]) -> list[str]:
    """The arguments with `--key value` written as `--key=value`, as RecBole's own command takes both."""
    found: list[str] = []
    for argument in arguments:
        before = found[-1] if found else ""
        if before.startswith("--") and "=" not in before and not argument.startswith("--"):
            found[-1] = f"{before}={argument}"
        else:
            found.append(argument)
    return found


def split_arguments(arguments: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The `--key=value` arguments as a dict of texts, and the others.

    Raises UsageError for a key given twice with two values.
    """
    texts: dict[str, str] = {}
    others = []
    for argument in arguments:
        key, equals, text = argument[2:].partition("=")
        if not argument.startswith("--") or not equals or not key:
            others.append(argument)
            continue
        if texts.get(key, text) != text:
            raise UsageError(f"--{key} is given twice, as {texts[key]} and as {text}: keep one of them")
        texts[key] = text
    return texts, others


def parse_value(value: Any) -> Any:
    """A text as number, list, dict, True, False or None where it is written as one, else unchanged.

    Nothing is evaluated: Python literals (`[5,10]`, `5,10`, `1e-3`, `{'LS': 'valid_and_test'}`), the words true,
    false, none, null in any case, and yaml in braces or brackets (`{LS: valid_and_test}`).
    """
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    if word in _WORDS:
        return _WORDS[word]
    try:
        parsed = ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _parse_yaml_collection(value)
    if isinstance(parsed, tuple):
        return list(parsed)  # 5,10 without brackets
    return parsed if isinstance(parsed, str | int | float | list | dict | bool) else value


class _WithExponents(yaml.SafeLoader):
    """Reads 1e-3 as a number, as RecBole's files do and Python; to YAML 1.1, which wants 1.0e-3, it is text."""


_WithExponents.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _parse_yaml_collection(text: str) -> Any:
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        parsed = yaml.load(text, Loader=_WithExponents)
    except (yaml.YAMLError, RecursionError):
        return text  # such as the interval "[0,inf)"
    check_size(parsed, "a value")
    return parsed if isinstance(parsed, list | dict) else text
