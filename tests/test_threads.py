"""How threads wait is chosen by who else runs, before torch is there."""

import subprocess
import sys

import pytest

from recbole_ext.cli import threads
from recbole_ext.cli.threads import choose_waiting

SLEEP, SPIN = {"OMP_WAIT_POLICY": "PASSIVE"}, {"GOMP_SPINCOUNT": str(threads.SPINS)}


@pytest.mark.parametrize(
    ("trains", "asked", "running", "expected"),
    [
        (True, "", 1, SPIN),
        (True, "", 2, SLEEP),  # somebody else has one of the cores
        (True, "3", 2, SPIN),  # and the third is free
        (True, "many", 1, SPIN),
        (True, "", None, SLEEP),
        (False, "", 1, SLEEP),
    ],
)
def test_threads_spin_on_cores_of_their_own(trains, asked, running, expected, monkeypatch):
    monkeypatch.setattr(threads, "_cores", lambda: 4)
    monkeypatch.setattr(threads, "_running", lambda: running)
    monkeypatch.setattr(threads, "APART", 0)
    environ = {"OMP_NUM_THREADS": asked} if asked else {}
    choose_waiting(environ, trains)
    assert environ == {**({"OMP_NUM_THREADS": asked} if asked else {}), **expected}


@pytest.mark.parametrize("said", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "0"}])
def test_what_is_said_already_stays(said):
    environ = dict(said)
    choose_waiting(environ, trains=True)
    assert environ == said


def test_one_that_is_an_outlier_does_not_count(monkeypatch):
    seen = iter([9, 1, 1, 1, 9])
    monkeypatch.setattr(threads, "_cores", lambda: 2)
    monkeypatch.setattr(threads, "_running", lambda: next(seen))
    monkeypatch.setattr(threads, "APART", 0)
    environ = {}
    choose_waiting(environ, trains=True)
    assert environ == SPIN


def test_it_is_chosen_before_torch_is_imported():
    """Which reads it once."""
    program = (
        "import sys, os\n"
        "from recbole_ext.cli import threads, command\n"
        "import recbole_ext.cli as cli\n"
        "cli._command = lambda *_: print('torch' in sys.modules, sorted(k for k in os.environ if 'OMP' in k)) or 0\n"
        "command('run', [], 'run')\n"
    )
    clean = {"PATH": "/usr/bin", "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() in ("False ['GOMP_SPINCOUNT']", "False ['OMP_WAIT_POLICY']")
