"""`doctor`: what is installed, what is missing for which command, and the one line that mends it.

Only the standard library, as it has to work where nothing else does; torch alone is imported, to ask it for its GPUs.
What is needed is what the metadata of the package names (in a checkout, pyproject.toml), tested the releases of TESTED.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from recbole_ext.arguments import Arguments
from recbole_ext.errors import RECBOLE
from recbole_ext.files import UNFINISHED
from recbole_ext.version import __version__

# the releases of constraints.txt and constraints-base.txt, which the tests run on, of what a user installs
TESTED = {
    "torch": ("2.13.0",),
    "numpy": ("2.4.6", "1.26.4"),
    "pandas": ("3.1.1", "2.3.3"),
    "recbole": ("1.2.1",),
    "scipy": ("1.17.1",),
    "scikit-learn": ("1.9.1",),
    "polars": ("2.1.0",),
    "matplotlib": ("3.11.2",),
    "pyyaml": ("6.0.3",),
    "jinja2": ("3.1.6",),
    "filelock": ("4.3.1",),
    "pydantic": ("2.14.4",),
    "safetensors": ("0.8.0",),
    "setuptools": ("80.10.2",),
    "starlette": ("1.10.0",),
    "uvicorn": ("0.54.0",),
    "httptools": ("0.9.0",),
    "uvloop": ("0.23.0",),
    "prometheus-client": ("0.26.0",),
    "onnx": ("1.23.2",),
    "onnxruntime": ("1.32.0",),
    "optuna": ("5.0.0",),
}
PYTHONS = ((3, 11), (3, 14))
# the line that brings an extra of ours; "": all that stands outside them
EXTRAS = {
    "": "pip install recbole-ext",
    "serve": "pip install 'recbole-ext[serve]'",
    "onnx": "pip install 'recbole-ext[onnx]'",
    "search": "pip install 'recbole-ext[search]'",
    "mlflow": "pip install 'recbole-ext[mlflow]'",
    "wandb": "pip install 'recbole-ext[wandb]'",
    "ray": "pip install 'ray>=2.60'",
}
WITHOUT = ("torch", "recbole")
# commands to the extra that they need beside the rest; those of the first line need none of WITHOUT
COMMANDS = {
    "convert, compare, promote": "",
    "study, run, experiment, update, recommend": "",
    "serve": "serve",
    "export": "onnx",
    "experiment, sampler: tpe": "search",
    "run, track: mlflow": "mlflow",
    "run, track: wandb": "wandb",
    "experiment --ray": "ray",
}


@dataclass(frozen=True)
class Finding:
    """One line: state is ok, untested, optional (not there, and not needed) or wrong; mend: the line that mends it."""

    state: str
    what: str
    says: str
    mend: str = ""


def _parser(prog: str) -> Arguments:
    parser = Arguments(
        prog=prog,
        description="What is installed, what is missing for which command, and the one line that mends it. Exit code "
        "1: something that is needed is missing.",
    )
    parser.add_argument("--json", action="store_true", help="the same for a program to read")
    return parser


def main(arguments: Sequence[str], prog: str = "recbole-ext doctor") -> int:
    """Print what was found; 1 where something needed is missing, else 0."""
    given = _parser(prog).parse_args(arguments)
    found = {"packages": list(packages())}
    found |= {"commands": list(commands(found["packages"])), "machine": list(machine()), "data": list(data())}
    wrong = [finding for group in found.values() for finding in group if finding.state == "wrong"]
    if given.json:
        shown = {group: [asdict(one) for one in findings] for group, findings in found.items()}
        print(json.dumps({"version": __version__, "ok": not wrong, **shown}, indent=1))
    else:
        print(text(found, wrong))
    return 1 if wrong else 0


def text(found: dict[str, list[Finding]], wrong: list[Finding]) -> str:
    """What is printed for people; packages that are as they should be take a few lines together."""
    as_tested = [one for one in found["packages"] if one.state == "ok"]
    rest = {**found, "packages": [one for one in found["packages"] if one.state != "ok"]}
    width = max(len(one.what) for group in rest.values() for one in group)
    lines = [f"recbole-ext {__version__}, {Path(__file__).resolve().parents[1]}"]
    for title, findings in rest.items():
        lines += ["", title]
        if title == "packages" and as_tested:
            shown = textwrap.fill(", ".join(f"{one.what} {one.says}" for one in as_tested), 100)
            lines += [
                f"  {'ok':<8}  {line}" if not n else f"  {'':<8}  {line}"
                for n, line in enumerate(shown.splitlines())
            ]
        for one in findings:
            mend = f": {one.mend}" if one.mend else ""
            lines.append(f"  {one.state:<8}  {one.what:<{width}}  {one.says}{mend}")
    mends = sorted(dict.fromkeys(one.mend for one in wrong if one.mend), key=RECBOLE.__eq__)  # after the rest
    lines += [
        "",
        "Nothing that is needed is missing." if not wrong else "To mend what is wrong, in this order:",
    ]
    return "\n".join([*lines, *(f"  {mend}" for mend in mends)])


# --- packages -----------------------------------------------------------------------------------------------


def packages() -> Iterator[Finding]:
    """Python and every package that we name."""
    low, high = (".".join(map(str, version)) for version in PYTHONS)
    fits = PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]
    mend = "" if fits else f"install a Python from {low} to {high} and make a new environment with it"
    state = "ok" if fits else "wrong" if sys.version_info[:2] < PYTHONS[0] else "untested"
    yield Finding(state, "python", platform.python_version(), mend)
    for name, least, extra in needed():
        yield package(name, least, extra)


def package(name: str, least: str, extra: str) -> Finding:
    """One package. least: the oldest release that does, or ""; extra: of ours that it belongs to, or ""."""
    install = RECBOLE if name == "recbole" else EXTRAS[extra]
    has = installed(name)
    if has is None:
        return Finding("optional" if extra else "wrong", name, "not installed", install)
    if name == "recbole" and has != TESTED["recbole"][0]:
        return Finding("wrong", name, f"{has}, and {TESTED['recbole'][0]} is what our mends are for", install)
    if _numbers(has) < _numbers(least):
        return Finding("wrong", name, f"{has}, older than {least}", f"pip install '{name}>={least}'")
    tested = TESTED.get(name, ())
    if tested and has.partition("+")[0] not in tested:
        return Finding("untested", name, f"{has}; tested is {' and '.join(tested)}")
    return Finding("ok", name, has)


def installed(name: str) -> str | None:
    """The installed release of a package; None: it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)(?:\[[^]]*\])?\s*(?:[>=]=(?P<least>[\w.]+))?[^;]*;?(?P<marker>.*)"
)


