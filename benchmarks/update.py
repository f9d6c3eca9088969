"""Each day trained from nothing against updated from the day before, on the same targets. Writes results/update.md.

    python benchmarks/update.py --log atomic_data/diginetica-demo --model HRNNFeat --days 3
    python benchmarks/update.py --log atomic_data/diginetica --model VSTAN --days 3

A rolling replay over the last days of a log. On day d both sides train on all days before d and are tested on d. From
nothing: a fresh model, as many epochs as early stopping chose once, on the day before the first, without the later
epochs that it takes to see that. Updated: the day that has become known joins the log, and yesterday's model goes on.
Both sides have the same first model.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT)]

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
from report import write_section  # noqa: E402
from side_by_side import conditions, table  # noqa: E402

from recbole_ext.convert.atomic import write_dataset  # noqa: E402
from recbole_ext.convert.join import AtomicLog  # noqa: E402
from recbole_ext.evaluate.intervals import changes  # noqa: E402
from recbole_ext.evaluate.runs import aligned, load  # noqa: E402
from recbole_ext.evaluate.target_metrics import gains  # noqa: E402

DAY = 86_400
METRICS = ("ndcg@10", "hit@20")


def split(test_days: int, valid_days: int) -> dict[str, Any]:
    """`eval_args` of a run that is tested on the last days."""
    return {"split": {"session_time": {"test_days": test_days, "valid_days": valid_days}}}


def write_days(log: AtomicLog, place: Path, days: int, step: int) -> tuple[list[str], list[Path]]:
    """Atomic files of the log up to its last days, and of each of these: names of the days, and folders.

    A day is `step` calendar days, the last one ends with the log. The first folder ends with the first of the days,
    each later one is the next day's. Items have features from the first day on that has an event of theirs.
    """
    events = log.inter.with_columns(_t=pl.col("timestamp").cast(pl.Float64) + (log.origin or 0.0))
    start = (pl.col("_t").min().over("session_id") // DAY).cast(pl.Int64)
    events = events.with_columns(_day=start).with_columns(
        _day=-((pl.col("_day").max() - pl.col("_day")) // step)
    )
    last = int(events.select((pl.col("_t").min().over("session_id") // DAY).max()).item())
    numbers = sorted(events["_day"].unique())[-days:]
    folders = []
    for first, number in enumerate(numbers):
        kept = events.filter(pl.col("_day") <= number if first == 0 else pl.col("_day") == number)
        folder = place / f"{first}" / log.file.stem
        item = None
        if log.item is not None:
            item = log.item.join(
                kept.select("item_id").unique(), on="item_id", how="semi", maintain_order="left"
            )
        manifest = {**log.manifest, "counts": {}, "notes": {}}
        write_dataset(folder, kept.drop("_t", "_day"), item, manifest, log.types)
        folders.append(folder)
    return [str(datetime.fromtimestamp((last + n * step) * DAY, UTC).date()) for n in numbers], folders


def trained(model: str, dataset: str, place: Path, keys: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """A fresh run on the atomic files in place/dataset, and its wall seconds."""
    import recbole_ext

    began = time.perf_counter()
    record = recbole_ext.run(model, dataset, **{**keys, "data_path": str(place)})
    return record, time.perf_counter() - began


def replay(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Both sides, day by day: seconds and the pooled targets' gains."""
    from recbole_ext.recommend.update import update

    log = AtomicLog.read(options.log)
    dataset = options.log.name
    days, folders = write_days(log, work / "days", options.days + 1, options.step)
    keys: dict[str, Any] = {
        "use_gpu": False,
        "state": "WARNING",
        "show_progress": False,
        "seed": options.seed,
        "data_cache": False,  # else the second side would find what the first one has read
        "runs_dir": str(work / "runs"),
        "checkpoint_dir": str(work / "saved"),
        "eval_args": split(options.step, 0),
    }
    for text in options.key:
        name, _, value = text.partition("=")
        keys[name] = value
    if options.full_epochs is None:
        validated = {**keys, "eval_args": split(options.step, options.step)}
        chosen, _ = trained(options.model, dataset, folders[0].parent, validated)
        if chosen["epochs_run"] > 1:
            options.full_epochs = chosen["best_epoch"] + 1
    if options.full_epochs is not None:
        keys["epochs"] = options.full_epochs
    before, _ = trained(options.model, dataset, folders[0].parent, keys)
    found: dict[str, Any] = {
        "days": [],
        "new": {m: [] for m in METRICS},
        "old": {m: [] for m in METRICS},
        "session": [],
    }
    base = 0
    for day, folder in zip(days[1:], folders[1:]):
        changed = {} if options.epochs is None else {"epochs": options.epochs}
        began = time.perf_counter()
        updated = update(Path(before["files"]["record"]).parent, [folder], keys=changed, rank_old=False)
        wall = time.perf_counter() - began
        place = Path(updated["config"]["data_path"]).parent
        fresh, fresh_wall = trained(options.model, dataset, place, keys)
        runs = load([Path(r["files"]["record"]).parent for r in (updated, fresh)], ["updated", "fresh"])
        session = aligned(runs)
        for metric in METRICS:
            name, k = metric.split("@")
            for side, run in zip(("new", "old"), runs):
                found[side][metric].append(gains(run.arrays["rank"], name, int(k)))
        found["session"].append(session + base)
        base += int(session.max()) + 1
        found["days"].append(
            {
                "day": day,
                "targets": len(session),
                "new_items": updated["parent"].get("new_items"),
                "updated": (updated["seconds"]["train"], wall, updated["test"]),
                "fresh": (fresh["seconds"]["train"], fresh_wall, fresh["test"]),
            }
        )
        print(day, found["days"][-1], flush=True)
        before = updated
    return found


