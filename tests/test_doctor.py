"""recbole-ext doctor: what it says of packages that are there, old, other or missing, and its exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_ext.cli import doctor, main
from recbole_ext.errors import RECBOLE

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def ask(monkeypatch, tmp_path, capsys):
    """The findings by name and the exit code, where packages have these releases (None: not there)."""
    monkeypatch.chdir(tmp_path)

    def call(**releases):
        def installed(name):
            return releases.get(name.replace("-", "_"), doctor.TESTED.get(name, ("99",))[0])

        monkeypatch.setattr(doctor, "installed", installed)
        code = main(["doctor", "--json"])
        said = json.loads(capsys.readouterr().out)
        assert said["ok"] == (code == 0)
        return {one["what"]: one for group in list(said.values())[2:] for one in group}, code

    return call


def test_tested_are_the_releases_of_the_constraints():
    """After a change of constraints*.txt: the same in TESTED of recbole_ext/cli/doctor.py."""
    tested = {}
    for name in ("constraints.txt", "constraints-base.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        for package, release in (line.lower().split("==") for line in lines if not line.startswith("#")):
            tested.setdefault(package, {})[release] = None
    wanted = {name for name, _, _ in doctor.needed()}
    named = {name: tuple(found) for name, found in tested.items() if name in wanted or name == "setuptools"}
    assert named == doctor.TESTED


def test_all_that_pyproject_names_is_looked_at():
    needed = {name: (least, extra) for name, least, extra in doctor.needed()}
    assert needed["torch"] == ("2.6", "") and needed["recbole"] == ("1.2.1", "")
    assert needed["starlette"] == ("0.40", "serve") and needed["onnx"] == ("1.16", "onnx")
    assert len(needed) > 25 and not {"pytest", "recbole-ext"} & set(needed)


def test_everything_as_tested(ask):
    found, code = ask()
    assert code == 0
    # a GPU whose driver is too old is not what this test is about
    assert {one["state"] for name, one in found.items() if not name.startswith("gpu")} == {"ok"}
    assert found["study, run, experiment, update, recommend"]["says"] == "ready"


def test_what_is_missing_for_which_command(ask):
    found, code = ask(starlette=None)
    assert code == 0 and found["export"]["says"] == "ready"
    assert (found["serve"]["state"], found["serve"]["says"]) == ("optional", "without starlette")
    assert found["serve"]["mend"] == "pip install 'recbole-ext[serve]'"
    found, code = ask(recbole=None)
    assert code == 1 and found["recbole"]["state"] == "wrong"
    assert found["convert, compare, promote"]["says"] == "ready"
    assert found["study, run, experiment, update, recommend"]["mend"] == found["serve"]["mend"] == RECBOLE
    found, code = ask(polars=None)
    assert code == 1 and found["convert, compare, promote"]["mend"] == "pip install recbole-ext"


def test_releases(ask):
    found, code = ask(numpy="1.24.9", torch="2.9.1+cu128", recbole="1.2.0")
    assert code == 1
    assert found["numpy"] == {
        **{"state": "wrong", "what": "numpy", "says": "1.24.9, older than 1.26"},
        "mend": "pip install 'numpy>=1.26'",
    }
    assert (found["torch"]["state"], found["torch"]["says"]) == ("untested", "2.9.1+cu128; tested is 2.13.0")
    assert found["recbole"]["mend"] == RECBOLE
    assert ask(torch="2.13.0+cpu")[0]["torch"]["state"] == "ok"


def test_folders_and_threads(ask, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    for file in (
        "atomic_data/shop/shop.inter",
        "atomic_data/half/.unfinished",
        "configs/dataset/shop.yaml",
        "runs/shop/AR-1/record.json",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    found, code = ask()
    assert code == 0 and found["threads"]["mend"].startswith("export OMP_NUM_THREADS=")
    assert found["atomic_data"]["says"] == "converted: shop" and "half" in found["unfinished"]["says"]
    assert found["runs"]["says"].startswith("1 finished") and found["configs"]["says"].endswith(": shop")


def test_where_no_package_is_installed_at_all(tmp_path):
    """Only the standard library: this is the command for such a place."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom recbole_ext import cli\nsys.exit(cli.main(['doctor']))"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.endswith(f"in this order:\n  pip install recbole-ext\n  {RECBOLE}\n")
