"""How RecBole finds our models, trainers, data sets and loaders by name.

A model `Foo` is `foo.py` in one of names.MODEL_ROOMS plus `configs/model/Foo.yaml`; nothing else names it. The module
may also hold `FooTrainer`. RecBole looks modules up under its own package names, so ours are entered there (no import
hook).
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from recbole_ext.bridge.names import actor_critics, module_of, own_models

_registered = False


def register() -> None:
    """Enter our models, trainers, data sets and loaders into RecBole's look-up places. Idempotent."""
    global _registered
    if _registered:
        return
    for name in own_models():
        _register_model(name)
    _register_actor_critics()
    _register_prefix_models()
    _register_data()
    _register_trainer()
    _registered = True


def _register_model(name: str) -> None:
    import recbole.trainer

    module = importlib.import_module(module_of(name))
    _enter(f"recbole.model.sequential_recommender.{name.lower()}", module)
    trainer = getattr(module, f"{name}Trainer", None)
    if trainer is not None:
        setattr(recbole.trainer, f"{name}Trainer", trainer)


def _enter(path: str, module: ModuleType) -> None:
    # find_spec(path) answers with sys.modules[path].__spec__, and import_module(path) with the module itself
    sys.modules[path] = module
    package, _, leaf = path.rpartition(".")
    setattr(importlib.import_module(package), leaf, module)


def _register_actor_critics() -> None:
    """`<encoder><method>` for every sequential model and every configs/method/*.yaml."""
    from recbole.utils import get_model

    from recbole_ext.model.rl.compose import compose, method_class

    models = actor_critics()
    classes = {method: method_class(method) for method in {method for _, method in models.values()}}
    for name, (encoder, method) in models.items():
        path = f"recbole.model.sequential_recommender.{name.lower()}"
        module = ModuleType(path, f"{encoder} with {method}, see recbole_ext.model.rl.")
        module.__spec__ = ModuleSpec(path, None)
        cls = compose(encoder, method, get_model(encoder), classes[method])
        cls.__module__ = path
        setattr(module, name, cls)
        _enter(path, module)


def _register_prefix_models() -> None:
    from recbole_ext.data.general import PREFIX_MODELS

    for name, cls in PREFIX_MODELS.items():
        path = f"recbole.model.general_recommender.{name.lower()}"
        original = importlib.import_module(path)
        # a stand-in module, as RecBole's class looks itself up in its own module: super(Pop, self)
        stand_in = ModuleType(path, original.__doc__)
        stand_in.__dict__.update(original.__dict__)
        setattr(stand_in, name, cls)
        _enter(path, stand_in)


def _register_data() -> None:
    import recbole.data
    import recbole.data.utils
    import recbole.quick_start.quick_start as quick_start

    from recbole_ext.bridge import choice

    recbole_create = recbole.data.utils.create_dataset
    recbole_get = recbole.data.utils.get_dataloader

    def create_dataset(config: Any) -> Any:
        return choice.create_dataset(config, recbole_create)

    def get_dataloader(config: Any, phase: str) -> Any:
        return choice.get_dataloader(config, phase, recbole_get)

    for module in (recbole.data, recbole.data.utils, quick_start):
        for function in (create_dataset, get_dataloader):
            if hasattr(module, function.__name__):
                setattr(module, function.__name__, function)


def _register_trainer() -> None:
    import recbole.quick_start.quick_start as quick_start
    import recbole.trainer
    import recbole.utils
    import recbole.utils.utils
    from recbole.utils import ModelType

    recbole_get = recbole.utils.utils.get_trainer

    def get_trainer(model_type: Any, model_name: str) -> Any:
        """RecBole's choice, but for sequential models without a trainer of their own it is ours."""
        from recbole_ext.trainer.counting import AtOnceTrainer
        from recbole_ext.trainer.rl import ActorCriticTrainer
        from recbole_ext.trainer.session import SessionTrainer

        chosen = recbole_get(model_type, model_name)
        plain = chosen is recbole.trainer.Trainer and model_type == ModelType.SEQUENTIAL
        if not plain:
            return chosen
        model = recbole.utils.get_model(model_name)
        if getattr(model, "fits_at_once", False):
            return AtOnceTrainer
        return ActorCriticTrainer if getattr(model, "learns_transitions", False) else SessionTrainer

    for module in (recbole.utils, recbole.utils.utils, quick_start):
        module.get_trainer = get_trainer
