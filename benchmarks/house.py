"""Figures of the house: circles of files, upward imports, sizes, where the raw config is read.

    python benchmarks/house.py [TREE]        default: this checkout; a worktree of an older commit to compare with

Lazy imports and those for type checkers count as imports. An import is upward where the importing room stands below
the imported one in .importlinter of this checkout; in a tree with other rooms only circles are counted.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
PACKAGE = "recbole_ext"
TOP = 99  # floor of the package itself, above all rooms
# where a config as RecBole has it is read at its source: the settings' own files, and what stands between the two
DOORS = ("settings/", "bridge/", "compat/", "config.py", "registry.py")


def modules(tree: Path) -> dict[str, Path]:
    """Dotted name of every module to its file."""
    found = {}
    for file in sorted((tree / PACKAGE).rglob("*.py")):
        parts = file.relative_to(tree).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(files: dict[str, Path]) -> dict[str, set[str]]:
    """Module to the modules of ours that it imports, anywhere in its text."""
    found: dict[str, set[str]] = {name: set() for name in files}
    for name, file in files.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found[name].update(alias.name for alias in node.names if alias.name in files)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    found[name].update({whole if whole in files else str(node.module)} & files.keys())
        found[name].discard(name)
    return found


def circles(arrows: dict[str, set[str]]) -> list[set[str]]:
    """Groups of two or more modules that reach each other."""
    reach = {name: _reached(arrows, name) for name in arrows}
    groups: list[set[str]] = []
    for name in arrows:
        group = {other for other in reach[name] if name in reach[other]}
        if name in reach[name] and group not in groups:
            groups.append(group)
    return groups


def _reached(arrows: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(arrows[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(arrows.get(name, ()))
    return seen


def order() -> dict[str, int]:
    """Room to its floor, the lowest 0."""
    text = (HERE / ".importlinter").read_text(encoding="utf-8")
    block = re.search(r"layers =\n((?:    .*\n)+)", text)
    floors = block[1].strip().splitlines()[::-1] if block else []
    return {room.strip(" ()"): floor for floor, rooms in enumerate(floors) for room in rooms.split("|")}


def upward(arrows: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Arrows from a room to a higher one."""
    floors = order()

    def room(name: str) -> str:
        return name.split(".")[1] if "." in name else ""

    return [
        (name, used)
        for name, all_used in arrows.items()
        for used in sorted(all_used)
        if room(name) != room(used)
        and not name.endswith("__main__")
        and floors.get(room(name), TOP) < floors.get(room(used), TOP if used == PACKAGE else -1)
    ]


def functions(files: dict[str, Path]) -> Iterator[tuple[int, str]]:
    """Lines and place of every function."""
    for name, file in files.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield (node.end_lineno or node.lineno) - node.lineno + 1, f"{name}.{node.name}"


def config_reads(tree: Path, files: dict[str, Path]) -> tuple[int, int]:
    """Places that read a key of RecBole's config outside of the doors, and files that hold them."""
    counts = []
    for file in files.values():
        if str(file.relative_to(tree / PACKAGE)).startswith(DOORS):
            continue
        text = file.read_text(encoding="utf-8")
        counts.append(len(re.findall(r"\bconfig(?:\[|\.get\()[\"'\w]", text)))
    return sum(counts), sum(1 for count in counts if count)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tree", nargs="?", type=Path, default=HERE)
    tree = parser.parse_args().tree.resolve()
    files = modules(tree)
    arrows = imports(files)
    groups, up = circles(arrows), upward(arrows)
    sizes = sorted(
        ((len(f.read_text(encoding="utf-8").splitlines()), n) for n, f in files.items()), reverse=True
    )
    longest = sorted(functions(files), reverse=True)
    reads, readers = config_reads(tree, files)
    print(f"files                        {len(files)}")
    print(f"lines                        {sum(size for size, _ in sizes)}")
    print(f"files in circles             {sum(map(len, groups))} in {len(groups)} circles")
    print(f"upward imports               {len(up)}")
    print(
        f"largest file                 {sizes[0][0]} {sizes[0][1]}; over 400 lines: {sum(s > 400 for s, _ in sizes)}"
    )
    print(
        f"longest function             {longest[0][0]} {longest[0][1]}; over 50: {sum(n > 50 for n, _ in longest)}"
    )
    print(f"places that read raw config  {reads} in {readers} files")
    for name, used in up:
        print(f"  upward: {name} -> {used}")


if __name__ == "__main__":
    main()
