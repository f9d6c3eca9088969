"""Scenarios: what each patch is for, a function in the file that is called as the patch's module, by the patch's name.

This module is the script of a process that runs them without some of the patches (conftest.py: own_process).
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from recbole_ext.bridge import patches as compat

MODULES = {
    patch.name: importlib.import_module(f".test_{patch.apply.__module__.rpartition('.')[2]}", __package__)
    for patch in compat.PATCHES
}
SCENARIOS: dict[str, Any] = {name: getattr(module, name, None) for name, module in MODULES.items()}
# what they say with all patches, and a part of what they say without the one
EXPECTED = {name: value for one in MODULES.values() for name, value in getattr(one, "EXPECTED", {}).items()}
FAULTS = {name: value for one in MODULES.values() for name, value in one.FAULTS.items()}


def serve() -> None:
    """Run every scenario that a line of stdin asks for in a fork of this process; answer with its exit status."""
    assert not {name.split(".")[0] for name in sys.modules} & {"recbole", "sklearn", "ray"}
    for line in sys.stdin:
        name, folder, skip = json.loads(line)
        child = os.fork()
        if not child:
            os.chdir(folder)
            said = os.open("said", os.O_CREAT | os.O_WRONLY)
            os.dup2(said, 1)
            os.dup2(said, 2)
            run_scenario(name, Path(folder), skip)
            os._exit(0)
        print(json.dumps(os.waitpid(child, 0)[1]), flush=True)


def run_scenario(name: str, folder: Path, skip: list[str]) -> None:
    """Write outcome.json: what the scenario says with all patches but `skip`."""
    if name == "ray_optional":
        MODULES[name].break_ray(folder)
        torch.autograd.set_detect_anomaly(True)  # the user's own wish, which installing must not undo
    sys.argv = sys.argv[:1]
    try:
        compat.apply(skip=skip)
        outcome = {"result": SCENARIOS[name](folder)}
    except Exception as error:
        outcome = {"error": f"{type(error).__name__}: {error}"}
    if name == "ray_optional" and "result" in outcome:
        outcome["result"]["anomaly detection"] = torch.is_anomaly_enabled()
    (folder / "outcome.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    serve()
