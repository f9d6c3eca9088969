"""How fast evaluation is beside RecBole 1.2.1 as released: full ranking and uni100. Writes results/speed.md.

    python benchmarks/evaluate.py
    python benchmarks/evaluate.py --beside CHECKOUT         # ours beside that of another commit, unpacked there
    python benchmarks/evaluate.py --beside CHECKOUT --gpu   # products, ranks and lists alone, on a GPU

Rows are test rows of leave-one-out on the real Diginetica session lists, weights are untrained, 2 threads. That both
sides count the same hits is tested in tests/scores/test_ranks.py and tests/trainer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import bars, write_section
from side_by_side import ROOT, Side, conditions, table
from train import PACKAGES, RUNS, Line, commit_of, figure, measure, median, real_data


def evaluation(data: Path, repeats: int, rows: int, threads: int) -> tuple[str, dict[str, float]]:
    """The table of evaluations, and ratios for the picture."""
    printed, ratios = [], {}
    for mode, model in (("full", "SASRec"), ("full", "GRU4Rec"), ("uni100", "SASRec")):
        sides = []
        for line in (Line("RecBole", False, model, {}), Line("ours", True, model, {})):
            few = max(1, rows // 32) if mode != "full" and not line.ours else rows
            arguments = {
                "ours": line.ours,
                "data": str(data),
                "model": model,
                "settings": {},
                "rows": few,
                "mode": mode,
            }
            sides.append((line, Side(f"{model} {mode}, {line.label}", f"{RUNS}:evaluate_rows", arguments)))
        found = measure(sides, repeats, threads)
        base = median(found["RecBole"], "rows_per_second")
        for line, _ in sides:
            runs = found[line.label]
            speed = median(runs, "rows_per_second")
            spread = [run["rows_per_second"] for run in runs]
            text = f"{speed:,.0f} ({min(spread):,.0f}–{max(spread):,.0f})" if spread else "failed"
            peak = figure(median(runs, "peak_gb"))
            printed.append((model, mode, line.label, text, figure(speed / base, ".1f", "×"), peak))
            if speed / base == speed / base:
                ratios[f"{model} {mode}: {line.label}"] = speed / base
    head = ("model", "ranking", "side", "rows/s, median (least–most)", "ratio", "peak GB")
    return table(head, printed), ratios


def beside(data: Path, checkout: Path, repeats: int, rows: int, threads: int) -> str:
    """The table of the evaluation here, with the lists of a record and without, beside that of another commit."""
    printed = []
    for model in ("SASRec", "GRU4Rec"):
        for lists, what in ((False, "ranks"), (True, "ranks and lists")):
            order = {
                "ours": True,
                "data": str(data),
                "model": model,
                "settings": {},
                "rows": rows,
                "lists": lists,
            }
            printed += _against(
                f"{model}, {what}", f"{RUNS}:evaluate_rows", order, checkout, repeats, threads
            )
    return table(BESIDE, printed)


def products(checkout: Path, repeats: int, rows: int, threads: int, device: str) -> str:
    """The table of drawn states ranked among drawn vectors, beside another commit."""
    order = {"rows": rows, "items": 43_097, "width": 64, "batch": 8192, "device": device}
    what = f"{rows:,} rows, 43,097 items, d = 64"
    return table(BESIDE, _against(what, f"{RUNS}:rank_rows", order, checkout, repeats, threads))


BESIDE = (
    "what",
    "side",
    "rows/s, median (least–most)",
    "ratio",
    "rows a CPU second",
    "ratio",
    "the same found",
)


def _against(
    what: str, function: str, order: dict[str, Any], checkout: Path, repeats: int, threads: int
) -> list[tuple[str, ...]]:
    """Two lines: the checkout's and this tree's, in turn."""
    sides = []
    for label, root in ((commit_of(checkout), checkout), ("here", ROOT)):
        line = Line(label, True, "", {})
        sides.append((line, Side(f"{what}, {label}", function, order, root=root)))
    found = measure(sides, repeats, threads)
    sums = {run["found"] for runs in found.values() for run in runs}
    wall, cpu = (
        {label: median(runs, key) for label, runs in found.items()}
        for key in ("rows_per_second", "rows_per_cpu_second")
    )
    base = sides[0][0].label
    lines = []
    for line, _ in sides:
        each = [run["rows_per_second"] for run in found[line.label]]
        text = f"{wall[line.label]:,.0f} ({min(each):,.0f}–{max(each):,.0f})" if each else "failed"
        same = "" if sums == {""} else "yes" if len(sums) == 1 else "NO"
        ratios = (figure(speed[line.label] / speed[base], ".2f", "×") for speed in (wall, cpu))
        each_cpu = figure(cpu[line.label], ",.0f")
        lines.append((what, line.label, text, next(ratios), each_cpu, next(ratios), same))
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, help="folder of atomic files; default: the real Diginetica lists"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "speed.md")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="ours beside that of this folder")
    parser.add_argument("--gpu", action="store_true", help="with --beside: 60,858 drawn rows on a GPU")
    options = parser.parse_args(argv)
    sys.path.insert(0, str(ROOT))
    if options.gpu:
        import torch

        if options.beside is None:
            parser.error("--gpu compares with another commit: add --beside CHECKOUT")
        where = f"{torch.cuda.get_device_name()}; {conditions(options.threads, PACKAGES)}"
        text = products(options.beside.resolve(), options.repeats, 60_858, options.threads, "cuda")
        command = f"`python benchmarks/evaluate.py --gpu --beside CHECKOUT --repeats {options.repeats}`"
        write_section(
            options.out, "Ranking on a GPU beside an older commit", f"{command}; {where}\n\n{text}\n"
        )
        return
    data = (options.data or real_data(ROOT / "atomic_data")).resolve()
    where = conditions(options.threads, PACKAGES)  # before the picture changes
    if options.beside:
        checkout = options.beside.resolve()
        text = beside(data, checkout, options.repeats, options.rows, options.threads)
        command = f"`python benchmarks/evaluate.py --beside CHECKOUT --repeats {options.repeats}`"
        body = f"{command}; data {data.name}; {where}\n\n{text}\n"
        write_section(options.out, "Ranking beside an older commit", body)
        return
    text, ratios = evaluation(data, options.repeats, options.rows, options.threads)
    picture = options.out.with_name("speed_evaluation.svg")
    bars(picture, ratios, "Evaluation, times RecBole")
    command = f"`python benchmarks/evaluate.py --repeats {options.repeats}`"
    body = f"{command}; data {data.name}; {where}\n\n{text}\n\n![]({picture.name})\n"
    write_section(options.out, "Evaluation on a CPU", body)


if __name__ == "__main__":
    main()
