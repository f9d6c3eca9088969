"""What the sections of one data set are made from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from recbole_ext.kept import Kept, digest
from recbole_ext.report.pictures import Pictures
from recbole_ext.report.plots import Style

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Findings:
    """The comparison, records and searches of one data set, as `write_report` documents them.

    `baseline` is a label or None, `look` how each label is drawn, `stem` what the names of its figures begin with,
    `kept` where figures that were drawn before are.
    """

    comparison: Fields
    records: Sequence[Fields]
    searches: Sequence[Fields]
    baseline: str | None
    look: Mapping[str, Style]
    stem: str
    kept: Kept = field(default_factory=Kept)

    def name(self, *words: str) -> str:
        """The name of a figure's file."""
        return "-".join([self.stem, *map(slug, words)])

    @cached_property
    def pictures(self) -> Pictures:
        """Draws what is made of these findings and nothing else."""
        look = {label: asdict(style) for label, style in self.look.items()}
        told = [self.comparison, self.records, self.searches, self.baseline, look]
        return Pictures(self.kept, digest(told))


def slug(text: str) -> str:
    """What of a name is safe in a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "x"
