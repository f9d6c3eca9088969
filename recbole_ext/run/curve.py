"""Learning curves of a run: training loss and validation metric by epoch, readable in print and without colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLOURS = ("#0072B2", "#D55E00")  # Okabe and Ito: distinct for colour-blind readers


def plot_learning_curve(
    epochs: Sequence[dict[str, Any]], metric: str, best: float | None, title: str, path: Path
) -> None:
    """Write a PNG; `epochs` holds dicts with epoch, train_loss and valid_score (None where not evaluated)."""
    # without pyplot: its backend and its open figures are those of the notebook that the run is called from
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    x = [e["epoch"] + 1 for e in epochs]
    left.plot(x, [e["train_loss"] for e in epochs], "o-", color=COLOURS[0], label="training loss")
    left.set_xlabel("epoch")
    left.set_ylabel("training loss, sum over batches", color=COLOURS[0])
    right = left.twinx()
    scored = [(e["epoch"] + 1, e["valid_score"]) for e in epochs if e["valid_score"] is not None]
    if scored:
        right.plot(*zip(*scored), "s--", color=COLOURS[1], label=f"validation {metric}")
    right.set_ylabel(f"validation {metric}", color=COLOURS[1])
    left.set_title(title if best is None else f"{title}\nbest validation {metric} {best:.4f}", fontsize=11)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, dpi=150, format="png")
