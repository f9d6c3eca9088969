"""What loading a log takes in time and memory beside RecBole 1.2.1 as released, and how it grows with the log.

    python benchmarks/large.py                                              # 378,000 and 1,000,000 events
    python benchmarks/large.py --events 10_000_000 20_000_000 --parquet     # RecBole up to --released events only
    python benchmarks/large.py --events 100_000_000 --parquet --step        # and the first training step

Loading is the data set and its three parts: from the file to rows that a loader takes. Each run is a process of its
own, the sides take turns, medians are shown; RecBole's process never imports recbole_ext. Imports do not count as time,
but do as memory. Both sides have the same rows, which is checked. The logs are made first: sessions of 3.7 events in
order of time, of visitors and items as popular as in shops, with prices of items.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import Side, SideFailed, conditions, run_once, table

HEAD = (
    "events",
    "side",
    "CPU, s",
    "wall, s",
    "peak, MB",
    "CPU less",
    "memory less",
    "CPU of half, times",
)
PACKAGES = ("recbole", "torch", "numpy", "pandas", "polars")
SETTINGS: dict[str, Any] = {
    "USER_ID_FIELD": "session_id",
    "ITEM_ID_FIELD": "item_id",
    "TIME_FIELD": "timestamp",
    "filter_inter_by_user_or_item": False,
    "load_col": None,
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
    "train_neg_sample_args": None,
    "MAX_ITEM_LIST_LENGTH": 50,
    "repeatable": True,
    "state": "ERROR",
}
_STRETCH = 5_000_000  # events that are made together
_DAYS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0, or 2 after one sentence on stderr."""
    options = _parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="large-", dir=options.folder) as folder:
            print(f"{conditions(options.threads, PACKAGES)}\n\n{measured(Path(folder), options)}")
    except SideFailed as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, nargs="+", default=[378_000, 1_000_000])
    parser.add_argument(
        "--released", type=int, default=1_000_000, help="RecBole's own loading of up to so many events"
    )
    parser.add_argument(
        "--limit", type=float, default=12, help="GB of memory that RecBole's process may have"
    )
    parser.add_argument("--parquet", action="store_true", help="ours from .inter.parquet as well")
    parser.add_argument(
        "--step", action="store_true", help="ours to the end of the first training step as well"
    )
    parser.add_argument(
        "--by-time",
        action="store_true",
        help="sessions split by time, which RecBole has not: use with --released 1",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--folder", help="where the logs lie meanwhile: 33 bytes an event, and 10 more with --parquet"
    )
    return parser


