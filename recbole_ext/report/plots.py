"""Pictures of an experiment's report, readable in print, in grey and by colour-blind readers.

A model has one colour (Okabe and Ito), marker and line style throughout a report, and wherever rows are models they
carry their names. Pictures become SVG whose text is text, or PNG at 150 dpi; the same input gives the same bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from recbole_ext.report.words import known, metric_name, score, seconds, several, spaced

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "p", ">", "*")
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1.5)))
INK, QUIET, RULE = "#222222", "#666666", "#dddddd"
PNG_DPI = 150
LONGEST_LABEL = 30
WIDTH = 12.0  # inches: the page's measure
FLOOR = 0.5  # a model below this share of the best one's metric would squeeze all others into a corner

OFF_SCALE = "; ◂ a model off the scale, with its mean"

SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "recbole_ext",
    "text.parse_math": False,  # a label with $ is no formula
    "font.family": ["DejaVu Sans"],  # what matplotlib brings along, so that the layout is the same everywhere
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "axes.titlelocation": "left",
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 9.0,
    "lines.linewidth": 1.4,
    "lines.markersize": 5.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@dataclass(frozen=True)
class Style:
    """How a model is drawn; `filled` False: a hollow marker."""

    colour: str
    marker: str
    filled: bool

    @property
    def face(self) -> str:
        return self.colour if self.filled else "white"


@dataclass(frozen=True)
class Picture:
    """A drawn picture: `name` is its file's, `alt` says in words what it shows."""

    name: str
    title: str
    alt: str
    svg: str
    png: bytes