def text_of(found: dict[str, Any]) -> str:
    """Tables of a replay."""
    rows = []
    for day in found["days"]:
        (train, wall, test), (full, full_wall, full_test) = day["updated"], day["fresh"]
        values = [f"{one['ndcg@10']:.4f} / {two['ndcg@10']:.4f}" for one, two in ((test, full_test),)]
        new = "–" if day["new_items"] is None else f"{day['new_items']:,}"
        share = test["ndcg@10"] / full_test["ndcg@10"]
        row = [day["day"], f"{day['targets']:,}", new, *values, f"{100 * share:.1f} %"]
        row += [
            f"{train:.1f} / {full:.1f}",
            f"{wall:.1f} / {full_wall:.1f}",
            f"{100 * wall / full_wall:.0f} %",
        ]
        rows.append(row)
    session = np.concatenate(found["session"])
    lines = []
    for metric in METRICS:
        new, old = (np.concatenate(found[side][metric])[:, None] for side in ("new", "old"))
        change = changes(new, old, session, np.array([0.01]))
        lines.append(
            f"- {metric}: {new.mean():.4f} updated, {old.mean():.4f} from nothing: "
            f"**{100 * (1 + change.change[0]):.1f} %** "
            f"(95 % of sessions drawn anew: {100 * (1 + change.low[0]):.1f} to {100 * (1 + change.high[0]):.1f} %); "
            f"p of less than 99 %: {change.p_kept[0]:.3f}; correlation of the two sides' gains "
            f"{np.corrcoef(new[:, 0], old[:, 0])[0, 1]:.2f}"
        )
    sums = [
        [sum(day[side][place] for day in found["days"]) for side in ("updated", "fresh")] for place in (0, 1)
    ]
    lines += [
        f"- seconds of training: {one:.1f} against {two:.1f}: **{100 * one / two:.0f} %**"
        if not place
        else f"- seconds of everything (join, data, training, test, model folder): {one:.1f} against {two:.1f}: "
        f"**{100 * one / two:.0f} %**"
        for place, (one, two) in enumerate(sums)
    ]
    head = ("tested day", "targets", "new items", "NDCG@10 updated / from nothing", "ratio")
    head += ("training, s", "everything, s", "ratio")
    return table(head, rows) + "\n\n" + "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--log", type=Path, required=True, help="folder of atomic files, named as a data set")
    parser.add_argument("--model", default="HRNNFeat")
    parser.add_argument("--days", type=int, default=3, help="tested days, the last ones of the log")
    parser.add_argument(
        "--step", type=int, default=1, help="calendar days that are taken for one, of a thin log"
    )
    parser.add_argument("--epochs", type=int, help="of an update (default: update's own)")
    parser.add_argument("--full_epochs", type=int, help="from nothing (default: what early stopping chooses)")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--key", action="append", default=[], metavar="NAME=VALUE", help="a setting of both sides"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "update.md")
    options = parser.parse_args(argv)
    options.log = options.log.resolve()
    import torch

    torch.set_num_threads(options.threads)
    where = conditions(options.threads, ("numpy", "torch", "recbole"))
    with tempfile.TemporaryDirectory(prefix="replay-") as work, contextlib.chdir(work):
        found = replay(options, Path(work))
    command = (
        f"python benchmarks/update.py --log {options.log.name} --model {options.model} --days {options.days}"
    )
    command += f" --step {options.step}" * (options.step != 1) + "".join(
        f" --key {key}" for key in options.key
    )
    if options.epochs is not None:
        command += f" --epochs {options.epochs}"
    full = "" if options.full_epochs is None else f"; {options.full_epochs} epochs from nothing"
    body = f"`{command}`, seed {options.seed}{full}; {where}\n\n{text_of(found)}\n"
    if not options.out.is_file():
        options.out.write_text("# Updates against training from nothing\n", encoding="utf-8")
    write_section(options.out, f"{options.model} on {options.log.name}", body)


if __name__ == "__main__":
    main()
