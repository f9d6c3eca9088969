"""What is installed where: the Python that make takes, the requirements, and the commands where torch is not there."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from recbole_ext.errors import RECBOLE

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(file):
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_one_recbole_and_one_torch_everywhere():
    newest, base = pins("constraints.txt"), pins("constraints-base.txt")
    assert newest.keys() == base.keys()
    assert {name for name in base if newest[name] != base[name]} == {"numpy", "pandas"}
    (named,) = [line for line in PROJECT["project"]["dependencies"] if line.startswith("recbole")]
    release = f"recbole=={base['recbole']}"
    assert named == f"{release}; python_version < '3.12'"
    assert PROJECT["dependency-groups"]["dev"] == [release]
    assert f"pip install --no-deps {release}" == RECBOLE


def test_one_version():
    """It stands twice, so that uv resolves a checkout without building it."""
    from recbole_ext.version import __version__

    assert PROJECT["project"]["version"] == __version__
    for page in ("install.md", "export.md", "serving.md"):
        wheels = re.findall(r"recbole_ext-([\d.]+)-py3", (ROOT / "docs" / page).read_text(encoding="utf-8"))
        assert set(wheels) == {__version__}, page
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited[1] == __version__
    assert f"\n## [{__version__}] - 2" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_what_recbole_names_is_named_by_us_too():
    """As it is installed without its dependencies."""
    from importlib import metadata

    try:
        wanted = metadata.requires("recbole")
    except metadata.PackageNotFoundError:
        pytest.skip("RecBole is not installed")
    name = re.compile(r"[\w-]+")
    wanted = {name.match(line)[0].lower() for line in wanted if "extra ==" not in line}
    ours = {name.match(line)[0] for line in PROJECT["project"]["dependencies"]}
    assert wanted - ours == {"ray"}


def named_for_make():
    """What the Makefile installs of pyproject.toml."""
    code = re.search(r"define NAMED\n(.*?)endef", (ROOT / "Makefile").read_text(encoding="utf-8"), re.DOTALL)
    words = [sys.executable, "-c", code[1].replace("\\\n", "")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_ray_is_of_its_extra_alone():
    """It is 70 MB, and no environment of make or of CI has it; the sentence of --ray names the same release."""
    from recbole_ext.experiment.over_machines import INSTALL

    extras = PROJECT["project"]["optional-dependencies"]
    assert [line for name, lines in extras.items() for line in lines if "ray" in line] == extras["ray"]
    release, _, python = extras["ray"][0].partition("; ")
    assert python == "python_version >= '3.12'"  # before, RecBole is a dependency and names an older one
    assert f"pip install '{release}'" == INSTALL
    assert PROJECT["tool"]["uv"]["override-dependencies"] == [f"{release}; extra == 'ray'"]
    named = named_for_make()
    assert "torch>=2.6" in named and not [line for line in named if "ray" in line]


def test_trackers_are_of_their_extras_alone():
    """They are 316 MB in 64 packages; the tests use stand-ins with the same signatures."""
    extras = PROJECT["project"]["optional-dependencies"]
    for name in ("mlflow", "wandb"):
        (line,) = extras[name]
        assert line.startswith(f"{name}>=") and line not in named_for_make()
        assert name not in extras["dev"][0]


# --- make ---------------------------------------------------------------------------------------------------

FAKE = '#!/bin/sh\n[ "$1" = -V ] && echo Python {version}\n[ "{fits}" = True ]\n'


@pytest.fixture
def make(tmp_path):
    """What `make -n setup` would do, or says, where these Pythons are found: name to version."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")

    def call(pythons, *words, dry=True):
        shutil.rmtree(tmp_path / "bin", ignore_errors=True)
        (tmp_path / "bin").mkdir()
        for name in ("make", "sh", "head", "echo"):
            (tmp_path / "bin" / name).symlink_to(shutil.which(name))
        for name, version in pythons.items():
            file = tmp_path / "bin" / name
            minor = int(version.split(".")[1])
            file.write_text(FAKE.format(version=version, fits=11 <= minor <= 14))
            file.chmod(0o755)
        command = ["make", *(["-n"] if dry else []), "setup", f"VENV={tmp_path / 'venv'}", *words]
        environment = {"PATH": str(tmp_path / "bin")}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        return done.stdout if dry else done.stderr.splitlines()[0]

    return call


