"""A step of the full softmax on a GPU, loss and gradients, beside torch, Liger-Kernel and Cut Cross-Entropy.

    python benchmarks/softmax.py                   # the peers that are installed: liger-kernel, cut-cross-entropy
    python benchmarks/softmax.py --rows 16384 --items 1300000 --widths 64 --repeats 10

All sides get the same bfloat16 states and vectors and give the mean loss and both gradients; they take turns, and time
is the device's own. Error: of both gradients against float64, by the length of the difference. Writes a section of
results/speed.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import write_section
from side_by_side import ROOT, conditions, table

PEERS = ("liger-kernel", "cut-cross-entropy")
FIRST = "torch, logits and F.cross_entropy"  # what the others are compared with
Way = Callable[[Any, Any, Any], Any]  # mean loss of states (N, d), vectors (C, d), targets (N,)


def ways() -> dict[str, Way]:
    """What is measured, by name: torch first, then the peers that are installed, then ours."""
    import torch
    import torch.nn.functional as F

    found: dict[str, Way] = {FIRST: lambda x, e, t: F.cross_entropy((x @ e.T).float(), t)}
    try:
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction as Liger

        found["Liger-Kernel"] = lambda x, e, t: Liger.apply(x, e, t)[0]
    except ImportError as error:
        print(f"Liger-Kernel is left out: {error}")
    try:
        from cut_cross_entropy import linear_cross_entropy

        found["Cut Cross-Entropy"] = partial(linear_cross_entropy, impl="cce")
        found["Cut Cross-Entropy, no gradient left out"] = partial(
            linear_cross_entropy, impl="cce", filter_eps=None
        )
    except ImportError as error:
        print(f"Cut Cross-Entropy is left out: {error}")

    from recbole_ext.model import kernels, large_softmax

    softmax = kernels.found().softmax

    def ours(x: Any, e: Any, t: Any, fuses: bool) -> Any:
        before, softmax.fuses = softmax.fuses, lambda width: fuses
        try:
            weight = torch.full((len(x),), 1 / len(x), device=x.device)
            return large_softmax.softmax_loss(x, e, t, weight, "bf16")
        finally:
            softmax.fuses = before

    found["ours, logits in memory"] = partial(ours, fuses=False)
    found["ours, fused"] = partial(ours, fuses=True)
    return found


def measure(rows: int, items: int, width: int, repeats: int) -> list[tuple[str, ...]]:
    """Lines of the table for one width."""
    import torch

    draw = torch.Generator("cuda").manual_seed(1)
    x = torch.randn(rows, width, generator=draw, device="cuda")
    e = torch.randn(items, width, generator=draw, device="cuda")
    x = (torch.nn.functional.normalize(x) / 0.07).bfloat16().requires_grad_()  # cosines over a temperature
    e = torch.nn.functional.normalize(e).bfloat16().requires_grad_()
    target = torch.randint(0, items, (rows,), generator=draw, device="cuda")
    exact = exact_gradients(x, e, target)
    times: dict[str, list[float]] = {}
    errors, peaks = {}, {}
    sides = ways()
    for turn in range(repeats + 2):
        for name, way in list(sides.items()):
            x.grad = e.grad = None
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            try:
                begin.record()
                way(x, e, target).backward()
                end.record()
                torch.cuda.synchronize()
            except Exception as error:  # a peer may not take this width or size
                print(f"{name}: {type(error).__name__}: {str(error).splitlines()[0]}")
                del sides[name]
                continue
            if turn < 2:  # kernels are compiled and chosen
                errors[name] = max(_gap(x.grad, exact[0]), _gap(e.grad, exact[1]))
                peaks[name] = torch.cuda.max_memory_allocated() - held
            else:
                times.setdefault(name, []).append(begin.elapsed_time(end))
    base = statistics.median(times[FIRST]) if FIRST in times else None
    lines = []
    for name, taken in times.items():
        middle = statistics.median(taken)
        text = f"{middle:.2f} ({min(taken):.2f}–{max(taken):.2f})"
        ratio = f"{base / middle:.1f}×" if base else ""
        lines.append((f"{width}", name, text, ratio, f"{peaks[name] / 1e6:,.0f}", f"{errors[name]:.1e}"))
        print(lines[-1], flush=True)
    return lines


def exact_gradients(x: Any, e: Any, target: Any) -> tuple[Any, Any]:
    """Gradients of the mean loss in float64, some rows at a time."""
    import torch

    table, rows = e.detach().double(), x.detach().double()
    d_rows, d_table = torch.empty_like(rows), torch.zeros_like(table)
    for first in range(0, len(rows), 512):
        piece = slice(first, first + 512)
        share = torch.softmax(rows[piece] @ table.T, 1)
        share[torch.arange(len(share)), target[piece]] -= 1
        share /= len(rows)
        d_rows[piece] = share @ table
        d_table += share.T @ rows[piece]
    return d_rows, d_table


def _gap(found: Any, exact: Any) -> float:
    return float((found.double() - exact).norm() / exact.norm())


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--items", type=int, default=43_097)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "speed.md")
    options = parser.parse_args(argv)
    sys.path.insert(0, str(ROOT))
    import torch

    if not torch.cuda.is_available():
        raise SystemExit(
            "benchmarks/softmax.py measures a GPU, and torch finds none here: run it on a machine with one"
        )
    lines = [
        line
        for width in options.widths
        for line in measure(options.rows, options.items, width, options.repeats)
    ]
    if not lines:
        raise SystemExit("every way has failed, so nothing is written: the lines above say why")
    head = (
        "width",
        "what",
        "ms, median (least–most)",
        "ratio",
        "MB above what is held",
        "error of gradients",
    )
    peers = ", ".join(f"{name} {_version(name)}" for name in PEERS)
    where = conditions(torch.get_num_threads(), ("torch", "triton", "numpy"))
    sizes = f"--rows {options.rows} --items {options.items} --repeats {options.repeats}"
    command = f"`python benchmarks/softmax.py {sizes}`"
    text = f"{command}; {torch.cuda.get_device_name()}; {peers}; {where}\n\n{table(head, lines)}\n"
    write_section(options.out, f"A softmax over {options.items:,} items on a GPU", text)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
