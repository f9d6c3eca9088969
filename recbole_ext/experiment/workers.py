"""Jobs one after the other in this process, or side by side in others that live as long as there is work."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from recbole_ext.errors import UsageError
from recbole_ext.experiment.cells import Job, Outcome, do
from recbole_ext.interrupts import kept_from_children

IMPORTED = "recbole_ext.experiment.imported"
UNGUARDED = 78  # exit code of a worker in which `end_where_imported` ended

Take = Callable[[], Job | None]
Ended = Callable[[Job, Outcome], None]


def end_where_imported() -> None:
    """End this process, without a word, where it is a worker that imports the script which started it, and that script
    is about to start all of it again. The one that waits for it says so."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(UNGUARDED)


def one_by_one(take: Take, ended: Ended) -> None:
    """Do the jobs that `take` hands out, until it has none."""
    while (job := take()) is not None:
        ended(job, do(job))


def side_by_side(take: Take, ended: Ended, workers: int, threads: int, gpus: Sequence[str] = ()) -> None:
    """The same in `workers` processes of `threads` threads each, which take the `gpus` in turn if any are named.

    `take` may have no job now and one after the next has ended. A process that dies fails its job only.
    Raises UsageError where the script that calls this does so in its workers too.
    """
    turns = itertools.cycle(gpus or [None])
    idle: list[Worker] = []
    busy: dict[Any, tuple[Worker, Job, float]] = {}
    try:
        while True:
            while len(busy) < workers and (job := take()) is not None:
                worker = idle.pop() if idle else Worker(threads, next(turns))
                worker = worker.give(job)
                busy[worker.connection] = (worker, job, time.perf_counter())
            if not busy:
                return
            for connection in wait(list(busy)):
                worker, job, began = busy.pop(connection)
                outcome = worker.answer()
                if outcome is None:
                    worker.process.join(10)
                    worker.stop()
                    if worker.process.exitcode == UNGUARDED:
                        raise UsageError(
                            "workers import the script that starts them, and this one would start all of it again: put "
                            'what it does beneath a line if __name__ == "__main__":'
                        )
                    seconds = time.perf_counter() - began
                    outcome = Outcome(seconds, f"its process ended with exit code {worker.process.exitcode}")
                else:
                    idle.append(worker)
                ended(job, outcome)
    finally:
        for worker in [*idle, *(worker for worker, _, _ in busy.values())]:
            worker.stop()


class Worker:
    """A process that does the jobs it is given, on the GPU it is given, if any."""

    def __init__(self, threads: int, gpu: str | None = None):
        context = _context()
        self.threads, self.gpu = threads, gpu
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, threads, gpu, dict(os.environ)))
        _start(self.process, context.get_start_method())
        theirs.close()

    def give(self, job: Job) -> Worker:
        """Hand over a job; returns who does it: a fresh process, where this one has died idle."""
        try:
            self.connection.send(job)
        except OSError:
            self.stop()
            fresh = Worker(self.threads, self.gpu)
            fresh.connection.send(job)
            return fresh
        return self

    def answer(self) -> Outcome | None:
        """The outcome of its job; None where the process has died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def stop(self) -> None:
        """End the process, whatever it does; its checkpoints are whole at any time."""
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _context() -> Any:
    """How workers start: on Linux as copies of a server that has imported what jobs need, elsewhere from nothing."""
    try:
        context: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    except ValueError:  # a Linux without one
        return multiprocessing.get_context("spawn")
    if sys.platform == "linux":
        context.set_forkserver_preload([IMPORTED])
    return context


def _start(process: Any, method: str) -> None:
    """Start a process that gets no Ctrl-C. What a server has to import first is waited for, and Ctrl-C ends that."""
    if method != "forkserver":
        with kept_from_children():
            process.start()
        return
    from multiprocessing import forkserver

    # in a thread, in which Ctrl-C ends nothing half-way: the server would be there, and nobody would know it
    running = threading.Thread(target=_quietly, args=(forkserver.ensure_running,))
    try:
        with kept_from_children():
            running.start()  # its copies are as it is
        running.join()
        signal.siginterrupt(signal.SIGINT, True)  # polars' handler, in front of Python's, has reads go on
        process.start()
    except KeyboardInterrupt:
        if running.ident is not None:
            running.join()
        server = getattr(getattr(forkserver, "_forkserver", None), "_forkserver_pid", None)
        if server is not None:  # it would import all the same, and hold the terminal's pipes till then
            os.kill(server, signal.SIGTERM)
        raise


def _quietly(do: Callable[[], object]) -> None:
    """What this raises is raised again where the result is wanted."""
    with suppress(Exception):
        do()


def _end_with_parent() -> None:
    """A worker whose parent was killed must not go on in a folder that the next call works in."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(connection: Connection, threads: int, gpu: str | None, environ: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environ)  # the server's is that of when it was started
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where nobody has kept it from us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")
    torch.set_num_threads(threads)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(do_on(job, gpu))


def do_on(job: Job, gpu: str | None) -> Outcome:
    """Do a job on a GPU, or on none where this is an empty text; None: as its settings say. Frees it then."""
    import torch

    if gpu is not None:
        job = replace(job, settings={**job.settings, "gpu_id": gpu})
    outcome = do(job)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return outcome
