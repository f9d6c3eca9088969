"""How fast training is beside RecBole 1.2.1 as released: targets a second, start-up, memory. Writes results/speed.md.

    python benchmarks/train.py            # 2 threads, CPU
    python benchmarks/train.py --gpu --data atomic_data/diginetica-sessions --out results/speed_gpu.md
    python benchmarks/train.py --beside CHECKOUT --model SASRec   # beside that of another commit, unpacked there
    python benchmarks/train.py --gpu --beside CHECKOUT --repeats 3

Every run is a process of its own and the sides take turns. The released side has RecBole's own data set, loader and
trainer, with anomaly detection, which importing its models switches on, and once more without.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import bars, write_section
from side_by_side import ROOT, Side, SideFailed, conditions, run_once, table

PACKAGES = ("torch", "numpy", "pandas", "recbole")
RUNS = "recbole_runs"
EVERY = {"train_targets": "all_positions"}
SAMPLED = {**EVERY, "train_loss": "sampled_softmax", "negatives": 2048}


@dataclass(frozen=True)
class Line:
    """One line of the table: what is said of it, and the side that is run."""

    label: str
    ours: bool
    model: str
    settings: Mapping[str, Any]
    anomaly: bool = True


def lines_of(model: str) -> list[Line]:
    """Lines of one model; the first is what the others are compared with."""
    return [
        Line("RecBole as released", False, model, {}),
        Line("RecBole, anomaly detection off", False, model, {}, anomaly=False),
        Line("ours, one row a prefix", True, model, {}),
        Line("ours, every position", True, model, EVERY),
        Line("ours, every position, softmax in bf16", True, model, {**EVERY, "precision": "bf16"}),
        Line("ours, every position, sampled softmax (2,048)", True, model, SAMPLED),
    ]


def measure(
    sides: Sequence[tuple[Line, Side]], repeats: int, threads: int, say: Callable[[str], None] = print
) -> dict[str, list[dict[str, Any]]]:
    """Results of every line's runs, in turn; a line that fails has none.

    Raises SystemExit where all of them do: there is nothing to write.
    """
    found: dict[str, list[dict[str, Any]]] = {line.label: [] for line, _ in sides}
    for number in range(repeats):
        for line, side in sides:
            try:
                run = run_once(side, threads)
            except SideFailed as error:
                say(f"{side.name}: {str(error).splitlines()[-1]}")
                continue
            found[line.label].append({**run["result"], "peak_gb": run["peak_bytes"] / 1e9})
            say(f"{side.name}, run {number + 1} of {repeats}: {run['result']}")
    stop_without(any(found.values()))
    return found


def stop_without(results: object) -> None:
    """SystemExit where there are no results."""
    if not results:
        raise SystemExit("every side has failed, so nothing is written: the lines above say why")


def median(runs: Sequence[Mapping[str, Any]], key: str) -> float:
    """Median of one figure over runs; NaN where there are none."""
    return statistics.median(run[key] for run in runs) if runs else float("nan")


def figure(value: float, form: str = ".1f", unit: str = "") -> str:
    """A figure of the table; empty where there is none."""
    return f"{value:{form}}{unit}" if value == value else ""


def training(data: Path, repeats: int, batches: int, threads: int) -> tuple[str, dict[str, float]]:
    """The table of training steps, and ratios for the picture."""
    rows, ratios = [], {}
    for model in ("SASRec", "GRU4Rec"):
        sides = []
        for line in lines_of(model):
            count = batches * (10 if line.settings.get("train_loss") else 2) if line.ours else batches
            arguments = {
                "ours": line.ours,
                "data": str(data),
                "model": model,
                "settings": dict(line.settings),
                "batches": count,
                "anomaly": line.anomaly,
            }
            sides.append((line, Side(f"{model}, {line.label}", f"{RUNS}:train_steps", arguments)))
        found = measure(sides, repeats, threads)
        base = median(found[lines_of(model)[0].label], "targets_per_second")
        for line, _ in sides:
            speed = median(found[line.label], "targets_per_second")
            spread = [run["targets_per_second"] for run in found[line.label]]
            text = f"{speed:,.0f} ({min(spread):,.0f}–{max(spread):,.0f})" if spread else "failed"
            peak = median(found[line.label], "peak_gb")
            rows.append((model, line.label, text, figure(speed / base, ".1f", "×"), figure(peak)))
            if speed / base == speed / base:
                ratios[f"{model}: {line.label}"] = speed / base
    head = ("model", "what", "targets/s, median (least–most)", "ratio", "peak GB")
    return table(head, rows), ratios


BESIDE = {"load_col": None, "user_state": "none"}
NOW = (
    ("neither", {"readout": False, "pointer": "none"}),
    ("session pointer", {"readout": False, "pointer": "session"}),
    ("read-out and session pointer", {"pointer": "session"}),
)


def beside(data: Path, checkout: Path, model: str, repeats: int, batches: int, threads: int) -> str:
    """The table of a model here beside the one of another commit: HRNNFeat with and without what it looks back with,
    others at every position, in fp32 and with the softmax in bf16."""
    there, lines = commit_of(checkout), []
    if model == "HRNNFeat":
        lines = [(f"HRNNFeat of {there}", BESIDE, checkout)]
        lines += [(f"here, {label}", {**BESIDE, **settings}, ROOT) for label, settings in NOW]
    else:
        for precision in ("fp32", "bf16"):
            settings = {**EVERY, "precision": precision}
            lines += [(f"{model} in {precision}, {there}", settings, checkout)]
            lines += [(f"{model} in {precision}, here", settings, ROOT)]
    order = {"ours": True, "data": str(data), "model": model, "batches": batches}
    sides = [
        (
            Line(label, True, model, settings),
            Side(label, f"{RUNS}:train_steps", {**order, "settings": dict(settings)}, root=root),
        )
        for label, settings, root in lines
    ]
    found = measure(sides, repeats, threads)
    rows, base = [], (0.0, 0.0)
    for label, _, root in lines:
        runs = found[label]
        wall = [run["targets_per_second"] for run in runs]
        cpu = [run["targets_per_second"] * run["seconds"] / run["cpu_seconds"] for run in runs]
        if not runs:
            rows.append((label, "failed", "", "", "", ""))
            continue
        speeds = statistics.median(wall), statistics.median(cpu)
        base = speeds if root == checkout else base
        ratios = [f"{speed / before:.2f}×" if before else "" for speed, before in zip(speeds, base)]
        text = f"{speeds[0]:,.0f} ({min(wall):,.0f}–{max(wall):,.0f})"
        rows.append(
            (label, text, ratios[0], f"{speeds[1]:,.0f}", ratios[1], f"{median(runs, 'peak_gb'):.1f}")
        )
    head = ("what", "targets/s, median (least–most)", "ratio", "targets a CPU second", "ratio", "peak GB")
    return table(head, rows)


def beside_on_gpu(data: Path, checkout: Path, repeats: int, epochs: int) -> str:
    """The table of whole epochs here and of another commit, in turn, and of all training targets here."""
    there = commit_of(checkout)
    fast = {"precision": "bf16", "train_batch_size": 4096}
    models = {
        "SASRec": {**EVERY, **fast},
        "GRU4Rec": {**EVERY, **fast},
        "HRNNFeat": {**BESIDE, **fast},
    }
    now = {"HRNNFeat": {"pointer": "session"}}  # the other commit may not know what it looks back with
    columns = {"inter": ["session_id", "item_id", "timestamp", "split"], "item": ["item_id", "category"]}
    published = {"split": {"given": {"valid_share": 0.1}}, "mode": "full"}
    whole = {"eval_args": published, "refit": True, "load_col": columns}
    order = {"ours": True, "data": str(data), "epochs": epochs}
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for number in range(repeats):
        for model, settings in models.items():
            sides = [
                (there, checkout, settings),
                ("here", ROOT, {**settings, **now.get(model, {})}),
                ("here, all targets", ROOT, {**settings, **now.get(model, {}), **whole}),
            ]
            for label, root, given in sides:
                side = Side(
                    label, f"{RUNS}:epochs_on_gpu", {**order, "model": model, "settings": given}, root=root
                )
                try:
                    run = run_once(side, 8)["result"]
                except SideFailed as error:
                    print(f"{model}, {label}: {str(error).splitlines()[-1]}")
                    continue
                found.setdefault((model, label), []).append(run)
                print(f"{model}, {label}, run {number + 1} of {repeats}: {run}", flush=True)
    stop_without(found)
    rows = []
    for (model, label), runs in found.items():
        base = median(found.get((model, there), []), "epoch_seconds")
        taken = [run["epoch_seconds"] for run in runs]
        middle = statistics.median(taken)
        same = label == "here" and base == base
        rows.append(
            (
                f"{model}, {label}",
                f"{runs[0]['targets']:,}",
                f"{middle:.3f} ({min(taken):.3f}–{max(taken):.3f})",
                f"{base / middle:.2f}×" if same else "",
                f"{median(runs, 'first_epoch_seconds'):.1f}",
                f"{median(runs, 'memory_gb'):.1f}",
            )
        )
    head = ("what", "targets", "epoch, s, median of runs", "ratio", "first epoch, s", "GPU GB")
    return table(head, rows)


def commit_of(checkout: Path) -> str:
    """The commit of a checkout; the folder's name where it is none."""
    said = subprocess.run(
        ["git", "log", "-1", "--format=%h", "--", "."], cwd=checkout, capture_output=True, text=True
    )
    return said.stdout.strip() or checkout.name


