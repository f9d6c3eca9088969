"""From a model folder to the model that it holds, and to the model again with items more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from recbole.utils import ModelType
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from recbole_ext import sealed
from recbole_ext.bridge.checkpoint import decode, join_tensors
from recbole_ext.bridge.own_models import require, unknown_class
from recbole_ext.data.catalogue import Catalogue
from recbole_ext.data.live import Reads
from recbole_ext.errors import UsageError
from recbole_ext.plain import config_to_plain
from recbole_ext.run.model_folder import FEATURES, FORMAT, ITEMS, WEIGHTS
from recbole_ext.run.model_place import FOLDER, MODEL, place_of

_POPULAR_FIRST = ("Pop", "CategoryPop")


@dataclass(frozen=True)
class Part:
    """One model: its settings in plain form, itself in evaluation mode, and what it reads.

    factored: it scores by a product of vectors. parts, weight, scale, temperatures: of a Blend, which is no model of
    its own here; empty and None else. label: what a blend calls it.
    """

    name: str
    label: str
    config: Any
    model: Any
    reads: Reads
    factored: bool
    parts: tuple[Part, ...] = ()
    weight: float = 0.0
    scale: str = ""
    temperatures: tuple[float, float] | None = None

    @property
    def starts(self) -> bool:
        """Whether it has learnt what it ranks before a first event: by such targets, or as what is popular."""
        if self.parts:
            return all(own.starts for own in self.parts)
        counts = self.name in _POPULAR_FIRST or getattr(self.model, "learns_in_one_pass", False)
        trained = self.config["empty_history"] and self.config["MODEL_TYPE"] == ModelType.SEQUENTIAL
        return bool(counts or trained)


@dataclass(frozen=True)
class ModelFolder:
    """A folder that was read and found whole. stated: what model.json says. sums: of its files."""

    path: Path
    stated: Mapping[str, Any]
    catalogue: Catalogue
    sums: Mapping[str, str]
    _weights: list[Mapping[str, Tensor]] = field(default_factory=list, repr=False)  # of the first part alone

    def part(self, catalogue: Catalogue, device: torch.device) -> Part:
        """The model over the items of `catalogue`, which is the folder's or one grown from it.

        Raises UsageError where its class is not known here, or cannot do with more items, and where the folder is read
        again, for a second part, and has changed.
        """
        require(self.stated, self.path)
        tensors = self._weights.pop() if self._weights else self._read_again()
        with torch.random.fork_rng(devices=[]):  # constructors draw first weights
            return _part(self.stated["node"], "model", catalogue, tensors, device, "")

    def _read_again(self) -> Mapping[str, Tensor]:
        if not self.path.is_dir() or sealed.check(self.path) != self.sums:
            raise UsageError(f"{self.path} is not the folder that was loaded any more: load it again")
        return load_file(self.path / WEIGHTS)

    def shapes(self, config: Any) -> dict[str, torch.Size]:
        """By name the shapes of the weights that the model would have with the settings of another Config of its class,
        over the same items. Raises what the model's constructor raises."""
        node = {**self.stated["node"], "config": config_to_plain(config)}
        settings, kept = _config(node, torch.device("cpu")), self._read_again()
        with torch.random.fork_rng(devices=[]):
            model = _without_weights(settings, self.catalogue.for_model(settings), _kept(node, kept))
        return {name: value.shape for name, value in model.named_parameters()}


