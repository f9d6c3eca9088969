"""What the training and evaluation benchmarks run, on either side: RecBole 1.2.1 as released, or with recbole_ext.

The released side never imports recbole_ext, but for the patches that let RecBole start on numpy 2 and pandas 3. Both
sides read the same atomic files with the same settings, and time is that of batches
alone, from asking for a batch to the end of its step.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import sys
import time
import warnings
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

SETTINGS = {
    "USER_ID_FIELD": "session_id",
    "ITEM_ID_FIELD": "item_id",
    "TIME_FIELD": "timestamp",
    "load_col": {"inter": ["session_id", "item_id", "timestamp"]},
    "filter_inter_by_user_or_item": False,
    "MAX_ITEM_LIST_LENGTH": 50,
    "loss_type": "CE",
    "train_neg_sample_args": None,
    "train_batch_size": 2048,
    "eval_batch_size": 2048,
    "repeatable": True,
    "metrics": ["Hit", "NDCG", "MRR"],
    "topk": [5, 10, 20],
    "valid_metric": "NDCG@10",
    "state": "ERROR",
    "seed": 2020,
}
# patches that do not only mend
FASTER = ("anomaly_detection", "empty_sets", "metric_rows", "row_numbers", "sklearn_later")
SPLIT = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"}


def open_run(
    ours: bool, data: str, model: str, settings: dict[str, Any], anomaly: bool = True, mode: str = "full"
) -> dict[str, Any]:
    """Config, data, loaders, model and trainer of one side, with the seconds each took.

    anomaly: as released, importing a sequential model switches torch's anomaly detection on; False switches it off.
    """
    opened = time.perf_counter()
    sys.argv = sys.argv[:1]  # RecBole's Config reads the command line
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if ours:
        import recbole_ext

        recbole_ext.install()
    elif int(version("numpy").split(".")[0]) > 1:
        from recbole_ext.bridge import patches as compat

        compat.apply(skip=FASTER)
    import recbole.data
    import torch
    from recbole.config import Config
    from recbole.utils import get_model, get_trainer, init_seed

    folder = Path(data)
    given = {
        **SETTINGS,
        "data_path": str(folder.parent),
        "checkpoint_dir": str(folder.parent / "saved"),
        "eval_args": {**SPLIT, "mode": mode},
        **settings,
    }
    if settings.get("load_col", 1) is None:
        given["load_col"] = None
    config = Config(model, folder.name, config_dict=given)
    init_seed(config["seed"], True)
    imported = time.perf_counter() - opened
    began = time.perf_counter()
    dataset = recbole.data.create_dataset(config)
    created = time.perf_counter()
    augmented: dict[str, float] = {}
    augment = type(dataset).data_augmentation
    dataset.data_augmentation = lambda: _timed(augmented, augment, dataset)
    train, _, test = recbole.data.data_preparation(config, dataset)
    prepared = time.perf_counter()
    init_seed(config["seed"], True)
    network = get_model(config["model"])(config, train._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, network)
    if not ours:
        torch.autograd.set_detect_anomaly(anomaly)
    return {
        "config": config,
        "dataset": dataset,
        "train": train,
        "test": test,
        "model": network,
        "trainer": trainer,
        "import_seconds": imported,
        "create_seconds": created - began,
        "prepare_seconds": prepared - created,
        "augment_seconds": augmented.get("seconds", 0.0),
    }


def _timed(found: dict[str, float], function: Any, *arguments: Any) -> Any:
    began = time.perf_counter()
    result = function(*arguments)
    found["seconds"] = time.perf_counter() - began
    return result


class Stopwatch:
    """A loader cut after some batches, which notes when the first timed batch is asked for and what was in them."""

    def __init__(self, loader: Any, warm_up: int, batches: int):
        self.loader, self.warm_up, self.batches = loader, warm_up, batches
        self.targets = 0
        self.began = 0.0
        self.began_cpu = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return self.warm_up + self.batches

    def __iter__(self) -> Any:
        for number, batch in enumerate(itertools.islice(self.loader, len(self))):
            if number >= self.warm_up:
                self.targets += targets_of(batch)
            yield batch
            if number + 1 == self.warm_up:
                self.began, self.began_cpu = time.perf_counter(), time.process_time()


def targets_of(batch: Any) -> int:
    """(prefix, target) pairs of a batch of either side."""
    return len(batch) if not hasattr(batch, "targets") else int((batch.targets != 0).sum())


def train_steps(
    ours: bool,
    data: str,
    model: str,
    settings: dict[str, Any],
    batches: int,
    warm_up: int = 2,
    anomaly: bool = True,
) -> dict[str, float]:
    """Targets a second of some training steps, their seconds, and the CPU seconds of all threads."""
    run = open_run(ours, data, model, settings, anomaly)
    loader, trainer = run["train"], run["trainer"]
    if ours:
        trainer._meet_training(loader)  # what fit does first
        trainer._meet_training = lambda _: None
        _keep_memory()
    watch = Stopwatch(loader, warm_up, batches)
    loss = trainer._train_epoch(watch, 0)
    seconds = time.perf_counter() - watch.began
    cpu = time.process_time() - watch.began_cpu
    return {
        "targets_per_second": watch.targets / seconds,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "loss": float(loss),
    }


def _keep_memory() -> None:
    """As fit does of a CPU's; older commits do not."""
    with suppress(ImportError):
        from recbole_ext.trainer import heap

        heap.keep()