def starting(data: Path, repeats: int, threads: int) -> str:
    """The table of what comes before the first step."""
    lines = [
        Line("RecBole as released", False, "SASRec", {}),
        Line("ours", True, "SASRec", {}),
    ]
    sides = []
    for line in lines:
        arguments = {"ours": line.ours, "data": str(data), "model": "SASRec", "settings": dict(line.settings)}
        sides.append((line, Side(line.label, f"{RUNS}:first_step", arguments)))
    found = measure(sides, repeats, threads)
    rows = []
    for line in lines:
        runs = found[line.label]
        keys = (
            "first_step_seconds",
            "import_seconds",
            "create_seconds",
            "prepare_seconds",
            "augment_seconds",
            "held_mb",
        )
        rows.append((line.label, *(figure(median(runs, key), ".2f") for key in keys)))
    head = (
        "",
        "start to first step, s",
        "of it imports",
        "load",
        "prepare",
        "of it making the rows",
        "rows held, MB",
    )
    return table(head, rows)


def on_gpu(data: Path, epochs: int) -> str:
    """The table of whole epochs on a GPU."""
    bf16 = {**EVERY, "precision": "bf16"}
    lines = [
        Line("SASRec, RecBole as released", False, "SASRec", {"train_targets": None}),
        Line("SASRec, RecBole, anomaly detection off", False, "SASRec", {}, anomaly=False),
        Line("SASRec, ours, one row a prefix", True, "SASRec", {}),
        Line("SASRec, ours, every position, bf16", True, "SASRec", bf16),
        Line("SASRec, the same, 4,096 targets a step", True, "SASRec", {**bf16, "train_batch_size": 4096}),
        Line("GRU4Rec, RecBole as released", False, "GRU4Rec", {}),
        Line("GRU4Rec, ours, every position, bf16", True, "GRU4Rec", bf16),
        Line(
            "HRNNFeat, categories, bf16",
            True,
            "HRNNFeat",
            {"precision": "bf16", "load_col": None, "train_batch_size": 1024},
        ),
    ]
    rows = []
    base: dict[str, float] = {}
    for line in lines:
        arguments = {
            "ours": line.ours,
            "data": str(data),
            "model": line.model,
            "settings": {k: v for k, v in line.settings.items() if line.ours},
            "epochs": epochs if line.ours else 1,
            "anomaly": line.anomaly,
        }
        try:
            found = run_once(Side(line.label, f"{RUNS}:epochs_on_gpu", arguments), 8)["result"]
        except SideFailed as error:
            print(f"{line.label}: {error}")
            continue
        each = found["epoch_seconds"] / found["targets"]
        base.setdefault(line.model, each)
        ratio = f"{base[line.model] / each:.1f}×" if line.model != "HRNNFeat" else ""
        rows.append(
            (
                line.label,
                f"{found['targets']:,}",
                f"{found['epoch_seconds']:.2f}",
                f"{found['first_epoch_seconds']:.2f}",
                f"{each * 1e6:.2f}",
                ratio,
                f"{found['ready_seconds']:.1f}",
                f"{found['memory_gb']:.1f}",
            )
        )
        print(rows[-1], flush=True)
    stop_without(rows)
    head = ("what", "targets", "epoch, s", "first epoch, s", "µs a target", "ratio", "start, s", "GPU GB")
    return table(head, rows)


