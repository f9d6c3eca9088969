"""A small log as atomic files, whose items follow one another, and what runs on it are given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

ITEMS = 24
SETTINGS: dict[str, Any] = {
    "data_path": "data",
    "use_gpu": False,
    "state": "ERROR",
    "show_progress": False,
    "metric_decimal_place": 9,
    "eval_args": {"split": {"session_time": [0.7, 0.1, 0.2]}},
}
TRAINED = {"epochs": 3, "train_batch_size": 64}
SMALL: dict[str, dict[str, Any]] = {  # keys that make a model small, by its name: one of each kind
    "GRU4Rec": {**TRAINED, "embedding_size": 8, "hidden_size": 8},
    "SASRecSQN": {
        **TRAINED,
        "hidden_size": 8,
        "inner_size": 8,
        "n_layers": 1,
        "rewards": {"view": 1, "purchase": 5},
    },
    "AR": {},
    "Blend": {**TRAINED, "blend_models": ["GRU4Rec", "AR"]},
}


def write_toy(folder: Path) -> None:
    """Atomic files of data set `toy` in folder/data, and the same events as folder/events.csv."""
    random = np.random.default_rng(3)
    rows, time = [], 0.0
    for session in range(90):
        time += float(random.integers(3600, 20_000))
        item = int(random.integers(ITEMS))
        for step in range(int(random.integers(2, 7))):
            kind = "purchase" if random.random() < 0.2 else "view"
            user = "" if session % 3 == 0 else f"u{session % 7}"
            rows.append((f"s{session}", user, f"i{item}", time + 30.0 * step, kind))
            item = (item + 1) % ITEMS if random.random() < 0.7 else int(random.integers(ITEMS))
    place = folder / "data" / "toy"
    place.mkdir(parents=True)
    head = "session_id:token\tuser_id:token\titem_id:token\ttimestamp:float\tevent:token"
    (place / "toy.inter").write_text("\n".join([head, *("\t".join(map(str, row)) for row in rows)]) + "\n")
    items = [f"i{n}\tc{n % 5}\t{n / 2 if n % 7 else ''}" for n in range(ITEMS)]
    (place / "toy.item").write_text("\n".join(["item_id:token\tcategory:token\tprice:float", *items]) + "\n")


def settings(model: str, **more: Any) -> dict[str, Any]:
    """What a run of the model on the toy is given."""
    return {**SETTINGS, **SMALL.get(model, {}), **more}


def write_experiment(folder: Path, models: Sequence[str] = ("AR", "GRU4Rec")) -> str:
    """The name of an experiment's file in the folder: two seeds of each model, a search of GRU4Rec's learning rate."""
    entries: list[Any] = [{"model": model, "settings": SMALL[model]} for model in models]
    entries[list(models).index("GRU4Rec")]["search"] = {"learning_rate": [0.01, 0.001]}
    content = {"title": "Toy", "datasets": ["toy"], "seeds": [1, 2], "settings": SETTINGS, "models": entries}
    (folder / "try.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return "try.yaml"


def words(model: str, **more: Any) -> list[str]:
    """The same as a command line."""
    given = settings(model, **more)
    return [f"--model={model}", "--dataset=toy", *(f"--{key}={value}" for key, value in given.items())]


@contextlib.contextmanager
def without_curves() -> Iterator[None]:
    """Runs draw no learning curve, which takes longer than they do."""
    with pytest.MonkeyPatch.context() as patch:
        from recbole_ext.run import record

        patch.setattr(record, "plot_learning_curve", lambda *args: args[-1].touch())
        yield


def run(folder: Path, model: str, **more: Any) -> dict[str, Any]:
    """The record of a run in the folder, made in this process."""
    import recbole_ext

    with contextlib.chdir(folder), without_curves():
        return recbole_ext.run(model, "toy", **settings(model, **more))
