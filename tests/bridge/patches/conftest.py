"""Scenarios in processes of their own, and a process with all patches."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_ext.bridge import patches as compat

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def own_process() -> Iterator[Callable[[str, Path, list[str]], dict[str, Any]]]:
    """A scenario with all patches but some, in a process that has imported neither RecBole nor what it is mended for.

    It answers {"result": …} or {"error": "…"}. The processes are forks of one that has imported torch and numpy, which
    takes longer than a scenario.
    """
    script = [sys.executable, "-W", "ignore", "-m", "bridge.patches.harness"]
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(script, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None and server.stdout is not None

    def run(name: str, folder: Path, skip: list[str]) -> dict[str, Any]:
        print(json.dumps([name, str(folder), skip]), file=server.stdin, flush=True)
        assert json.loads(server.stdout.readline()) == 0, (folder / "said").read_text()[-3000:]
        return json.loads((folder / "outcome.json").read_text())

    yield run
    server.stdin.close()
    assert server.wait(60) == 0


@pytest.fixture
def patched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All patches made, the working directory empty."""
    compat.apply()
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    return tmp_path
