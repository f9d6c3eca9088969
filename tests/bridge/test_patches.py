"""Every patch of recbole_ext.bridge.patches mends what it says: a scenario breaks without it and is right with it.

Without: the scenario runs in a process of its own with `apply(skip=[patch])` (this file is also its script).
With: it runs with all patches, in this process unless it looks at what an import does.
"""

import gc
import importlib.util
import json
import os
import pickle
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from recbole_ext.bridge import patches as compat
from recbole_ext.bridge import registry
from recbole_ext.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]

# --- a small data set -------------------------------------------------------------------------------------


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


# --- scenarios: what each patch is for --------------------------------------------------------------------


def sklearn_later(folder: Path) -> Any:
    """Whether importing it waits for its first use; its results are its own."""
    from recbole.evaluator import metrics
    from recbole.model.general_recommender import nceplrec, slimelastic

    from recbole_ext.bridge import registry

    slim = vars(slimelastic)
    registry.register()  # which enters a module of ours in place of slimelastic
    waits = "sklearn" not in sys.modules
    area = metrics.sk_auc(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 1.0]))
    names = [metrics.sk_auc, metrics.mean_squared_error, metrics.mean_absolute_error]
    names += [slim["ElasticNet"], slim["ConvergenceWarning"], nceplrec.randomized_svd]
    return [waits, area, [name.__module__.partition(".")[0] for name in names]]


def numpy_aliases(folder: Path) -> Any:
    make_config("BPR", folder)
    return [np.float is np.float64, np.unicode is np.str_]


def break_ray(folder: Path) -> None:
    broken = folder / "broken" / "ray"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("import pkg_resources_of_old_setuptools\n")
    sys.path.insert(0, str(broken.parent))


def ray_optional(folder: Path) -> Any:
    """The ray that is found first cannot be imported (see `break_ray`); later one is found that can."""
    working = folder / "working" / "ray"
    working.mkdir(parents=True)
    (working / "__init__.py").write_text("")
    tune = "def run(): return 'real tune'\ndef report(**metrics): return 'reported'\n"
    (working / "tune.py").write_text(tune)
    from recbole.quick_start import quick_start

    seen = {"loaded": "ray" in sys.modules, "report": quick_start.tune.report(hit=1)}
    try:
        quick_start.tune.run()
    except ImportError as error:
        seen["sentence"] = str(error)
    sys.path.insert(0, str(working.parent))
    seen["run"] = quick_start.tune.run()
    seen["report with ray"] = quick_start.tune.report(hit=1)
    return seen


def checkpoints(folder: Path) -> Any:
    result = run_toy("BPR", folder)
    [file] = (folder / "saved").glob("*.pth")
    state = torch.load(file, weights_only=True)
    return [sorted(result["test_result"]), state["config"]["model"], sorted(state)]


def data_caches(folder: Path) -> Any:
    conf = make_config("BPR", folder)
    from recbole.data import create_dataset, data_preparation

    (folder / "saved").mkdir()
    for name in ("toy-Dataset", "toy-for-BPR-dataloader"):
        (folder / "saved" / f"{name}.pth").write_bytes(pickle.dumps(Bomb(folder / f"{name} went off")))
    try:
        data_preparation(conf, create_dataset(conf))
    except Exception as error:  # what RecBole makes of a pickle that is no data set does not matter here
        print(error, file=sys.stderr)
    return sorted(file.name for file in folder.glob("*went off"))


def saved_loaders(folder: Path) -> Any:
    """Whether the order in which rows come is the same with loaders that are saved and without."""
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import init_seed

    (folder / "saved").mkdir()
    orders = []
    for saves in (False, True):
        conf = make_config("BPR", folder, train_neg_sample_args=None, save_dataloaders=saves)
        train = data_preparation(conf, create_dataset(conf))[0]
        init_seed(7, True)
        orders.append(torch.cat([batch["timestamp"] for batch in train]).tolist())
    return [len(set(orders[0])), orders[0] == orders[1]]


class Bomb:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.folder,)


FEATURE_FILES = {
    "inter": "session_id:token\titem_id:token\ttimestamp:float\n"
    + "".join(f"s1\ti{k}\t{k}\n" for k in range(1, 6)),
    "item": "item_id:token\tcategory:token\tprice:float\tname:token_seq\tvec:float_seq\n"
    "i1\ta\t1\tx y\t1 2\n"  # i5 has no row at all
    "i2\t\t3\t\t4\n"
    "i3\tb\t\ty\t\n"
    "i4\ta\t2\tz\t0 2 3\n",
}


def item_features(folder: Path, columns: list[str], **more: Any) -> dict[str, Any]:
    """The item features that RecBole hands to a model, by field, row 0 = padding."""
    from recbole.data import create_dataset

    data = folder / "data" / "toy"
    if not data.exists():
        data.mkdir(parents=True)
        for suffix, text in FEATURE_FILES.items():
            (data / f"toy.{suffix}").write_text(text)
    load = {"inter": ["session_id", "item_id", "timestamp"], "item": ["item_id", *columns]}
    more = {"load_col": load, "filter_inter_by_user_or_item": False, **more}
    dataset = create_dataset(make_config("BPR", folder, **more))
    dataset._change_feat_format()
    return {column: dataset.item_feat[column].tolist() for column in columns}


def pandas_three(folder: Path) -> Any:
    seen: dict[str, Any] = {}
    cases: dict[str, tuple[list[str], dict[str, Any]]] = {
        "plain": (["category", "price"], {}),
        "sequences": (["name", "vec"], {}),
        "normalized": (["price", "vec"], {"normalize_field": ["price", "vec"]}),
        "discretized": (
            ["price", "vec"],
            {
                "numerical_features": ["price", "vec"],
                "discretization": {name: {"method": "ED", "bucket": 2} for name in ("price", "vec")},
            },
        ),
    }
    for name, (columns, more) in cases.items():
        try:
            seen[name] = item_features(folder, columns, **more)
        except Exception as error:
            seen[name] = f"{type(error).__name__}: {error}"
    return seen


