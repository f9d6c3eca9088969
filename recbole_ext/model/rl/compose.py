"""`<encoder><method>`: from the names of a model to its class."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from recbole_ext.errors import UsageError, did_you_mean
from recbole_ext.model.rl import methods
from recbole_ext.model.rl.actor_critic import ActorCritic
from recbole_ext.settings.files import config_files, load_files


def method_names() -> list[str]:
    """Names of the classes of methods/."""
    return sorted(module.name.upper() for module in pkgutil.iter_modules(methods.__path__))


def method_class(name: str) -> type[ActorCritic]:
    """The class behind configs/method/<name>.yaml: that of its name, or that which it says by `method: SAC`; SQN where
    there is neither. Raises UsageError where it says what is none."""
    said = load_files(config_files(f"method/{name}.yaml")).get("method")
    known = method_names()
    if said is not None and said not in known:
        raise UsageError(
            f"configs/method/{name}.yaml says method: {said}, which is none"
            f"{did_you_mean(str(said), known) or ': write one of ' + ', '.join(known)}"
        )
    chosen = said or (name if name in known else "SQN")
    module = importlib.import_module(f"{methods.__name__}.{chosen.lower()}")
    found: type[ActorCritic] = getattr(module, chosen)
    return found


def compose(encoder: str, method: str, encoder_class: Any, base: type[ActorCritic]) -> type[ActorCritic]:
    """The model class `<encoder><method>`; base: the method's."""
    described = f"{encoder} with {method}; settings: configs/method/{method}.yaml over those of {encoder}."
    members: dict[str, Any] = {"encoder_name": encoder, "method": method, "__doc__": described}
    for name in ("dataset_class", "input_type"):
        if hasattr(encoder_class, name):
            members[name] = getattr(encoder_class, name)
    return type(f"{encoder}{method}", (base,), members)
