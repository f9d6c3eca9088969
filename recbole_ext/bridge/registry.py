"""How RecBole finds our models, trainers, data sets and loaders by name.

A model `Foo` is `foo.py` in one of names.MODEL_ROOMS plus `configs/model/Foo.yaml`; nothing else names it. The module
may also hold `FooTrainer`. RecBole looks modules up under its own package names, so ours are entered there (no import
hook).
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from recbole_ext.bridge import encoders
from recbole_ext.bridge.names import (
    known_models,
    methods,
    module_of,
    own_models,
    recbole_sequential,
)
from recbole_ext.errors import UsageError
from recbole_ext.progress import stage
from recbole_ext.settings import unread

_registered = False


def install() -> None:
    """Mend RecBole for today's stack and register our models, data sets and splits with it. Idempotent."""
    with _uncollected():
        from recbole_ext.bridge import patches

        patches.apply()
        register()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let Python not look for garbage meanwhile: importing torch, polars and RecBole makes half a million objects that
    stay, which it would look through again and again, a fifth of the time that they take."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # there and back, all is old, and not looked through as new
            gc.freeze()
            gc.unfreeze()
        if collecting:
            gc.enable()


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
    unread.our_models(_our_models)
    _registered = True


def register_model(cls: type) -> type:
    """Make a model class of one's own known by its name, to `recbole_ext.run` and to RecBole; returns the class.

    It may stand over the class as a decorator. Its keys are those that its file reads, as in `config["key"]`; their
    defaults are the class's `defaults` (a dict), over which configs/model/<name>.yaml of the working directory goes.
    With `carries_methods = True` it is an encoder of reinforcement learning too, as `<name>SQN` and the like. A class
    of the same name that was registered so before is replaced, as a notebook wants.

    Raises UsageError for what is no sequential or general recommender of RecBole's, lacks one of their methods, or is
    called as a model that is there.
    """
    install()
    kind = _kind_of(cls)
    name = cls.__name__
    path = f"recbole.model.{kind}_recommender.{name.lower()}"
    if getattr(sys.modules.get(path), name, None) is cls:
        return cls
    _check_free(name)
    module = ModuleType(path, cls.__doc__)
    module.__spec__ = ModuleSpec(path, None)
    setattr(module, name, cls)
    _enter(path, module)
    _strangers[name] = cls
    _register_own_trainer(name, sys.modules.get(cls.__module__))
    reason = encoders.said_of(cls)
    if reason is None:
        _register_methods(name, cls)
    else:
        encoders.leave_out(name, reason)
    return cls


_strangers: dict[str, type] = {}  # classes of `register_model`, by name
_ASKED = ("calculate_loss", "predict", "full_sort_predict")


def strangers() -> dict[str, type]:
    """Classes of the user's that are registered, by name."""
    return dict(_strangers)


def _kind_of(cls: type) -> str:
    """ "sequential" or "general"; UsageError where RecBole could not use the class."""
    from recbole.model.abstract_recommender import (
        AbstractRecommender,
        GeneralRecommender,
        SequentialRecommender,
    )

    if not isinstance(cls, type) or not issubclass(cls, SequentialRecommender | GeneralRecommender):
        raise UsageError(
            f"{getattr(cls, '__name__', cls)} is no model: subclass RecBole's SequentialRecommender, or its "
            "GeneralRecommender"
        )
    missing = [name for name in _ASKED if getattr(cls, name) is getattr(AbstractRecommender, name)]
    missing += sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise UsageError(f"{cls.__name__} has no {missing[0]}, which RecBole asks of every model: define it")
    if not isinstance(getattr(cls, "defaults", {}), dict):
        raise UsageError(f"defaults of {cls.__name__} is no dict: write its keys and their values")
    return "sequential" if issubclass(cls, SequentialRecommender) else "general"


def _check_free(name: str) -> None:
    known = {other.lower(): other for other in known_models() if other not in _strangers}
    known |= {other.lower(): other for other in _strangers if other != name}
    if name.lower() in known:
        raise UsageError(
            f"there is a model {known[name.lower()]} already: call the class otherwise than {name}"
        )


def _register_own_trainer(name: str, module: ModuleType | None) -> None:
    import recbole.trainer

    trainer = getattr(module, f"{name}Trainer", None)
    if trainer is not None:
        setattr(recbole.trainer, f"{name}Trainer", trainer)