# worked out on paper: missing token 0, missing price the mean of 1, 3, 2, missing sequence empty
FEATURES = {
    "plain": {"category": [0, 1, 0, 2, 1, 0], "price": [2, 1, 3, 2, 2, 2]},
    "sequences": {
        "name": [[0, 0], [1, 2], [0, 0], [2, 0], [3, 0], [0, 0]],
        "vec": [[0, 0, 0], [1, 2, 0], [4, 0, 0], [0, 0, 0], [0, 2, 3], [0, 0, 0]],
    },
    "normalized": {
        "price": [0.5, 0, 1, 0.5, 0.5, 0.5],
        "vec": [[0, 0, 0], [0.25, 0.5, 0], [1, 0, 0], [0, 0, 0], [0, 0.5, 0.75], [0, 0, 0]],
    },
    "discretized": {  # pairs (1, bucket), buckets 1 and 2 of [1, 3] and [0, 4]; padding (0, 0)
        "price": [[1, 1], [1, 1], [1, 2], [1, 1], [1, 1], [1, 1]],
        "vec": [
            [[0, 0], [0, 0], [0, 0]],
            [[1, 1], [1, 1], [0, 0]],
            [[1, 2], [0, 0], [0, 0]],
            [[0, 0], [0, 0], [0, 0]],
            [[1, 1], [1, 1], [1, 2]],
            [[0, 0], [0, 0], [0, 0]],
        ],
    },
}
FEATURES["discretized"]["vec"][4][2] = [1, 2]  # 3 * 2 / 4 + 1 = 2.5


def small_log(folder: Path, rows: list[str], item: str = "") -> Any:
    """The data set of a small log: `session item time` a row; `item`: the text of its .item file."""
    from recbole.data import create_dataset

    data = folder / "data" / "toy"
    data.mkdir(parents=True)
    text = "session_id:token\titem_id:token\ttimestamp:float\n"
    (data / "toy.inter").write_text(text + "".join("\t".join(row.split(" ")) + "\n" for row in rows))
    if item:
        (data / "toy.item").write_text(item)
    return create_dataset(make_config("BPR", folder, filter_inter_by_user_or_item=False))


def atomic_files(folder: Path) -> Any:
    """The items of a log that calls one NA."""
    dataset = small_log(folder, ["s1 a 1", "s1 NA 2", "s1 b 3"])
    return dataset.field2id_token["item_id"].tolist()


def event_order(folder: Path) -> Any:
    """The items of a session in order of time: one has none, two tie as float32."""
    dataset = small_log(folder, ["s1 a 1700000000", "s1 b 1600000002", "s1 c ", "s1 d 1600000001"])
    dataset._change_feat_format()
    dataset.sort(by="timestamp")
    return dataset.field2id_token["item_id"][dataset.inter_feat["item_id"].numpy()].tolist()


def numbers(folder: Path) -> Any:
    """Prices, of which one is infinite, one missing, and one that of an item of the test part alone."""
    rows = ["s1 a 1", "s1 b 2", "s1 c 3", "s1 d 4", "s1 e 5"]
    item = "item_id:token\tprice:float\na\t1\nb\t3\nc\tinf\nd\t\ne\t70\n"
    return small_log(folder, rows, item).build()[0].item_feat["price"].tolist()


def samplers(folder: Path) -> Any:
    """The items that popularity and chance draw for training, where e and f are in no training event."""
    from recbole.data.utils import create_samplers

    rows = ["s1 a 1", "s1 b 2", "s1 e 3", "s1 f 4", "s2 b 1", "s2 a 2", "s2 e 3", "s2 f 4"]
    dataset = small_log(folder, rows)
    parts = dataset.build()
    drawn = []
    for distribution in ("popularity", "uniform"):
        args = {"distribution": distribution, "alpha": 1.0}
        dataset.config["train_neg_sample_args"] = args
        dataset.config["valid_neg_sample_args"] = dataset.config["test_neg_sample_args"] = args
        train, _, _ = create_samplers(dataset.config, dataset, parts)
        drawn.append(sorted(set(train.sampling(200).tolist())))
    return drawn


def scipy_dok(folder: Path) -> Any:
    return sorted(run_toy("LightGCN", folder, embedding_size=4)["test_result"])


POPULARITY = ["ItemCoverage", "AveragePopularity", "GiniIndex", "ShannonEntropy", "TailPercentage"]


def collector_ints(folder: Path) -> Any:
    """Three users with two recommended items each, of five; items 1, 2, 3 were seen 6, 3 and 1 times."""
    return measured_lists(folder, [[1, 2], [1, 3], [1, 2]])


def list_metrics(folder: Path) -> Any:
    """The same with a list of one item; the padding is no item."""
    return measured_lists(folder, [[1, 2], [1, 0], [1, 2]])[0]


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


SHORT_LIST_BY_HAND = {
    "itemcoverage@2": 0.4,  # 2 of 5
    "averagepopularity@2": 5.0,  # (4.5 + 6 + 4.5) / 3
    "giniindex@2": 0.64,  # (2*2 + 4*3) / 5 / 5
    "shannonentropy@2": 0.336506,  # -(3/5 ln 3/5 + 2/5 ln 2/5) / 2
    "tailpercentage@2": 0.0,
}


def candidate_counts(folder: Path) -> Any:
    """Of items 1 to 4: two users whose history holds one and two of them; then two drawn candidates each."""
    from recbole.data.interaction import Interaction
    from recbole.trainer import Trainer

    nowhere = -torch.inf
    scores = torch.tensor([[0.0, 0.3, nowhere, 0.1, nowhere], [0.0, 0.3, 0.2, 0.1, nowhere]])
    collector = SimpleNamespace(candidates=None)
    trainer = SimpleNamespace(
        model=SimpleNamespace(
            full_sort_predict=lambda rows: scores.clone(),
            predict=lambda rows: scores[[0, 0, 1, 1], [2, 1, 4, 1]],
        ),
        **{"device": "cpu", "tot_item_num": 5, "test_batch_size": 9, "eval_collector": collector},
        config={"eval_type": ranking_type(), "ITEM_ID_FIELD": "item_id"},
    )
    rows, number = Interaction({"item_id": torch.tensor([2, 1, 4, 1])}), torch.tensor([0, 0, 1, 1])
    history = (torch.tensor([0, 1, 1]), torch.tensor([1, 2, 3]))
    found = []
    for evaluate, batch in (
        (Trainer._full_sort_batch_eval, (rows, history, torch.tensor([0, 1]), torch.tensor([3, 4]))),
        (Trainer._neg_sample_batch_eval, (rows, number, torch.tensor([0, 1]), torch.tensor([2, 4]))),
    ):
        evaluate(trainer, batch)
        found.append(None if collector.candidates is None else collector.candidates.tolist())
    return found


def ranking_type() -> Any:
    from recbole.utils import EvaluatorType

    return EvaluatorType.RANKING


