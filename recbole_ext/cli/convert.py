"""`convert SOURCE RAW --out OUT …`: raw logs to atomic files; the same as `python -m recbole_ext.convert`."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str], prog: str = "recbole-ext convert") -> int:
    """Run one converter; the exit code."""
    from recbole_ext.convert.__main__ import main as convert

    return convert(arguments, prog)
