"""Workers of an experiment, seen from the script that starts them: Ctrl-C before they are there, no `__main__`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="workers are copies of a server on Linux alone"
)

SLOW = """
import time
from pathlib import Path

Path("began").touch()
time.sleep(600)
"""
STOPPED = """
import os, signal, threading, time
from pathlib import Path
import polars as pl
from recbole_ext.experiment import workers


def stop():
    while not Path("began").exists():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    workers.IMPORTED = "slow"
    pl.DataFrame({"a": [1]}).lazy().collect()  # has it take SIGINT
    threading.Thread(target=stop, daemon=True).start()
    try:
        workers.side_by_side(lambda: "a job", print, workers=1, threads=1)
    except KeyboardInterrupt:
        print("stopped")
"""


def run(folder, script):
    (folder / "script.py").write_text(script)
    return subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_ctrl_c_does_not_wait_for_what_the_server_imports(tmp_path):
    """Which does not end here."""
    (tmp_path / "slow.py").write_text(SLOW)
    ended = run(tmp_path, STOPPED)  # it waits until nobody holds its output
    assert ended.stdout == "stopped\n" and ended.returncode == 0 and ended.stderr == ""


UNGUARDED = """
from recbole_ext.errors import UsageError
from recbole_ext.experiment import workers

workers.IMPORTED = "json"
workers.end_where_imported()
jobs = ["a job", "another"]
try:
    workers.side_by_side(lambda: jobs.pop() if jobs else None, print, workers=2, threads=1)
except UsageError as error:
    print(error)
"""


def test_a_script_that_its_workers_would_start_again_is_told_how_to_be_written(tmp_path):
    ended = run(tmp_path, UNGUARDED)
    assert ended.stdout.startswith("workers import the script that starts them") and ended.stderr == ""
    assert ended.stdout.endswith('beneath a line if __name__ == "__main__":\n')
    assert ended.stdout.count("\n") == 1 and ended.returncode == 0
