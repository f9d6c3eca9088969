"""How a report's figures are drawn: readable in print, in grey and by colour-blind readers.

A model has one colour (Okabe and Ito), marker and line style throughout a report, and wherever rows are models they
carry their names. Figures become SVG whose text is text; the same input gives the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_ext.report.formats import known, score

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "p", ">", "*")
INK, QUIET, RULE = "#222222", "#666666", "#dddddd"
LONGEST_LABEL = 30
WIDTH = 12.0  # inches: the page's measure
FLOOR = 0.5  # a model below this share of the best one's metric would squeeze all others into a corner

OFF_SCALE = "; ◂ a model off the scale, with its mean"

SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "recbole_ext",
    "text.parse_math": False,  # a label with $ is no formula
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],  # what matplotlib brings along: the layout is the same everywhere
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
        """Colour inside a mark."""
        return self.colour if self.filled else "white"


def styles(labels: Sequence[str]) -> dict[str, Style]:
    """A style a label, all different for the first 77, in the order given."""
    return {
        label: Style(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], (i // len(COLOURS)) % 2 == 0)
        for i, label in enumerate(dict.fromkeys(labels))
    }


# --- shared strokes -----------------------------------------------------------------------------------------


def panels(figure: Any, lines: int, columns: int, sharex: bool = False, sharey: bool = False) -> list[Any]:
    """Axes of a figure in reading order, lines × columns of them."""
    axes = figure.subplots(lines, columns, squeeze=False, sharex=sharex or False, sharey=sharey or False)
    return [panel for line in axes for panel in line]


def rows_named(axes: Sequence[Any], columns: int, labels: Sequence[str]) -> None:
    """Model names on the left of every line of panels; panels without data vanish."""
    for i, panel in enumerate(axes):
        if not panel.has_data():
            panel.set_axis_off()
            continue
        name_rows(panel, labels, i % columns == 0)


def name_rows(panel: Any, labels: Sequence[str], named: bool = True) -> None:
    """Labels down the left side, the first one on top; named False: as many empty rows."""
    panel.set_yticks(range(len(labels)), [short(label) for label in labels] if named else [])
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


def y_grid(panel: Any) -> None:
    """Fine lines at the ticks of the y axis."""
    panel.grid(axis="y", color=RULE, lw=0.7)
    panel.set_axisbelow(True)
    panel.yaxis.set_major_formatter(_tick)


def _tick(value: float, _position: Any = None) -> str:
    """.25 for 0.25, as the tables have it."""
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if text in ("0", "-0") else text.replace("0.", ".", 1) if abs(value) < 1 else text


def dots(
    panel: Any, rows: Sequence[tuple[str, Mapping[str, Any]]], look: Mapping[str, Style], near: set[str]
) -> None:
    """A row a model; one that is not `near` is named by an arrow and its mean at the left edge."""
    for row, (label, found) in enumerate(rows):
        if label in near:
            point(panel, found, row, look[label])
        elif known(found.get("mean")):
            place = panel.get_yaxis_transform()
            text = f"◂ {score(found['mean'], 3)}"
            panel.text(0.015, row, text, transform=place, va="center", fontsize=8, color=QUIET)


def point(panel: Any, found: Mapping[str, Any], row: float, style: Style) -> None:
    """A mean and its interval in a row of the panel; nothing where the mean is not known."""
    if not known(found.get("mean")):
        return
    if known(found.get("low")) and known(found.get("high")):
        panel.plot([found["low"], found["high"]], [row, row], "-", color=style.colour, lw=1.6, zorder=2)
    panel.plot(found["mean"], row, style.marker, color=style.colour, mfc=style.face, zorder=3)


def metric_of(model: Mapping[str, Any], metric: str) -> Mapping[str, Any]:
    """A model's mean and interval of a metric; empty where it has none."""
    return model["metrics"].get(metric) or {}


def in_slice(part: Mapping[str, Any], label: str, metric: str) -> Mapping[str, Any]:
    """The same of a model's slice."""
    return (part["metrics"].get(label) or {}).get(metric) or {}


def on_scale(comparison: Mapping[str, Any], metric: str) -> set[str]:
    """Labels of the models that a picture's scale is made for: all, or those near enough the best one."""
    means = {m["model"]: metric_of(m, metric).get("mean") for m in comparison["models"]}
    usable = {label: mean for label, mean in means.items() if known(mean)}
    near = {label for label, mean in usable.items() if mean >= FLOOR * max(usable.values())}
    return near if len(near) > 1 else set(usable)


def off_scale_note(comparison: Mapping[str, Any], metrics: Sequence[str]) -> str:
    """What the arrow means, where a picture has one."""
    every = {m["model"] for m in comparison["models"]}
    off = any(every - on_scale(comparison, metric) for metric in metrics)
    return OFF_SCALE if off else ""


def mean_in(part: Mapping[str, Any], label: str, metric: str) -> float | None:
    """The mean of a model's metric in a slice; None: there is none."""
    value = in_slice(part, label, metric).get("mean")
    return float(value) if known(value) else None


def read_number(value: Any) -> str:
    """Three decimals, or unknown."""
    return f"{value:.3f}" if known(value) else "unknown"


def read_out(rows: Sequence[tuple[str, Mapping[str, Any]]], most: int = 12) -> str:
    """A 0.237, B 0.225 and 3 more: what a reader hears who cannot see the picture."""
    parts = [f"{label} {read_number(found.get('mean'))}" for label, found in rows[:most]]
    return ", ".join(parts) + (f" and {len(rows) - most} more" if len(rows) > most else "")


def short(label: str) -> str:
    """A label on one line, cut where it would take the picture's room."""
    text = _one_line(label)
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def _one_line(text: str) -> str:
    """Without what no font shows and no SVG may hold."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


# what shows nothing: a sixth of what matplotlib writes
_BLANK = (
    re.compile(r"<metadata>.*?</metadata>", re.DOTALL),
    re.compile(r' transform="rotate\(-0 [^"<>]*\)"(?=>)'),
    re.compile(r"(?<=>)\n *(?=<)"),
)


def drawn(alt: str, inches: tuple[float, float], draw: Callable[[Any], None]) -> str:
    """The SVG of what `draw` makes of an empty figure of matplotlib's; `alt` becomes its title."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with matplotlib.rc_context(SETTINGS):
        canvas = Canvas(figsize=inches, layout=ConstrainedLayoutEngine(wspace=0.05))
        FigureCanvasAgg(canvas)  # no window system, no global state
        draw(canvas)
        file = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        canvas.savefig(file, format="svg", metadata={**nothing, "Title": _one_line(alt)})
    # hundredths of a point are finer than any screen; only in tags: what a label says stays as it is
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag.group()), file.getvalue())
    for blank in _BLANK:
        svg = blank.sub("", svg)
    return svg
