"""The peer of the benchmarks: RecBole as released, without a line of ours, on the stack that it was released for."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recbole_ext.convert import convert
from recbole_ext.convert.synthetic import generate

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def recbole_data(tmp_path):
    """Atomic files of a small log."""
    raw = tmp_path / "raw"
    generate("diginetica", raw, scale=0.003)
    convert("diginetica", raw, tmp_path / "data" / "shop")
    return tmp_path / "data" / "shop"


def run_side(tmp_path, calls):
    """Results of functions of recbole_runs in a process of its own, and whether they imported recbole_ext."""
    code = (
        f"import sys, json; sys.path.insert(0, {str(BENCHMARKS)!r}); sys.path.insert(1, {str(BENCHMARKS.parent)!r})\n"
        f"import recbole_runs\ncalls = {calls!r}\n"
        "found = {name: getattr(recbole_runs, name)(**given) for name, given in calls.items()}\n"
        "print(json.dumps([found, 'recbole_ext' in sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.splitlines()[-1])


SMALL = {"train_batch_size": 256, "use_gpu": False}


@pytest.mark.skipif(
    int(np.__version__.split(".")[0]) > 1, reason="RecBole as released needs numpy 1: make test-base"
)
def test_the_released_side_is_recbole_alone_and_sees_the_same_targets(tmp_path, recbole_data):
    functions = {
        "first_step": {},
        "train_steps": {"batches": 2, "warm_up": 1},
        "evaluate_rows": {"rows": 100},
    }
    sides = []
    for ours in (False, True):
        common = {"ours": ours, "data": str(recbole_data), "model": "GRU4Rec", "settings": SMALL}
        calls = {name: {**common, **more} for name, more in functions.items()}
        if not ours:
            alone = {key: common[key] for key in ("data", "model", "settings")}
            calls["ask"] = {**alone, "rows": 40, "batch": 16, "requests": 3}
        found, imported = run_side(tmp_path, calls)
        assert imported is ours
        sides.append(found)
    theirs, mine = sides
    assert 0 < mine["first_step"]["held_mb"] < theirs["first_step"]["held_mb"]
    # one seed, one order without buckets; here only the first loss has to be near
    assert mine["train_steps"]["loss"] == pytest.approx(theirs["train_steps"]["loss"], rel=0.01)
    assert min(side["train_steps"]["targets_per_second"] for side in sides) > 0
    assert min(side["evaluate_rows"]["rows"] for side in sides) >= 100
    asked = theirs["ask"]
    assert asked["rows"] == 40 and asked["rows_per_second"] > 0 and 0 < asked["p50"] <= asked["p99"]
