"""The sections of a data set, in the page's order: each makes itself from `Findings`, None where it has nothing to say.

A new table or figure of a section is added in the section's file; a new section is a function and a place in SECTIONS.
"""

from __future__ import annotations

from collections.abc import Callable

from recbole_ext.report.document import Section
from recbole_ext.report.sections import cost, ranking, search, settings, slices, training, worth
from recbole_ext.report.sections.findings import Findings

SECTIONS: tuple[Callable[[Findings], Section | None], ...] = (
    ranking.ranking,
    ranking.tests,
    worth.reward,
    worth.categories,
    slices.cold_items,
    slices.slices,
    cost.cost,
    training.curves,
    search.searches,
    settings.settings,
    settings.runs,
)
