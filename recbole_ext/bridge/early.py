"""What is wrong with a command line's settings whatever the model: said before torch and RecBole are imported, which
takes seconds.

The sentences are those that the run would end with. What only those two can tell is passed over, and so is all of a
class of the user's, whose file says what it reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from recbole_ext.convert import sources
from recbole_ext.errors import UsageError, are_installed
from recbole_ext.settings.files import load_yaml
from recbole_ext.settings.of_model import WORKED_OUT
from recbole_ext.settings.run_settings import read_general
from recbole_ext.settings.unread import said_of_no_model, written_keys
from recbole_ext.settings.written import read_of_models


def check_checkpoint(file: object) -> None:
    """UsageError where there is no such file to go on from."""
    if not Path(str(file)).is_file():
        raise UsageError(
            f"there is no checkpoint {file}: resume_from names a file that a run has left, *.pth"
        )


def check_events(files: Iterable[Path]) -> None:
    """UsageError where one of the new days of an update is not there."""
    for file in files:
        if not file.exists():
            raise UsageError(f"--events names {file}, which does not exist")


def check_settings_early(
    given: Mapping[str, Any], more: Iterable[str] = (), meant: Iterable[str] = ()
) -> None:
    """UsageError for a value that no run can have, and for a key that no model reads.

    given: keys and values of a command line. more: keys alone, of files. meant: what else a misspelt key may be.
    """
    if (
        not are_installed("torch", "recbole") or "blend_models" in given
    ):  # which may name classes of the user's
        return
    read_general(given)
    read_of_models(given)
    known = written_keys()
    unknown = [key for key in (*given, *more) if key not in known | WORKED_OUT | {"model", "dataset"}]
    if not unknown:
        return
    theirs = _of_users_files()
    for key in unknown:
        said = "" if key in theirs or _is_of_converter(key) else said_of_no_model(key, known | {*meant})
        if said:
            raise UsageError(said)


def _of_users_files() -> set[str]:
    """Keys of the yaml files of models beside the command, which may be some that their classes do not say."""
    files = (file for room in ("model", "method") for file in Path("configs", room).glob("*.yaml"))
    return {key for file in files for key in load_yaml(file)}


def _is_of_converter(key: str) -> bool:
    """Whether a key is an option of some converter: how it is given is said once the data set's is known."""
    name = key.replace("-", "_")
    for source in sources.names():
        with suppress(UsageError):  # a stranger's that cannot be used
            if name in sources.load(source).Options.model_fields:
                return True
    return False
