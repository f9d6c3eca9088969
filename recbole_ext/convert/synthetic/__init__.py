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
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from recbole_ext.convert.synthetic import diginetica, retailrocket
from recbole_ext.convert.synthetic.world import SIGNALS
from recbole_ext.errors import ConvertError
from recbole_ext.version import __version__

DEMO_SCALE = (
    0.035  # Diginetica: some 11 k sessions, 43 k views and 5 k items: minutes of training on two cores
)
MAX_SCALE = 100.0

# One module a schema: its SIGNALS, its OPTIONS with their defaults, and write(folder, scale, seed, **options) -> counts
SCHEMAS = {"diginetica": diginetica, "retailrocket": retailrocket}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m recbole_ext.convert synthetic`."""
    add = parser.add_argument
    add("schema", choices=sorted(SCHEMAS), help="whose files to write")
    add("--out", type=Path, help="folder of the raw logs (default raw_data/SCHEMA-demo)")
    add(
        "--scale",
        type=float,
        default=DEMO_SCALE,
        help="1 = the size of the owner's log (default %(default)s)",
    )
    add("--seed", type=int, default=1, help="the same seed gives the same bytes (default 1)")
    add("--known-users", type=float, help="diginetica: share of sessions whose user is known (default 0.6)")
    add("--property-scale", type=float, help="retailrocket: property rows, 1 = in proportion (default 1)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command line: generate, and return what generator.json says."""
    out = args.out or Path("raw_data") / f"{args.schema}-demo"
    chosen = {"known_users": args.known_users, "property_scale": args.property_scale}
    options = {name: value for name, value in chosen.items() if value is not None}
    record = generate(args.schema, out, scale=args.scale, seed=args.seed, **options)
    counts = ", ".join(f"{count:,} {name}" for name, count in record["counts"].items())
    print(f"{counts}\nwritten to {out}")
    return record


def generate(
    source: str, out: Path | str, scale: float = DEMO_SCALE, seed: int = 1, **options: float
) -> dict[str, Any]:
    """Write raw logs in the schema of `source` to the folder `out`, with generator.json beside; return the latter.

    `scale` 1 is the owner's size: Diginetica 310 k sessions, 1.24 M views, 184 k items; Retail Rocket 2.76 M events,
    1.4 M visitors, 20.3 M property rows. `options`: `known_users` (diginetica), share of sessions whose user is known;
    `property_scale` (retailrocket), how many times the property rows. Rows are made and written in blocks.

    Raises ConvertError for an unknown source or option, or a value out of its range.
    """
    out = Path(out).absolute()
    if source not in SCHEMAS:
        raise ConvertError(f"There is no generator for {source!r}: known are {', '.join(sorted(SCHEMAS))}.")
    if not 0 < scale <= MAX_SCALE:
        raise ConvertError(f"--scale is {scale}, but must be above 0 and at most {MAX_SCALE:g}.")
    if seed < 0:
        raise ConvertError(f"--seed is {seed}, but must be 0 or more.")
    if out.exists() and not out.is_dir():
        raise ConvertError(f"{out} is a file, and the logs need a folder: name another one with --out.")
    schema = SCHEMAS[source]
    for name in options:
        if name not in schema.OPTIONS:
            flag = "--" + name.replace("_", "-")
            raise ConvertError(f"{flag} means nothing to the generator of {source}: leave it out.")
    options = {**schema.OPTIONS, **options}

    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        record = {
            "generator": f"recbole_ext {__version__} synthetic",
            "source": source,
            "options": {"scale": scale, "seed": seed, **options},
            "signals": {**SIGNALS, **schema.SIGNALS},
            "counts": schema.write(scratch, scale, seed, **options),
        }
        (scratch / "generator.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        out.mkdir(exist_ok=True)
        for path in sorted(scratch.iterdir(), key=lambda path: path.name == "generator.json"):
            os.replace(path, out / path.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return record
