"""Jobs as tasks of a Ray cluster, on whichever of its machines has room: `--ray=ADDRESS`, see docs/scale.md.

Ray (Moritz et al., OSDI 2018) counts CPUs and GPUs, places the tasks, and runs one again whose machine or process has
gone; a job then goes on from its last checkpoint, as after any interruption. What jobs leave are files, so all machines
share the working folder, under one path.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from recbole_ext.errors import UsageError
from recbole_ext.experiment import cells
from recbole_ext.experiment.cells import Job, Outcome
from recbole_ext.experiment.workers import Ended, Take, do_on

RETRIES = 3  # of a job whose machine or process has gone
PATIENCE = 300.0  # seconds that a job waits for one that was lost with its machine to be really over
INSTALL = "pip install 'ray>=2.60'"


@dataclass(frozen=True)
class Needs:
    """What a job takes of a machine: threads, each a CPU, and so much of a GPU."""

    threads: int
    gpus: float

    def fit(self, machine: Mapping[str, float]) -> int:
        """How many jobs a machine of these resources has room for."""
        rooms = [machine.get("CPU", 0) / self.threads]
        if self.gpus:
            cards = machine.get("GPU", 0)  # a fraction lies on one of them
            rooms.append(cards * int(1 / self.gpus + 1e-9))
        return int(min(rooms))


@dataclass(frozen=True)
class There:
    """What a task finds on its machine: the folder that all of them share, and a file in it that was made just now."""

    folder: str
    sign: str
    models: str  # files of the user's own models

    def enter(self) -> None:
        """Work in the folder; UsageError where this machine does not have it."""
        if not Path(self.sign).is_file():
            raise UsageError(
                f"{socket.gethostname()} does not see what is in {self.folder}: let all machines of the Ray cluster "
                "share that folder under this path, and start there"
            )
        from recbole_ext.bridge.own_models import FILES

        os.chdir(self.folder)
        os.environ[FILES] = self.models


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to the cluster at an address, or to the one that this process is connected to already.

    Raises UsageError where Ray is not installed and where no cluster answers.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise UsageError(f"--ray needs a Ray that can be imported ({error}): {INSTALL}") from error
        raise UsageError(f"--ray needs Ray, which is not installed: {INSTALL}") from error
    except Exception as error:  # one as old as RecBole's metadata wants it fails in many ways
        raise UsageError(f"--ray needs a Ray that can be imported ({error}): {INSTALL}") from error
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(address=address, logging_level="warning")
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise UsageError(
            f"no Ray cluster answers at {address} ({str(error).splitlines()[0]}): start one by ray start --head, and "
            "on the other machines ray start --address=HOST:PORT"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def needs_of(ray: Any, gpus: float | None, threads: int, use_gpu: bool) -> tuple[Needs, int]:
    """What a job takes of a cluster's machines, and how many they have room for now; UsageError where none has any.

    gpus: see Cluster.gpus_per_cell.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cards = sum(machine.get("GPU", 0) for machine in machines)
    if gpus is None:
        gpus = float(use_gpu and cards > 0)
    needs = Needs(threads, gpus)
    room = sum(map(needs.fit, machines))
    if not room:
        raise UsageError(
            f"no machine of the Ray cluster has {threads} CPUs and {gpus:g} GPUs, which a cell takes: set threads and "
            "gpus_per_cell to what there is"
        )
    cores = sum(machine.get("CPU", 0) for machine in machines)
    there = f"{len(machines)} machines with {cores:g} CPUs and {cards:g} GPUs"
    print(f"Ray: {there}, room for {room} cells of {threads} CPUs and {gpus:g} GPUs", flush=True)
    return needs, room


def over_machines(take: Take, ended: Ended, ray: Any, needs: Needs, most: int | None, place: Path) -> None:
    """Do the jobs that `take` hands out as tasks of Ray, at most `most` at a time; place: the experiment's folder.

    `take` may have no job now and one after the next has ended. What is under way when this is left is ended.
    """
    from recbole_ext.bridge.own_models import FILES

    task = ray.remote(_do).options(num_cpus=needs.threads, num_gpus=needs.gpus, max_retries=RETRIES)
    under_way: dict[Any, tuple[Job, float]] = {}
    with tempfile.NamedTemporaryFile(dir=place, prefix=".call-") as sign:
        there = There(os.getcwd(), os.path.abspath(sign.name), os.environ.get(FILES, ""))
        try:
            while True:
                while (most is None or len(under_way) < most) and (job := take()) is not None:
                    under_way[task.remote(job, there, needs.threads)] = (job, time.perf_counter())
                if not under_way:
                    return
                for one in ray.wait(list(under_way))[0]:
                    job, began = under_way.pop(one)
                    ended(job, _outcome(ray, one, began))
        finally:
            for one in under_way:
                ray.cancel(one, force=True)


def _outcome(ray: Any, one: Any, began: float) -> Outcome:
    """How a task has ended; what Ray says where it was lost RETRIES + 1 times."""
    try:
        outcome: Outcome = ray.get(one)
        return outcome
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if isinstance(error, ray.exceptions.RayTaskError) else " ".join(lines[:2])
        return Outcome(time.perf_counter() - began, f"{type(error).__name__} of Ray: {reason}")


def _do(job: Job, there: There, threads: int) -> Outcome:
    """The task: a job, unless it was finished when the machine went on which it ran before."""
    import ray
    import torch

    began = time.perf_counter()
    torch.set_num_threads(threads)
    try:
        there.enter()
        with _held(job.folder):
            record = cells.record_of(job)
            if record is None or cells.harmed(job):
                return do_on(job, _gpus(ray.get_gpu_ids()))
            if job.tries is None:
                cells.list_reading(job, record)
    except (UsageError, OSError) as error:
        return Outcome(time.perf_counter() - began, str(error))
    return Outcome(time.perf_counter() - began)


def _gpus(given: Sequence[Any]) -> str:
    return ",".join(str(card) for card in given)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a cell's folder: a machine that is lost to Ray may be at work in it for a while."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout as error:
        raise UsageError(f"another process is still at work in {folder}: end it, and call again") from error
    try:
        yield
    finally:
        lock.release()
