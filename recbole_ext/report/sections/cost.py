"""What training and ranking cost, beside the quality that they buy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recbole_ext.report import plots
from recbole_ext.report.document import Cell, Column, Figure, Section, Table, section
from recbole_ext.report.formats import count, known, metric_name, score, seconds
from recbole_ext.report.plots import Style
from recbole_ext.report.sections.findings import Findings
from recbole_ext.report.tables import filled, value_cell

KINDS = {"train": "training, seconds (log)", "test": "ranking the test part, seconds (log)"}


def cost(found: Findings) -> Section | None:
    """What the models cost: a picture and a table."""
    return section("Cost", cost_picture(found), cost_table(found.comparison))


def cost_table(comparison: Mapping[str, Any]) -> Table | None:
    """What training and ranking cost, mean over seeds; None without models."""
    if not comparison["models"]:
        return None
    columns: list[tuple[Column, Callable[[Any], Cell]]] = [
        (Column("model", numeric=False), lambda m: Cell(m["model"])),
        (Column("preparing data"), lambda m: value_cell(seconds, m["seconds"].get("prepare"))),
        (Column("training"), lambda m: value_cell(seconds, m["seconds"].get("train"))),
        (Column("epochs"), lambda m: value_cell(count, m.get("epochs"))),
        (
            Column("an epoch"),
            lambda m: value_cell(seconds, _ratio(m["seconds"].get("train"), m.get("epochs"))),
        ),
        (Column("ranking", unit="test part"), lambda m: value_cell(seconds, m["seconds"].get("test"))),
        (
            Column("targets ranked", unit="a second"),
            lambda m: value_cell(_rounded, _ratio(comparison.get("targets"), m["seconds"].get("test"))),
        ),
        (Column("parameters"), lambda m: value_cell(count, m.get("parameters"))),
    ]
    return Table(
        "cost", "Training and inference cost, mean over seeds", *filled(columns, comparison["models"])
    )


def _ratio(value: Any, by: Any) -> float | None:
    return value / by if known(value) and known(by) and by > 0 else None


def _rounded(value: Any) -> str:
    return count(round(value) if known(value) else None)


def cost_picture(found: Findings) -> Figure | None:
    """The first metric against seconds of training and of ranking the test part, log axes; None without times."""
    comparison = found.comparison
    if not comparison["metrics"]:
        return None
    metric = comparison["metrics"][0]
    usable = {
        key: [
            m
            for m in comparison["models"]
            if known(m["seconds"].get(key)) and known(plots.metric_of(m, metric).get("mean"))
        ]
        for key in KINDS
    }
    shown = {key: models for key, models in usable.items() if models}
    if not shown:
        return None

    def lines(columns: int) -> int:
        return math.ceil(len(shown) / columns)

    def draw(figure: Any, columns: int) -> None:
        axes = plots.panels(figure, lines(columns), columns, sharey=True)
        named = [_draw_costs(panel, found, key, models) for panel, (key, models) in zip(axes, shown.items())]
        axes[0].set_ylim(bottom=max(0.0, axes[0].get_ylim()[0]))
        for panel in axes[::columns]:
            panel.set_ylabel(metric_name(metric))
        for panel, places in zip(axes, named):
            _name_points(figure, panel, places)

    spoken = ", ".join(
        f"{plots.read_out([(m['model'], plots.metric_of(m, metric))])} after {seconds(m['seconds'].get('train'))}"
        for m in comparison["models"][:12]
    )
    title = f"{metric_name(metric)} against cost, mean over seeds; upper left: more for less"
    title += plots.off_scale_note(comparison, [metric]).replace("◂", "▾")
    alt = f"Quality against training time: {spoken}"

    def inches(columns: int) -> tuple[float, float]:
        return plots.WIDTH, 3.8 * lines(columns)

    return found.pictures.figure(found.name("cost"), title, alt, inches, draw, len(shown))


def _draw_costs(
    panel: Any, found: Findings, key: str, models: Sequence[Mapping[str, Any]]
) -> list[tuple[str, float, float]]:
    """Put models by their seconds of `key`, and return the names and places of those on the scale."""
    metric = found.comparison["metrics"][0]
    near = plots.on_scale(found.comparison, metric)
    panel.set_xscale("log")
    places = []
    for model in models:
        x = max(float(model["seconds"][key]), 1e-3)  # a clock's "no time at all" has a place too
        value = model["metrics"][metric]
        style = found.look[model["model"]]
        if model["model"] not in near:
            _below_scale(panel, model["model"], x, value["mean"], style)
            continue
        if known(value.get("low")) and known(value.get("high")):
            panel.plot([x, x], [value["low"], value["high"]], "-", color=style.colour, lw=1.1)
        panel.plot(x, value["mean"], style.marker, color=style.colour, mfc=style.face, markersize=6.5)
        places.append((model["model"], x, value["mean"]))
    panel.margins(x=0.2, y=0.25)
    panel.set_xlabel(KINDS[key])
    _plain_log_ticks(panel)
    plots.y_grid(panel)
    return places


def _plain_log_ticks(panel: Any) -> None:
    """1, 10, 100 instead of powers; 2 and 5 between them where the axis spans less than two decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = panel.get_xlim()
    subs = (1.0,) if high / low > 100 else (1.0, 2.0, 5.0)
    panel.xaxis.set_major_locator(LogLocator(10, subs=subs))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _name_points(figure: Any, panel: Any, places: Sequence[tuple[str, float, float]]) -> None:
    """Names beside points, each where it covers the fewest points and names placed before it."""
    figure.canvas.draw()  # the axes' limits and sizes are final from here on
    bounds = panel.get_window_extent()
    centres = [panel.transData.transform((x, y)) for _, x, y in places]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in centres]
    scale = figure.dpi / 72
    for (label, x, y), (px, py) in sorted(zip(places, centres), key=lambda p: -p[1][1]):
        text = plots.short(label)
        width, height = 5.4 * len(text) * scale, 10 * scale
        options = []
        for dx, dy, side, rise in _beside():
            left = px + dx * scale - (0 if side == "left" else width if side == "right" else width / 2)
            bottom = py + dy * scale - height / 2
            box = (left, bottom, left + width, bottom + height)
            outside = max(0.0, bounds.x0 - box[0]) + max(0.0, box[2] - bounds.x1)
            options.append(
                (sum(_overlap(box, other) for other in taken) + 20 * outside + rise, box, dx, dy, side)
            )
        _, box, dx, dy, side = min(options, key=lambda o: o[0])
        taken.append(box)
        panel.annotate(
            text,
            (x, y),
            (dx, dy),
            textcoords="offset points",
            ha=side,
            va="center",
            fontsize=8.5,
            annotation_clip=False,
        )


def _below_scale(panel: Any, label: str, x: float, mean: float, style: Style) -> None:
    """A model under the picture's scale: its marker's colour, an arrow and its mean at the lower edge."""
    place = panel.get_xaxis_transform()
    panel.plot([x], [0.03], style.marker, color=style.colour, mfc=style.face, transform=place, clip_on=False)
    text = f"{plots.short(label)} ▾ {score(mean, 3)}"
    panel.annotate(
        text, (x, 0.03), (8, 0), xycoords=place, textcoords="offset points", va="center", fontsize=8.5
    )


def _beside() -> list[tuple[float, float, str, float]]:
    """(dx, dy, alignment, what the place costs by itself) in points, best first."""
    return [
        (8, 0, "left", 0),
        (-8, 0, "right", 1),
        (7, 9, "left", 2),
        (7, -9, "left", 2),
        (-7, 9, "right", 3),
        (-7, -9, "right", 3),
        (0, 13, "center", 4),
        (0, -13, "center", 4),
        (8, 18, "left", 8),
        (8, -18, "left", 8),
    ]


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
