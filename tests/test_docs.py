"""The docs, without the generator of the site: links lead somewhere, all is in the contents, names are explained."""

import ast
import functools
import importlib.util
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def load(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site = load(ROOT / "docs" / "site" / "assemble.py")
PAGES = {uri: name for uri, name in site.copied().items() if uri.endswith(".md")}
CODE = re.compile(r"^```.*?^```|^    .*?$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(text):
    """Of the headings, as code hosts and the site make them."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    heads = [
        re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", head)
        for head in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    ]
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES.values())
def test_every_link_leads_somewhere(page):
    for target in LINK.findall(CODE.sub("", site.page(page, ran=False))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path if path else ROOT / page).resolve()
        assert file.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(site.page(str(file.relative_to(ROOT)))), f"{page}: {target}"


def test_on_the_site_too():
    texts = site.made()
    known = {*site.copied(), *site.pictures(), *texts}
    for uri, name in PAGES.items():
        text = site.led(site.page(name), uri, known)
        for target in LINK.findall(CODE.sub("", text)):
            path, _, anchor = target.partition("#")
            if "://" in target or not path:
                continue
            page = str((Path("/") / uri).parent.joinpath(path).resolve().relative_to("/"))
            assert page in known, f"{uri}: {target}"
            if page.startswith("api/") and anchor:
                assert f"::: {anchor}\n" in texts[page], f"{uri}: {target}"
            if page == "configs.md" and anchor:
                assert f"{{#{anchor}}}" in texts[page], f"{uri}: {target}"


def test_every_page_is_in_the_contents():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2])

    def leaves(entry):
        if isinstance(entry, str):
            return [entry]
        return [
            leaf for part in (entry if isinstance(entry, list) else entry.values()) for leaf in leaves(part)
        ]

    named = leaves(nav)
    assert sorted(named) == sorted([*PAGES, *site.made()])


# --- public names -------------------------------------------------------------------------------------------


@functools.cache
def modules():
    """Modules of the package without an underscore in their path, parsed."""
    found = {}
    for file in sorted((ROOT / "recbole_ext").rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if not any(part.startswith("_") for part in name.split(".")):
            found[name] = ast.parse(file.read_text(encoding="utf-8"))
    return found


def public(body, prefix):
    """Classes, functions and methods with their full name, those of other names left out."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
            yield f"{prefix}.{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{prefix}.{node.name}")


def base_names(node):
    return [base.id if isinstance(base, ast.Name) else getattr(base, "attr", "") for base in node.bases]


def test_every_public_name_is_explained():
    """By its own docstring, or, of a method, by that of the class which it takes it from, as `help` shows it."""
    found = {name: node for module, tree in modules().items() for name, node in public(tree.body, module)}
    classes = {}
    for name, node in found.items():
        if isinstance(node, ast.ClassDef):
            classes.setdefault(node.name, []).append((name, base_names(node)))

    def explained(owner, method, seen):
        for name, bases in classes.get(owner, []):
            node = found.get(f"{name}.{method}")
            if node is not None and ast.get_docstring(node):
                return True
            if any(base not in seen and explained(base, method, {*seen, base}) for base in bases):
                return True
        return False

    missing = [module for module, tree in modules().items() if not ast.get_docstring(tree)]
    for name, node in found.items():
        owner, method = name.split(".")[-2:]
        if not ast.get_docstring(node) and not (owner in classes and explained(owner, method, {owner})):
            missing.append(name)
    assert len(found) > 1500 and missing == []


def test_pictures_are_those_that_are_drawn():
    """After a change: python docs/pictures/draw.py."""
    for name, drawn in load(ROOT / "docs" / "pictures" / "draw.py").pictures().items():
        assert (ROOT / "docs" / "pictures" / name).read_text(encoding="utf-8") == drawn