def exact_scores(folder: Path) -> Any:
    """One hit of three, at one decimal: what is shown, and what epochs are compared by."""
    from recbole.evaluator import Collector, Evaluator
    from recbole.trainer import Trainer

    conf = make_config("Pop", folder, metrics=["Hit"], topk=[1], valid_metric="Hit@1", metric_decimal_place=1)
    collector = Collector(conf)
    collector.data_struct.update_tensor("rec.topk", torch.tensor([[1, 1], [0, 1], [0, 1]]))
    evaluator = Evaluator(conf)
    trainer = SimpleNamespace(
        evaluate=lambda *args, **options: evaluator.evaluate(collector.get_data_struct()),
        **{"evaluator": evaluator, "valid_metric": "hit@1", "train_loss_dict": {}},
    )
    score, shown = Trainer._valid_epoch(trainer, None)
    return [round(float(score), 6), dict(shown)]


def early_stopping(folder: Path) -> Any:
    """A plateau of four after a first score: which evaluations stop, and which are the best so far."""
    from recbole.trainer import trainer

    best, since, told = -np.inf, 0, []
    for score in (0.25, 0.5, 0.5, 0.5, 0.5):
        best, since, stop, better = trainer.early_stopping(score, best, since, max_step=2, bigger=True)
        told.append([stop, better])
    return told


POPULARITY_BY_HAND = {
    "itemcoverage@2": 0.6,  # 3 of 5
    "averagepopularity@2": 4.166667,  # (4.5 + 3.5 + 4.5) / 3
    "giniindex@2": 0.533333,  # (0*1 + 2*2 + 4*3) / 6 / 5
    "shannonentropy@2": 0.337135,  # -(1/2 ln 1/2 + 1/3 ln 1/3 + 1/6 ln 1/6) / 3
    "tailpercentage@2": 0.166667,  # item 3, half of one user's list
}


class Counted(np.ndarray):
    """Counts the writes to it and to what is made like it."""

    writes = 0

    def __setitem__(self, key: Any, value: Any) -> None:
        Counted.writes += 1
        super().__setitem__(key, value)


HITS = np.array([[0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 0]], dtype=bool)
TARGETS = np.array([2, 1, 7, 1])


def metric_rows(folder: Path) -> Any:
    """How often the three metrics write to an array, and what they say of four rows."""
    from recbole.evaluator import metrics

    Counted.writes = 0
    hits, found = HITS.view(Counted), []
    for metric, given in ((metrics.MRR, ()), (metrics.MAP, (TARGETS,)), (metrics.NDCG, (TARGETS,))):
        values = metric.metric_info(None, hits, *given)
        found.append(np.round(np.asarray(values)[:, [0, 3]], 6).tolist())
    return [Counted.writes, found]


METRICS_BY_HAND = [
    [[0.0, 0.5], [0.0, 0.0], [1.0, 1.0], [0.0, 0.333333]],
    [[0.0, 0.5], [0.0, 0.0], [1.0, 1.0], [0.0, 0.333333]],  # (1/2 + 2/4) / 2, 4/4, 1/3
    # (1/lg 3 + 1/lg 5) / (1 + 1/lg 3), 1, 1/lg 4
    [[0.0, 0.650921], [0.0, 0.0], [1.0, 1.0], [0.0, 0.5]],
]


@pytest.mark.parametrize("kind", [bool, int])
def test_metrics_of_all_rows_are_those_of_each(kind):
    """… as RecBole counts them, to the last bit."""
    from recbole.evaluator import metrics

    compat.apply()
    draw = np.random.default_rng(4)
    hits = draw.random((300, 20)) < draw.random((300, 1)) ** 3
    targets = hits.sum(1) + draw.integers(0, 3, 300)
    if kind is bool:  # rows of one target, as a collector of single targets has them
        hits[:] = np.arange(20) == draw.integers(0, 30, (300, 1))
        targets = np.ones(300, bool)
    places = np.arange(1, 21)
    gain = 1.0 / np.log2(places.astype(float) + 1)
    ideal = np.cumsum(gain)
    mrr, average, ndcg = (np.zeros((300, 20)) for _ in range(3))
    for row, (hit, number) in enumerate(zip(hits, targets)):
        most = min(int(number), 20) or 20
        if hit.any():
            mrr[row, hit.argmax() :] = 1 / (hit.argmax() + 1)
        average[row] = np.cumsum(hit.cumsum() / places * hit) / np.minimum(places, most)
        ndcg[row] = np.cumsum(np.where(hit, gain, 0)) / ideal[np.minimum(places, most) - 1]
    assert np.array_equal(metrics.MRR.metric_info(None, hits), mrr)
    assert np.array_equal(metrics.MAP.metric_info(None, hits, targets), average)
    assert np.array_equal(metrics.NDCG.metric_info(None, hits, targets), ndcg)


def empty_sets(folder: Path) -> Any:
    """How many sets 12 users and the padding have, and what is sampled for one of them."""
    from recbole.data import create_dataset
    from recbole.sampler import RepeatableSampler
    from recbole.utils import init_seed

    dataset = create_dataset(make_config("BPR", folder))
    sampler = RepeatableSampler(["test"], dataset).set_phase("test")
    used = sampler.used_ids
    init_seed(1, True)
    drawn = sampler.sample_by_user_ids(np.array([3, 4]), np.array([1, 2]), 50).reshape(50, 2)
    never = not (drawn == torch.tensor([1, 2])).any()
    return [len(used), len({id(ids) for ids in used}), max(map(len, used)), drawn.unique().tolist(), never]


def row_numbers(folder: Path) -> Any:
    """What a loader keeps its rows' numbers in, and those of its batches."""
    from recbole.data import create_dataset, data_preparation

    conf = make_config("BPR", folder, train_neg_sample_args=None)
    loader = data_preparation(conf, create_dataset(conf))[0]
    return [type(vars(loader)["dataset"]).__name__, sum(map(len, loader))]


def anomaly_detection(folder: Path) -> Any:
    import recbole.model.sequential_recommender  # noqa: F401

    return torch.is_anomaly_enabled()


def session_graphs(folder: Path) -> Any:
    """A session's graph as both models have it, and its shape on a device whose values cannot be read."""
    from recbole.model.sequential_recommender.gcsan import GCSAN
    from recbole.model.sequential_recommender.srgnn import SRGNN

    session = torch.tensor([[7, 9, 8, 9, 4, 0]])
    seen = []
    for model in (SRGNN, GCSAN):
        graph = model._get_slice(SimpleNamespace(device="cpu"), session)
        unread = model._get_slice(SimpleNamespace(device="meta"), session.to("meta"))
        seen.append([[part.tolist() for part in graph], [list(part.shape) for part in unread]])
    return seen


