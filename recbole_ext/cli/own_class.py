"""`--model=FILE.py:Class` of the commands that use a finished run: where the class of its model is.

A run says which file its class was in, and that file is not run for it: whoever gets a folder from elsewhere runs what
the command names and nothing else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_ext import records
from recbole_ext.arguments import Arguments
from recbole_ext.errors import UsageError
from recbole_ext.files import sha256
from recbole_ext.run.model_place import MODEL, place_of

OPTION = "--model"


def add_option(parser: Arguments) -> None:
    """Let a command be told where the class of the run's model is."""
    parser.add_argument(
        OPTION,
        metavar="FILE.py:Class",
        help="of a run whose model is a class of your own: the file that it is in, which is run (a blend of two such: "
        "both, parted by a comma)",
    )


def meet_for_lists(run: str | Path, given: str | None) -> None:
    """Register the classes that --model names for the model folder of a run, before torch is imported.

    Raises UsageError where there is no model, where classes are missing, and where it has no use for those named.
    """
    from recbole_ext.recommend import exported

    if exported.is_one(run):
        if given is not None:
            raise UsageError(f"{run} is an exported folder, which needs no class: leave {OPTION} out")
        return
    try:
        stated = json.loads((place_of(run) / MODEL).read_text(encoding="utf-8"))
        names = [str(stated["model"]), *(str(part["model"]) for part in stated["node"].get("parts", ()))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # whoever opens it says what is wrong with it
    _meet(stated, names, run, given)


def meet_for_training(run: str | Path, given: str | None) -> None:
    """The same for the record of a run that is to go on."""
    stated = records.read(Path(run))
    _meet(stated, [str(stated.get("model"))], run, given)


def _meet(stated: Mapping[str, Any], models: list[str], run: str | Path, given: str | None) -> None:
    known = {own["name"]: own for own in stated.get("own_classes") or ()}
    if given is None and not known:
        return  # an exported folder, and most runs, are asked without what is imported here
    from recbole_ext.bridge.names import methods
    from recbole_ext.bridge.own_models import OF_FILE, named, require

    files = [f"{own['file']}:{name}" for name, own in known.items() if own.get("file")]
    cure = f"write {','.join(files) or 'FILE.py:Class'}" if known else "leave it out"
    for entry in (given or "").split(",") if given is not None else ():
        file, _, name = entry.strip().rpartition(OF_FILE)
        if not file:
            raise UsageError(
                f"{OPTION} is {entry.strip() or 'empty'}, and says in which file the class of the run's model is: "
                f"{cure}"
            )
        if not any(model == name or model.removeprefix(name) in methods() for model in models):
            wanted = " and ".join(known) or f"{models[0]}, which needs no file"
            raise UsageError(f"{OPTION} names the class {name}, and that of {run} is {wanted}: {cure}")
        named(entry.strip())
        before = known.get(name, {}).get("sha256")
        if before is not None and sha256(Path(f"{file}.py")) != before:
            print(f"note: {file}.py has changed since the run of {name}", file=sys.stderr)
    require(stated, run)
