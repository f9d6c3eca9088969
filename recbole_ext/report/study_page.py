"""The first page of a study: its paragraph, what to type next, the pages behind it, and every model in a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_ext.data.log_facts import warnings_of
from recbole_ext.report.document import Cell, Column, Links, Listing, Notes, Report, Table, section
from recbole_ext.report.formats import NONE, count, metric_name, score, seconds
from recbole_ext.report.page import render_page
from recbole_ext.report.tables import mean_cell, numbers, value_cell, words
from recbole_ext.wording import several


@dataclass(frozen=True)
class Found:
    """What the page is made of.

    name: of the data set. text: the paragraph. facts: of `data.log_facts`. comparison: of
    `evaluate.comparison.compare`. validation: best score by label, larger is better. left_out: labels and why.
    commands: for the chosen model. notes: on how the models learnt. pages: titles and addresses beside this page.
    again: the study's own command. minutes: its time; used: seconds of it.
    """

    name: str
    text: str
    facts: Mapping[str, Any]
    comparison: Mapping[str, Any]
    validation: Mapping[str, float]
    winner: str
    left_out: Mapping[str, str]
    commands: Sequence[str]
    pages: Mapping[str, str]
    again: str
    minutes: float
    used: float
    notes: Sequence[str] = ()


PAGES = {
    "The log": "what is in it, how it changes, and what to beware of",
    "The models": "intervals, tests, kinds of visitors and items, searches, costs, every reading of the test part",
}


def study_page(found: Found) -> str:
    """The page's HTML."""
    facts, tested = found.facts, found.comparison
    entries = [(title, address, PAGES.get(title, "")) for title, address in found.pages.items()]
    lines = "\n".join(found.commands)
    beware = warnings_of(facts)
    parts = [
        section("Use it", Listing(lines) if lines else None, Links(entries)),
        section("The models", _models(found), _left_out(found)),
        section("What to beware of in this log", Notes(beware) if beware else None),
        section("Again", Listing(found.again) if found.again else None),
    ]
    return render_page(
        Report(
            title=f"Which model for {found.name}?",
            facts=[
                ("chosen", found.winner),
                ("models tested", count(len(tested["models"]))),
                ("log", f"{several(facts['events'], 'event')}, {several(facts['sessions'], 'session')}"),
                (
                    "test",
                    f"{several(tested['targets'], 'event')} of {several(tested['sessions'], 'session')}",
                ),
                ("searched and trained", f"{seconds(found.used)} of {found.minutes:g} min"),
            ],
            answers=[found.text],
            cautions=found.notes,
            sections=[each for each in parts if each is not None],
        )
    )


def _models(found: Found) -> Table:
    """Every model that was tested, in the order of the test part's first metric."""
    metrics = found.comparison["metrics"]
    rows = []
    for model in found.comparison["models"]:
        label = model["model"]
        rows.append(
            [
                Cell(
                    label,
                    mark="chosen" if label == found.winner else "",
                    tone="best" if label == found.winner else "",
                ),
                value_cell(score, abs(found.validation[label])) if label in found.validation else Cell(NONE),
                *(mean_cell(model["metrics"][metric]) for metric in metrics),
                value_cell(seconds, model["seconds"].get("train")),
            ]
        )
    columns = [
        *words("model"),
        Column("validation", unit="which chose"),
        *(Column(metric_name(metric), unit="test, 95 %") for metric in metrics),
        *numbers("training"),
    ]
    return Table("study", "Best on the test first; the choice was made before, on validation", columns, rows)


def _left_out(found: Found) -> Table | None:
    if not found.left_out:
        return None
    rows = [[Cell(label), Cell(why)] for label, why in found.left_out.items()]
    return Table("left-out", "Left out", words("model", "why"), rows, sortable=False)
