"""Sections of a Markdown report that several benchmarks share, and bars of ratios."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

PHONE = 4.4  # inches, as recbole_ext.report.pictures has it


def write_section(file: Path, title: str, text: str) -> None:
    """Put a section `## title` into a report; one of that title is replaced, the others stay as they are."""
    old = file.read_text(encoding="utf-8") if file.is_file() else "# Speed\n"
    section = f"## {title}\n\n{text.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    known = pattern.search(old) is not None
    new = pattern.sub(lambda _: section + "\n", old) if known else old.rstrip() + "\n\n" + section
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(new.rstrip() + "\n", encoding="utf-8")


def bars(file: Path, ratios: Mapping[str, float], title: str) -> None:
    """A picture of ratios, one bar each, its name above it, 1 = the peer; an SVG whose text is text.

    It is as wide as a phone, so that its letters are read there too; beside other text it is no smaller for that.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(ratios)[::-1]
    figure, axes = pyplot.subplots(figsize=(PHONE, 0.42 * len(names) + 0.8))
    colours = ["#999999" if "RecBole" in name else "#1f77b4" for name in names]
    axes.barh(range(len(names)), [ratios[name] for name in names], height=0.4, color=colours)
    for place, name in enumerate(names):
        for text, x, y, down in (
            (f"{ratios[name]:.1f}", ratios[name], place, "center"),
            (name, 0, place + 0.24, "bottom"),
        ):
            axes.annotate(text, (x, y), (3, 0), textcoords="offset points", va=down, fontsize=8)
    axes.axvline(1, color="#999999", linewidth=0.8, zorder=0)
    axes.set(title=title, yticks=[], ylim=(-0.4, len(names) - 0.2))
    axes.margins(x=0.12)  # the longest bar's figure
    axes.title.set_fontsize(9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    figure.tight_layout()
    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "recbole_ext"}):
        figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
