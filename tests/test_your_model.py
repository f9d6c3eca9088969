"""docs/your_model.md is run as it stands: the class, the run, the contract."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_ext.testing import ModelContract

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "your_model.md").read_text(encoding="utf-8")
MODEL, RUN, CONTRACT = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with the page's two files."""
    place = tmp_path_factory.mktemp("page")
    (place / "last_item_attention.py").write_text(MODEL)
    (place / "test_last_item_attention.py").write_text(CONTRACT)
    return place


def call(folder, *words):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_the_run_learns_the_ring(folder):
    assert "'hit@1': 1.0" in call(folder, "-c", RUN).splitlines()[-1]


def test_the_model_keeps_the_contract(folder):
    """All clauses, none exempt and none skipped."""
    told = call(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_last_item_attention.py")
    clauses = sum(name.startswith("test_") for name in dir(ModelContract))
    assert re.search(rf"^{clauses} passed\b", told, re.MULTILINE), told


def test_the_page_names_every_clause():
    named = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert named == [n.removeprefix("test_") for n in vars(ModelContract) if n.startswith("test_")]


def test_the_class_is_of_forty_lines():
    start = MODEL.index("@register_model")
    assert len(MODEL[start:].rstrip().splitlines()) <= 40
