"""How torch's threads wait for each other on a CPU, which GNU's OpenMP reads once, when torch is imported.

Threads that spin while they wait finish an epoch of the demo in 4.0 s on two quiet cores, in 13.7 s beside one other
process; threads that sleep take 5.5 and 5.3 s. Those that spin a little and then sleep take 3.9 and 7.4 s.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

SPINS = 1000  # of a wait, some microseconds, before it sleeps
LEAST = 0.08  # seconds that the cores are looked at: Linux counts in hundredths
NOISE = 0.3  # of a core: so much may others take
LOOKS, APART = 5, 0.004  # how often it is looked at who else runs, and seconds between


def choose_waiting(
    environ: MutableMapping[str, str], trains: bool, meanwhile: Callable[[], Any] = lambda: None
) -> None:
    """Have threads spin a little where a command trains on cores that nobody else uses, and sleep elsewhere; what the
    environment says already stays. meanwhile: what can be done while it is looked at the cores."""
    if "OMP_WAIT_POLICY" in environ or "GOMP_SPINCOUNT" in environ:
        return
    if trains and _quiet(_wanted(environ), meanwhile):
        environ["GOMP_SPINCOUNT"] = str(SPINS)
    else:
        environ["OMP_WAIT_POLICY"] = "PASSIVE"


def _wanted(environ: MutableMapping[str, str]) -> int:
    asked = environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) > 0 else len(_cores())


def _cores() -> set[int]:
    """Numbers of the cores that this process may use."""
    return (
        set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    )


def _quiet(threads: int, meanwhile: Callable[[], Any]) -> bool:
    """Whether so many threads have cores of their own; False where nobody says what runs."""
    others = _others(meanwhile)
    if others is not None:
        return others + threads <= len(_cores()) + NOISE
    seen = []
    for _ in range(LOOKS):
        running = _running()
        if running is None:
            return False
        seen.append(running)
        time.sleep(APART)
    return median(seen) - 1 + threads <= len(_cores())


class _Spent(NamedTuple):
    """Ticks of this process's cores since the machine's start, all and those that somebody used; seconds that this
    process has used; the time."""

    ticks: int
    used: int
    own: float
    at: float


def _others(meanwhile: Callable[[], Any]) -> float | None:
    """How many of this process's cores others use, as a mean over a short while; None where that is not known.

    A container sees all cores of its host in /proc/stat, and which of them are its own: what /proc/loadavg counts is of
    all.
    """
    first = _spent()
    meanwhile()
    if first is None:
        return None
    time.sleep(max(0.0, first.at + LEAST - time.monotonic()))
    last = _spent()
    if last is None or last.ticks <= first.ticks:
        return None
    used = len(_cores()) * (last.used - first.used) / (last.ticks - first.ticks)
    return max(0.0, used - (last.own - first.own) / (last.at - first.at))


def _spent() -> _Spent | None:
    """As of now; None where a core of this process's is not told of, as where a container counts its own from 0."""
    lines = {}
    for line in _stat().splitlines():
        name, *fields = line.split() or [""]
        if name.startswith("cpu") and name[3:].isdecimal() and all(map(str.isdecimal, fields)):
            lines[int(name[3:])] = [int(field) for field in fields]
    cores = [lines.get(core, []) for core in _cores()]
    if not all(len(fields) >= 5 for fields in cores):
        return None
    # user, nice, system, idle, iowait, irq, softirq, steal; what follows is in user already
    ticks = sum(sum(fields[:8]) for fields in cores)
    idle = sum(fields[3] + fields[4] for fields in cores)
    return _Spent(ticks, ticks - idle, time.process_time(), time.monotonic())


def _stat() -> str:
    try:
        return Path("/proc/stat").read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


def _running() -> int | None:
    """How many threads of the machine run or could run now, this one too; None where that is not known."""
    try:
        # "0.52 0.58 0.59 2/389 12345": the 2
        return int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].split("/")[0])
    except (OSError, ValueError, IndexError):
        return None
