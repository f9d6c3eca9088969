"""From the model folder of a run to a folder that answers without torch, see recommend/exported.py."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_ext import sealed
from recbole_ext.data.catalogue import Catalogue
from recbole_ext.errors import UsageError
from recbole_ext.model.item_encoder import ItemsRanked
from recbole_ext.recommend import exported, recommender
from recbole_ext.recommend.asked import Session
from recbole_ext.recommend.counted import COUNTED, described
from recbole_ext.recommend.encoders import NETWORKS, Encoder, encoder_of, write_encoder
from recbole_ext.recommend.exported import ARRAYS_FILE, ENCODER, FORMAT, ITEMS, SCAN, STATED, VECTORS
from recbole_ext.recommend.folder import ModelFolder, Part, read
from recbole_ext.recommend.lists import Lister, run_of
from recbole_ext.run.model_folder import CARD
from recbole_ext.scores.table import groups

REQUIREMENTS = "requirements.txt"
NEEDS = {"network": ("numpy", "pandas", "onnxruntime"), "counted": ("numpy", "pandas")}
CHECKED = 256  # made-up sessions whose lists are compared
CLOSE = 1e-4  # share of a list's largest score by which its scores may differ
LEAST = {False: 0.999, True: 0.99}  # share of lists that are the same, by int8
LEVELS = 63  # of 8 bits, as processors without VNNI add up two products in 16

_Write = Callable[[Path], Any]


@dataclass(frozen=True)
class Summary:
    """folder: what was written, of size bytes. same, checked: lists that were the run's, of made-up sessions."""

    folder: Path
    size: int
    same: int
    checked: int


def export(run: str | Path, out: str | Path, int8: bool = False) -> Summary:
    """Write the model of a run to the folder `out`, for `load` without torch; whole or not at all.

    int8: item vectors are looked through in 8 bits, and the best of what these choose are ranked exactly.
    Raises UsageError in one sentence: a model that cannot be exported, a folder `out` that is none of ours, packages
    that are missing, and lists that are not the run's.
    """
    folder, out = read(run), Path(out)
    if out.exists() and not exported.is_one(out):
        raise UsageError(f"{out} is there already and no exported folder: name another one")
    name = folder.stated["model"]
    if name not in (*NETWORKS, *COUNTED):  # said before the model is made, whose class may not be known here
        raise UsageError(
            f"{name} cannot be exported, only {', '.join((*NETWORKS, *COUNTED))}: load the run itself, or train one of "
            "these"
        )
    files = _files(folder, folder.part(folder.catalogue, torch.device("cpu")), int8)
    if CARD in folder.sums:  # folders of before 0.2 have none
        files[CARD] = _copy_of(folder.path / CARD)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f"{out.name}.") as place:
        made = Path(place) / out.name
        sealed.write(made, files)
        theirs = exported.load(made)
        same = _same_lists(recommender.load(run), theirs)
        if same < LEAST[int8] * CHECKED:
            raise UsageError(
                f"{folder.stated['model']} of {folder.path} cannot be exported here, as {CHECKED - same} of {CHECKED} "
                "lists were not those of the run: load the run itself"
            )
        size = sum(file.stat().st_size for file in made.iterdir())
        sealed.write(out, {name: _copy_of(made / name) for name in files})
    return Summary(out, size, same, CHECKED)


def _copy_of(source: Path) -> _Write:
    return lambda path: shutil.copyfile(source, path)


def _files(folder: ModelFolder, part: Part, int8: bool) -> dict[str, _Write]:
    if part.name in COUNTED:
        if int8:
            raise UsageError(f"{part.name} has no item vectors, which int8 is about: leave it out")
        told, arrays = described(part.model, part.reads.longest)
        return _with_items(folder, part, "counted", told, arrays, {})
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"export needs {' and '.join(missing)}: pip install recbole-ext[onnx]")
    encoder = encoder_of(part)
    arrays = {name: getattr(encoder, name).numpy().copy() for name in ("scale", "bias", "rankable", "unseen")}
    vectors = encoder.vectors.float().numpy().copy()
    arrays |= _groups(part.model, encoder.vectors.float())
    files: dict[str, _Write] = {
        ENCODER: lambda path: write_encoder(encoder, path),
        VECTORS: lambda path: np.save(path, vectors, allow_pickle=False),
    }
    if int8:
        files[SCAN] = lambda path: _write_scan(vectors, arrays["scale"], path)
    more = {"int8": int8, "repeat_bias": encoder.repeat_bias}
    return _with_items(folder, part, "network", more, arrays, files)


def _groups(model: Any, vectors: torch.Tensor) -> dict[str, np.ndarray]:
    """Where many items share what is behind the first columns: `group` (n_items,) of each, and `shared` (G, …)."""
    own = model.items.parts[0] if isinstance(model, ItemsRanked) and len(model.items.parts) == 2 else 0
    found = groups(vectors, vectors, own) if own else None
    if found is None:
        return {}
    return {"group": found[1].numpy().astype(np.int32), "shared": found[0].numpy().copy()}