def styles(labels: Sequence[str]) -> dict[str, Style]:
    """A style a label, all different for the first 77, in the order given."""
    return {
        label: Style(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], (i // len(COLOURS)) % 2 == 0)
        for i, label in enumerate(dict.fromkeys(labels))
    }


# --- the pictures -------------------------------------------------------------------------------------------


def forest(
    comparison: Mapping[str, Any], look: Mapping[str, Style], baseline: str | None, name: str
) -> Picture | None:
    """Mean and interval of every model, a panel a metric; None without models."""
    models, metrics = comparison["models"], comparison["metrics"]
    if not models or not metrics:
        return None
    columns = min(3, len(metrics))
    lines = math.ceil(len(metrics) / columns)

    def draw(figure: Any) -> None:
        axes = _grid(figure, lines, columns)
        for panel, metric in zip(axes, metrics):
            found = {m["model"]: _metric(m, metric) for m in models}
            near = _on_scale(comparison, metric)
            _dots(panel, list(found.items()), look, near)
            for row, model in enumerate(models):
                values = [v for v in found[model["model"]].get("seed_values") or [] if known(v)]
                if len(values) > 1 and model["model"] in near:
                    panel.plot(values, [row + 0.34] * len(values), "|", color=QUIET, markersize=4, mew=0.9)
            reference = found[baseline] if baseline in near else {}
            if known(reference.get("low")) and known(reference.get("high")):
                panel.axvspan(reference["low"], reference["high"], color="#eeeeee", lw=0, zorder=0)
            panel.set_title(metric_name(metric))
        _rows_named(axes, columns, [m["model"] for m in models])

    height = lines * (0.75 + 0.31 * len(models))
    banded = any(baseline in _on_scale(comparison, metric) for metric in metrics)
    band = f"; the grey band is the interval of the baseline {baseline}" if banded else ""
    ticks = any(len(_metric(m, metrics[0]).get("seed_values") or []) > 1 for m in models)
    title = f"Means and 95 % intervals{'; small ticks are single seeds' if ticks else ''}{band}"
    title += _off_scale_note(comparison, metrics)
    first = [(m["model"], _metric(m, metrics[0])) for m in models]
    alt = f"Dot plot of {metric_name(metrics[0])} with 95 % intervals on {comparison['dataset']}: {_spoken(first)}"
    return _picture(name, title, alt, (WIDTH, height), draw)


def slice_dots(
    comparison: Mapping[str, Any], dimension: str, look: Mapping[str, Style], name: str
) -> Picture | None:
    """The first metric of every model, a panel a slice, on one scale; None where there is nothing to draw."""
    parts = (comparison.get("slices") or {}).get(dimension) or []
    if not parts or not comparison["models"] or not comparison["metrics"]:
        return None
    metric = comparison["metrics"][0]
    labels = [m["model"] for m in comparison["models"]]
    near = _on_scale(comparison, metric)
    near |= _within_reach(parts, labels, metric, near)
    columns = min(4, len(parts))
    lines = math.ceil(len(parts) / columns)

    def draw(figure: Any) -> None:
        axes = _grid(figure, lines, columns, sharex=True)
        for panel, part in zip(axes, parts):
            _dots(panel, [(label, _in_slice(part, label, metric)) for label in labels], look, near)
            title = f"{_short(str(part['slice']))}\n{several(part.get('targets') or 0, 'target')}"
            if part.get("small"):
                panel.set_facecolor("#f3f3f3")
                title += ", few"
            panel.set_title(title)
        _rows_named(axes, columns, labels)
        for panel in axes[-columns:]:
            panel.set_xlabel(metric_name(metric))

    height = lines * (0.95 + 0.25 * len(labels)) + 0.1
    few = "; a grey panel has fewer than 100 targets" if any(p.get("small") for p in parts) else ""
    title = f"{metric_name(metric)} by {spaced(dimension)}, 95 % intervals, one scale{few}"
    title += "" if near >= set(labels) else OFF_SCALE
    spoken = "; ".join(
        f"{part['slice']} ({several(part.get('targets') or 0, 'target')}): "
        + _spoken([(label, _in_slice(part, label, metric)) for label in labels], 3)
        for part in parts[:6]
    )
    return _picture(
        name,
        title,
        f"Dot plots of {metric_name(metric)} by {spaced(dimension)}. {spoken}",
        (WIDTH, height),
        draw,
    )


SLICE_MARKS = (("o", True), ("s", False), ("^", True), ("D", False), ("v", True), ("P", False))


def cold_and_warm(comparison: Mapping[str, Any], name: str) -> Picture | None:
    """Every model's first metric on warm and on cold items, joined; None without slices by `item`."""
    parts = (comparison.get("slices") or {}).get("item") or []
    if len(parts) < 2 or not comparison["models"] or not comparison["metrics"]:
        return None
    metric = comparison["metrics"][0]
    labels = [m["model"] for m in comparison["models"]]

    def draw(figure: Any) -> None:
        panel = figure.subplots()
        for row, label in enumerate(labels):
            means = [mean for part in parts if (mean := _mean(part, label, metric)) is not None]
            if means:
                panel.plot([min(means), max(means)], [row, row], "-", color="#bbbbbb", lw=3, zorder=1)
        for i, part in enumerate(parts):
            marker, filled = SLICE_MARKS[i % len(SLICE_MARKS)]
            colour = COLOURS[i % len(COLOURS)]
            aside = 0.18 * (i - (len(parts) - 1) / 2) if len(parts) > 2 else 0.0
            for row, label in enumerate(labels):
                _point(panel, _in_slice(part, label, metric), row + aside, Style(colour, marker, filled))
            handle = f"{_short(str(part['slice']))} ({several(part.get('targets') or 0, 'target')})"
            face = colour if filled else "white"
            panel.plot([], [], marker, color=colour, mfc=face, label=_legend_text(handle))
        panel.set_xlabel(metric_name(metric))
        _name_rows(panel, labels)
        figure.legend(loc="outside upper left", ncols=min(4, len(parts)), frameon=False, fontsize=8.5)

    spoken = "; ".join(
        f"{label}: " + ", ".join(f"{part['slice']} {_number(_mean(part, label, metric))}" for part in parts)
        for label in labels[:12]
    )
    title = f"{metric_name(metric)} on cold and warm items, 95 % intervals"
    return _picture(name, title, f"{title}. {spoken}", (9.0, 1.05 + 0.31 * len(labels)), draw)


def learning_curves(
    records: Sequence[Mapping[str, Any]], look: Mapping[str, Style], name: str
) -> Picture | None:
    """Validation score by epoch, a panel a model, a line a seed; None where no run was validated."""
    curves: dict[str, list[tuple[Any, list[tuple[int, float]]]]] = {}
    metrics = list(dict.fromkeys(str(r.get("valid_metric")) for r in records))
    for record in records:
        points = curve_of(record)
        if points:
            curves.setdefault(record["label"], []).append((record.get("seed"), points))
    if not curves:
        return None
    labels = [label for label in look if label in curves]
    labels += [label for label in curves if label not in look]
    columns = min(4, len(labels))
    lines = math.ceil(len(labels) / columns)
    peaks = {label: max(y for _, points in runs for _, y in points) for label, runs in curves.items()}
    seeds = dict.fromkeys(seed for runs in curves.values() for seed, _ in runs)
    lines_of = {seed: LINES[i % len(LINES)] for i, seed in enumerate(seeds)}
    lowest = min(y for runs in curves.values() for _, points in runs for _, y in points)

    def draw(figure: Any) -> None:
        from matplotlib.lines import Line2D
        from matplotlib.ticker import MaxNLocator

        axes = _grid(figure, lines, columns, sharey=True)
        for panel in axes[len(labels) :]:
            panel.set_axis_off()
        for panel, label in zip(axes, labels):
            style = look.get(label, Style(INK, "o", True))
            panel.axhline(max(peaks.values()), color="#aaaaaa", lw=0.8, ls=(0, (2, 2)), zorder=0)
            for seed, points in curves[label]:
                x, y = [p[0] for p in points], [p[1] for p in points]
                panel.plot(x, y, color=style.colour, ls=lines_of[seed])
                peak = max(points, key=lambda p: p[1])
                panel.plot(*peak, style.marker, color=style.colour, mfc=style.face, markersize=6)
            panel.set_title(_short(label))
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
            _y_grid(panel)
        if 1 < len(lines_of) <= len(LINES):
            handles = [
                Line2D([], [], color=QUIET, ls=line, label=f"seed {seed}") for seed, line in lines_of.items()
            ]
            figure.legend(
                handles=handles, loc="outside upper left", ncols=len(LINES), frameon=False, handlelength=3
            )
        if lowest < FLOOR * min(peaks.values()):  # first epochs would squeeze all later ones
            axes[0].set_ylim(bottom=FLOOR * min(peaks.values()))
        for i, panel in enumerate(axes):
            if i % columns == 0:
                panel.set_ylabel(f"validation {' / '.join(metrics)}")
            if i + columns >= len(labels):
                panel.set_xlabel("epoch")

    best = [(label, {"mean": peaks[label]}) for label in labels]
    title = (
        f"Validation {' / '.join(metrics)} by epoch, one line a seed, a marker at its best epoch; "
        "dotted: the best of any model; every model has its own scale of epochs"
    )
    alt = f"Learning curves. Best validation score: {_spoken(best)}"
    return _picture(name, title, alt, (min(WIDTH, 3.0 * columns + 0.6), 0.7 + 2.1 * lines), draw)


def curve_of(record: Mapping[str, Any]) -> list[tuple[int, float]]:
    """(epoch from 1, validation score) of a run; empty where fewer than two epochs were validated."""
    points = [
        (int(e["epoch"]) + 1, float(e["valid_score"]))
        for e in record.get("epochs") or []
        if known(e.get("valid_score"))
    ]
    return points if len(points) > 1 else []


def cost(comparison: Mapping[str, Any], look: Mapping[str, Style], name: str) -> Picture | None:
    """The first metric against seconds of training and of ranking the test part, log axes; None without times."""
    if not comparison["metrics"]:
        return None
    metric = comparison["metrics"][0]
    kinds = (("train", "training, seconds (log)"), ("test", "ranking the test part, seconds (log)"))
    usable = {
        key: [
            m
            for m in comparison["models"]
            if known(m["seconds"].get(key)) and known(_metric(m, metric).get("mean"))
        ]
        for key, _ in kinds
    }
    shown = [(key, axis) for key, axis in kinds if usable[key]]
    near = _on_scale(comparison, metric)
    if not shown:
        return None

    def draw(figure: Any) -> None:
        axes = _grid(figure, 1, len(shown), sharey=True)
        named: list[list[tuple[str, float, float]]] = []
        for panel, (key, axis) in zip(axes, shown):
            panel.set_xscale("log")
            places = []
            for model in usable[key]:
                x = max(float(model["seconds"][key]), 1e-3)  # a clock's "no time at all" has a place too
                found = model["metrics"][metric]
                style = look[model["model"]]
                if model["model"] not in near:
                    _below_scale(panel, model["model"], x, found["mean"], style)
                    continue
                if known(found.get("low")) and known(found.get("high")):
                    panel.plot([x, x], [found["low"], found["high"]], "-", color=style.colour, lw=1.1)
                panel.plot(x, found["mean"], style.marker, color=style.colour, mfc=style.face, markersize=6.5)
                places.append((model["model"], x, found["mean"]))
            panel.margins(x=0.2, y=0.25)
            panel.set_xlabel(axis)
            _plain_log_ticks(panel)
            _y_grid(panel)
            named.append(places)
        axes[0].set_ylim(bottom=max(0.0, axes[0].get_ylim()[0]))
        axes[0].set_ylabel(metric_name(metric))
        for panel, places in zip(axes, named):
            _name_points(figure, panel, places)

    spoken = ", ".join(
        f"{m['model']} {_number(_metric(m, metric).get('mean'))} after {seconds(m['seconds'].get('train'))}"
        for m in comparison["models"][:12]
    )
    title = f"{metric_name(metric)} against cost, mean over seeds; upper left: more for less"
    title += _off_scale_note(comparison, [metric]).replace("◂", "▾")
    return _picture(name, title, f"Quality against training time: {spoken}", (WIDTH, 3.8), draw)


# --- shared strokes -----------------------------------------------------------------------------------------


def _grid(figure: Any, lines: int, columns: int, sharex: bool = False, sharey: bool = False) -> list[Any]:
    axes = figure.subplots(lines, columns, squeeze=False, sharex=sharex or False, sharey=sharey or False)
    return [panel for line in axes for panel in line]


def _rows_named(axes: Sequence[Any], columns: int, labels: Sequence[str]) -> None:
    """Model names on the left of every line of panels; panels without data vanish."""
    for i, panel in enumerate(axes):
        if not panel.has_data():
            panel.set_axis_off()
            continue
        _name_rows(panel, labels, i % columns == 0)


def _name_rows(panel: Any, labels: Sequence[str], named: bool = True) -> None:
    panel.set_yticks(range(len(labels)), [_short(label) for label in labels] if named else [])
    panel.set_ylim(len(labels) - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)
    panel.grid(axis="x", color=RULE, lw=0.7)
    for row in range(len(labels)):
        panel.axhline(row, color="#f0f0f0", lw=0.7, zorder=0)
    panel.set_axisbelow(True)
    panel.margins(x=0.08)
    panel.xaxis.set_major_formatter(_tick)
    panel.locator_params(axis="x", nbins=5)


def _y_grid(panel: Any) -> None:
    panel.grid(axis="y", color=RULE, lw=0.7)
    panel.set_axisbelow(True)
    panel.yaxis.set_major_formatter(_tick)


def _tick(value: float, _position: Any = None) -> str:
    """.25 for 0.25, as the tables have it."""
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if text in ("0", "-0") else text.replace("0.", ".", 1) if abs(value) < 1 else text


def _plain_log_ticks(panel: Any) -> None:
    """1, 10, 100 instead of powers; 2 and 5 between them where the axis spans less than two decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = panel.get_xlim()
    subs = (1.0,) if high / low > 100 else (1.0, 2.0, 5.0)
    panel.xaxis.set_major_locator(LogLocator(10, subs=subs))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _dots(
    panel: Any, rows: Sequence[tuple[str, Mapping[str, Any]]], look: Mapping[str, Style], near: set[str]
) -> None:
    """A row a model; one that is not `near` is named by an arrow and its mean at the left edge."""
    for row, (label, found) in enumerate(rows):
        if label in near:
            _point(panel, found, row, look[label])
        elif known(found.get("mean")):
            place = panel.get_yaxis_transform()
            text = f"◂ {score(found['mean'], 3)}"
            panel.text(0.015, row, text, transform=place, va="center", fontsize=8, color=QUIET)


def _point(panel: Any, found: Mapping[str, Any], row: float, style: Style) -> None:
    if not known(found.get("mean")):
        return
    if known(found.get("low")) and known(found.get("high")):
        panel.plot([found["low"], found["high"]], [row, row], "-", color=style.colour, lw=1.6, zorder=2)
    panel.plot(found["mean"], row, style.marker, color=style.colour, mfc=style.face, zorder=3)


def _name_points(figure: Any, panel: Any, places: Sequence[tuple[str, float, float]]) -> None:
    """Names beside points, each where it covers the fewest points and names placed before it."""
    figure.canvas.draw()  # the axes' limits and sizes are final from here on
    bounds = panel.get_window_extent()
    centres = [panel.transData.transform((x, y)) for _, x, y in places]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in centres]
    scale = figure.dpi / 72
    for (label, x, y), (px, py) in sorted(zip(places, centres), key=lambda p: -p[1][1]):
        text = _short(label)
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
    text = f"{_short(label)} ▾ {score(mean, 3)}"
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


def _metric(model: Mapping[str, Any], metric: str) -> Mapping[str, Any]:
    return model["metrics"].get(metric) or {}


def _in_slice(part: Mapping[str, Any], label: str, metric: str) -> Mapping[str, Any]:
    return (part["metrics"].get(label) or {}).get(metric) or {}


def _on_scale(comparison: Mapping[str, Any], metric: str) -> set[str]:
    """Labels of the models that a picture's scale is made for: all, or those near enough the best one."""
    means = {m["model"]: _metric(m, metric).get("mean") for m in comparison["models"]}
    usable = {label: mean for label, mean in means.items() if known(mean)}
    near = {label for label, mean in usable.items() if mean >= FLOOR * max(usable.values())}
    return near if len(near) > 1 else set(usable)


def _off_scale_note(comparison: Mapping[str, Any], metrics: Sequence[str]) -> str:
    """What the arrow means, where a picture has one."""
    every = {m["model"] for m in comparison["models"]}
    off = any(every - _on_scale(comparison, metric) for metric in metrics)
    return OFF_SCALE if off else ""


def _within_reach(
    parts: Sequence[Mapping[str, Any]], labels: Sequence[str], metric: str, near: set[str]
) -> set[str]:
    """Labels of the models that no slice puts below what is drawn of the `near` ones."""
    lows = [_in_slice(part, label, metric).get("low") for part in parts for label in near]
    floor = min((low for low in lows if known(low)), default=-math.inf)
    means = {label: [_mean(part, label, metric) for part in parts] for label in labels}
    return {label for label in labels if all(mean is None or mean >= floor for mean in means[label])}


def _mean(part: Mapping[str, Any], label: str, metric: str) -> float | None:
    value = _in_slice(part, label, metric).get("mean")
    return float(value) if known(value) else None


def _number(value: Any) -> str:
    return f"{value:.3f}" if known(value) else "unknown"


def _spoken(rows: Sequence[tuple[str, Mapping[str, Any]]], most: int = 12) -> str:
    """A 0.237, B 0.225 and 3 more: what a reader hears who cannot see the picture."""
    parts = [f"{label} {_number(found.get('mean'))}" for label, found in rows[:most]]
    return ", ".join(parts) + (f" and {len(rows) - most} more" if len(rows) > most else "")


def _short(label: str) -> str:
    """A label on one line, without what no font shows, cut where it would take the picture's room."""
    text = " ".join("".join(c if c.isprintable() else " " for c in label).split())
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def _legend_text(text: str) -> str:
    return " " + text if text.startswith("_") else text  # matplotlib leaves out what starts with _


# --- from a figure to bytes ---------------------------------------------------------------------------------


def _picture(name: str, title: str, alt: str, inches: tuple[float, float], draw: Any) -> Picture:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=inches, layout=ConstrainedLayoutEngine(wspace=0.05))
        FigureCanvasAgg(figure)  # no window system, no global state
        draw(figure)
        drawn, printed = io.StringIO(), io.BytesIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(drawn, format="svg", metadata=nothing)
        figure.savefig(printed, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return Picture(name, title, alt, _inline(drawn.getvalue(), name, alt), printed.getvalue())


def _inline(svg: str, name: str, alt: str) -> str:
    """An SVG as part of a page: ids of its own, the page's font, no styles that leak, its words for who cannot see."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    prefix = re.sub(r"[^A-Za-z0-9]+", "-", name)

    def own(tag: re.Match[str]) -> str:
        text = re.sub(r'\bid="([^"]*)"', rf'id="{prefix}-\1"', tag.group())
        text = re.sub(r'(url\(|xlink:href=")#', rf"\1#{prefix}-", text)
        return re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "system-ui, sans-serif", text)

    body = re.sub(r"<[^>]*>", own, body)  # tags only: what a label says stays as it is
    head, rest = body.split(">", 1)
    found = re.search(r'width="([\d.]+)pt"', head)
    width = float(found.group(1)) if found else 720.0
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    style = f"width:{width / 72 * 96:.0f}px;stroke-linejoin:round;stroke-linecap:butt"
    return f'{head} role="img" aria-label="{escape(alt, quote=True)}" style="{style}">{rest}'.strip()