@pytest.mark.parametrize(
    ("pythons", "taken"),
    [
        ({"python3": "3.12.4", "python3.11": "3.11.7"}, "python3"),
        ({"python3": "3.14.0"}, "python3"),
        ({"python3": "3.9.18", "python3.13": "3.13.1", "python3.11": "3.11.7"}, "python3.13"),
        ({"python3": "3.15.0", "python3.11": "3.11.7"}, "python3.11"),
        ({"python": "3.12.4"}, "python"),
    ],
)
def test_make_takes_the_first_python_that_fits(make, pythons, taken):
    assert f"\n{taken} -m venv --clear " in make(pythons)


@pytest.mark.parametrize("version", ["3.10.13", "3.15.0"])
def test_one_sentence_of_a_python_that_does_not_fit(make, version):
    said = make({"python3": version}, dry=False)
    needed = f"error: Python 3.11 to 3.14 is needed, and python3 is Python {version}:"
    assert said == f"{needed} install one, or name it, make PYTHON=..."
    said = make({"python3": "3.12.4", "other": version}, "PYTHON=other", dry=False)
    assert said.startswith(f"error: Python 3.11 to 3.14 is needed, and other is Python {version}:")
    assert "and python3 is " in make({}, dry=False)


# --- commands where there is no torch ----------------------------------------------------------------------

HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture
def ours(tmp_path):
    """Call `recbole-ext` in an empty folder, where some packages cannot be imported; what it says."""

    def call(*words, hidden=("torch", "recbole"), code=0):
        (tmp_path / "hidden").mkdir(exist_ok=True)
        (tmp_path / "hidden" / "sitecustomize.py").write_text(HIDE.format(names=tuple(hidden)))
        package = Path(find_spec("recbole_ext").origin).parents[1]  # the checkout's, or that of a wheel
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path / "hidden"), str(package)]),
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, "-m", "recbole_ext", *map(str, words)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr if code else done.stdout

    return call


def test_logs_are_converted_without_torch(ours, tmp_path):
    ours("convert", "synthetic", "retailrocket", "--scale", "0.001", "--out", "raw")
    said = ours("convert", "retailrocket", "raw", "--out", "atomic_data/shop")
    assert "written to" in said
    assert json.loads((tmp_path / "atomic_data/shop/manifest.json").read_text())["outputs"]


def test_runs_are_compared_without_torch(ours, tmp_path):
    for name, add in (("one", 0), ("other", 3)):
        rank = 1 + (np.arange(80) * 7 + add) % 30
        (tmp_path / name).mkdir()
        np.savez_compressed(
            tmp_path / name / "ranks.npz",
            rank=rank,
            item=np.ones(80, dtype=int),
            top=np.ones((80, 20), dtype=int),
            event_index=np.arange(80),
            session_token=np.array([f"s{n // 2:04d}" for n in range(80)]),
            item_token=np.array(["[PAD]", "a"]),
            position=1 + np.arange(80) % 2,
        )
        record = {
            **{"model": name, "dataset": "toy", "seed": 1, "protocol": "rows", "split": "session_time"},
            **{"config": {}, "counts": {"items": 1, "test_targets": 80}, "seconds": {}, "epochs_run": 1},
        }
        (tmp_path / name / "record.json").write_text(json.dumps(record))
    said = ours("compare", "one", "other", "--metric", "HR@10")
    assert "95 %" in said and "other" in said


def test_settings_are_told_without_torch_and_a_model_s_with_it(ours):
    assert "train_batch_size" in ours("settings") and "eval_args" in ours("settings")
    said = ours("settings", "VSTAN", code=2)
    assert said == "error: settings needs torch, which is not installed: pip install recbole-ext\n"


def test_a_run_says_what_it_needs(ours):
    run = ("run", "--model=AR", "--dataset=x")
    assert ours(*run, code=2) == "error: run needs torch, which is not installed: pip install recbole-ext\n"
    if (
        find_spec("torch") is not None
    ):  # from Python 3.12 on `pip install recbole-ext` brings it, and no RecBole
        said = ours(*run, hidden=["recbole"], code=2)
        assert said == f"error: run needs recbole, which is not installed: {RECBOLE}\n"


def test_so_do_the_functions():
    code = (
        "import sys; sys.modules['recbole'] = None\n"
        "import recbole_ext\nfrom recbole_ext.errors import UsageError\n"
        "for call in (recbole_ext.install, lambda: recbole_ext.run('AR', 'x')):\n"
        "    try:\n        call()\n    except UsageError as error:\n        print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(find_spec("recbole_ext").origin).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        f"recbole_ext.install() needs recbole, which is not installed: {RECBOLE}\n"
        f"recbole_ext.run() needs recbole, which is not installed: {RECBOLE}\n"
    )
