"""A report in Markdown: GitHub shows its tables and, as links to SVG files, its figures."""

from __future__ import annotations

import re

from recbole_ext.report.document import (
    Block,
    Cell,
    Figure,
    Links,
    Listing,
    Notes,
    Prose,
    Report,
    Section,
    Table,
)


def render_markdown(report: Report) -> str:
    """The report's Markdown; figures are expected at figures/NAME.svg beside it."""
    lines = [f"# {plain(report.title)}", ""]
    lines += [f"- {plain(term)}: {plain(text)}" for term, text in report.facts]
    for text in [*report.answers, *report.cautions]:
        lines += ["", plain(text)]
    for each in report.sections:
        lines += _section(each, 2)
    return "\n".join(lines) + "\n"


def _section(found: Section, level: int) -> list[str]:
    lines = [line for block in found.blocks for line in _block(block, level)]
    return ["", f"{'#' * level} {plain(found.title)}", *lines] if lines else []


def _block(block: Block, level: int) -> list[str]:
    """Lines of a block, the empty one before it included; none for what is only on the page."""
    match block:
        case Table(fold="long") | Listing(fold="long"):
            return []
        case Table():
            return _table(block)
        case Figure():
            return ["", f"![{plain(block.title)}]({block.file})"]
        case Prose():
            return ["", plain(block.text)]
        case Notes():
            return ["", *(f"- {plain(line)}" for line in block.lines)]
        case Listing():
            return ["", *_fenced(block.text, block.language)]
        case Links():
            return [
                "",
                *(f"- [{plain(title)}]({address}): {plain(said)}" for title, address, said in block.entries),
            ]
        case Section():
            return _section(block, level + 1)


def _table(found: Table) -> list[str]:
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
