"""`python -m recbole_ext.settings [MODEL]` prints the keys; `… write` makes schema and tables of the docs anew."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Any

from recbole_ext.errors import UsageError
from recbole_ext.settings import tables
from recbole_ext.settings.base import Settings


def print_settings(model: str | None = None) -> None:
    """Print every key with role, default, what it takes and what it does; model: also its own, and its defaults.

    Raises UsageError for an unknown model.
    """
    found: Any = None
    if model is not None:
        import recbole_ext
        from recbole_ext.bridge.names import check_names

        recbole_ext.install()
        check_names(model)
        from recbole.utils import get_model

        found = get_model(model)
    print(tables.terminal_table(model, found, shutil.get_terminal_size((120, 24)).columns), end="")


def model_classes() -> dict[str, type[Settings]]:
    """Classes of all models that configs/ may set: ours, RecBole's, and one a method of reinforcement learning."""
    import recbole_ext
    from recbole_ext.bridge.names import actor_critics, known_models, own_models

    recbole_ext.install()
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


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code, 2 for a user's mistake."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given == ["write"]:
            from recbole_ext.settings.files import configs_dir

            docs = sorted((configs_dir().parent / "docs").glob("*.md"))
            for file in tables.write_all(configs_dir(), docs, model_classes()):
                print(file)
        else:
            print_settings(*given[:1])
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
