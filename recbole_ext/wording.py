"""Numbers and names as sentences have them."""

from __future__ import annotations


def several(number: int, one: str, many: str | None = None) -> str:
    """1 model, 2 models."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
