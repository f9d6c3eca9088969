"""Each day trained from nothing against updated from the day before, on the same targets. Writes results/update.md.

    python benchmarks/update.py --log atomic_data/diginetica-demo --model HRNNFeat --days 3 --step 7 --seed 1,2,3
    python benchmarks/update.py --log atomic_data/diginetica --model SASRec --update replay_share=0.1 --update epochs=2
    python benchmarks/update.py --draw kept …            only the page, of what --keep left

A rolling replay over the last days of a log. On day d both sides train on all days before d and are tested on d. From
nothing: a fresh model. Updated: the day that has become known joins the log, and yesterday's model goes on. Both sides
have the same first model. The first replayed day is no tested one, it chooses: how many epochs training from nothing
takes (by early stopping, once a seed; the later epochs that this takes to see are not counted), and which of several
ways to update (`--update`, each with a chain of models of its own) is reported.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
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
OWN = "its own"  # the way to update that update has by itself
BOUND = 0.01  # of the aim: at least 99 %


def split(test_days: int, valid_days: int) -> dict[str, Any]:
    """`eval_args` of a run that is tested on the last days."""
    return {"split": {"session_time": {"test_days": test_days, "valid_days": valid_days}}}


# --- the days of a log --------------------------------------------------------------------------------------


def write_days(log: AtomicLog, place: Path, days: int, step: int) -> tuple[list[str], list[Path], Path]:
    """Atomic files of the log up to its last days, and of each of these: names of the days, and folders; and of all
    up to the third of them.

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

    def write(folder: Path, kept: pl.DataFrame) -> Path:
        item = None
        if log.item is not None:
            item = log.item.join(
                kept.select("item_id").unique(), on="item_id", how="semi", maintain_order="left"
            )
        known = {"converter": "atomic", "time_origin": log.origin, **log.manifest}
        manifest = {**known, "counts": {}, "notes": {}}
        write_dataset(folder, kept.drop("_t", "_day"), item, manifest, log.types)
        return folder

    name = log.file.stem
    folders = [
        write(
            place / f"{first}" / name,
            events.filter(pl.col("_day") <= number if first == 0 else pl.col("_day") == number),
        )
        for first, number in enumerate(numbers)
    ]
    chooses = write(place / "chooses" / name, events.filter(pl.col("_day") <= numbers[2]))
    named = [str(datetime.fromtimestamp((last + n * step) * DAY, UTC).date()) for n in numbers]
    return named, folders, chooses


# --- a replay -----------------------------------------------------------------------------------------------


