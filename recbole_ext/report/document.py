"""What a report is made of: sections of tables, figures and text. Plain data, no markup; renderers know only this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

# folded: a click on the page unfolds it; long: folded, not printed and not in Markdown
Fold = Literal["open", "folded", "long"]


@dataclass(frozen=True)
class Cell:
    """One cell: its text, what it sorts by (None: its text), a mark behind it and smaller lines below it."""

    text: str
    sort: float | None = None
    mark: str = ""
    detail: Sequence[str] = ()
    tone: str = ""  # best, more, less, quiet or warn: how the page colours it, never the only sign


@dataclass(frozen=True)
class Column:
    """A column's head; `unit` stands below it, `numeric` columns sort by number and stand right."""

    title: str
    numeric: bool = True
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its caption; `name` is its kind, which the page styles, `ordered` the column and direction it comes
    sorted by."""

    kind: ClassVar[str] = "table"
    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    legend: Sequence[str] = ()
    ordered: tuple[int, str] | None = None
    sortable: bool = True
    fold: Fold = "open"

    @property
    def name_column(self) -> int:
        """The column that names its rows: the first one of words."""
        return next((i for i, column in enumerate(self.columns) if not column.numeric), 0)


@dataclass(frozen=True)
class Figure:
    """A drawn picture: an SVG file's name without suffix and its content; `alt` says in words what it shows.

    phone: the same for a narrow screen.
    """

    kind: ClassVar[str] = "figure"
    name: str
    title: str
    alt: str
    svg: str
    phone: str

    @property
    def file(self) -> str:
        """Where the report's folder has it."""
        return f"figures/{self.name}.svg"


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    kind: ClassVar[str] = "prose"
    text: str


@dataclass(frozen=True)
class Notes:
    """A list of remarks."""

    kind: ClassVar[str] = "notes"
    lines: Sequence[str]


@dataclass(frozen=True)
class Listing:
    """Text to be shown as it is, line by line; `title` is what a folded one is unfolded by."""

    kind: ClassVar[str] = "listing"
    text: str
    language: str = ""
    title: str = ""
    fold: Fold = "open"


@dataclass(frozen=True)
class Links:
    """A list of other pages: title, address from here, and what is there."""

    kind: ClassVar[str] = "links"
    entries: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Section:
    """A title and what stands below it, smaller sections included."""

    kind: ClassVar[str] = "section"
    title: str
    blocks: Sequence[Block]

    @property
    def figures(self) -> list[Figure]:
        """Its figures, those of smaller sections included, in order."""
        found: list[Figure] = []
        for block in self.blocks:
            found += block.figures if isinstance(block, Section) else []
            found += [block] if isinstance(block, Figure) else []
        return found


Block = Table | Figure | Prose | Notes | Listing | Links | Section


def section(title: str, *blocks: Block | None) -> Section | None:
    """The section of those blocks that are there; None where none is."""
    found = [block for block in blocks if block is not None]
    return Section(title, found) if found else None


@dataclass(frozen=True)
class Report:
    """The whole report; `facts` are (term, text) of its head, `answers` one paragraph a data set."""

    title: str
    facts: Sequence[tuple[str, str]]
    answers: Sequence[str]
    cautions: Sequence[str]
    sections: Sequence[Section]

    @property
    def figures(self) -> list[Figure]:
        """Pictures of all sections, in their order."""
        return [figure for each in self.sections for figure in each.figures]