def _our_models() -> dict[str, type]:
    """Our models and the methods of reinforcement learning, by name."""
    from recbole.utils import get_model

    from recbole_ext.model.rl.compose import method_class

    return {
        **{name: get_model(name) for name in own_models()},
        **{name: method_class(name) for name in methods()},
    }


def _register_model(name: str) -> None:
    module = importlib.import_module(module_of(name))
    _enter(f"recbole.model.sequential_recommender.{name.lower()}", module)
    _register_own_trainer(name, module)


def _enter(path: str, module: ModuleType) -> None:
    # find_spec(path) answers with sys.modules[path].__spec__, and import_module(path) with the module itself
    sys.modules[path] = module
    package, _, leaf = path.rpartition(".")
    setattr(importlib.import_module(package), leaf, module)


def _register_actor_critics() -> None:
    """`<encoder><method>` for every sequential model that carries methods and every configs/method/*.yaml."""
    from recbole.utils import get_model

    for encoder in recbole_sequential():
        if encoder not in encoders.WITHOUT_METHODS:
            _register_methods(encoder, get_model(encoder))
    for encoder in own_models():
        model = get_model(encoder)
        reason = encoders.said_of(model)
        if reason is None:
            _register_methods(encoder, model)
        else:
            encoders.leave_out(encoder, reason)


def _register_methods(encoder: str, model: type) -> None:
    from recbole_ext.model.rl.compose import compose, method_class

    for method in methods():
        name = encoders.enter(encoder, method)
        path = f"recbole.model.sequential_recommender.{name.lower()}"
        module = ModuleType(path, f"{encoder} with {method}, see recbole_ext.model.rl.")
        module.__spec__ = ModuleSpec(path, None)
        cls = compose(encoder, method, model, method_class(method))
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

    from recbole_ext.bridge import data_sets
    from recbole_ext.data.session_dataset import SessionDataset

    recbole_create = recbole.data.utils.create_dataset
    recbole_get = recbole.data.utils.get_dataloader
    recbole_samplers = recbole.data.utils.create_samplers

    def create_dataset(config: Any) -> Any:
        return data_sets.create_dataset(config, recbole_create)

    def get_dataloader(config: Any, phase: str) -> Any:
        return data_sets.get_dataloader(config, phase, recbole_get)

    def create_samplers(config: Any, dataset: Any, built_datasets: Any) -> Any:
        for part in built_datasets:  # what data_preparation does between the split and the loaders
            if isinstance(part, SessionDataset):
                part.check_targets()
        stage("loaders")
        return recbole_samplers(config, dataset, built_datasets)

    for module in (recbole.data, recbole.data.utils, quick_start):
        for function in (create_dataset, get_dataloader, create_samplers):
            if hasattr(module, function.__name__):
                setattr(module, function.__name__, function)


def _register_trainer() -> None:
    import recbole.quick_start.quick_start as quick_start
    import recbole.trainer
    import recbole.utils
    import recbole.utils.utils
    from recbole.utils import ModelType

    from recbole_ext.trainer.collector import RankCollector

    recbole_get = recbole.utils.utils.get_trainer

    def get_trainer(model_type: Any, model_name: str) -> Any:
        """RecBole's choice, but for sequential models without a trainer of their own it is ours."""
        from recbole_ext.trainer.counting import CountingTrainer
        from recbole_ext.trainer.rl import ActorCriticTrainer
        from recbole_ext.trainer.session import SessionTrainer

        chosen = recbole_get(model_type, model_name)
        plain = chosen is recbole.trainer.Trainer and model_type == ModelType.SEQUENTIAL
        if not plain:
            return chosen
        try:
            model = recbole.utils.get_model(model_name)
        except (ImportError, ValueError):  # a class of the user's that no name is known of
            return SessionTrainer
        if getattr(model, "learns_in_one_pass", False):
            return CountingTrainer
        return ActorCriticTrainer if getattr(model, "learns_transitions", False) else SessionTrainer

    for module in (recbole.utils, recbole.utils.utils, quick_start):
        module.get_trainer = get_trainer
    recbole.trainer.trainer.Collector = RankCollector