def needed() -> Iterator[tuple[str, str, str]]:
    """Name, least release and extra of each package that we name; RecBole on every Python."""
    for requirement in dict.fromkeys(_requirements()):
        found = _REQUIREMENT.match(requirement)
        extra = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        if found is None or (extra and extra[1] not in EXTRAS) or not _asked(found["name"], found["marker"]):
            continue
        yield found["name"].lower(), found["least"] or "", extra[1] if extra else ""


def _asked(name: str, marker: str) -> bool:
    """Whether a requirement is one here; of markers there are two kinds in our pyproject.toml."""
    if "sys_platform" in marker and sys.platform == "win32":
        return False
    return name == "recbole" or "python_version >= " not in marker or sys.version_info >= (3, 12)


def _requirements() -> list[str]:
    """As pyproject.toml has them, extras marked as in the metadata that is made of it."""
    file = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if not file.is_file():
        return metadata.requires("recbole-ext") or []
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].items()
    return [
        *project["dependencies"],
        *(
            f"{line}{' and' if ';' in line else ';'} extra == '{name}'"
            for name, lines in extras
            for line in lines
        ),
    ]


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", release.partition("+")[0])[:3])


def commands(found: Sequence[Finding]) -> Iterator[Finding]:
    """Which commands work with the packages that were found, and what the others wait for."""
    state = {one.what: one.state for one in found}
    extras = {name: extra for name, _, extra in needed()}
    for number, (names, extra) in enumerate(COMMANDS.items()):
        wanted = [
            name for name, of in extras.items() if of in ("", extra) and (number or name not in WITHOUT)
        ]
        missing = [name for name in wanted if state[name] in ("wrong", "optional")]
        if (
            extra == "ray" and installed("ray") is None
        ):  # on Python 3.11 it is no requirement, as RecBole names it
            missing = ["ray"]
        if not missing:
            yield Finding("ok", names, "ready")
            continue
        mend = RECBOLE if missing == ["recbole"] else EXTRAS[extra if extras.get(missing[0], extra) else ""]
        yield Finding("optional" if extra else "wrong", names, f"without {_some(missing)}", mend)


