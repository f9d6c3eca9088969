"""Blend: two models trained apart, their scores added by a weight that is found on the validation part.

    S = (1 - w) a + w b,   a, b: the two models' scores of all items, made comparable by `blend_scale`

Neighbours and neural networks err differently, so the sum ranks better than each. How scores are scaled:
recbole_ext/blend/scores.py. How the weight is found: recbole_ext/blend/trainer.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import AfterValidator, Field
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_ext.blend.part import Component, checkpoint_config, component_config
from recbole_ext.blend.scores import BlendScores
from recbole_ext.blend.trainer import BlendTrainer
from recbole_ext.bridge.checkpoint import _encoded_other_parameter
from recbole_ext.bridge.own_models import unknown_class
from recbole_ext.bridge.stored_config import config_from_plain
from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.errors import UsageError
from recbole_ext.plain import config_to_plain
from recbole_ext.settings.base import ModelSettings, Number, Text, each_once, key
from recbole_ext.settings.place import Place
from recbole_ext.settings.run_settings import settings_of

__all__ = ["Blend", "BlendTrainer", "Plan", "plan_of"]


Pair = Annotated[list[Text], Field(min_length=2, max_length=2)]
PairOfSettings = Annotated[list[dict[str, Any] | None], Field(min_length=2, max_length=2)]
Temperatures = Annotated[
    list[Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]], Field(min_length=2, max_length=2)
]
Weights = Annotated[
    list[Annotated[float, Field(strict=True, ge=0, le=1)]], Field(min_length=1), AfterValidator(each_once)
]


class BlendSettings(ModelSettings):
    """Keys of Blend; every other key that is given goes to both models."""

    blend_models: Pair | None = key(
        None,
        "names of the two models, such as [HRNNFeat, SASRec]; may be left out with blend_from",
        says="a list of two models",
    )
    blend_settings: dict[str, dict[str, Any] | None] | PairOfSettings | None = key(
        None,
        "keys of each model over its own yaml, by name, or two mappings in the order of blend_models",
        says="the keys of each model by its name, or a list of two mappings",
    )
    blend_from: Pair | None = key(
        None,
        "checkpoints of two finished runs, to blend them without training",
        says="a list of two checkpoints",
    )
    blend_scale: Literal["softmax", "zscore", "rank"] = key(
        "zscore", "how the two models' scores are made comparable (docs/Blend.md)"
    )
    blend_temperatures: Temperatures | None = key(
        None,
        "of the two models, for softmax; ~: those that make the validation targets likeliest",
        says="a list of two numbers above 0",
    )
    blend_weights: Weights = key(
        [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1],
        "weights of the second model that are tried on the validation part",
        says="a list of different numbers from 0 to 1",
    )
    blend_weight: Number | None = key(
        None, "that weight; ~: the best of blend_weights by valid_metric", ge=0, le=1
    )
    blend_components: list[dict[str, Any]] | None = key(
        None, "written into a blend's checkpoint, not by hand"
    )
    other_defaults: ClassVar[dict[str, Any]] = {"train_neg_sample_args": None}


@dataclass(frozen=True)
class Plan:
    """What the keys `blend_…` ask for. models: empty where the checkpoints say it. files: empty: they are trained."""

    models: tuple[str, ...]
    settings: tuple[dict[str, Any], ...]
    files: tuple[str, ...]
    scale: str
    weights: tuple[float, ...]
    weight: float | None
    temperatures: tuple[float, float] | None


def plan_of(config: Any) -> Plan:
    """What the keys `blend_…` of a config ask for; UsageError where they do not go together."""
    keys = settings_of(config, BlendSettings)
    weights = tuple(sorted(keys.blend_weights))
    found = keys.blend_scale, weights, keys.blend_weight, _temperatures(keys)
    if keys.blend_components is not None:  # a blend's checkpoint, which says all the rest
        return Plan(tuple(own["model"] for own in keys.blend_components), ({}, {}), (), *found)
    files, models = tuple(keys.blend_from or ()), tuple(keys.blend_models or ())
    if not files and not models:
        raise UsageError(
            "Blend needs two models: give blend_models, as in --blend_models=[HRNNFeat,SASRec], or blend_from"
        )
    if config["model"] in models:
        raise UsageError(f"blend_models names {config['model']}: a blend is made of two other models")
    for file in files:
        if not Path(file).is_file():
            raise UsageError(f"blend_from names {file}, which does not exist")
    if len(set(files)) == 1:
        raise UsageError(f"blend_from names {files[0]} twice: name two checkpoints")
    if files and keys.blend_settings is not None:
        raise UsageError("blend_from brings the settings of its runs: leave blend_settings out")
    settings = _settings(keys.blend_settings, models)
    if len(set(models)) == 1 and settings[0] == settings[1] and not files:
        raise UsageError(
            f"blend_models names {models[0]} twice with the same settings: make them differ by blend_settings, a list "
            "of two dicts"
        )
    return Plan(models, settings, files, *found)


def _settings(given: Any, models: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    if isinstance(given, Mapping):
        if len(set(models)) != 2:
            raise UsageError("blend_settings are those of one model twice: write a list of two dicts")
        for name in given:
            if name not in models:
                raise UsageError(
                    f"blend_settings holds {name}, and blend_models are {', '.join(models)}: name one of these"
                )
        given = [given.get(name) for name in models]
    first, second = given or (None, None)
    return first or {}, second or {}


def _temperatures(keys: BlendSettings) -> tuple[float, float] | None:
    if keys.blend_temperatures is None:
        return None
    if keys.blend_scale != "softmax":
        raise UsageError(
            f"blend_temperatures are for blend_scale softmax, and it is {keys.blend_scale}: leave them out"
        )
    first, second = keys.blend_temperatures
    return first, second


def _component_configs(config: Any, plan: Plan) -> list[Any]:
    """Configs of the two components; those of a checkpoint of the blend are in it (key blend_components)."""
    stored = settings_of(config, BlendSettings).blend_components
    if stored is not None:
        found = [config_from_plain(plain) for plain in stored]
        for own in found:
            if own.model_class is None:
                raise UsageError(unknown_class(own["model"], None, "a model of the blend"))
            own["data_path"] = config["data_path"]
        return found
    if not plan.files:
        labels = _labels(plan.models)
        return [component_config(config, *pair) for pair in zip(plan.models, plan.settings, labels)]
    found = [checkpoint_config(config, file) for file in plan.files]
    names = tuple(own["model"] for own in found)
    if plan.models and plan.models != names:
        raise UsageError(
            f"blend_models are {', '.join(plan.models)}, and the checkpoints of blend_from hold {', '.join(names)}: "
            "leave blend_models out"
        )
    return found


def _labels(names: Any) -> list[str]:
    names = list(names)
    if len(set(names)) == len(names):
        return names
    return [f"{name}-{place}" for place, name in enumerate(names, start=1)]


class Blend(SequentialRecommender):
    """Two models and the weight of the second.

    parts: the components. weight: None until it is chosen. temperatures: of the scores, for scale softmax.
    trained: how many components are trained. notes: what a reader of the result has to know.

    Raises UsageError for wrong keys, and when a component's data are not the blend's.
    """

    settings_class = BlendSettings
    input_type = InputType.POINTWISE  # the components draw their own negatives
    carries_methods = "is made of two models, which may carry a method each"

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        if not isinstance(dataset, SessionDataset):
            raise UsageError("Blend needs rows of (prefix, target): set data_layout: pointers")
        self.plan = plan_of(config)
        configs = _component_configs(config, self.plan)
        self.labels = _labels(own["model"] for own in configs)
        files = self.plan.files or (None, None)
        self.parts = [Component(*each) for each in zip(configs, self.labels, files)]
        for part in self.parts:
            part.check_same_data(dataset)
        # with these, a checkpoint can be read where the two models' yaml files have changed
        self.stored_configs = config["blend_components"] = [config_to_plain(own) for own in configs]
        self.components = nn.ModuleList(part.model for part in self.parts)
        self.weight = self.plan.weight
        self.temperatures = self.plan.temperatures
        self.trained = len(self.plan.files)
        self.own_notes: list[str] = []

    @classmethod
    def known_keys(cls, config: Any) -> set[str]:
        """Keys that a run may be given beside the blend's own: those of the two models."""
        plan = plan_of(config)
        configs = _component_configs(config, plan)
        # a checkpoint has its final values only
        return set().union(*(own.internal_config_dict or own.final_config_dict for own in configs))

    @property
    def notes(self) -> list[str]:
        """The components' notes, by name, and the blend's."""
        found = [f"{p.label}: {note}" for p in self.parts for note in getattr(p.model, "notes", [])]
        return found + self.own_notes

    def blended(self, events: Tensor) -> BlendScores:
        """Scores of the rows whose targets are at places `events` (B,); `start_ranking` comes first."""
        assert self.weight is not None, "the weight is chosen first"
        return self.pair(events, self.weight)

    def pair(self, events: Tensor, weight: float) -> BlendScores:
        """The same under any weight."""
        first, second = (part.scores(events) for part in self.parts)
        return BlendScores((first, second), weight, self.plan.scale, self.temperatures or (1.0, 1.0))

    def start_ranking(self) -> None:
        """Make the components ready to rank with the weights they have now."""
        for part in self.parts:
            part.start_ranking()

    @torch.no_grad()
    def full_sort_predict(self, interaction: Any) -> Tensor:
        """(B, n_items) blended scores of rows of our data set, known by their event_index."""
        self.start_ranking()
        return self.blended(interaction["event_index"]).dense()

    def predict(self, interaction: Any) -> Tensor:
        """(B,) scores of the rows' own items."""
        return (
            self.full_sort_predict(interaction).gather(1, interaction[self.ITEM_ID].unsqueeze(1)).squeeze(1)
        )

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Nothing is learnt here: BlendTrainer trains the components."""
        raise NotImplementedError("the components of a blend are trained by their own trainers")

    def other_parameter(self) -> dict[str, Any]:
        """Weight, temperatures and what the components keep beside their parameters, as plain data."""
        return {
            "weight": self.weight,
            "temperatures": None if self.temperatures is None else list(self.temperatures),
            "trained": self.trained,
            "own_notes": list(self.own_notes),
            "kept": [
                _encoded_other_parameter(part.model, bool(settings_of(part.config, Place).trust_pickle))
                for part in self.parts
            ],
        }

    def load_other_parameter(self, para: dict[str, Any] | None) -> None:
        """What `other_parameter` gave."""
        if para is None:
            return
        self.weight, self.trained, self.own_notes = para["weight"], para["trained"], para["own_notes"]
        self.temperatures = None if para["temperatures"] is None else tuple(para["temperatures"])
        for part, kept in zip(self.parts, para["kept"]):
            part.model.load_other_parameter(kept)