def real_data(folder: Path) -> Path:
    """Atomic files of the real Diginetica session lists in `folder`, made where they are missing."""
    source = (
        Path(os.environ.get("RECBOLE_EXT_SHARED_DATA", ROOT.parent / "shared" / "data"))
        / "diginetica/sessions"
    )
    out = folder / "diginetica-sessions"
    if not (out / "manifest.json").is_file():
        if not source.is_dir():
            raise SystemExit(
                f"no session lists at {source}: set RECBOLE_EXT_SHARED_DATA, or give --data FOLDER"
            )
        from recbole_ext.convert import convert

        convert("session-lists", source, out, item_features=str(source / "item_category.csv"))
    return out


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, help="folder of atomic files; default: the real Diginetica lists"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "speed.md")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batches", type=int, default=4, help="timed steps of a released run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gpu", action="store_true", help="whole epochs on a GPU instead")
    parser.add_argument("--start-only", action="store_true", help="only what comes before the first step")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="beside the model of this folder")
    parser.add_argument("--model", default="HRNNFeat", help="with --beside: HRNNFeat, SASRec or GRU4Rec")
    options = parser.parse_args(argv)
    sys.path.insert(0, str(ROOT))
    data = (options.data or real_data(ROOT / "atomic_data")).resolve()
    where = conditions(options.threads, PACKAGES)
    if options.gpu and options.beside:
        import torch

        steps = beside_on_gpu(data, options.beside.resolve(), options.repeats, options.epochs)
        command = f"`python benchmarks/train.py --gpu --beside CHECKOUT --repeats {options.repeats}`"
        text = f"{command}; {torch.cuda.get_device_name()}; {where}\n\n{steps}\n"
        write_section(options.out, "Training on a GPU beside an older commit", text)
        return
    if options.gpu:
        import torch

        text = f"{torch.cuda.get_device_name()}; {where}\n\n{on_gpu(data, options.epochs)}\n"
        write_section(options.out, "Training on a GPU", text)
        return
    if options.beside:
        checkout = options.beside.resolve()
        model = options.model
        steps = beside(data, checkout, model, options.repeats, options.batches * 4, options.threads)
        command = f"`python benchmarks/train.py --beside CHECKOUT --model {model}`"
        text = f"{command}; data {data.name}; {where}\n\n{steps}\n"
        write_section(options.out, f"{model} beside an older commit", text)
        return
    if options.start_only:
        text = f"{where}\n\n{starting(data, options.repeats, options.threads)}\n"
        write_section(options.out, "Before the first step", text)
        return
    steps, ratios = training(data, options.repeats, options.batches, options.threads)
    picture = options.out.with_name("speed_training.svg")
    bars(picture, ratios, "Training steps, times RecBole as released")
    command = f"`python benchmarks/train.py --repeats {options.repeats}`"
    text = f"{command}; data {data.name}; {where}\n\n{steps}\n\n![]({picture.name})\n"
    write_section(options.out, "Training on a CPU", text)
    begin = starting(data, options.repeats, options.threads)
    write_section(options.out, "Before the first step", f"{command}; {where}\n\n{begin}\n")


if __name__ == "__main__":
    main()
