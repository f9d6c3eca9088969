"""`new shop FOLDER`: a folder to start from: a commented yaml, an example log that is generated, and the commands.

The texts lie in cli/shop as they are written. The log is small, the same every time, and holds what a model can learn:
a product leads to the next one of its category, visitors keep to two categories and come back, new products appear.
"""

from __future__ import annotations

import csv
import io
import random
import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from recbole_ext.arguments import Arguments
from recbole_ext.errors import UsageError
from recbole_ext.files import cannot_write, placed_whole, scratch_beside

TEXTS = Path(__file__).parent / "shop"
CATEGORIES = ("lamps", "chairs", "tables", "rugs", "shelves", "mirrors")
OF_A_CATEGORY, VISITORS, DAYS = 20, 320, 28
FIRST_DAY = datetime(2026, 5, 4)


def _parser(prog: str) -> Arguments:
    parser = Arguments(
        prog=prog,
        description="A folder to start from. shop: your own log of clicks, with a generated one as an example.",
    )
    parser.add_argument(
        "what", choices=("shop",), metavar="shop", help="the one kind of folder that there is"
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="is made; must not be there yet")
    return parser


def main(arguments: Sequence[str], prog: str = "recbole-ext new") -> int:
    """Make the folder and say what comes next; the exit code."""
    given = _parser(prog).parse_args(arguments)
    new_shop(given.folder)
    print(
        f"{given.folder} holds an example log, events.csv and items.csv, and configs/dataset/shop.yaml. Next:\n"
        f"  cd {given.folder}\n"
        "  recbole-ext run --model=HRNNFeat --dataset=shop\n"
        f"and read {given.folder / 'README.md'} for your own log and the commands after."
    )
    return 0


def new_shop(folder: Path) -> None:
    """Write the folder, whole or not at all. Raises UsageError where it is there already or cannot be written."""
    if folder.exists():
        raise UsageError(f"{folder} is there already: name a folder that is not")
    try:
        with scratch_beside(folder) as made:
            shutil.copytree(TEXTS, made, dirs_exist_ok=True)
            items = list(example_items())
            (made / "items.csv").write_text(_csv(items), encoding="utf-8")
            (made / "events.csv").write_text(_csv(example_events()), encoding="utf-8")
            placed_whole(made, folder)
    except OSError as error:
        raise UsageError(cannot_write(error, folder)) from error


def example_items() -> Iterator[dict[str, object]]:
    """Rows of items.csv: product, category, price in euros, title."""
    for number in range(len(CATEGORIES) * OF_A_CATEGORY):
        category = CATEGORIES[number // OF_A_CATEGORY]
        price = 15 + 7 * (number * 13 % 40)
        yield {
            "product": f"p{number:03d}",
            "category": category,
            "price": f"{price}.90",
            "title": f"{category[:-1]} no. {number % OF_A_CATEGORY + 1}",
        }


def example_events(seed: int = 1) -> Iterator[dict[str, object]]:
    """Rows of events.csv in order of time: visitor, time (ISO 8601, UTC), event, product."""
    draw = random.Random(seed)
    rows: list[tuple[datetime, int, str, int]] = []
    for visitor in range(VISITORS):
        tastes = draw.sample(range(len(CATEGORIES)), 2)
        for _ in range(1 + draw.randrange(3)):
            rows += _session(draw, visitor, draw.choice(tastes))
    for time, visitor, event, product in sorted(rows):
        yield {
            "visitor": f"v{visitor:03d}",
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "event": event,
            "product": f"p{product:03d}",
        }


def _session(draw: random.Random, visitor: int, category: int) -> Iterator[tuple[datetime, int, str, int]]:
    """Two to seven views and what comes of them. A product is born on its number's day of the first three weeks."""
    day = draw.randrange(DAYS)
    born = min(OF_A_CATEGORY, 8 + day)
    time = FIRST_DAY + timedelta(days=day, hours=8 + draw.randrange(14), seconds=draw.randrange(3600))
    product = draw.randrange(born)
    for _ in range(2 + draw.randrange(6)):
        number = category * OF_A_CATEGORY + product
        yield time, visitor, "view", number
        time += timedelta(seconds=15 + draw.randrange(120))
        if draw.random() < 0.08:
            yield time, visitor, "cart", number
            time += timedelta(seconds=20)
            if draw.random() < 0.5:
                yield time, visitor, "purchase", number
                time += timedelta(seconds=20)
        product = (product * 3 + 1) % born if draw.random() < 0.7 else draw.randrange(born)


def _csv(rows: Iterator[dict[str, object]] | list[dict[str, object]]) -> str:
    """The rows as delimited text with a header line."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
