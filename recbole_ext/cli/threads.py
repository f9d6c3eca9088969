"""How torch's threads wait for each other on a CPU, which GNU's OpenMP reads once, when torch is imported.

Threads that spin while they wait finish an epoch of the demo in 4.0 s on two quiet cores, in 13.7 s beside one other
process; threads that sleep take 5.5 and 5.3 s. Those that spin a little and then sleep take 3.9 and 7.4 s.
"""

from __future__ import annotations

import os
import time
from collections.abc import MutableMapping
from pathlib import Path
from statistics import median

SPINS = 1000  # of a wait, some microseconds, before it sleeps
LOOKS, APART = 5, 0.004  # how often it is looked at who else runs, and seconds between


def choose_waiting(environ: MutableMapping[str, str], trains: bool) -> None:
    """Have threads spin a little where a command trains on cores that nobody else uses, and sleep elsewhere; what the
    environment says already stays."""
    if "OMP_WAIT_POLICY" in environ or "GOMP_SPINCOUNT" in environ:
        return
    if trains and _quiet(_wanted(environ)):
        environ["GOMP_SPINCOUNT"] = str(SPINS)
    else:
        environ["OMP_WAIT_POLICY"] = "PASSIVE"


def _wanted(environ: MutableMapping[str, str]) -> int:
    asked = environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) > 0 else _cores()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quiet(threads: int) -> bool:
    """Whether so many threads have cores of their own; False where nobody says what runs."""
    seen = []
    for _ in range(LOOKS):
        running = _running()
        if running is None:
            return False
        seen.append(running)
        time.sleep(APART)
    return median(seen) - 1 + threads <= _cores()


def _running() -> int | None:
    """How many threads of the machine run or could run now, this one too; None where that is not known."""
    try:
        # "0.52 0.58 0.59 2/389 12345": the 2
        return int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].split("/")[0])
    except (OSError, ValueError, IndexError):
        return None