def trained(model: str, dataset: str, place: Path, keys: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """A fresh run on the atomic files in place/dataset, and its wall seconds."""
    import recbole_ext

    began = time.perf_counter()
    record = recbole_ext.run(model, dataset, **{**keys, "data_path": str(place)})
    return record, time.perf_counter() - began


def words_of(text: str) -> dict[str, Any]:
    """`name=value` words as settings, read as the command line reads them; none for the default way."""
    from recbole_ext.settings.command_line import parse_command_line

    return parse_command_line([f"--{word}" for word in text.split()] if text != OWN else [])


def replay(
    options: argparse.Namespace, seed: int, work: Path, after_day: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """One seed, day by day: seconds of all sides, and `ranks` of the targets by day, (sides, T), from nothing first.

    after_day: is given what is known after each day.
    """
    from recbole_ext.recommend.update import update

    log = AtomicLog.read(options.log)
    dataset = options.log.name
    days, folders, chooses = write_days(log, work / "days", options.days + 2, options.step)
    keys: dict[str, Any] = {
        "use_gpu": options.device == "cuda",
        "state": "WARNING",
        "show_progress": False,
        "seed": seed,
        "runs_dir": str(work / "runs"),
        "checkpoint_dir": str(work / "saved"),
        "eval_args": split(options.step, 0),
    }
    keys |= words_of(" ".join(options.key))
    full_epochs = options.full_epochs
    if full_epochs is None:
        validated = {**keys, "eval_args": split(options.step, options.step)}
        chosen, _ = trained(options.model, dataset, chooses.parent, validated)
        if chosen["epochs_run"] > 1:
            full_epochs = chosen["best_epoch"] + 1
    if full_epochs is not None:
        keys["epochs"] = full_epochs
    first, _ = trained(options.model, dataset, folders[0].parent, keys)
    before = [first] * len(options.update)
    found: dict[str, Any] = {"seed": seed, "full_epochs": full_epochs, "days": [], "ranks": []}
    found |= {"device": first["device"], "versions": first["versions"], "parameters": first["parameters"]}
    for number, (day, folder) in enumerate(zip(days[1:], folders[1:])):
        sides = []
        for way, text in enumerate(options.update):
            joined = work / "joined" / f"{way}-{number}"  # of its own: each way pays for its join
            began = time.perf_counter()
            record = update(
                Path(before[way]["files"]["record"]).parent,
                [folder],
                log=joined,
                keys=words_of(text),
                rank_old=False,
            )
            sides.append((record, time.perf_counter() - began))
            before[way] = record
        fresh = trained(options.model, dataset, work / "joined" / f"0-{number}", keys)
        records = [fresh[0], *(record for record, _ in sides)]
        runs = load(
            [Path(r["files"]["record"]).parent for r in records], [str(n) for n in range(len(records))]
        )
        session = aligned(runs)
        found["ranks"].append((session, np.stack([run.arrays["rank"] for run in runs])))
        found["days"].append(
            {
                "day": day,
                "targets": len(session),
                "new_items": records[1]["parent"].get("new_items"),
                "sessions": [_sessions(record) for record in records[1:]],
                "counts": fresh[0]["counts"],
                "train": [record["seconds"]["train"] for record in records],
                "prepare": [record["seconds"]["prepare"] for record in records],
                "all": [fresh[1], *(wall for _, wall in sides)],
                "ndcg@10": [record["test"]["ndcg@10"] for record in records],
                "share": [record["config"].get("replay_share") for record in records],
            }
        )
        print(day, json.dumps(found["days"][-1]), flush=True)
        after_day(found)
    return found


def _sessions(record: dict[str, Any]) -> dict[str, Any]:
    names = ("new_sessions", "sessions_again", "old_sessions", "started_items")
    return {name: record["parent"][name] for name in names if name in record["parent"]}


def keep(folder: Path, found: dict[str, Any], facts: dict[str, Any]) -> None:
    """Write one seed's replay down: <log>-<model>-<seed>.json, and .npz with the ranks."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{facts['log']}-{facts['model']}-{found['seed']}"
    arrays = {f"session{n}": session for n, (session, _) in enumerate(found["ranks"])}
    arrays |= {f"rank{n}": ranks for n, (_, ranks) in enumerate(found["ranks"])}
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    plain = {key: value for key, value in found.items() if key != "ranks"}
    (folder / f"{name}.json").write_text(json.dumps({**facts, **plain}, indent=1) + "\n", encoding="utf-8")


def kept(folders: Sequence[Path]) -> dict[tuple[str, str], tuple[dict[str, Any], list[dict[str, Any]]]]:
    """What `keep` has left: by log and model the facts and the seeds' replays."""
    groups: dict[tuple[str, str], tuple[dict[str, Any], list[dict[str, Any]]]] = {}
    for file in sorted(file for folder in folders for file in folder.glob("*.json")):
        facts = json.loads(file.read_text(encoding="utf-8"))
        with np.load(file.with_suffix(".npz")) as stored:
            days = range(len(facts["days"]))
            facts["ranks"] = [(stored[f"session{n}"], stored[f"rank{n}"]) for n in days]
        groups.setdefault((facts["model"], facts["log"]), (facts, []))[1].append(facts)
    return groups


# --- the page -----------------------------------------------------------------------------------------------


def sides_of(
    seeds: Iterable[dict[str, Any]], way: int, metric: str, days: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(T, 1) gains of a way to update and of training from nothing, and (T,) the session of each; a session is the
    same under every seed."""
    name, k = metric.split("@")
    new, old, sessions = [], [], []
    for seed in seeds:
        base = 0
        for number, (session, ranks) in enumerate(seed["ranks"]):
            if number in range(len(seed["ranks"]))[days]:
                old.append(gains(ranks[0], name, int(k)))
                new.append(gains(ranks[1 + way], name, int(k)))
                sessions.append(session + base)
            base += int(session.max()) + 1
    return np.concatenate(new)[:, None], np.concatenate(old)[:, None], np.concatenate(sessions)


def ratio(seeds: Sequence[dict[str, Any]], way: int, metric: str, days: slice) -> tuple[str, float, str]:
    """ "0.1 / 0.2", the share, and "99.0 % [98.0, 100.0], p .010" with p of less than 99 %."""
    new, old, session = sides_of(seeds, way, metric, days)
    change = changes(new, old, session, np.array([BOUND]))
    share = 1 + float(change.change[0])
    text = f"{100 * share:.1f} % [{100 * (1 + change.low[0]):.1f}, {100 * (1 + change.high[0]):.1f}]"
    return f"{new.mean():.4f} / {old.mean():.4f}", share, f"{text}, p {change.p_kept[0]:.3f}"


def seconds(seeds: Iterable[dict[str, Any]], way: int, what: str, days: slice) -> tuple[float, float]:
    """Seconds of a way to update and of training from nothing, `train` or `all`, a day in the mean."""
    several = [day[what] for seed in seeds for day in seed["days"][days]]
    return statistics.mean(one[1 + way] for one in several), statistics.mean(one[0] for one in several)


CHOOSES, TESTED = slice(0, 1), slice(1, None)


def chosen_way(seeds: Sequence[dict[str, Any]], ways: Sequence[str]) -> int:
    """The one of the best NDCG@10 on the choosing day."""
    return max(range(len(ways)), key=lambda way: ratio(seeds, way, METRICS[0], CHOOSES)[1])


def text_of(ways: Sequence[str], seeds: Sequence[dict[str, Any]], way: int) -> str:
    """Tables of one log and model."""
    rows = []
    for label, some in [*((str(seed["seed"]), [seed]) for seed in seeds), ("all", seeds)]:
        value, _, ndcg = ratio(some, way, METRICS[0], TESTED)
        _, _, hit = ratio(some, way, METRICS[1], TESTED)
        row = [label, "–" if len(some) > 1 else str(some[0]["full_epochs"] or "–"), value, ndcg, hit]
        for what in ("train", "all"):
            one, two = seconds(some, way, what, TESTED)
            row.append(f"{one:.1f} / {two:.1f} = {100 * one / two:.0f} %")
        rows.append(row)
    head = ("seed", "epochs from nothing", "NDCG@10 updated / from nothing", "ratio NDCG@10", "ratio HR@20")
    found = [table((*head, "training, s a day", "everything, s a day"), rows)]
    by_day = []
    for number, day in enumerate(seeds[0]["days"][TESTED], start=1):
        _, _, ndcg = ratio(seeds, way, METRICS[0], slice(number, number + 1))
        items = "–" if day["new_items"] is None else f"{day['new_items']:,}"
        by_day.append([day["day"], f"{day['targets']:,}", items, ndcg])
    found.append(table(("tested day", "targets", "new items", "ratio NDCG@10, all seeds"), by_day))
    if len(ways) > 1:
        rows = []
        for other, text in enumerate(ways):
            values = [ratio(seeds, other, METRICS[0], days)[2] for days in (CHOOSES, TESTED)]
            times = [seconds(seeds, other, what, TESTED) for what in ("train", "all")]
            rows.append([text, *values, *(f"{100 * one / two:.0f} %" for one, two in times)])
        day = seeds[0]["days"][0]["day"]
        head = ("way to update", f"ratio NDCG@10 on {day}, which chooses", "on the tested days")
        found.append(table((*head, "time of training", "of everything"), rows))
    return "\n\n".join(found)


def draw(
    out: Path, facts: dict[str, Any], seeds: Sequence[dict[str, Any]], wanted: str | None, label: str = ""
) -> None:
    """Write a log and model's section of the page. wanted: the way to report. label: said behind the model's name."""
    ways = facts["ways"]
    way = ways.index(wanted) if wanted in ways else chosen_way(seeds, ways) if len(ways) > 1 else 0
    command = facts["command"].replace("SEEDS", ",".join(str(seed["seed"]) for seed in seeds))
    where = f"{facts['conditions']}; {seeds[0]['device']}"
    body = f"`{command}`; reported: {ways[way]}; {where}\n\n{text_of(ways, seeds, way)}\n"
    if not out.is_file():
        out.write_text("# Updates against training from nothing\n", encoding="utf-8")
    write_section(out, f"{facts['model']}{label} on {facts['log']}", body)


# --- the command --------------------------------------------------------------------------------------------


def command_of(options: argparse.Namespace) -> str:
    """The command with what differs from the defaults, without a folder of this machine."""
    words = [f"--log {options.log.name} --model {options.model} --days {options.days}"]
    words += [f"--step {options.step}"] * (options.step != 1)
    words += [f"--device {options.device}"] * (options.device != "cpu")
    words += [f"--key {key}" for key in options.key]
    words += [f'--update "{way}"' for way in options.update if options.update != [OWN]]
    words += [] if options.full_epochs is None else [f"--full_epochs {options.full_epochs}"]
    return f"python benchmarks/update.py {' '.join(words)} --seed SEEDS"


def arguments() -> argparse.ArgumentParser:
    """Those of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--log", type=Path, help="folder of atomic files, named as a data set")
    parser.add_argument("--model", default="HRNNFeat")
    parser.add_argument("--days", type=int, default=3, help="tested days, the last ones of the log")
    parser.add_argument(
        "--step", type=int, default=1, help="calendar days that are taken for one, of a thin log"
    )
    parser.add_argument(
        "--update",
        action="append",
        metavar="WORDS",
        help=f'settings of an update, as "replay_share=0.1 epochs=2"; several: the first day chooses; "{OWN}": none',
    )
    parser.add_argument("--full_epochs", type=int, help="from nothing (default: what early stopping chooses)")
    parser.add_argument("--seed", default="2020", help="one, or several parted by commas")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--key", action="append", default=[], metavar="NAME=VALUE", help="a setting of both sides"
    )
    parser.add_argument("--keep", type=Path, help="folder for the ranks and seconds of each seed")
    parser.add_argument(
        "--draw", type=Path, nargs="+", help="folders of --keep: write their page, run nothing"
    )
    parser.add_argument(
        "--report", help="the way to update that --draw reports (default: what the first day chooses)"
    )
    parser.add_argument("--label", default="", help="for --draw: what a section says behind the model's name")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "update.md")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    options = arguments().parse_args(argv)
    if options.draw:
        for facts, seeds in kept(options.draw).values():
            draw(options.out, facts, seeds, options.report, options.label)
        return
    options.log, options.update = options.log.resolve(), options.update or [OWN]
    options.keep = None if options.keep is None else options.keep.resolve()
    import torch

    torch.set_num_threads(options.threads)
    facts = {"log": options.log.name, "model": options.model, "ways": options.update}
    facts |= {"command": command_of(options)}
    facts |= {"conditions": conditions(options.threads, ("numpy", "torch", "recbole"))}
    seeds = []
    for seed in map(int, str(options.seed).split(",")):
        with tempfile.TemporaryDirectory(prefix="replay-") as work, contextlib.chdir(work):
            seeds.append(
                replay(
                    options,
                    seed,
                    Path(work),
                    lambda found: None if options.keep is None else keep(options.keep, found, facts),
                )
            )
    draw(options.out, facts, seeds, None)


if __name__ == "__main__":
    main()