def _with_items(
    folder: ModelFolder,
    part: Part,
    kind: str,
    more: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    files: Mapping[str, _Write],
) -> dict[str, _Write]:
    """The files, and those that every exported folder has."""
    catalogue = folder.catalogue
    features, numbers = _features(catalogue)
    kept = ("model", "dataset", "seed", "started", "versions", "commit", "split", "examples")
    columns = ("item_field", "session_field", "time_field", "event_field", "time_origin")
    stated = {
        "format": FORMAT,
        "kind": kind,
        "run": run_of(folder.stated, folder.path),
        **{key: folder.stated[key] for key in kept},
        "starts": part.starts,
        "reads": asdict(part.reads),
        "category_field": str(part.config["category_field"]),
        "columns": {name: getattr(catalogue, name) for name in columns},
        **more,
    }
    named = [catalogue.item_field, *([catalogue.event_field] if catalogue.event_field else [])]
    items = {"names": {name: list(catalogue.names[name]) for name in named}, "features": features}
    own: dict[str, Any] = {
        "counts": catalogue.counts.numpy(),
        "recent": catalogue.recent.numpy(),
        **numbers,
        **arrays,
    }
    needs = "".join(f"{package}>={_version(package)}\n" for package in NEEDS[kind])
    return {
        STATED: _json(stated, 1),
        ITEMS: _json(items, None),
        ARRAYS_FILE: lambda path: np.savez(path, **own),
        REQUIREMENTS: lambda path: path.write_text(needs, encoding="ascii"),
        **files,
    }


def _features(catalogue: Catalogue) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Columns of features for JSON, None where they are numbers, and these by `feature.<name>`."""
    told: dict[str, Any] = {}
    numbers = {}
    for name in catalogue.features:
        column = catalogue.column(name)
        if column.dtype.kind == "f":
            told[name], numbers[f"feature.{name}"] = None, column
        else:
            told[name] = [list(value) if isinstance(value, tuple) else value for value in column]
    return told, numbers


def _version(package: str) -> str:
    """The oldest version that pyproject.toml asks for."""
    return {"numpy": "1.26", "pandas": "2.2", "onnxruntime": "1.20"}[package]


def _json(value: Any, indent: int | None) -> _Write:
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False) + "\n"
    return lambda path: path.write_text(text, encoding="utf-8")


def _write_scan(vectors: np.ndarray, scale: np.ndarray, path: Path) -> None:
    """states (B, e) uint8 above ZERO and size (B, 1), what one of their steps is, to scores (B, n_items) * scale."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    step = np.maximum(np.abs(vectors).max(axis=1), np.float32(1e-30)) / LEVELS  # (n_items,)
    rounded = np.rint(vectors / step[:, None]).astype(np.int8).T.copy()  # (e, n_items)
    count = len(vectors)
    graph = helper.make_graph(
        [
            helper.make_node("MatMulInteger", ["states", "vectors", "zero"], ["sums"]),
            helper.make_node("Cast", ["sums"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["floats", "step"], ["by_item"]),
            helper.make_node("Mul", ["by_item", "size"], ["scores"]),
        ],
        "scan",
        [
            helper.make_tensor_value_info("states", TensorProto.UINT8, ["B", vectors.shape[1]]),
            helper.make_tensor_value_info("size", TensorProto.FLOAT, ["B", 1]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", count])],
        [
            numpy_helper.from_array(rounded, "vectors"),
            numpy_helper.from_array(np.array(exported.ZERO, dtype=np.uint8), "zero"),
            numpy_helper.from_array((step * scale).astype(np.float32), "step"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8  # which older versions of onnxruntime read too
    onnx.save(model, str(path))


# --- the lists are the run's ---------------------------------------------------------------------------------


def _same_lists(ours: Lister, theirs: Lister) -> int:
    """How many of CHECKED made-up sessions have the same list by both, up to items of the same score."""
    random = np.random.default_rng(1)
    names = ours.items
    sessions = []
    for _ in range(CHECKED):
        length, before = random.integers(1, 12), random.integers(0, 8)
        past = [names[random.integers(len(names), size=before)].tolist()] if before else []
        items = names[random.integers(len(names), size=length)].tolist()
        sessions.append(Session(items, history=past if ours.reads_history else ()))
    first, second = (asker.lists(sessions, min(20, len(names))) for asker in (ours, theirs))
    scale = np.abs(np.nan_to_num(first.scores)).max(axis=1, keepdims=True)
    close = np.abs(np.nan_to_num(first.scores) - np.nan_to_num(second.scores)) <= CLOSE * scale
    alike = (first.items == 0) == (second.items == 0)
    same = (first.items == second.items).all(axis=1)
    return int((same | (close & alike).all(axis=1)).sum())


__all__ = ["Encoder", "Summary", "export"]