# --- machine ------------------------------------------------------------------------------------------------


def machine() -> Iterator[Finding]:
    """System, cores and threads, GPUs."""
    yield Finding("ok", "system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield _threads()
    if installed("torch") is None:
        return
    try:
        import torch
    except Exception as error:  # a library that it wants is missing, and the like
        yield Finding("wrong", "torch", f"cannot be imported: {error}", "pip install --force-reinstall torch")
        return
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            yield Finding("ok", f"gpu {number}", f"{about.name}, {about.total_memory / 2**30:.0f} GiB")
    elif torch.version.cuda is not None and shutil.which("nvidia-smi"):
        says = (
            f"nvidia-smi is here, and torch for CUDA {torch.version.cuda} sees no GPU; it trains on the CPU"
        )
        yield Finding("optional", "gpu", says, "update the driver, or install the torch of the driver's CUDA")
    elif shutil.which("nvidia-smi"):
        says = "nvidia-smi is here, and this torch is built for CPUs"
        yield Finding("optional", "gpu", says, "pip install --force-reinstall torch")
    else:
        yield Finding("ok", "gpu", "none is seen; models train on the CPU")


def _threads() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    says = f"{cores} cores, OMP_NUM_THREADS={asked or 'not set, so torch takes the cores that it finds'}"
    if asked.isdigit() and int(asked) > cores:
        return Finding("untested", "threads", f"{says}: more threads than cores make it many times slower",
                       f"export OMP_NUM_THREADS={cores}")  # fmt: skip
    return Finding("ok", "threads", says)


# --- data ---------------------------------------------------------------------------------------------------


def data() -> Iterator[Finding]:
    """Folders that commands read and write by default, seen from the working directory."""
    here = Path.cwd()
    free = shutil.disk_usage(here).free / 2**30
    if not os.access(here, os.W_OK):
        mend = "cd to a folder of yours, as atomic_data/ and runs/ are made in the working directory"
        yield Finding("wrong", "folder", f"{here} cannot be written to", mend)
    else:
        yield Finding("ok", "folder", f"{here}, {free:.0f} GiB free")
    configs = sorted(file.stem for file in here.glob("configs/dataset/*.yaml"))
    if configs:
        yield Finding("ok", "configs", f"data sets with a file in configs/dataset: {_some(configs)}")
    sets = sorted(file.parent.name for file in here.glob("atomic_data/*/*.inter*") if _is_log(file))
    sets = list(dict.fromkeys(sets))
    if sets:
        yield Finding("ok", "atomic_data", f"converted: {_some(sets)}")
    else:
        yield Finding(
            "ok", "atomic_data", "nothing is converted yet; a run with --raw_path=FILE does it, or convert"
        )
    broken = sorted(file.parent.name for file in here.glob(f"atomic_data/*/{UNFINISHED}"))
    if broken:
        yield Finding(
            "optional", "unfinished", f"conversions that did not end: {_some(broken)}", "convert again"
        )
    runs = sorted(here.glob("runs/*/*/record.json"))
    yield Finding("ok", "runs", f"{len(runs)} finished runs in runs/" if runs else "none yet in runs/")


def _is_log(file: Path) -> bool:
    return file.name in (f"{file.parent.name}.inter", f"{file.parent.name}.inter.parquet")


def _some(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
