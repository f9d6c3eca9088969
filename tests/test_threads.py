"""How threads wait is chosen by who else runs, before torch is there."""

import subprocess
import sys

import pytest

from recbole_ext.cli import threads
from recbole_ext.cli.threads import choose_waiting

SLEEP, SPIN = {"OMP_WAIT_POLICY": "PASSIVE"}, {"GOMP_SPINCOUNT": str(threads.SPINS)}


@pytest.fixture
def machine(monkeypatch):
    """Says which cores are this process's, and what /proc says before and after a second; see `tell`."""
    clock = iter([0.0, 0.0, 1.0])  # when it begins, is waited, ends

    def tell(cores, before="", after="", running=None, used=0.0):
        texts, spent = iter([before, after]), iter([5.0, 5.0 + used])
        monkeypatch.setattr(threads, "_cores", lambda: set(cores))
        monkeypatch.setattr(threads, "_stat", lambda: next(texts))
        monkeypatch.setattr(threads, "_running", lambda: running)
        monkeypatch.setattr(threads, "APART", 0)
        monkeypatch.setattr(threads.time, "monotonic", lambda: next(clock))
        monkeypatch.setattr(threads.time, "process_time", lambda: next(spent))
        monkeypatch.setattr(threads.time, "sleep", lambda seconds: None)

    return tell


def stat(*idle):
    """/proc/stat of cores that were idle for so many hundredths of a second, of 1,000."""
    lines = [f"cpu{core} {990 - ticks} 0 4 {ticks} 0 3 2 1 55 5" for core, ticks in enumerate(idle)]
    return "\n".join(["cpu  9 9 9 9 9 9 9 9 9 9", *lines, "intr 12 0 0", "ctxt 5"])


def later(*idle):
    """The same a second later, each core idle for so many hundredths of it more."""
    lines = [f"cpu{core} {990 + 100 - ticks} 0 4 {ticks} 0 3 2 1 55 5" for core, ticks in enumerate(idle)]
    return "\n".join(["cpu  9 9 9 9 9 9 9 9 9 9", *lines, "intr 13 0 0"])


@pytest.mark.parametrize(
    ("cores", "asked", "idle", "used", "expected"),
    [
        ({0, 1}, "", (100, 0), 1.0, SPIN),  # this process has one of them
        ({0, 1}, "", (90, 0), 1.0, SPIN),  # a little is noise
        ({0, 1}, "", (50, 0), 1.0, SLEEP),  # somebody has half a core
        ({0, 1}, "", (0, 0), 1.0, SLEEP),
        ({0, 1}, "", (100, 100), 0.0, SPIN),
        ({0, 1}, "1", (0, 0), 1.0, SPIN),  # one thread has a core of its own
        ({2, 3}, "", (0, 0, 100, 10), 0.9, SPIN),  # others of the host are busy, these are not
        ({2, 3}, "", (100, 100, 0, 10), 0.9, SLEEP),
        ({0, 1, 2, 3}, "2", (100, 100, 0, 0), 0.5, SPIN),
        ({0, 1, 2, 3}, "many", (100, 100, 0, 0), 0.5, SLEEP),
    ],
)
def test_threads_spin_on_cores_of_their_own(cores, asked, idle, used, expected, machine):
    machine(cores, stat(*[0] * len(idle)), later(*idle), used=used)
    environ = {"OMP_NUM_THREADS": asked} if asked else {}
    choose_waiting(environ, trains=True)
    assert environ == {**({"OMP_NUM_THREADS": asked} if asked else {}), **expected}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),  # nothing is said
        (stat(0, 0), stat(0, 0)),  # no clock goes on, as in a sandbox
        ("cpu0 1 2 3 4 5\ncpu9 1 2 3 4 5", "cpu0 9 9 9 9 9\ncpu9 9 9 9 9 9"),  # another numbering
        ("\n\ncpu0 1 2\ncpu1 3 x 5 6 7", "cpu0 1 2\ncpu1 3 x 5 6 7"),
    ],
)
@pytest.mark.parametrize(
    ("asked", "running", "expected"),
    [("", 1, SPIN), ("", 2, SLEEP), ("1", 2, SPIN), ("", None, SLEEP)],
)
def test_where_cores_are_not_told_of_it_is_counted_who_runs(before, after, asked, running, expected, machine):
    machine({0, 1}, before, after, running)
    environ = {"OMP_NUM_THREADS": asked} if asked else {}
    choose_waiting(environ, trains=True)
    assert environ == {**({"OMP_NUM_THREADS": asked} if asked else {}), **expected}


def test_who_trains_nothing_sleeps_and_looks_at_nothing(machine):
    machine({0, 1}, stat(0, 0), later(100, 100), 1)
    environ = {}
    choose_waiting(environ, False, lambda: pytest.fail("there is no while"))
    assert environ == SLEEP


def test_what_can_be_done_meanwhile_is():
    done = []
    choose_waiting({}, True, lambda: done.append(threads._spent()))
    assert len(done) == 1


def test_this_machine_says_what_it_uses():
    found, text = threads._spent(), threads._stat()
    assert (found is not None) == all(f"cpu{core} " in text for core in threads._cores())
    assert found is None or 0 <= found.used <= found.ticks


@pytest.mark.parametrize("said", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "0"}])
def test_what_is_said_already_stays(said):
    environ = dict(said)
    choose_waiting(environ, trains=True)
    assert environ == said


def test_one_that_is_an_outlier_does_not_count(monkeypatch):
    seen = iter([9, 1, 1, 1, 9])
    monkeypatch.setattr(threads, "_cores", lambda: {0, 1})
    monkeypatch.setattr(threads, "_stat", lambda: "")
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
        "from recbole_ext.cli import run\n"
        "run.main = lambda *_: print('torch' in sys.modules, sorted(k for k in os.environ if 'OMP' in k)) or 0\n"
        "command('run', [], 'run')\n"
    )
    clean = {"PATH": "/usr/bin", "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() in ("False ['GOMP_SPINCOUNT']", "False ['OMP_WAIT_POLICY']")