def epochs_on_gpu(
    ours: bool, data: str, model: str, settings: dict[str, Any], epochs: int, anomaly: bool = True
) -> dict[str, Any]:
    """Seconds of whole epochs on a GPU, the first one apart, and the peak of its memory."""
    import torch

    began = time.perf_counter()
    run = open_run(ours, data, model, settings, anomaly)
    loader, trainer = run["train"], run["trainer"]
    targets = int(loader.rows.targets.sum()) if hasattr(loader, "rows") else len(loader._dataset)
    ready = time.perf_counter() - began
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for epoch in range(epochs):
        torch.cuda.synchronize()
        started = time.perf_counter()
        trainer._train_epoch(loader, epoch)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    later = sorted(seconds[1:] or seconds)
    return {
        "targets": targets,
        "epoch_seconds": later[len(later) // 2],
        "first_epoch_seconds": seconds[0],
        "ready_seconds": ready,
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9,
    }


def first_step(ours: bool, data: str, model: str, settings: dict[str, Any]) -> dict[str, float]:
    """Seconds from nothing imported to the end of the first training step, and of the parts of it."""
    began = time.perf_counter()
    run = open_run(ours, data, model, settings)
    loader, trainer = run["train"], run["trainer"]
    if ours:
        trainer._meet_training(loader)
        trainer._meet_training = lambda _: None
        _keep_memory()
    trainer._train_epoch(Stopwatch(loader, 0, 1), 0)
    return {
        "first_step_seconds": time.perf_counter() - began,
        "import_seconds": run["import_seconds"],
        "create_seconds": run["create_seconds"],
        "prepare_seconds": run["prepare_seconds"],
        "augment_seconds": run["augment_seconds"],
        "held_mb": held_bytes(run["dataset"]) / 1e6,
    }


def held_bytes(dataset: Any) -> int:
    """Bytes of the (prefix, target) data of a data set that has been built: every column, and pointers if any."""
    tables = [dataset.inter_feat, getattr(dataset, "events", None)]
    columns = [c for table in tables if table is not None for c in table.interaction.values()]
    pointers = [getattr(dataset, name, None) for name in ("session_start", "session_length")]
    return sum(c.numel() * c.element_size() for c in columns) + sum(
        p.nbytes for p in pointers if p is not None
    )


def evaluate_rows(
    ours: bool,
    data: str,
    model: str,
    settings: dict[str, Any],
    rows: int,
    mode: str = "full",
    lists: bool = False,
) -> dict[str, Any]:
    """Rows a second of the trainer's evaluation of some test rows, with untrained weights; CPU time of all threads.

    lists: ours keeps what a record's targets have, their ranks and lists, of which `found` is the sum.
    """
    run = open_run(ours, data, model, settings, anomaly=False, mode=mode)
    loader, trainer = run["test"], run["trainer"]
    if ours:
        trainer._meet(loader)
        trainer._meet = lambda _: None
    limit = _Limited(rows)
    loader.__class__ = type("Limited", (type(loader),), {"__iter__": limit.of(type(loader))})
    trainer.evaluate(loader, load_best_model=False)  # caches and buffers
    limit.seen = 0
    if lists:
        trainer.eval_collector.start()
    began, used = time.perf_counter(), time.process_time()
    trainer.evaluate(loader, load_best_model=False)
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    kept = trainer.eval_collector.targets() if lists else {}
    return {
        "rows_per_second": limit.seen / seconds,
        "rows_per_cpu_second": limit.seen / cpu,
        "rows": limit.seen,
        "seconds": seconds,
        "found": _sum([kept[name] for name in ("item", "rank", "top")]) if lists else "",
    }


def rank_rows(rows: int, items: int, width: int, batch: int, device: str) -> dict[str, Any]:
    """Ranks and best 20 of drawn states among drawn vectors, some repeated: rows a second, and the sum of all found."""
    import torch

    from recbole_ext.scores.factored import FactoredScores

    random = torch.Generator(device).manual_seed(1)
    states = torch.randn(rows, width, generator=random, device=device)
    vectors = torch.randn(items + 1, width, generator=random, device=device)
    vectors[1::50] = vectors[7]  # they tie
    target = torch.randint(1, items + 1, (rows,), generator=random, device=device)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def found() -> list[Any]:
        each = []
        for first in range(0, rows, batch):
            piece = slice(first, first + batch)
            scores = FactoredScores(states[piece], vectors)
            if hasattr(scores, "ranks_and_top"):
                each += scores.ranks_and_top(target[piece], 20)
            else:
                each += [scores.ranks(target[piece]), scores.top(20)]
        wait()
        return each

    found()
    began, used = time.perf_counter(), time.process_time()
    each = found()
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    return {
        "rows_per_second": rows / seconds,
        "rows_per_cpu_second": rows / cpu,
        "seconds": seconds,
        "found": _sum([part.cpu().numpy() for part in each]),
    }


def _sum(arrays: list[Any]) -> str:
    """What stands for the numbers in some arrays."""
    summed = hashlib.sha256()
    for array in arrays:
        summed.update(array.astype("int64").tobytes())
    return summed.hexdigest()[:12]


def ask(
    data: str, model: str, settings: dict[str, Any], rows: int, batch: int, requests: int, k: int = 20
) -> dict[str, float]:
    """RecBole asked for lists, with untrained weights.

    rows_per_second: of its `full_sort_topk` over test rows, `batch` sessions a call. p50, p99: milliseconds of one
    row's `full_sort_predict` and its k best, on one thread, the row being made already.
    """
    run = open_run(False, data, model, settings, anomaly=False)
    import torch
    from recbole.utils.case_study import full_sort_topk

    test, network = run["test"], run["model"]
    dataset = test.dataset
    sessions = dataset.inter_feat[dataset.uid_field].numpy()[:rows]
    full_sort_topk(sessions[:batch], network, test, k)
    listed = 0
    began = time.perf_counter()
    for first in range(0, len(sessions), batch):
        _, items = full_sort_topk(sessions[first : first + batch], network, test, k)
        listed += len(items)
    seconds = time.perf_counter() - began
    torch.set_num_threads(1)
    taken = []
    with torch.no_grad():
        for number in range(requests + 5):
            row = dataset[torch.tensor([number % len(dataset)])]
            began = time.perf_counter()
            network.full_sort_predict(row).view(1, -1).topk(k)
            taken.append((time.perf_counter() - began) * 1e3)
    return {"rows_per_second": listed / seconds, "rows": listed, **percentiles(taken[5:])}


def percentiles(taken: list[float]) -> dict[str, float]:
    """p50 and p99 of some milliseconds."""
    ordered = sorted(taken)
    return {name: ordered[int(share * (len(ordered) - 1))] for name, share in (("p50", 0.5), ("p99", 0.99))}


class _Limited:
    """Iteration over a loader's batches that ends once enough rows have been seen."""

    def __init__(self, rows: int):
        self.rows, self.seen = rows, 0

    def of(self, loader_class: type) -> Any:
        def iterate(loader: Any) -> Any:
            for batch in loader_class.__iter__(loader):  # type: ignore[attr-defined]
                self.seen += len(batch[2])
                yield batch
                if self.seen >= self.rows:
                    return

        return iterate