def measured(folder: Path, options: argparse.Namespace) -> str:
    """The table; RecBole's line comes first where it has one, and the others are compared with it."""
    rows, before = [], {}
    for events in sorted(options.events):
        write_log(folder / f"log{events}", events, options.parquet)
        found = _alternated(_sides(folder / f"log{events}", events, options), options)
        peer = found.get("RecBole as released")
        for name, runs in found.items():
            cpu, wall, peak = (statistics.median(run[key] for run in runs) for key in ("cpu", "wall", "peak"))
            less = ["", ""]
            if peer is not None and runs is not peer:
                less = [
                    f"{statistics.median(r[k] for r in peer) / v:.1f}"
                    for k, v in (("cpu", cpu), ("peak", peak))
                ]
            half = before.get((name, events // 2))
            grown = "" if half is None else f"{cpu / half:.2f}"
            before[name, events] = cpu
            rows.append((f"{events:,}", name, f"{cpu:.2f}", f"{wall:.2f}", f"{peak:,.0f}", *less, grown))
    return table(HEAD, rows)


def _sides(folder: Path, events: int, options: argparse.Namespace) -> list[Side]:
    sides = []
    if events <= options.released:
        limit = int(options.limit * 1e9)
        sides.append(Side("RecBole as released", "large:released", {"folder": str(folder)}, data_limit=limit))
    common = {"folder": str(folder), "by_time": options.by_time}
    sides.append(Side("ours", "large:ours", common))
    if options.parquet:
        sides.append(Side("ours, parquet", "large:ours", {**common, "parquet": True}))
    if options.step:
        given = {**common, "parquet": options.parquet, "step": True}
        sides.append(Side("ours, and the first step", "large:ours", given))
    return sides


def _alternated(sides: Sequence[Side], options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {side.name: [] for side in sides}
    rows = set()
    for _ in range(options.repeats):
        for side in sides:
            run = run_once(side, options.threads)
            rows.add(tuple(run["result"].pop("rows")))
            found[side.name].append({**run["result"], "peak": run["peak_bytes"] / 1e6})
    if len(rows) > 1:
        raise SideFailed(f"the sides have other rows: {sorted(rows)}")
    return found


# --- what the processes do


def released(folder: str) -> dict[str, Any]:
    """RecBole's loading, with the names that numpy 2 took away."""
    for name, kind in {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}.items():
        if name not in vars(np):
            setattr(np, name, kind)
    sys.argv = sys.argv[:1]  # its Config reads the command line
    from recbole.config import Config
    from recbole.data.dataset import SequentialDataset

    place = Path(folder)
    config = Config("GRU4Rec", place.name, config_dict={**SETTINGS, "data_path": str(place.parent)})
    return _loaded(lambda: SequentialDataset(config))


def ours(folder: str, parquet: bool = False, step: bool = False, by_time: bool = False) -> dict[str, Any]:
    """Ours, by default of the text."""
    import os

    from recbole_ext.run.run import configure

    place = Path(folder)
    text, other = place / f"{place.name}.inter", place / f"{place.name}.inter.parquet"
    if other.is_file():  # the one that is not older is read
        newer, older = (other, text) if parquet else (text, other)
        os.utime(older, ns=(0, 0))
        os.utime(newer)
    given = {
        **SETTINGS,
        "data_path": str(place.parent),
        "checkpoint_dir": str(place / "saved"),
        "use_gpu": False,
    }
    if by_time:
        given["eval_args"] = {"split": {"session_time": [0.8, 0.1, 0.1]}, "order": "TO", "mode": "full"}
    given |= {"train_loss": "sampled_softmax", "show_progress": False} if step else {}
    config = configure("GRU4Rec", place.name, given)
    import recbole.data

    if not step:
        return _loaded(lambda: recbole.data.create_dataset(config))
    return _loaded(lambda: recbole.data.create_dataset(config), lambda dataset: _first_step(config, dataset))


def _loaded(make: Any, use: Any = None) -> dict[str, Any]:
    cpu, wall = time.process_time(), time.perf_counter()
    dataset = make()
    rows = use(dataset) if use else [len(part) for part in dataset.build()]
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "rows": rows}


class _Stepped(Exception):
    """The first step is done."""


def _first_step(config: Any, dataset: Any) -> list[int]:
    """Loaders, model and trainer made, one step trained; rows of the parts."""
    import recbole.data
    from recbole.utils import get_model, get_trainer

    loaders = recbole.data.data_preparation(config, dataset)
    model = get_model(config["model"])(config, loaders[0]._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    update = trainer.optimizer.step

    def step(*given: Any, **named: Any) -> None:
        update(*given, **named)
        raise _Stepped

    trainer.optimizer.step = step
    try:
        trainer.fit(loaders[0], loaders[1], saved=False, show_progress=False)
    except _Stepped:
        return [len(loader._dataset) for loader in loaders]
    raise SideFailed("no step was made")


# --- the logs


def write_log(folder: Path, events: int, parquet: bool) -> None:
    """`events` events of shops' kind as atomic files; the same number gives the same bytes."""
    import polars as pl

    folder.mkdir()
    text = folder / f"{folder.name}.inter"
    items = max(1000, min(1_500_000, events // 60))
    columns = ("session_id:token", "user_id:token", "item_id:token", "timestamp:float", "event:token")
    with open(text, "wb") as stream:
        stream.write("\t".join(columns).encode() + b"\n")
        for part in _parts(events, items):
            pl.DataFrame(part).write_csv(stream, separator="\t", include_header=False)
    random = np.random.default_rng(1)
    features = {
        "item_id:token": np.arange(items),
        "category:token": random.integers(0, 1000, items),
        "price:float": random.integers(100, 10_000, items) / 100,
    }
    pl.DataFrame(features).write_csv(folder / f"{folder.name}.item", separator="\t")
    if parquet:
        kinds = {name: pl.Float64 if name.endswith("float") else pl.Int64 for name in columns}
        kinds["event:token"] = pl.String
        log = pl.scan_csv(text, separator="\t", quote_char=None, schema=kinds)
        log.sink_parquet(folder / f"{folder.name}.inter.parquet")


def _parts(events: int, items: int) -> Iterator[dict[str, Any]]:
    random, session, day = np.random.default_rng(0), 0, 0
    for start in range(0, events, _STRETCH):
        count = min(_STRETCH, events - start)
        length = np.clip(random.geometric(0.27, count), 1, 60)
        length = length[: int(np.searchsorted(np.cumsum(length), count)) + 1]
        own = np.repeat(np.arange(len(length)), length)[:count]
        place = np.arange(count) - np.searchsorted(own, own)
        opened = np.sort(random.random(len(length))) * _DAYS * 86400
        kinds = np.array(["view", "cart", "order"])
        yield {
            "session": own + session,
            "user": random.integers(0, max(1, events // 8), len(length))[own],
            "item": random.zipf(1.15, count) % items,
            "time": (day * 86400 + opened[own] + 30 * place).astype(np.int64),
            "event": kinds[np.minimum(random.geometric(0.85, count) - 1, 2)],
        }
        session, day = session + len(length), day + _DAYS


if __name__ == "__main__":
    sys.exit(main())
