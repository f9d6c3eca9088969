"""`settings [MODEL]` prints every key; `settings --write` makes configs/schema.json and the tables of the docs anew."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

from recbole_ext.arguments import Arguments
from recbole_ext.bridge.names import check_early
from recbole_ext.settings import tables
from recbole_ext.settings.base import Settings
from recbole_ext.settings.files import configs_dir


def print_settings(model: str | None = None) -> None:
    """Print every key with role, default, what it takes and what it does; model: also its own, and its defaults.

    Raises UsageError for an unknown model.
    """
    found: Any = None
    if model is not None:
        from recbole_ext.bridge.names import check_names
        from recbole_ext.bridge.registry import install

        install()
        check_names(model)
        from recbole.utils import get_model

        found = get_model(model)
    print(tables.terminal_table(model, found, shutil.get_terminal_size((120, 24)).columns), end="")


def model_classes() -> dict[str, type[Settings]]:
    """Classes of all models that configs/ may set: ours, RecBole's, and one a method of reinforcement learning."""
    from recbole_ext.bridge.names import actor_critics, known_models, own_models
    from recbole_ext.bridge.registry import install

    install()
    from recbole.utils import get_model

    from recbole_ext.settings.of_model import settings_class

    methods = [name for name, (encoder, _) in actor_critics().items() if encoder == "SASRec"]
    names = dict.fromkeys([*own_models(), *methods, *known_models()])
    composed = set(actor_critics()).difference(methods)
    return {
        name: settings_class(get_model(name))
        for name in names
        if name not in composed and name not in _OTHER_PACKAGES
    }


_OTHER_PACKAGES = ("LightGBM", "XGBoost")  # whose settings are those of their packages


def main(arguments: Sequence[str], prog: str = "recbole-ext settings") -> int:
    """Print the keys, or write what is made of them; the exit code."""
    given = _parser(prog).parse_args(arguments)
    if not given.write:
        check_early([given.model] if given.model else [], [])
        print_settings(given.model)
        return 0
    docs = sorted((configs_dir().parent / "docs").glob("*.md"))
    for file in tables.write_all(configs_dir(), docs, model_classes()):
        print(file)
    return 0


def _parser(prog: str) -> Arguments:
    parser = Arguments(
        prog=prog, description="Every key: what it does, what it takes, its default, its role."
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="its own keys first, with its defaults")
    parser.add_argument(
        "--write",
        action="store_true",
        help="make configs/schema.json and the key tables of the docs anew, in a checkout",
    )
    return parser