# worked out on paper: nodes 0, 4, 7, 8, 9; first the six nodes' links in, then those out
GRAPH_BY_HAND = [
    [[2, 4, 3, 4, 1, 0]],
    [
        [
            [0, 0, 0, 0, 0, 0, *[0, 0, 0, 0, 0, 0]],
            [0, 0, 0, 0, 1, 0, *[0, 0, 0, 0, 0, 0]],
            [0, 0, 0, 0, 0, 0, *[0, 0, 0, 0, 1, 0]],
            [0, 0, 0, 0, 1, 0, *[0, 0, 0, 0, 1, 0]],
            [0, 0, 0.5, 0.5, 0, 0, *[0, 0.5, 0, 0.5, 0, 0]],
            [0, 0, 0, 0, 0, 0, *[0, 0, 0, 0, 0, 0]],
        ]
    ],
    [[0, 4, 7, 8, 9, 0]],
]
GRAPH_SHAPES = [[1, 6], [1, 6, 12], [1, 6]]
NO_PADDING = [[True, True, True, True, True, False]]


def folders_at_once(folder: Path) -> Any:
    """Whether a folder that another process made meanwhile is no fault."""
    import recbole.trainer.trainer as trainer
    import recbole.utils.logger as logger

    with mock.patch("os.path.exists", lambda path: False):  # as it looked a moment before
        for module in (trainer, logger):
            module.ensure_dir(str(folder))
    return folder.is_dir()


def device_choice(folder: Path) -> Any:
    """The device of a run that wants no GPU, where there is one."""
    there, torch.cuda.is_available = torch.cuda.is_available, lambda: True
    try:
        return make_config("BPR", folder, use_gpu=False)["device"].type
    finally:
        torch.cuda.is_available = there


def command_line(folder: Path) -> Any:
    """Arguments that belong to `python -c`, and a config value that looks like Python."""
    before, sys.argv = sys.argv, ["-c", "--learning_rate=7"]
    code = f"__import__('os').mkdir({str(folder / 'evaluated')!r})"
    try:
        conf = make_config("BPR", folder, note=code)
    finally:
        sys.argv = before
    return [conf["learning_rate"], (folder / "evaluated").exists()]


def config_files(folder: Path) -> Any:
    write_toy(folder)
    from recbole.config import Config

    conf = Config("GRU4Rec", "toy", config_dict={"eval_args": {"split": {"LS": "valid_only"}}})
    return [conf["LINK_USER_FIELD"], conf["eval_args"], conf["train_neg_sample_args"]["distribution"]]


def own_names(folder: Path) -> Any:
    """Whether each of ten trainers made at once would write to a checkpoint of its own."""
    conf = make_config("BPR", folder)
    from recbole.model.general_recommender import BPR
    from recbole.trainer import Trainer

    model = BPR(conf, toy_data(conf))
    return len({Trainer(conf, model).saved_model_file for _ in range(10)}) == 10


def toy_data(conf: Any) -> Any:
    from recbole.data import create_dataset

    return create_dataset(conf)


def own_logs(folder: Path) -> Any:
    """Two runs of one process: the messages in each log file, and the TensorBoard folders beside them."""
    import logging

    from recbole.utils import get_tensorboard, init_logger

    logging.getLogger().handlers.clear()
    for model in ("BPR", "Pop"):
        init_logger(make_config(model, folder, state="INFO"))
        logging.getLogger().info(f"this is {model}")
        get_tensorboard(logging.getLogger()).close()
    logs = sorted(Path("log").glob("*/*.log"))
    said = [[line.split("INFO")[1].strip() for line in log.read_text().splitlines()] for log in logs]
    folders = sorted(place.name for place in Path("log_tensorboard").iterdir())
    return [said, folders == sorted(log.stem for log in logs)]


def drawing_ends(folder: Path) -> Any:
    """A sampler of three items for a session that has two of them, and for one that has all; with a limit of time."""
    import signal

    from recbole.sampler.sampler import AbstractSampler

    class Few(AbstractSampler):
        item_num = 4

        def get_used_ids(self) -> Any:
            return np.array([set(), {1, 3}, {1, 2, 3}], dtype=object)

        def _uni_sampling(self, number: int) -> Any:
            return np.random.choice(
                [1, 3], number
            )  # never the one that may be, as if it were one of millions

    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(RuntimeError("it does not end")))
    signal.alarm(20)
    try:
        drawn = Few("uniform", 1.0).sample_by_key_ids([1, 1], 2).tolist()
        try:
            Few("uniform", 1.0).sample_by_key_ids([1, 2], 1)
        except UsageError as error:
            return [drawn, str(error)]
    finally:
        signal.alarm(0)


def nothing_masked(folder: Path) -> Any:
    """How many of three items may be masked; BERT4Rec's loss of a batch without a mask, DIEN's of prefixes of one."""
    from recbole.data.transform import MaskItemSequence
    from recbole.model.sequential_recommender.bert4rec import BERT4Rec
    from recbole.model.sequential_recommender.dien import InterestExtractorNetwork

    conf = make_config("BERT4Rec", folder, MAX_ITEM_LIST_LENGTH=3, train_neg_sample_args=None)
    masks = MaskItemSequence(conf)
    model = BERT4Rec(conf, toy_data(conf))
    number = torch.zeros(1, 1, dtype=torch.int64)
    batch = {"Mask_item_id_list": torch.tensor([[1, 2, 0]]), "Pos_item_id": number, "Neg_item_id": number}
    loss = model.calculate_loss({**batch, "MASK_INDEX": number})
    network = InterestExtractorNetwork(4, 4, [8, 1])
    states = torch.ones(2, 2, 4, requires_grad=True)
    auxiliary = network.auxiliary_loss(states, states, states, torch.tensor([0, 0]))
    return [masks.mask_item_length, float(loss), float(auxiliary), loss.requires_grad]


def fearec_rows(folder: Path) -> Any:
    """Rows of each target, and the prefix of row 1 of a data set that makes prefixes when it is asked."""
    from recbole.data.interaction import Interaction
    from recbole.model.sequential_recommender.fearec import FEARec

    class Data:
        inter_feat = Interaction({"item_id": torch.tensor([5, 2, 5])})

        def __getitem__(self, index: Any) -> Any:
            return Interaction({"item_id_list": torch.tensor([[1, 0], [2, 3], [4, 4]])[index]})

    found = FEARec.get_same_item_index(SimpleNamespace(ITEM_ID="item_id"), Data())
    conf = make_config("FEARec", folder, train_neg_sample_args=None)
    made = toy_data(conf).build()[0]
    rows = made.inter_feat
    del rows.interaction["item_id_list"]
    made.__class__ = type("Made", (type(made),), {"__getitem__": Data.__getitem__})
    prefix = FEARec(conf, made).dataset.inter_feat["item_id_list"][1]
    return [{str(item): places.tolist() for item, places in found.items()}, prefix.tolist()]