def read(folder: str | Path) -> ModelFolder:
    """Read and check a model folder, or a run's.

    Raises UsageError in one sentence: there is none, a file was cut or changed, another version wrote it, or its model
    cannot be asked for a new session.
    """
    place = place_of(folder)
    files = sealed.check(place)
    try:
        stated = json.loads((place / MODEL).read_text(encoding="utf-8"))
        version = stated["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{place} is no model folder: name a run's folder that has {FOLDER}/") from error
    if version != FORMAT:
        raise UsageError(
            f"{place} is a model folder of format {version}, and this version reads format {FORMAT}: load it with "
            f"recbole_ext {stated.get('versions', {}).get('recbole_ext', 'of another version')}, or train again"
        )
    if stated["cannot"] is not None:
        raise UsageError(stated["cannot"])
    try:
        names = json.loads((place / ITEMS).read_text(encoding="utf-8"))
        catalogue = Catalogue.from_plain(stated["items"], names, load_file(place / FEATURES))
        tensors = load_file(place / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UsageError(
            f"{place} lacks a part of its model ({error}; it has {', '.join(files)}): train the model again"
        ) from error
    return ModelFolder(place, stated, catalogue, files, [tensors])


def _part(
    node: Mapping[str, Any],
    prefix: str,
    catalogue: Catalogue,
    tensors: Mapping[str, Tensor],
    device: torch.device,
    label: str,
) -> Part:
    config = _config(node, device)
    reads = Reads(**node["reads"])
    name = str(node["model"])
    if "parts" in node:
        parts = tuple(
            _part(own, f"{prefix}.{place}", catalogue, tensors, device, node["labels"][place])
            for place, own in enumerate(node["parts"])
        )
        temperatures = node["temperatures"]
        return Part(
            name,
            label or name,
            config,
            None,
            reads,
            False,
            parts,
            float(node["weight"]),
            node["scale"],
            None if temperatures is None else (temperatures[0], temperatures[1]),
        )
    own = catalogue.for_model(config)
    weights = {key: tensors[f"{prefix}.weight.{key}"] for key in node["weights"]}
    model = _made(config, own, _kept(node, tensors), weights, node)
    return Part(name, label or name, config, model.to(device).eval(), reads, bool(node["factored"]))


def _kept(node: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {key: join_tensors(value, tensors) for key, value in node["kept"].items()}


def _config(node: Mapping[str, Any], device: torch.device) -> Any:
    from recbole_ext.bridge.registry import install
    from recbole_ext.bridge.stored_config import config_from_plain

    install()
    config = config_from_plain(node["config"])
    config["device"] = device
    if config.model_class is None:
        raise UsageError(unknown_class(str(node["model"]), None))
    return config


def _made(
    config: Any,
    catalogue: Catalogue,
    kept: dict[str, Any],
    weights: dict[str, Tensor],
    node: Mapping[str, Any],
) -> Any:
    name = node["model"]
    try:
        model = _without_weights(config, catalogue, kept)
        shapes = {key: value.shape for key, value in model.state_dict().items()}
        more = catalogue.item_num - node["items"]
        grown = {key: _grown(value, shapes.get(key), more) for key, value in weights.items()}
        missing, unknown = model.load_state_dict(grown, strict=False, assign=True)
    except AttributeError as error:
        raise UsageError(
            f"{name} asks its data set for what a model folder does not hold ({error}): a model that is to be asked "
            "reads sizes, names and item features alone"
        ) from error
    except (RuntimeError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UsageError(
            f"the weights of {name} are not those of its settings ({str(error).splitlines()[0]}): train it again"
        ) from error
    if unknown or (missing and not hasattr(config.model_class, "restored")):
        raise UsageError(f"the weights of {name} lack {[*missing, *unknown][0]}: train it again")
    return model


def _without_weights(config: Any, catalogue: Catalogue, kept: Mapping[str, Any]) -> Any:
    """The model as its constructor leaves it, with what it keeps beside its weights."""
    cls = config.model_class
    if hasattr(cls, "restored"):
        return cls.restored(config, catalogue, {key: decode(value) for key, value in kept.items()})
    model = cls(config, catalogue)
    model.load_other_parameter({key: decode(value, getattr(model, key, None)) for key, value in kept.items()})
    return model


def _grown(value: Tensor, shape: torch.Size | None, more: int) -> Tensor:
    """With rows of zeros behind where the shape says that the rows are items, of which there are `more` now."""
    if not shape or value.dim() == 0 or value.shape[1:] != shape[1:] or shape[0] - len(value) != more:
        return value
    return torch.cat((value, value.new_zeros(more, *value.shape[1:])))
