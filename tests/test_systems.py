"""The main commands where the system is not Linux: no fcntl, no fork, no SIGHUP, as on Windows."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
# Python reads it at the start of every process, of those too that a process starts
HIDDEN = """
import multiprocessing, multiprocessing.context, os, signal, socket, subprocess, sys
for name in ("fcntl", "grp", "pwd", "resource", "termios", "syslog"):
    sys.modules[name] = None
for module, names in (
    (os, ("fork", "forkpty", "pread", "pwrite", "sched_getaffinity", "mkfifo", "getloadavg", "getpgid")),
    (signal, ("SIGHUP", "SIGALRM", "SIGVTALRM", "setitimer", "pause")),
    (socket, ("SO_REUSEPORT",)),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
for name in ("fork", "forkserver"):
    del multiprocessing.context._concrete_contexts[name]
multiprocessing.set_start_method("spawn", force=True)
"""
LOOK = """
import importlib, os, signal, multiprocessing
for name in ("fcntl", "resource"):
    try:
        importlib.import_module(name)
    except ImportError:
        continue
    raise SystemExit(name)
assert not hasattr(os, "fork") and not hasattr(signal, "SIGHUP")
try:
    multiprocessing.get_context("fork")
except ValueError:
    raise SystemExit
raise SystemExit("fork")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with generated logs; `do` runs Python in it on such a system."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "hidden").mkdir()
    (folder / "hidden" / "sitecustomize.py").write_text(HIDDEN)
    do(folder, "-c", LOOK)
    do(
        folder,
        *OURS,
        "convert",
        "synthetic",
        "diginetica",
        "--scale",
        "0.002",
        "--out",
        "raw_data/diginetica-demo",
    )
    return folder


OURS = ("-m", "recbole_ext")


def environment(folder):
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder / "hidden"), str(ROOT)]),
        "USER": "anybody",  # whose name is asked of pwd else
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # one of them is for Linux, as it finds that it is
        "OMP_NUM_THREADS": "1",
    }


def do(folder, *words, code=0):
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stderr if code else done.stdout


def test_what_a_killed_conversion_left_is_cleared_and_one_under_way_is_not(place):
    out = place / "atomic_data" / "demo"
    out.parent.mkdir(exist_ok=True)
    code = f"""
from pathlib import Path
from recbole_ext.files import scratch_beside
import os, sys
with scratch_beside(Path({str(out)!r})) as scratch:
    if "die" in sys.argv:
        os._exit(9)
    (scratch / "mine").touch()
    with scratch_beside(Path({str(out)!r})):
        print((scratch / "mine").exists())
"""
    do(place, "-c", code, "die", code=9)
    assert len(list(out.parent.glob(".demo.*.part"))) == 1
    assert do(place, "-c", code) == "True\n"
    assert list(out.parent.glob(".demo.*")) == []


@pytest.mark.slow
def test_an_experiment_by_two_workers_then_its_runs_compared_asked_and_served(place):
    content = {
        "datasets": ["diginetica-demo"],
        "seeds": [1],
        "settings": {"use_gpu": False},
        "models": [
            "AR",
            {"model": "HRNNFeat", "settings": {"epochs": 1, "hidden_size": 8, "embedding_size": 8}},
        ],
        "workers": 2,
    }
    (place / "try.yaml").write_text(yaml.safe_dump(content))
    for _ in range(2):  # the second one has all there is, and adds a line to what was called
        do(place, *OURS, "experiment", "try.yaml")
    runs = [file.parent for file in place.glob("runs/experiments/**/seed-1/record.json")]
    assert {run.parent.name for run in runs} == {"AR", "HRNNFeat"}
    readings = (place / "results" / "try" / "test_readings.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in readings].count("time") == 1 and len(readings) == 3
    assert "95 %" in do(place, *OURS, "compare", *map(str, runs))
    assert "  after " in do(place, *OURS, "recommend", str(runs[0]), "--examples", "--k", "3")
    serve(place, runs[0])


def serve(place, run):
    refused = do(place, *OURS, "serve", str(run), "--workers", "2", code=2)
    assert "this system shares no port between processes: leave --workers out" in refused
    server = subprocess.Popen(
        [sys.executable, *OURS, "serve", str(run), "--port", "0"],
        cwd=place,
        env=environment(place),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = ""
        while (found := re.search(r"http://127\.0\.0\.1:(\d+)", said)) is None:
            line = server.stderr.readline()
            assert line, said
            said += line
        client = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
        item = json.loads((run / "model" / "items.json").read_text())["item_id"][1]
        client.request("POST", "/recommend", json.dumps({"sessions": [[item]], "k": 3}))
        answer = json.loads(client.getresponse().read())
        assert len(answer["lists"][0]["items"]) == 3
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        server.stderr.close()
