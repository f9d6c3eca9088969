"""Runs a notebook as Jupyter would, cell by cell, and keeps what the cells show, for the site.

    python docs/site/run_notebook.py FOLDER FILE [NAME=VALUE ...]

NAME=VALUE takes the place of what the first code cell says of NAME. The cells run in one namespace, a `__main__`
without a file, as it is in Jupyter. What a code cell prints, its last line's value and its pictures go to
FOLDER/<name>.json and FOLDER/<name>-<number>.svg, when all cells have run; a cell that fails ends the run with its
traceback and exit code 1.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import linecache
import re
import sys
import time
import traceback
import types
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")  # no one's default, so that a cell which changes it is found
import matplotlib.pyplot as plt
import pandas as pd
from assemble import Cell, cells, source_sum


def main(folder: Path, file: Path, values: dict[str, str]) -> int:
    """Run it and write what it shows; the exit code."""
    began = time.monotonic()
    text = file.read_text(encoding="utf-8")
    code = [cell for cell in cells(text) if not cell.prose]
    code[0] = given(code[0], values)
    folder = folder.absolute()  # a notebook goes to a folder of its own
    plt.show = lambda *args, **kwargs: None  # what is open at a cell's end is kept
    space = types.ModuleType("__main__")
    sys.modules["__main__"] = space
    shown, drawn = [], {}
    for number, cell in enumerate(code, 1):
        found = run(cell, f"<{file.name}, cell {number}>", vars(space))
        if found is None:
            return 1
        if matplotlib.get_backend() != "svg":
            raise SystemExit(f"cell {number} has changed matplotlib's backend: Jupyter would draw no more")
        for figure in map(plt.figure, plt.get_fignums()):
            name = f"{file.stem}-{len(drawn) + 1}.svg"
            drawn[name] = _svg(figure)
            found.append({"picture": name})
        plt.close("all")
        shown.append(found)
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in drawn.items():
        (folder / name).write_text(picture, encoding="utf-8")
    record = {"source": source_sum(text), "values": values, "cells": shown}
    (folder / f"{file.stem}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{file.name}: {len(code)} cells in {time.monotonic() - began:.0f} s", flush=True)
    return 0


def given(cell: Cell, values: dict[str, str]) -> Cell:
    """The first code cell with other values; SystemExit for a name of which it says nothing."""
    text = cell.text
    for name, value in values.items():
        text, count = re.subn(
            rf"^{re.escape(name)} = [^#\n]*?(?=  #|$)", f"{name} = {value}", text, flags=re.MULTILINE
        )
        if count != 1:
            raise SystemExit(f"the first code cell has {count} lines {name} = …: it must have one")
    return cell._replace(text=text)


def run(cell: Cell, name: str, space: dict[str, Any]) -> list[dict[str, str]] | None:
    """What a cell prints, and its last line's value; None where it fails, which is told on stderr."""
    linecache.cache[name] = (len(cell.text), None, cell.text.splitlines(keepends=True), name)
    printed = io.StringIO()
    value = None
    try:
        tree = ast.parse(cell.text, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, name, "exec"), space)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), name, "eval"), space)
    except Exception:
        print(printed.getvalue()[-3000:], file=sys.stderr)
        traceback.print_exc()
        return None
    text = printed.getvalue().strip("\n")
    return [*([{"text": text}] if text else []), *([] if value is None else [_said(value)])]


def _said(value: Any) -> dict[str, str]:
    """The value of a cell's last line, as a notebook shows it."""
    if isinstance(value, pd.Series):
        value = value.to_frame()
    if isinstance(value, pd.DataFrame):
        value = value.reset_index() if isinstance(value.index, pd.MultiIndex) else value
        counted = isinstance(value.index, pd.RangeIndex)
        return {"table": value.to_markdown(index=not counted, floatfmt=".4g")}
    return {"text": repr(value)}


def _svg(figure: Any) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None})
    return stream.getvalue()


if __name__ == "__main__":
    out, notebook, *more = sys.argv[1:]
    sys.exit(main(Path(out), Path(notebook), dict(word.split("=", 1) for word in more)))
