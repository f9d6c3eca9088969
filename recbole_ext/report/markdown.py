"""The report in Markdown: the page's tables and, as links to PNG files, its pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recbole_ext.report.contents import Cell, Table
    from recbole_ext.report.experiment_report import Part, Report
    from recbole_ext.report.plots import Picture


def render_markdown(report: Report) -> str:
    """The report's Markdown; pictures are expected at figures/NAME.png beside it."""
    lines = [f"# {plain(report.title)}", ""]
    lines += [f"- {plain(term)}: {plain(text)}" for term, text in report.facts]
    for text in [*report.answers, *report.cautions]:
        lines += ["", plain(text)]
    for part in report.parts:
        lines += _part(part)
    if report.failed:
        lines += ["", "## Failed runs", *table(report.failed)]
    if report.readings:
        lines += ["", "## Readings of the test part", "", plain(report.readings_note)]
    lines += ["", "## Environment", *table(report.environment)]
    for manifest in report.manifests:
        lines += [
            "",
            f"## Data of {plain(manifest.dataset)}",
            "",
            plain(manifest.facts),
            *table(manifest.sources),
        ]
    lines += ["", "## Command", "", *_fenced(report.command)]
    if report.file:
        lines += ["", "## Experiment file", "", *_fenced(report.file, "yaml")]
    return "\n".join(lines) + "\n"


def _part(part: Part) -> Iterable[str]:
    yield from ("", f"## {plain(part.dataset)}")
    if part.notes:
        yield ""
        yield from (f"- {plain(note)}" for note in part.notes)
    blocks: list[tuple[str, list[Table | None], list[Picture | None]]] = [
        ("Ranking", [part.ranking], [part.forest]),
        ("Pairwise tests", list(part.matrices), []),
        ("Reward", [part.reward], []),
        ("Categories", [part.categories], []),
        ("Cold and warm items", [], [part.cold]),
        *[(f"By {s.dimension}", _some(s.table), [s.picture]) for s in part.slices],
        ("Cost", [part.cost_table], [part.cost]),
        ("Learning curves", [], [part.curves]),
        ("What was tried", list(part.searches), []),
        ("Settings", [part.differences, part.own], []),
    ]
    for title, tables, pictures in blocks:
        if not any(tables) and not any(pictures):
            continue
        yield from ("", f"### {plain(title)}")
        for picture in filter(None, pictures):
            yield from ("", f"![{plain(picture.title)}](figures/{picture.name}.png)")
        for found in filter(None, tables):
            yield from table(found)
    if part.curves_missing:
        yield from ("", plain(part.curves_missing))


def _some(*tables: Table | None) -> list[Table | None]:
    return list(tables)


def table(found: Table) -> list[str]:
    """A Markdown table with its caption before and its legend after it; numeric columns stand right."""
    heads = [plain(f"{c.title} {c.unit}".strip()) for c in found.columns]
    lines = ["", plain(found.caption), "", "| " + " | ".join(heads) + " |"]
    lines.append("|" + "|".join("---:" if c.numeric else "---" for c in found.columns) + "|")
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in found.rows]
    if found.legend:
        lines += ["", "<br>".join(plain(line) for line in found.legend)]
    return lines


def _cell(cell: Cell) -> str:
    text = plain(cell.text)
    if cell.tone == "best" and text:
        text = f"**{text}**"
    parts = [text, plain(cell.mark), f"({plain(', '.join(cell.detail))})" if cell.detail else ""]
    return " ".join(part for part in parts if part)


def plain(text: str) -> str:
    """Text that Markdown shows as it is: on one line, no tag, no cell border, no emphasis, no code."""
    flat = " ".join(str(text).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|$~])", r"\\\1", flat)


def _fenced(text: str, language: str = "") -> list[str]:
    """A code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence + language, *text.rstrip("\n").split("\n"), fence]
