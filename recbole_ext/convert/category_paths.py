"""Ways through a tree of categories, of levels in several columns or of texts such as `Home > Kitchen`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from recbole_ext.convert.engine import pl
from recbole_ext.convert.forms.table import BLANK

STEP = ">"
MOSTLY = 0.5  # of a column's values that hold a step where it is one of paths
LEVEL = re.compile(r"^(.*?)[_ ]*(?:level|lvl|l)?[_ ]*([0-9])$", re.IGNORECASE)
OF_CATEGORIES = re.compile(r"cat|department|taxonomy|level|lvl|hierarchy", re.IGNORECASE)


def with_paths(
    table: pl.DataFrame, known: dict[str, str], open_types: Sequence[str], guessed: dict[str, str]
) -> pl.DataFrame:
    """The table with a column NAME_path for each column, or row of columns, that is found to be a way through a tree.

    A path is a token_seq from the category up to the root, as Retail Rocket's is, each named by its own way, so that
    one name in two places is two categories. The columns stay as they are. Only tokens of open type are looked at.
    """
    tokens = [name for name in open_types if known[name] == "token"]
    for name in tokens:
        values = table[name].drop_nulls()
        if len(values) and values.str.contains(STEP, literal=True).mean() >= MOSTLY:  # type: ignore[operator]
            table = _add(table, known, guessed, f"{name}_path", [name])
    for name, levels in _levels(tokens).items():
        table = _add(table, known, guessed, f"{name}_path", levels)
    return table


def _add(
    table: pl.DataFrame, known: dict[str, str], guessed: dict[str, str], name: str, columns: list[str]
) -> pl.DataFrame:
    if name in table.columns:
        return table
    texts = pl.concat_str([pl.col(column) for column in columns], separator=STEP, ignore_nulls=True)
    whole = table.select(texts.alias("text"))
    ways = whole.unique().with_columns(pl.col("text").map_elements(path, return_dtype=pl.String).alias(name))
    found = whole.join(ways, on="text", how="left", maintain_order="left")[name]
    known[name] = "token_seq"
    guessed[name] = f"the way to the root, of {', '.join(columns)}"
    return table.with_columns(found.alias(name))


def path(text: str) -> str | None:
    """`Home > Kitchen` -> `Home>Kitchen Home`; blanks within a name are no plain ones; None where there is no name."""
    steps = [BLANK.join(step.split()) for step in text.split(STEP)]
    steps = [step for step in steps if step]
    ways = [STEP.join(steps[: end + 1]) for end in range(len(steps))]
    return " ".join(reversed(ways)) or None


def _levels(names: Sequence[str]) -> dict[str, list[str]]:
    """Columns that are the levels of one tree, top first: category1, category2 …, or item_category, item_category2 …"""
    numbered: dict[str, dict[int, str]] = {}
    for name in names:
        match = LEVEL.match(name)
        if match and OF_CATEGORIES.search(name):
            numbered.setdefault(match[1].rstrip("_ ") or "category", {})[int(match[2])] = name
    found = {}
    for stem, levels in numbered.items():
        if 1 not in levels and 0 not in levels and stem in names:
            levels[1] = stem
        order = sorted(levels)
        if len(order) > 1 and order[0] in (0, 1) and order == list(range(order[0], order[0] + len(order))):
            found[stem] = [levels[number] for number in order]
    return found