def line_negatives(folder: Path) -> Any:
    """The users that LINE draws among where only two train, of whom both have met the second item."""
    from recbole.data.interaction import Interaction
    from recbole.model.general_recommender.line import LINE

    model = SimpleNamespace(USER_ID="user", n_users=6, device="cpu", random_pr=0)
    model.interaction_feat = Interaction({"user": torch.tensor([1, 3, 3])})
    model.used_ids = np.array([set(), {1}, {1, 3}])
    model.random_list = LINE.get_user_id_list(model)
    model.random_list_length = len(model.random_list)
    model.random_num = lambda number: LINE.random_num(model, number)
    found = [model.random_list.tolist(), LINE.sampler(model, torch.tensor([1, 1])).tolist()]
    try:
        LINE.sampler(model, torch.tensor([1, 2]))
    except UsageError as error:
        found.append(str(error))
    return found


SCENARIOS = {function.__name__: function for function in (
    sklearn_later, numpy_aliases, ray_optional, exact_scores, early_stopping, checkpoints, data_caches,
    saved_loaders, pandas_three, atomic_files, event_order, numbers, scipy_dok, collector_ints, list_metrics,
    metric_rows, candidate_counts, empty_sets, anomaly_detection, session_graphs, samplers, row_numbers, own_names,
    own_logs, drawing_ends, nothing_masked, fearec_rows, line_negatives, folders_at_once, device_choice, command_line,
    config_files,
)}  # fmt: skip

CHECKPOINT_KEYS = [
    *(
        "best_valid_result",
        "best_valid_score",
        "config",
        "cur_step",
        "epoch",
        "epoch_values",
        "numbering",
        "optimizer",
        "optimizers",
    ),
    *(
        "other_parameter",
        "rng",
        "state_dict",
        "train_loss_dict",
        "train_seconds",
        "trained_on",
        "valid_scores",
    ),
]
FULL_RANKING = {"valid": "full", "test": "full"}
LS_ARGS = {"split": {"LS": "valid_only"}, "order": "TO", "group_by": "user", "mode": FULL_RANKING}

EXPECTED: dict[str, Any] = {
    "sklearn_later": [True, 0.75, ["sklearn"] * 6],
    "numpy_aliases": [True, True],
    "exact_scores": [0.333333, {"hit@1": 0.3}],
    "early_stopping": [[False, True], [False, True], [False, False], [False, False], [True, False]],
    "checkpoints": [["hit@3", "ndcg@3"], "BPR", CHECKPOINT_KEYS],
    "data_caches": [],
    "saved_loaders": [36, True],
    "pandas_three": FEATURES,
    "atomic_files": ["[PAD]", "a", "NA", "b"],
    "event_order": ["d", "b", "a"],
    "numbers": [2, 1, 3, 2, 2, 70],
    "samplers": [[1, 2], [1, 2]],
    "row_numbers": ["range", 36],
    "scipy_dok": ["hit@3", "ndcg@3"],
    "collector_ints": [POPULARITY_BY_HAND, ["data.count_items", "data.num_items"]],
    "list_metrics": SHORT_LIST_BY_HAND,
    "metric_rows": [0, METRICS_BY_HAND],
    "candidate_counts": [[3, 2], [2, 2]],
    "empty_sets": [13, 1, 0, [1, 2, 3, 4, 5, 6, 7, 8], True],
    "anomaly_detection": False,
    "session_graphs": [
        [[*GRAPH_BY_HAND, NO_PADDING], [*GRAPH_SHAPES, [1, 6]]],
        [GRAPH_BY_HAND, GRAPH_SHAPES],
    ],
    "own_names": True,
    "own_logs": [[["this is BPR"], ["this is Pop"]], True],
    "drawing_ends": [
        [2, 2, 2, 2],
        "negatives cannot be drawn for number 2, which has all of the 3 items that may be: leave it out, or set "
        "train_neg_sample_args: ~ and eval_args.mode: full",
    ],
    "nothing_masked": [1, 0.0, 0.0, True],
    "fearec_rows": [{"2": [1], "5": [0, 2]}, [2, 3]],
    "line_negatives": [
        [1, 3],
        [3, 3],
        "LINE learns from users who have not met an item, and there is an item that all of them have: leave it out "
        "with item_inter_num_interval, or choose another model",
    ],
    "folders_at_once": True,
    "device_choice": "cpu",
    "command_line": [0.001, False],
    "config_files": ["user_id", LS_ARGS, "none"],
}

# what the scenario says without the patch, as a part of its JSON
FAULTS = {
    "sklearn_later": "[False, 0.75",
    "numpy_aliases": "was removed in the NumPy 2.0 release",
    "ray_optional": "pkg_resources_of_old_setuptools",
    "exact_scores": "[0.3, ",
    "early_stopping": "[False, True], [False, True]]",
    "checkpoints": "Weights only load failed",
    "data_caches": "toy-Dataset went off",
    "saved_loaders": "[36, False]",
    "pandas_three": "does not match length of index",
    "atomic_files": "['[PAD]', 'a', 'b']",
    "event_order": "'c'",
    "numbers": "inf",
    "samplers": "[[1, 2, 3, 4], [1, 2, 3, 4]]",
    "row_numbers": "['list', ",
    "scipy_dok": "_update",
    "collector_ints": "object has no attribute 'cpu'",
    "list_metrics": "'itemcoverage@2': 0.5",
    "metric_rows": f"[14, {METRICS_BY_HAND}",
    "candidate_counts": "[None, None]",
    "empty_sets": "[13, 13, 0",
    "anomaly_detection": "True",
    "session_graphs": "Cannot copy out of meta tensor",
    "own_names": "False",
    "own_logs": "[['this is BPR', 'this is Pop'], []]",
    "drawing_ends": "it does not end",
    "nothing_masked": "[0, nan, nan",
    "fearec_rows": "item_id_list",
    "line_negatives": "[[1, 2, 3, 4, 5]",
    "folders_at_once": "File exists",
    "device_choice": "cuda",
    "command_line": "[7, True]",
    "config_files": "train_neg_sample_args",
}


def scipy_has_update() -> bool:
    method = getattr(scipy.sparse.dok_matrix, "_update", None)
    return method is not None and method.__module__.startswith("scipy")


def no_fault_here(name: str) -> str:
    """Why this environment has not the fault that the patch mends, or an empty string."""
    if name == "numpy_aliases" and np.lib.NumpyVersion(np.__version__) < "2.0.0":
        return f"numpy {np.__version__} still has the old names"
    if name == "pandas_three" and int(pd.__version__.split(".")[0]) < 3:
        return f"pandas {pd.__version__} still applies len to every element"
    if name == "scipy_dok" and scipy_has_update():
        return "this scipy still has dok_matrix._update"
    return ""


