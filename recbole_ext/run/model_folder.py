"""The model folder that a run leaves: all that asking the model needs, without the data set and without pickle.

model.json           format, versions, the run, the model's settings, what it reads of a session; of a model that cannot
                     be asked for a session that it never saw, the sentence that says why
items.json           names of items, of feature tokens and of event kinds, by row
items.safetensors    item features, which of them are missing, training events of each item
weights.safetensors  weights, and what a model that counts has learnt
README.md            the model card: data, protocol, figures by slice, limits
SHA256SUMS           the sums of the others; see recbole_ext/sealed.py

recbole_ext/recommend reads it. docs/recommend.md says what every key is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from recbole_ext import sealed
from recbole_ext.bridge.checkpoint import encode, split_tensors
from recbole_ext.bridge.description import SESSION_VECTOR_MODELS
from recbole_ext.data.catalogue import Catalogue
from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.data.user_dataset import UserSessionDataset
from recbole_ext.errors import UsageError
from recbole_ext.files import torn
from recbole_ext.model.factored import Factored
from recbole_ext.plain import config_to_plain
from recbole_ext.records import run_name
from recbole_ext.run.model_place import MODEL

FORMAT = 1
ITEMS, FEATURES, WEIGHTS = "items.json", "items.safetensors", "weights.safetensors"
CARD = "README.md"
EXAMPLES = 3  # test sessions, without their names, that show what a list looks like

# models that RecBole evaluates by asking for one item at a time
_ONE_BY_ONE = frozenset({"DIN", "DIEN"})
_OF_A_GRAPH = frozenset({"GRU4RecKG", "KSR"})


def write_model_folder(
    folder: Path, record: Mapping[str, Any], config: Any, trainer: Any, train: Any, test: Any, card: str
) -> None:
    """Write the model of a tested run, with the weights that were tested, to `folder`, whole or not at all.

    record: the run's, of which versions, commit and names are kept. train, test: the data sets of these parts. card:
    the text of the model card. Of a model that cannot be asked, or keeps what has no plain form, the folder says so.
    Raises OSError as writing does.
    """
    cannot = refusal(config, test)
    tensors: dict[str, Tensor] = {}
    stated = {
        "format": FORMAT,
        "run": run_name(folder.resolve().parent),
        **{
            key: record[key] for key in ("model", "dataset", "seed", "started", "versions", "commit", "split")
        },
        "cannot": cannot,
        **({"own_classes": record["own_classes"]} if "own_classes" in record else {}),
    }
    if cannot is not None:
        sealed.write(folder, {MODEL: _json(stated), CARD: _text(card)})
        return
    average = getattr(trainer, "average", None)  # of a run that keeps no checkpoint: it was tested
    try:
        with nullcontext() if average is None else average.applied():
            stated["node"] = _node(trainer.model, config, trainer, test, "model", tensors)
            tensors = {name: _own(value) for name, value in tensors.items()}
        described, names, features = Catalogue.of(train).to_plain()
    except UsageError as error:  # a user's own model may keep what has no plain form
        stated.pop("node", None)
        sealed.write(folder, {MODEL: _json({**stated, "cannot": str(error)}), CARD: _text(card)})
        return
    stated["items"] = described
    stated["examples"] = _examples(test)
    sealed.write(
        folder,
        {
            MODEL: _json(stated),
            ITEMS: _json(names, indent=None),
            FEATURES: _tensors({name: _own(value) for name, value in features.items()}),
            WEIGHTS: _tensors(tensors),
            CARD: _text(card),
        },
    )


def refusal(config: Any, dataset: Any) -> str | None:
    """Why the model cannot be asked for a session that its run never saw, in a sentence; None: it can."""
    from recbole.utils import ModelType

    name = config["model"]
    encoder = getattr(config.model_class, "encoder_name", name)
    components = config["blend_components"] if name == "Blend" else None
    for part in [str(own["model"]) for own in components or ()]:
        if part in SESSION_VECTOR_MODELS:
            encoder = part
    if encoder in SESSION_VECTOR_MODELS:
        return (
            f"{name} cannot be asked: {encoder} learns a vector for each session of the log, and a new session has "
            "none, so train another model"
        )
    if encoder in _ONE_BY_ONE:
        return f"{name} cannot be asked: it scores one item at a time by a network over pairs, so train another model"
    if encoder in _OF_A_GRAPH:
        return (
            f"{name} cannot be asked: it reads vectors of a knowledge graph that lie beside the log, so train another "
            "model"
        )
    if config["MODEL_TYPE"] != ModelType.SEQUENTIAL and not isinstance(dataset, SessionDataset):
        return (
            f"{name} cannot be asked: here it learns a vector for each session of the log, and a new session has none, "
            "so train a sequential model"
        )
    return None


def _node(
    model: Any, config: Any, trainer: Any, dataset: Any, prefix: str, tensors: dict[str, Tensor]
) -> dict[str, Any]:
    """What describes one model; its tensors are put among `tensors`, named with `prefix`."""
    node: dict[str, Any] = {
        "model": config["model"],
        "module": type(model).__module__,
        "config": config_to_plain(config),
        "items": int(dataset.item_num),
        "factored": isinstance(model, Factored) or getattr(trainer, "factored", None) is not None,
        "reads": _reads(model, config, dataset),
        "notes": list(getattr(model, "notes", [])),
    }
    parts = getattr(model, "parts", None)
    if config["model"] == "Blend" and parts is not None:
        node["parts"] = [
            _node(part.model, part.config, part.trainer, part.dataset, f"{prefix}.{place}", tensors)
            for place, part in enumerate(parts)
        ]
        node["labels"] = list(model.labels)
        node["weight"] = model.weight
        node["scale"] = model.plan.scale
        node["temperatures"] = None if model.temperatures is None else list(model.temperatures)
        return node
    weights = model.ranking_state() if hasattr(model, "ranking_state") else model.state_dict()
    keeps = model.ranking_kept() if hasattr(model, "ranking_kept") else model.other_parameter()
    children = list(model.children())  # whose parameters are among the weights
    kept = {
        name: _encoded(name, value, config["model"])
        for name, value in (keeps or {}).items()
        if not any(value is child for child in children)
    }
    node["kept"], arrays = split_tensors(kept, f"{prefix}.kept")
    node["weights"] = sorted(weights)
    tensors.update(arrays)
    tensors.update({f"{prefix}.weight.{name}": value for name, value in weights.items()})
    return node


def _encoded(name: str, value: Any, model: str) -> Any:
    try:
        return encode(value)
    except TypeError as error:
        raise UsageError(
            f"{model} cannot be kept in a model folder, as its {name} holds {error}: keep arrays and plain values"
        ) from error


def _reads(model: Any, config: Any, dataset: Any) -> dict[str, Any]:
    """See data.live.Reads."""
    networks = getattr(model, "networks", None)
    encoder = networks[0].encoder if networks is not None else model
    whole = isinstance(dataset, UserSessionDataset)
    return {
        "longest": int(config["MAX_ITEM_LIST_LENGTH"]),
        "trims": bool(getattr(dataset, "trimmed", False)),
        "past": int(getattr(encoder, "past_limit", 0)),
        "whole": whole,
        "chain": whole and getattr(encoder, "user_state", "none") != "none",
        "start_step": bool(getattr(encoder, "start_step", False)),
    }


def _examples(dataset: Any) -> list[list[str]]:
    """Items of a few test sessions before their last targets; none where the data set does not keep whole sessions."""
    if not isinstance(dataset, SessionDataset) or not len(dataset):
        return []
    target = dataset.inter_feat[dataset.event_field].numpy()
    length = dataset.inter_feat[dataset.item_list_length_field].numpy()
    names = dataset.field2id_token[dataset.iid_field]
    items = dataset.events[dataset.iid_field].numpy()
    trained = dataset.train_items.numpy()
    found: list[list[str]] = []
    for place in range(len(target) - 1, -1, -1):
        prefix = items[target[place] - length[place] : target[place]]
        new = [str(names[item]) for item in prefix]
        if len(set(new)) >= 2 and trained[prefix].all() and not any(set(new) & set(old) for old in found):
            found.append(new)
        if len(found) == EXAMPLES:
            break
    return found


def _json(value: Any, indent: int | None = 1) -> Any:
    def write(path: Path) -> None:
        text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8")

    return write


def _text(text: str) -> Any:
    return lambda path: path.write_text(text, encoding="utf-8")


def _own(value: Tensor) -> Tensor:
    """A copy on the CPU, as safetensors takes no two tensors that share memory."""
    return value.detach().to("cpu", copy=True).contiguous()


def _tensors(tensors: dict[str, Tensor]) -> Any:
    def write(path: Path) -> None:
        try:
            save_file(tensors, path)
        except SafetensorError as error:  # what safetensors makes of a full disk
            raise torn(path) from error
        path.chmod(path.parent.stat().st_mode & 0o666)  # safetensors lets nobody else read it

    return write
