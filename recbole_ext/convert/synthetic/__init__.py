"""Generated raw logs in an owner's schema, with planted signals that a model can be caught missing.

Reference: none, the world is ours; sizes and shapes follow the owners' logs. What differs from Diginetica: there most
users are `NA`, whereas here most sessions belong to users who come back, since the user level of a model has nothing to
learn from otherwise. What differs from Retail Rocket: the property log is drawn, so no property but category,
availability and price (790) means anything.

What is planted:
- features: categories hang in a tree; prices (and name tokens) tell category and style apart;
- sequence: every item has one preferred successor per style, in its own category; repeats; noise;
- user: a user keeps to a few categories and to one style over all sessions, and the style decides which
  successor comes next, so that earlier sessions help from the second event of a session on;
- time: a part of the items is born during the log and never seen before, so a split by time has cold items;
- reward: some views turn into purchases, more often the last one of a session.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from recbole_ext.convert.options import GIVEN, LEFT_OUT, Number, Whole, option
from recbole_ext.convert.options import Options as _Options
from recbole_ext.errors import ConvertError
from recbole_ext.files import placed_whole, scratch_beside
from recbole_ext.version import __version__

DEMO_SCALE = 0.035  # Diginetica: some 11 k sessions, 43 k views, 5 k items: minutes of training on two cores


class Options(_Options):
    """The options of the generators: whose files, how many, and what each generator has of its own."""

    source: Literal["diginetica", "retailrocket"] = option(..., "whose files to write", door="positional")
    scale: Number = option(DEMO_SCALE, "1 = the size of the owner's log", gt=0, le=100)
    events: Whole | None = option(
        None,
        "a long log of so many events in order of time, made as it is written",
        ge=1,
        le=1_000_000_000,
        needs={"source": ["retailrocket"], "scale": LEFT_OUT},
    )
    items: Whole | None = option(
        None,
        "items of the long log (1,500,000 for 100,000,000 events, by the root)",
        ge=1,
        le=20_000_000,
        needs={"events": GIVEN},
    )
    seed: Whole = option(1, "the same seed gives the same bytes", ge=0)
    known_users: Number = option(
        0.6, "share of sessions whose user is known", ge=0, le=1, needs={"source": ["diginetica"]}
    )
    property_scale: Number = option(
        1.0, "property rows, 1 = in proportion", gt=0, le=100, needs={"source": ["retailrocket"]}
    )

    @property
    def module(self) -> str:
        """Where the generator is."""
        return self.source if self.events is None else "long_log"

    def size(self) -> dict[str, float | None]:
        """How large a log."""
        return {"scale": self.scale} if self.events is None else {"events": self.events, "items": self.items}

    def own(self) -> dict[str, float]:
        """Those of the chosen generator alone."""
        return {name: getattr(self, name) for name in ("known_users", "property_scale") if self.applies(name)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m recbole_ext.convert synthetic`."""
    parser.set_defaults(run=_run)
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="the raw logs (default raw_data/SOURCE-demo)"
    )
    Options.add_arguments(parser)


def _run(given: argparse.Namespace) -> None:
    options = Options.of_arguments(given)
    out = given.out or Path("raw_data") / f"{options.source}-demo"
    record = generated(options, out)
    counts = ", ".join(f"{count:,} {name}" for name, count in record["counts"].items())
    print(f"{counts}\nwritten to {out}")


def generate(
    source: str, out: Path | str, scale: float | None = None, seed: int = 1, **options: float
) -> dict[str, Any]:
    """Write raw logs in the schema of `source` to the folder `out`, with generator.json beside; return the latter.

    `scale` 1 is the owner's size: Diginetica 310 k sessions, 1.24 M views, 184 k items; Retail Rocket 2.76 M events,
    1.4 M visitors, 20.3 M property rows; None: DEMO_SCALE. `options`: `known_users` (diginetica), share of sessions
    whose user is known; `property_scale` (retailrocket), how many times the property rows; `events` and `items`
    (retailrocket) in place of `scale`, a long log. Rows are made and written in blocks.

    Raises ConvertError for an unknown source or option, or a value out of its range.
    """
    size = {} if scale is None else {"scale": scale}
    return generated(Options.from_command({"source": source, **size, "seed": seed, **options}), out)


def generated(options: Options, out: Path | str) -> dict[str, Any]:
    """As `generate`, with options that are checked already."""
    out = Path(out).absolute()
    if out.exists() and not out.is_dir():
        raise ConvertError(f"{out} is a file, and the logs need a folder: name another one with --out.")
    schema = _schema(options.module)
    out.parent.mkdir(parents=True, exist_ok=True)
    with scratch_beside(out) as scratch:
        made = scratch / "new"
        made.mkdir()
        record = {
            "generator": f"recbole_ext {__version__} synthetic",
            "source": options.source,
            "options": {**options.size(), "seed": options.seed, **options.own()},
            "signals": schema.SIGNALS,
            "counts": schema.write(made, seed=options.seed, **options.size(), **options.own()),
        }
        (made / "generator.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        if placed_whole(made, out):  # so that a folder that is there is whole
            return record
        for path in sorted(made.iterdir(), key=lambda path: path.name == "generator.json"):
            os.replace(path, out / path.name)
    return record


def _schema(name: str) -> ModuleType:
    """The module of a generator, which loads numpy and polars: its SIGNALS, and write(folder, seed, **size, **own)."""
    return importlib.import_module(f"{__name__}.{name}")