@pytest.fixture(scope="module")
def own_process() -> Iterator[Callable[[str, Path, list[str]], dict[str, Any]]]:
    """A scenario with all patches but some, in a process that has imported neither RecBole nor what it is mended for.

    It answers {"result": …} or {"error": "…"}. The processes are forks of one that has imported torch and numpy, which
    takes longer than a scenario.
    """
    script = [sys.executable, "-W", "ignore", __file__]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(script, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None and server.stdout is not None

    def run(name: str, folder: Path, skip: list[str]) -> dict[str, Any]:
        print(json.dumps([name, str(folder), skip]), file=server.stdin, flush=True)
        assert json.loads(server.stdout.readline()) == 0, (folder / "said").read_text()[-3000:]
        return json.loads((folder / "outcome.json").read_text())

    yield run
    server.stdin.close()
    assert server.wait(60) == 0


def serve() -> None:
    """Run every scenario that a line of stdin asks for in a fork of this process; answer with its exit status."""
    assert not {name.split(".")[0] for name in sys.modules} & {"recbole", "sklearn", "ray"}
    for line in sys.stdin:
        name, folder, skip = json.loads(line)
        child = os.fork()
        if not child:
            os.chdir(folder)
            said = os.open("said", os.O_CREAT | os.O_WRONLY)
            os.dup2(said, 1)
            os.dup2(said, 2)
            run_scenario(name, Path(folder), skip)
            os._exit(0)
        print(json.dumps(os.waitpid(child, 0)[1]), flush=True)


def run_scenario(name: str, folder: Path, skip: list[str]) -> None:
    """Write outcome.json: what the scenario says with all patches but `skip`."""
    if name == "ray_optional":
        break_ray(folder)
        torch.autograd.set_detect_anomaly(True)  # the user's own wish, which installing must not undo
    sys.argv = sys.argv[:1]
    try:
        compat.apply(skip=skip)
        outcome = {"result": SCENARIOS[name](folder)}
    except Exception as error:
        outcome = {"error": f"{type(error).__name__}: {error}"}
    if name == "ray_optional" and "result" in outcome:
        outcome["result"]["anomaly detection"] = torch.is_anomaly_enabled()
    (folder / "outcome.json").write_text(json.dumps(outcome))


# --- the tests --------------------------------------------------------------------------------------------


@pytest.fixture
def patched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All patches made, the working directory empty."""
    compat.apply()
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    return tmp_path


def test_every_patch_has_a_scenario_and_says_what_it_mends():
    assert [patch.name for patch in compat.PATCHES] == list(SCENARIOS)
    assert all(".py:" in patch.mends for patch in compat.PATCHES)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_breaks_without_its_patch(name: str, tmp_path: Path, own_process):
    if no_fault_here(name):
        pytest.skip(no_fault_here(name))
    outcome = own_process(name, tmp_path, [name])
    found = str(outcome.get("error", outcome.get("result")))
    assert any(fault in found for fault in FAULTS[name].split("|")), found
    if name == "pandas_three":  # the silent part: missing values reach the model
        assert not np.array_equal(outcome["result"]["plain"]["price"], FEATURES["plain"]["price"])


@pytest.mark.parametrize(
    "name", [name for name in EXPECTED if name not in ("sklearn_later", "anomaly_detection", "device_choice")]
)
def test_scenario_is_right_with_all_patches(name: str, patched: Path):
    result = SCENARIOS[name](patched)
    assert json.loads(json.dumps(result)) == EXPECTED[name]


@pytest.mark.parametrize("name", ["sklearn_later", "anomaly_detection", "device_choice"])
def test_scenario_is_right_in_a_process_of_its_own(name: str, tmp_path: Path, own_process):
    assert own_process(name, tmp_path, []) == {"result": EXPECTED[name]}


def test_ray_is_imported_only_when_used_and_anomaly_detection_stays_as_the_user_set_it(
    tmp_path: Path, own_process
):
    seen = own_process("ray_optional", tmp_path, [])["result"]
    assert seen["loaded"] is False and seen["report"] is None
    assert seen["sentence"].startswith("tuning with Ray needs a working ray")
    assert "pkg_resources_of_old_setuptools" in seen["sentence"]
    assert seen["run"] == "real tune" and seen["report with ray"] == "reported"
    assert seen["anomaly detection"] is True


def test_applying_twice_changes_nothing(patched: Path):
    import recbole.config
    import recbole.data.utils
    from recbole.trainer import Trainer

    def state() -> list[Any]:
        return [dict(vars(recbole.config.Config)), dict(vars(Trainer)), recbole.data.utils.create_dataset]

    before = state()
    compat.apply()
    assert state() == before


def test_skipping_an_unknown_patch_is_an_error():
    with pytest.raises(ValueError, match="no patch is called pandas_tree"):
        compat.apply(skip=["pandas_tree"])


def test_popularity_metrics_of_a_whole_run(patched: Path, monkeypatch: pytest.MonkeyPatch):
    from recbole.evaluator import Evaluator

    structs = []
    evaluate = Evaluator.evaluate
    monkeypatch.setattr(
        Evaluator, "evaluate", lambda self, data: structs.append(data) or evaluate(self, data)
    )
    result = run_toy("Pop", patched, metrics=[*POPULARITY, "Hit"], topk=[1], valid_metric="Hit@1")[
        "test_result"
    ]
    sessions: dict[str, list[str]] = {}
    for line in (patched / "data/toy/toy.inter").read_text().splitlines()[1:]:
        session, item, _ = line.split("\t")
        sessions.setdefault(session, []).append(item)
    in_training = Counter(item for items in sessions.values() for item in items[:-2])  # then valid, test
    counted = structs[-1].get("data.count_items")
    assert sorted(counted.values()) == sorted(in_training.values())
    recommended = structs[-1].get("rec.items").flatten().tolist()
    assert result["averagepopularity@1"] == pytest.approx(
        np.mean([counted[i] for i in recommended]), abs=1e-4
    )
    assert result["itemcoverage@1"] == pytest.approx(len(set(recommended)) / 8, abs=1e-4)


def padded_batch(draw: random.Random) -> torch.Tensor:
    """Sessions of few items, so that items, links and loops repeat; some are full, of one event, or hold a 0."""
    width, number = draw.randint(1, 9), draw.choice([2, 5, 40_000])
    rows = []
    for _ in range(draw.randint(1, 8)):
        length = draw.choice([1, width, draw.randint(1, width)])
        row = [draw.randint(1, number) for _ in range(length)] + [0] * (width - length)
        if draw.random() < 0.3:
            row[draw.randrange(width)] = 0
        rows.append(row)
    return torch.tensor(rows)


@pytest.mark.parametrize("name", ["SRGNN", "GCSAN"])
def test_session_graphs_are_recboles_own(name: str, patched: Path):
    module = importlib.import_module(f"recbole.model.sequential_recommender.{name.lower()}")
    spec = importlib.util.spec_from_file_location("unpatched", str(module.__file__))
    assert spec is not None and spec.loader is not None
    unpatched = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpatched)
    theirs, ours = getattr(unpatched, name)._get_slice, getattr(module, name)._get_slice
    assert theirs.__code__.co_filename != ours.__code__.co_filename
    draw, device = random.Random(5), SimpleNamespace(device=torch.device("cpu"))
    for _ in range(300):
        batch = padded_batch(draw)
        before = batch.clone()
        pairs = list(zip(theirs(device, batch), ours(device, batch), strict=True))
        assert len(pairs) == (4 if name == "SRGNN" else 3) and torch.equal(batch, before)
        for expected, found in pairs:
            assert (found.dtype, found.stride()) == (expected.dtype, expected.stride())
            assert torch.equal(found, expected), batch


# --- checkpoints ------------------------------------------------------------------------------------------


def fit_toy(model: str, folder: Path, **more: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    """A trainer whose model has been built, its config and its loaders."""
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    conf = make_config(model, folder, **more)
    init_seed(conf["seed"], True)
    loaders = data_preparation(conf, create_dataset(conf))
    init_seed(conf["seed"], True)
    built = get_model(model)(conf, loaders[0]._dataset).to(conf["device"])
    return get_trainer(conf["MODEL_TYPE"], model)(conf, built), conf, loaders


def test_resumed_training_is_bit_for_bit_the_uninterrupted_one(patched: Path):
    more = {
        "epochs": 4,
        "dropout_prob": 0.3,
        "train_batch_size": 8,
        "stopping_step": 10,
        "learning_rate": 0.01,
    }
    whole, _, (train, valid, _) = fit_toy("GRU4Rec", patched, **more)
    middle = str(patched / "middle.pth")

    def save_after_second(epoch: int, score: float) -> None:
        if epoch == 1:
            whole._save_checkpoint(epoch, verbose=False, saved_model_file=middle)

    outcome = whole.fit(train, valid, verbose=False, callback_fn=save_after_second)

    resumed, _, (train, valid, _) = fit_toy("GRU4Rec", patched, **more)
    torch.manual_seed(99)
    np.random.seed(99)
    resumed.resume_checkpoint(middle)
    assert resumed.start_epoch == 2 and sorted(resumed.train_loss_dict) == [0, 1]
    assert resumed.fit(train, valid, verbose=False) == outcome
    assert resumed.train_loss_dict == whole.train_loss_dict
    assert resumed.valid_scores == whole.valid_scores and len(whole.valid_scores) == len(
        whole.train_loss_dict
    )
    assert resumed.cur_step == whole.cur_step
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_checkpoint_holds_the_result_of_the_epoch_it_was_saved_in(patched: Path):
    trainer, _, (train, valid, _) = fit_toy("GRU4Rec", patched, epochs=1)
    score, result = trainer.fit(train, valid, verbose=False)
    stored = torch.load(trainer.saved_model_file, weights_only=True)
    assert stored["best_valid_score"] == score and stored["best_valid_result"] == pytest.approx(result)
    assert not list(patched.rglob("*.tmp"))


@pytest.mark.parametrize("model", ["Pop", "ItemKNN", "EASE", "LightGCN", "SASRecF"])
def test_load_data_and_model_gives_the_same_scores(model: str, patched: Path):
    from recbole.quick_start import load_data_and_model

    trainer, conf, (train, valid, test) = fit_toy(model, patched, selected_features=["category"])
    trainer.fit(train, valid, verbose=False)
    before = trainer.evaluate(test, show_progress=False)
    torch.load(trainer.saved_model_file, weights_only=True)  # no pickle in it
    loaded_conf, loaded, _, _, _, loaded_test = load_data_and_model(trainer.saved_model_file)
    assert loaded_conf["eval_args"] == conf["eval_args"]
    for batch, again in zip(test, loaded_test):
        scores = trainer.model.eval().full_sort_predict(batch[0].to(conf["device"]))
        assert torch.equal(scores, loaded.eval().full_sort_predict(again[0].to(conf["device"])))
    fresh, _, (_, _, test) = fit_toy(model, patched, selected_features=["category"])
    after = fresh.evaluate(test, model_file=trainer.saved_model_file)
    assert after == before


def test_other_parameter_survives_as_plain_data():
    from recbole_ext.bridge.checkpoint import decode, encode

    dense = np.arange(6, dtype=np.float32).reshape(2, 3)
    sparse = scipy.sparse.lil_matrix(np.diag([1.0, 0.0, 2.0]).astype(np.float32))
    value = {
        "tensor": torch.ones(2, requires_grad=True),
        "array": dense,
        "matrix": np.asmatrix(dense),
        "lil": sparse,
        "csr array": scipy.sparse.csr_array(dense),
        "nested": [(1, "two", None), {3.5, 4.5}, {5: np.int64(6)}],
    }
    back = decode(encode(value))
    assert torch.equal(back["tensor"], torch.ones(2))
    assert type(back["array"]) is np.ndarray and back["array"].dtype == np.float32
    assert np.array_equal(back["array"], dense)
    assert isinstance(back["matrix"], np.matrix)
    assert back["lil"].format == "lil" and (back["lil"] != sparse).nnz == 0
    assert isinstance(back["csr array"], scipy.sparse.sparray) and np.array_equal(
        back["csr array"].toarray(), dense
    )
    assert back["nested"] == value["nested"]
    with pytest.raises(TypeError, match="a Bomb"):
        encode({"deep": [Bomb(Path("x"))]})


def test_recboles_own_checkpoint_needs_trust(patched: Path):
    from recbole.quick_start import load_data_and_model

    trainer, conf, (train, valid, test) = fit_toy("BPR", patched)
    trainer.fit(train, valid, verbose=False, saved=False)
    old = patched / "old.pth"
    state = {
        "config": conf,
        "epoch": 0,
        "cur_step": 0,
        "best_valid_score": 0.5,
        "state_dict": trainer.model.state_dict(),
        "other_parameter": trainer.model.other_parameter(),
        "optimizer": trainer.optimizer.state_dict(),
    }
    torch.save(state, old, pickle_protocol=4)  # as trainer.py:299-308 does
    for load in (
        load_data_and_model,
        trainer.resume_checkpoint,
        lambda file: trainer.evaluate(test, True, file),
    ):
        with pytest.raises(
            UsageError, match=r"old\.pth is a checkpoint that needs pickle.*trust_pickle: True"
        ):
            load(str(old))
    loaded = load_data_and_model(str(old), trust_pickle=True)[1]
    assert torch.equal(loaded.item_embedding.weight, trainer.model.item_embedding.weight)
    trainer.config["trust_pickle"] = True
    trainer.resume_checkpoint(str(old))
    assert trainer.start_epoch == 1 and trainer.best_valid_score == 0.5


def test_hostile_truncated_and_missing_checkpoints_are_refused_in_one_sentence(patched: Path):
    from recbole_ext.bridge.checkpoint import read_checkpoint

    hostile, short = patched / "hostile.pth", patched / "short.pth"
    torch.save({"config": Bomb(patched / "went off")}, hostile)
    torch.save({"weights": torch.ones(1000)}, short)
    short.write_bytes(short.read_bytes()[:700])
    for file, sentence in (
        (hostile, "needs pickle"),
        (short, "is not a readable checkpoint"),
        (patched / "none.pth", "there is no checkpoint"),
    ):
        with pytest.raises(UsageError, match=sentence) as caught:
            read_checkpoint(str(file))
        assert file.name in str(caught.value) and "\n" not in str(caught.value)
    assert not (patched / "went off").exists()


def test_changed_weights_are_refused(patched: Path):
    """torch reads them without a word: it does not look at the archive's sums."""
    from recbole_ext.bridge.checkpoint import read_checkpoint

    file = patched / "whole.pth"
    torch.save({"weights": torch.ones(1000)}, file)
    content = bytearray(file.read_bytes())
    place = content.index(torch.ones(8).numpy().tobytes())
    content[place + 2] ^= 1
    file.write_bytes(content)
    assert (torch.load(file)["weights"] != 1).sum() == 1
    with pytest.raises(UsageError, match=r"whole\.pth is not a readable checkpoint: it was cut or changed"):
        read_checkpoint(str(file))


# --- data caches ------------------------------------------------------------------------------------------


def test_named_cache_is_refused_and_trusted_cache_is_loaded(patched: Path):
    from recbole.data import create_dataset, data_preparation

    conf = make_config("BPR", patched, save_dataset=True, save_dataloaders=True)
    data_preparation(conf, create_dataset(conf))
    cache, loaders = patched / "saved/toy-Dataset.pth", patched / "saved/toy-for-BPR-dataloader.pth"
    named = make_config("BPR", patched, dataset_save_path=str(cache), dataloaders_save_path=str(loaders))
    with pytest.raises(UsageError, match=r"dataset_save_path .*toy-Dataset\.pth is a pickle.*trust_pickle"):
        create_dataset(named)
    assert named["dataset_save_path"] == str(cache)
    with pytest.raises(UsageError, match=r"dataloaders_save_path .* is a pickle"):
        data_preparation(named, None)
    with mock.patch("recbole.data.dataset.Dataset.__init__", side_effect=AssertionError("made anew")):
        trusted = make_config("BPR", patched, trust_pickle=True)
        assert create_dataset(trusted).inter_num == 60
    with mock.patch("recbole.data.dataset.Dataset.build", side_effect=AssertionError("made anew")):
        assert len(data_preparation(trusted, create_dataset(trusted))) == 3


STALE = {
    "another setting of RecBole's": ({"rm_dup_inter": "first"}, "rm_dup_inter was None and is first"),
    "a setting of ours": ({"eval_targets": "last"}, "eval_targets was all and is last"),
    "another file": ({}, "toy.inter has changed"),
}


@pytest.mark.parametrize("case", STALE)
def test_saved_data_of_other_settings_or_files_are_made_anew(patched: Path, case: str, caplog):
    """Or refused, where the file was named; RecBole compares some of its own keys and no file."""
    from recbole.data import create_dataset, data_preparation

    own = {"data_layout": "pointers"}
    conf = make_config("GRU4Rec", patched, save_dataloaders=True, **own)
    data_preparation(conf, create_dataset(conf))
    settings, said = STALE[case]
    if not settings:
        file = patched / "data" / "toy" / "toy.inter"
        file.write_text(file.read_text() + "s11\ti0\t1000\n")
    asked = {**own, **settings, "trust_pickle": True}
    plain = make_config("GRU4Rec", patched, **own, **settings)
    fresh = [part._dataset for part in data_preparation(plain, create_dataset(plain))]
    with caplog.at_level("WARNING"):
        conf = make_config("GRU4Rec", patched, **asked)
        found = [part._dataset for part in data_preparation(conf, create_dataset(conf))]
    assert [len(part) for part in found] == [len(part) for part in fresh]
    assert said in caplog.text
    named = make_config(
        "GRU4Rec", patched, dataloaders_save_path="saved/toy-for-GRU4Rec-dataloader.pth", **asked
    )
    with pytest.raises(UsageError, match=f"was made of something else.*{re.escape(said)}"):
        data_preparation(named, create_dataset(named))


def test_a_saved_data_set_of_another_log_is_made_anew(patched: Path):
    from recbole.data import create_dataset

    create_dataset(make_config("BPR", patched, save_dataset=True))
    file = patched / "data" / "toy" / "toy.inter"
    file.write_text(file.read_text() + "s11\ti0\t1000\n")
    assert create_dataset(make_config("BPR", patched, trust_pickle=True)).inter_num == 61


# --- processes --------------------------------------------------------------------------------------------


def test_graphics_cards_stay_as_the_user_chose_them(patched: Path, monkeypatch: pytest.MonkeyPatch):
    from recbole.config import Config

    from recbole_ext.bridge.patches.start import _DeviceChooser

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr(Config, "_init_device", _DeviceChooser("3").choose)
    assert str(make_config("BPR", patched)["device"]) == "cpu" or torch.cuda.is_available()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"  # RecBole's default gpu_id '0' would have replaced it
    make_config("BPR", patched, gpu_id="1,2")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,2"
    make_config("BPR", patched)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_a_process_of_several_is_refused(patched: Path):
    with pytest.raises(UsageError, match="processes are started by torchrun"):
        make_config("BPR", patched, local_rank=0)


if __name__ == "__main__":
    serve()


@pytest.mark.parametrize("collecting", [True, False])
def test_what_looks_for_garbage_is_as_it_was_after_the_imports(collecting):
    before = gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        with suppress(KeyError), registry._uncollected():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == collecting and gc.get_freeze_count() == 0
    finally:
        (gc.enable if before else gc.disable)()
