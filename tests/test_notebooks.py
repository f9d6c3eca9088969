"""The notebooks of docs/: each runs from its first cell to its last, is short, and uses what a user may use."""

import ast
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from recbole_ext.testing import ModelContract

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "docs" / "site"
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.py"))
SMALL = {  # what the first cell says, for a test: shorter training, smaller logs
    "1_from_a_csv": {"EPOCHS": 4},
    "2_which_model": {"EPOCHS": 3},
    "3_cold_items": {"EPOCHS": 4},
    "4_returning_visitors": {"EPOCHS": 5},
    "5_reinforcement_learning": {"EPOCHS": 3},
    "6_your_own_model": {"EPOCHS": 4},
    "7_ml_100k": {"EPOCHS": 1},
}


def load(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site = load(SITE / "assemble.py")
notebooks = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)


def run(file, out, *values):
    """What the process that runs a notebook ended with; its folders lie below `out`."""
    scratch = out / "scratch"
    scratch.mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)}
    words = [sys.executable, str(SITE / "run_notebook.py"), str(out), str(file), *values]
    return subprocess.run(words, cwd=scratch, env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
@notebooks
def test_it_runs(file, tmp_path):
    done = run(file, tmp_path, *(f"{name}={value}" for name, value in SMALL[file.stem].items()))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shown = json.loads((tmp_path / f"{file.stem}.json").read_text(encoding="utf-8"))["cells"]
    kinds = [kind for cell in shown for one in cell for kind in one]
    assert kinds.count("picture") >= 1 and {"text", "table"} & set(kinds)
    assert not {"runs", "saved", "atomic_data", "log"} & set(os.listdir(file.parent))


def test_all_are_tested_and_listed():
    assert [file.stem for file in NOTEBOOKS] == list(SMALL)
    page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    titles = {
        f"notebooks/{file.name}": site.cells(file.read_text("utf-8"))[0].text.splitlines()[0]
        for file in NOTEBOOKS
    }
    listed = dict(
        (link, title) for title, link in re.findall(r"^\| \[\d (.*?)\]\((.*?)\)", page, re.MULTILINE)
    )
    assert listed == {link: title.removeprefix("# ") for link, title in titles.items()}


@notebooks
def test_it_is_short_and_ends_in_what_to_read_next(file):
    found = site.cells(file.read_text(encoding="utf-8"))
    code = [cell for cell in found if not cell.prose]
    assert 8 <= len(code) <= 20 and found[0].prose and found[0].text.startswith("# ")
    assert (
        found[-1].prose
        and len(re.findall(r"^- \[", found[-1].text.partition("What to read next")[2], re.MULTILINE)) >= 2
    )
    assert (
        re.search(r"^EPOCHS = \d+  # ", code[0].text, re.MULTILINE)
        and "os.chdir(tempfile.mkdtemp(" in code[0].text
    )
    for cell in code:
        ast.parse(cell.text)
    assert sum(cell.text.count("assert ") for cell in code) >= 2


@notebooks
def test_it_uses_public_names_that_there_are(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert not re.match(r"_(?!_)", node.attr), f"line {node.lineno}: {node.attr}"
        if isinstance(node, ast.Import):
            assert all(
                alias.name.partition(".")[0] != "recbole_ext" or alias.name == "recbole_ext"
                for alias in node.names
            )
        if isinstance(node, ast.ImportFrom) and node.module.startswith("recbole_ext"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert not re.search(r"(^|\.)_", f"{node.module}.{alias.name}")
                assert getattr(module, alias.name).__doc__


@pytest.fixture
def own_model():
    """The class of the notebook on one's own model, as its file would be."""
    text = next(file for file in NOTEBOOKS if file.stem == "6_your_own_model").read_text(encoding="utf-8")
    (cell,) = [cell.text for cell in site.cells(text) if cell.text.startswith("class ")]
    return cell


def test_the_class_is_of_forty_lines(own_model):
    assert len(own_model.splitlines()) <= 40


@pytest.mark.slow
def test_the_class_keeps_the_contract(own_model, tmp_path):
    """As the notebook tells its reader to find out."""
    head = "import torch\nfrom recbole.model.abstract_recommender import SequentialRecommender\nfrom torch import nn\n"
    (tmp_path / "fading.py").write_text(f"{head}\n\n{own_model}\n")
    text = next(file for file in NOTEBOOKS if file.stem == "6_your_own_model").read_text(encoding="utf-8")
    block = re.search(
        r"^    from fading import Fading\n.*?\n\n(?=`pytest`)",
        site.notebook_page("", text, None),
        re.M | re.S,
    )
    (tmp_path / "test_fading.py").write_text(textwrap.dedent(block[0]))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_fading.py"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    clauses = sum(name.startswith("test_") for name in dir(ModelContract))
    assert re.search(rf"^{clauses} passed\b", done.stdout, re.MULTILINE), done.stdout[-3000:]


# --- what runs them -----------------------------------------------------------------------------------------

TOY = """# %% [markdown]
# # A toy
#
# See [the other](1_from_a_csv.py).

# %%
import matplotlib.pyplot as plt
import pandas as pd

EPOCHS = 3  # passes

# %%
print(EPOCHS)
pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})

# %%
plt.plot([1, 2])
plt.show()

# %%
import inspect


class Own:
    def method(self):
        return "found in the cell"


assert not hasattr(__import__("__main__"), "__file__")
assert "found in the cell" in inspect.getsource(Own.method)
"""


@pytest.fixture
def toy(tmp_path):
    file = tmp_path / "toy.py"
    file.write_text(TOY)
    return file


def test_what_cells_show_is_kept_and_stands_on_the_page(toy, tmp_path, monkeypatch):
    done = run(toy, tmp_path / "out", "EPOCHS=7")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "toy.json").read_text())
    nothing, printed, drawn, _ = record["cells"]
    assert nothing == [] and drawn == [{"picture": "toy-1.svg"}]
    assert printed[0] == {"text": "7"} and [row.split() for row in printed[1]["table"].splitlines()][2:] == [
        ["|", "1", "|", "x", "|"],
        ["|", "2", "|", "y", "|"],
    ]
    assert "<svg" in (tmp_path / "out" / "toy-1.svg").read_text()

    monkeypatch.setattr(site, "SHOWN", str(tmp_path / "out"))
    name = "docs/notebooks/toy.py"
    assert site.outputs(name, TOY) is None  # it was run with other values than stand in it
    (tmp_path / "out" / "toy.json").write_text(json.dumps({**record, "values": {}}))
    assert site.outputs(name, TOY + "\n") is None  # it has changed since
    page = site.notebook_page(name, TOY, site.outputs(name, TOY))
    assert page.startswith("# A toy\n\n*A notebook, `docs/notebooks/toy.py`, with what its cells showed")
    assert (
        "print(EPOCHS)" in page and "```text\n7\n```" in page and "![what the cell draws](toy-1.svg)" in page
    )
    assert "without outputs" in site.notebook_page(name, TOY, None)
    known = {"notebooks/1_from_a_csv.md", "notebooks/toy-1.svg"}
    monkeypatch.setattr(site, "in_tree", lambda uri: name)
    led = site.led(page, "notebooks/toy.md", known)
    assert "[the other](1_from_a_csv.md)" in led and "](toy-1.svg)" in led


def test_a_cell_that_fails_ends_the_run(toy, tmp_path):
    toy.write_text(TOY.replace("plt.plot([1, 2])", "assert EPOCHS == 4, 'three'"))
    done = run(toy, tmp_path / "out")
    assert done.returncode == 1 and "AssertionError: three" in done.stderr and "cell 3" in done.stderr
    assert "assert EPOCHS == 4" in done.stderr and not (tmp_path / "out" / "toy.json").exists()


def test_a_value_that_the_first_cell_does_not_say_is_refused(toy, tmp_path):
    done = run(toy, tmp_path / "out", "EPOCH=4")
    assert done.returncode == 1 and "the first code cell has 0 lines EPOCH = …" in done.stderr


def test_prose_is_a_comment():
    with pytest.raises(ValueError, match="line 3, in a cell of prose"):
        site.cells("# %% [markdown]\n# prose\nno comment\n")
    with pytest.raises(ValueError, match="begins with # %%"):
        site.cells("import os\n# %%\n")
