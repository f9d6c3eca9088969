"""A picture twice: for the page's measure and, its panels one below the other, for a phone's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recbole_ext.kept import Kept
from recbole_ext.report.document import Figure
from recbole_ext.report.plots import drawn

PHONE = 4.4  # inches: a little more than a phone shows, whose letters are as large as the page's then

Inches = tuple[float, float]


@dataclass(frozen=True)
class Pictures:
    """Draws the pictures that are made of `inputs` and nothing else, where they are not kept."""

    kept: Kept
    inputs: Any

    def figure(
        self,
        name: str,
        title: str,
        alt: str,
        inches: Callable[[int], Inches],
        draw: Callable[[Any, int], None],
        columns: int = 1,
    ) -> Figure:
        """The figure that `draw` makes.

        inches: width and height of the picture with so many panels side by side. draw: fills an empty figure of
        matplotlib's, so many panels side by side. columns: of them on the page; on a phone there is one.
        """

        def made(width: float, height: float, beside: int) -> str:
            return drawn(alt, (width, height), lambda figure: draw(figure, beside))

        wide, narrow = inches(columns), (PHONE, inches(1)[1])
        return Figure(
            name,
            title,
            alt,
            self.kept.get(name, [self.inputs, alt, wide, columns], lambda: made(*wide, columns)),
            self.kept.get(f"{name}-phone", [self.inputs, alt, narrow], lambda: made(*narrow, 1)),
        )
