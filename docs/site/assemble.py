"""Puts the site's pages together: docs/, README.md as the first one, results/, a page a room, configs/*.yaml as one.

    python docs/site/assemble.py FOLDER

Links in these pages are those of the tree, so that they work in an editor and on a code host; here they are led to the
page that shows the file. A link to a file that no page shows becomes its text. Plain Markdown comes out, so that any
generator of sites can take it; only `::: module` is mkdocstrings'.

A notebook, docs/notebooks/*.py, is a page of its prose and code, with what its cells show where run_notebook.py has run
it as it stands.
"""

from __future__ import annotations

import functools
import hashlib
import json
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
# pages and pictures outside docs/; results/**/index.html are drawn by experiments, and not in the repository
BESIDE = ("CHANGELOG.md", "atomic_data/README.md", "results")
SUFFIXES = {".md", ".svg", ".png", ".css", ".js"}
NOTEBOOKS, SHOWN = "docs/notebooks/", "build/notebooks"  # and what their cells have shown
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s]+)\)")
_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


def assemble(folder: Path) -> None:
    """Write all pages to the folder, which is cleared before."""
    shutil.rmtree(folder, ignore_errors=True)
    shown = copied() | pictures()
    texts = made()
    known = {*shown, *texts}
    for uri, name in shown.items():
        if uri.endswith(".md"):
            texts[uri] = page(name)
            continue
        (folder / uri).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / uri)
    for uri, text in texts.items():
        (folder / uri).parent.mkdir(parents=True, exist_ok=True)
        (folder / uri).write_text(text if uri.startswith("api/") else led(text, uri, known), encoding="utf-8")


def copied() -> dict[str, str]:
    """Page or picture of the site to the file of the tree that it is."""
    names = [name for name in _tracked("docs", *BESIDE) if Path(name).suffix in SUFFIXES or is_notebook(name)]
    return {on_site(name)[0]: name for name in names} | {"index.md": "README.md"}


def page(name: str, ran: bool = True) -> str:
    """A page of the tree as Markdown. ran: a notebook with what its cells have shown, where it has been run."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return notebook_page(name, text, outputs(name, text) if ran else None) if is_notebook(name) else text


def made() -> dict[str, str]:
    """Pages that stand nowhere in the tree, with their text."""
    return {"configs.md": _configs(), **_rooms()}


def led(text: str, here: str, known: set[str]) -> str:
    """A page's text, its links led to pages of the site. here: the page; known: all of them."""

    def link(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        if "://" in target or target.startswith(("#", "mailto:")):
            return found[0]
        path, mark, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(in_tree(here)), path))
        uri, own = on_site(place)
        if uri not in known:
            return found[0] if picture else words
        anchor = f"#{own or anchor}" if mark or own else ""
        return f"{picture}[{words}]({posixpath.relpath(uri, posixpath.dirname(here) or '.')}{anchor})"

    held = iter(_CODE.split(text)[1::2])
    marked = _CODE.sub("\x02", text)  # a link's text may be code, whose brackets are none
    return re.sub("\x02", lambda found: next(held), _LINK.sub(link, marked))


def in_tree(uri: str) -> str:
    """Where a page's source stands in the tree, from the root of it."""
    return copied()[uri]


def on_site(place: str) -> tuple[str, str]:
    """The page that would show a file of the tree, and the anchor in it."""
    if place == "README.md":
        return "index.md", ""
    if place.startswith("docs/"):
        place = place.removeprefix("docs/")
        return f"{place.removesuffix('.py')}.md" if is_notebook(f"docs/{place}") else place, ""
    if place.startswith("configs/") and place.endswith(".yaml"):
        return "configs.md", _slug(place)
    if place.startswith("configs"):
        return "configs.md", ""
    if place.startswith("recbole_ext/"):
        module = place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        return f"api/{_room(module)}.md", module
    return place, ""


# --- notebooks ----------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """prose: Markdown, else Python. line: of the file, from 1, where its text begins."""

    prose: bool
    line: int
    text: str


def is_notebook(name: str) -> bool:
    """Whether a file of the tree is a notebook."""
    return name.startswith(NOTEBOOKS) and name.endswith(".py")


