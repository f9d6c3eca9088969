"""The wheel on every other Python that is found: it resolves, and what needs no torch works. The checkout by uv.

    python .ci/pythons.py WHEEL

In an environment of its own, torch is stood in by a wheel without content: the real one takes gigabytes. All else that
pip finds for the wheel is installed, as for a user (on all Pythons but the first by uv, where that is here: it is
quicker, and has to find the same), and the tests of tests/without_torch.txt are run on the installed package. The
Pythons are looked at side by side, one process each. Then uv resolves the checkout, for all of them at once; that takes
no download. Exits with 1 where something fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.12", "3.13", "3.14")
TORCH = "2.13.0+stand.in"  # the release of constraints.txt, which this one passes for
TOOLS = ("pytest", "hypothesis")
HAS_UV = find_spec("uv") is not None
UV = [sys.executable, "-m", "uv"]


def find(version: str) -> str | None:
    """A Python of this version: on the path, or one of pyenv's."""
    places = [shutil.which(f"python{version}")]
    root = os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")
    places += sorted(map(str, Path(root, "versions").glob(f"{version}.*/bin/python")), reverse=True)
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    for place in filter(None, places):  # pyenv's own python3.12 may be a command that says it is none
        said = subprocess.run([place, "-c", code], capture_output=True, text=True, check=False)
        if said.stdout.strip() == version:
            return place
    return None


def stand_in(folder: Path) -> Path:
    """A wheel called torch that holds nothing, so that `import torch` finds nothing either."""
    wheel = folder / f"torch-{TORCH}-py3-none-any.whl"
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {TORCH}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: stand-in\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    names = [f"torch-{TORCH}.dist-info/{name}" for name in (*files, "RECORD")]
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in zip(names, (*files.values(), "".join(f"{name},,\n" for name in names))):
            archive.writestr(name, text)
    return wheel


def check(python: str, wheel: Path, place: Path, by_uv: bool) -> str:
    """Install and test; what was said where something failed, else an empty text."""
    here = place / "venv" / ("Scripts" if os.name == "nt" else "bin")
    pip = [str(here / "pip"), "install", "--no-compile"]
    if by_uv:
        pip = [*UV, "pip", "install", "--python", str(place / "venv")]
    pip += ["-q", "-c", str(ROOT / "constraints.txt")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment["TMPDIR"] = str(place)
    for words in (
        [python, "-m", "venv", str(place / "venv")],
        [*pip, "--no-deps", str(stand_in(place))],
        [*pip, str(wheel), *TOOLS],
        # the program, not `python -m pytest`, which would find the checkout's package before the installed one
        [str(here / "pytest"), "-q", "-m", "not slow", "-p", "no:cacheprovider", "@tests/without_torch.txt"],
    ):
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{' '.join(words)}\n{done.stdout[-6000:]}{done.stderr[-3000:]}"
    how = "uv" if by_uv else "pip"
    print(f"{python}: the wheel by {how}, {done.stdout.strip().splitlines()[-1]}", flush=True)
    return ""


def resolve(place: Path) -> str:
    """What is wrong with what `uv sync` would install, if anything."""
    if not HAS_UV:
        print("uv is not here: it resolves nothing")
        return ""
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, place / name)
    command = [*UV, "lock", "--quiet", "--no-python-downloads", "--python", sys.executable]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"{' '.join(command)}\n{done.stderr}"
    packages = {one["name"]: one for one in tomllib.loads((place / "uv.lock").read_text())["package"]}
    wanted = [one for one in packages["recbole-ext"]["dev-dependencies"]["dev"] if one["name"] == "recbole"]
    if "torch" not in packages or [set(one) for one in wanted] != [{"name"}]:
        return f"uv wants {wanted} of {', '.join(sorted(packages))}"  # RecBole on every Python
    of_rays = [name for name, one in packages.items() if {"name": "ray"} in one.get("dependencies", [])]
    extra = packages["recbole-ext"]["optional-dependencies"]["ray"]
    if of_rays or extra != [{"name": "ray"}]:
        return f"uv wants ray for {', '.join(of_rays)}, and {extra} for our extra"
    print(f"uv: {len(packages)} packages, RecBole without ray", flush=True)
    return ""


def main(wheel: Path) -> int:
    """Check every Python that is found; the exit code."""
    running = "{}.{}".format(*sys.version_info)
    found = {version: find(version) for version in VERSIONS if version != running}
    for version in (version for version, python in found.items() if python is None):
        print(f"Python {version} is not here: nothing is run on it")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        places = {python: Path(folder, version) for version, python in found.items() if python}
        for place in places.values():
            place.mkdir()
        jobs = [
            pool.submit(check, python, wheel, place, HAS_UV and number > 0)
            for number, (python, place) in enumerate(places.items())
        ]
        said = [job.result() for job in jobs]
        failed = list(filter(None, [*said, resolve(Path(folder))]))
    print(*failed, sep="\n", end="", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]).resolve()))
