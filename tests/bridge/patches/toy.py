"""A small data set, and runs on it that RecBole alone understands too."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import torch


def write_toy(folder: Path) -> None:
    """12 sessions of 4 to 6 events on 8 items, each item with a category token."""
    draw = random.Random(3)
    rows, clock = [], 0
    for session in range(12):
        for _ in range(4 + session % 3):
            clock += 1
            rows.append(f"s{session}\ti{draw.randrange(8)}\t{clock}")
    data = folder / "data" / "toy"
    data.mkdir(parents=True)
    (data / "toy.inter").write_text(
        "session_id:token\titem_id:token\ttimestamp:float\n" + "\n".join(rows) + "\n"
    )
    items = "".join(f"i{i}\tc{i % 3}\n" for i in range(8))
    (data / "toy.item").write_text("item_id:token\tcategory:token\n" + items)


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    """Everything a run on the toy needs, spelt out, so that RecBole alone understands it too."""
    return {
        "data_path": str(folder / "data"),
        "checkpoint_dir": str(folder / "saved"),
        "data_layout": "recbole",
        "USER_ID_FIELD": "session_id",
        "load_col": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "repeatable": True,
        "metrics": ["Hit", "NDCG"],
        "topk": [3],
        "valid_metric": "NDCG@3",
        "epochs": 1,
        "state": "ERROR",
        "show_progress": False,
        **more,
    }


def make_config(model: str, folder: Path, **more: Any) -> Any:
    from recbole.config import Config

    if not (folder / "data").exists():
        write_toy(folder)
    return Config(model, "toy", config_dict=settings(folder, **more))


def run_toy(model: str, folder: Path, **more: Any) -> dict[str, Any]:
    from recbole.quick_start import run_recbole

    if not (folder / "data").exists():
        write_toy(folder)
    return run_recbole(model, "toy", config_dict=settings(folder, **more))


POPULARITY = ["ItemCoverage", "AveragePopularity", "GiniIndex", "ShannonEntropy", "TailPercentage"]


def measured_lists(folder: Path, lists: list[list[int]]) -> Any:
    from recbole.evaluator import Collector, Evaluator

    conf = make_config("Pop", folder, metrics=POPULARITY, topk=[2], valid_metric="ItemCoverage@2")
    conf["metric_decimal_place"] = 6
    collector = Collector(conf)
    collector.data_struct.set("data.num_items", 6)  # the padding among them
    collector.data_struct.set("data.count_items", Counter({1: 6, 2: 3, 3: 1}))
    collector.data_struct.update_tensor("rec.items", torch.tensor(lists))
    first = Evaluator(conf).evaluate(collector.get_data_struct())
    left = sorted(collector.data_struct._data_dict)  # what training counted stays, what was recommended goes
    return [{key: float(value) for key, value in first.items()}, left]


def toy_data(conf: Any) -> Any:
    from recbole.data import create_dataset

    return create_dataset(conf)