def cells(text: str) -> list[Cell]:
    """The cells of a notebook in the percent format; ValueError where it begins otherwise or prose is no comment."""
    lines = text.splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith("# %%")]
    if starts[:1] != [0]:
        raise ValueError("a notebook begins with # %%")
    found = []
    for start, end in zip(starts, [*starts[1:], len(lines)]):
        prose, body = lines[start].startswith("# %% [markdown]"), lines[start + 1 : end]
        if prose:
            wrong = [place for place, line in enumerate(body) if line.strip() and not line.startswith("#")]
            if wrong:
                raise ValueError(f"line {start + 2 + wrong[0]}, in a cell of prose, begins without #")
            body = [line.removeprefix("#").removeprefix(" ") for line in body]
        found.append(Cell(prose, start + 2, "\n".join(body).strip("\n")))
    return found


def notebook_page(name: str, text: str, shown: list[list[dict[str, str]]] | None) -> str:
    """A notebook as Markdown. shown: by code cell what it has shown, see run_notebook.py; None: it has not been run."""
    said = "with what its cells showed" if shown else "without outputs, which `make notebooks` makes"
    parts = []
    left = iter(shown or [])
    for cell in cells(text):
        if not cell.prose:
            parts.append(f"```python\n{cell.text}\n```")
            parts += [_SHOWN[kind](value) for one in next(left, []) for kind, value in one.items()]
            continue
        title, _, rest = cell.text.partition("\n")
        about = f"*A notebook, `{name}`, {said}: [how to open it](../notebooks.md).*"
        parts += [cell.text] if parts else [title, about, rest.strip("\n")]
    return "\n\n".join(parts) + "\n"


_SHOWN = {
    "text": lambda text: f"```text\n{text}\n```",
    "table": lambda text: text,
    "picture": lambda name: f"![what the cell draws]({name})",
}


def outputs(name: str, text: str) -> list[list[dict[str, str]]] | None:
    """What the cells of a notebook of this very text have shown; None: it has not been run, or was changed since."""
    file = ROOT / SHOWN / f"{Path(name).stem}.json"
    if not file.is_file():
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found["cells"] if found["source"] == source_sum(text) and not found["values"] else None


def source_sum(text: str) -> str:
    """What a notebook's text is known by."""
    return hashlib.sha256(text.encode()).hexdigest()


def pictures() -> dict[str, str]:
    """Pictures that notebooks have drawn: of the site, to the file that it is."""
    found = {}
    for name in copied().values():
        if is_notebook(name):
            for cell in outputs(name, (ROOT / name).read_text(encoding="utf-8")) or []:
                drawn = [one["picture"] for one in cell if "picture" in one]
                found |= {f"notebooks/{picture}": f"{SHOWN}/{picture}" for picture in drawn}
    return found


# --- pages that are made ------------------------------------------------------------------------------------


def _room(module: str) -> str:
    """The page of a module: that of its room, or `top` for what stands beside the rooms."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / "recbole_ext" / parts[1]).is_dir() else "top"


def _rooms() -> dict[str, str]:
    """A page a room, of all its modules."""
    pages: dict[str, list[str]] = {}
    for name in _tracked("recbole_ext"):
        if not name.endswith(".py"):
            continue
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if not any(part.startswith("_") for part in module.split(".")):
            pages.setdefault(_room(module), []).append(module)
    return {f"api/{room}.md": _room_page(room, modules) for room, modules in pages.items()}


def _room_page(room: str, modules: list[str]) -> str:
    title = "recbole_ext" if room == "top" else f"recbole_ext.{room}"
    return "\n\n".join([f"# {title}", *(f"::: {module}" for module in sorted(modules))]) + "\n"


def _configs() -> str:
    """All yaml files of configs/, as they are."""
    parts = [
        "# Shipped yaml files",
        "A file of the same name in `configs/` of the working directory goes over these.",
    ]
    for name in _tracked("configs"):
        if name.endswith(".yaml"):
            parts.append(
                f"## {name} {{#{_slug(name)}}}\n\n```yaml\n{(ROOT / name).read_text(encoding='utf-8')}```"
            )
    return "\n\n".join(parts) + "\n"


def _slug(place: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", place.lower())


@functools.cache
def _tracked(*places: str) -> list[str]:
    """Files of the tree that git knows, or would take, below these places."""
    words = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "--", *places]
    return sorted(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
