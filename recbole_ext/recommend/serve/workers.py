"""Several processes that serve one port, and the one that watches them.

Each worker has a socket of its own on the port; the kernel shares the connections out. A worker that dies is started
again, up to QUICK times where none comes up. Of a watcher that dies the workers notice, finish what they have and end,
so that nothing holds the port.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from recbole_ext.errors import UsageError
from recbole_ext.interrupts import kept_from_children
from recbole_ext.recommend.serve.door import COUNTS, Serving, Swap, announce, bind, say, tell_swap, url

PAUSE = 1.0  # seconds between two starts of a worker that does not come up
QUICK = 3  # ends in a row of workers that did not come up, which end a server of which nothing answers


def serve_together(serving: Serving) -> None:
    """Serve by `serving.workers` processes until told to stop, as `serve_alone` by one."""
    if not hasattr(socket, "SO_REUSEPORT"):
        raise UsageError("this system shares no port between processes: leave --workers out")
    bind(serving.host, serving.port).close()  # where somebody else has the port
    with bind(serving.host, serving.port, shared=True) as kept:
        folder = tempfile.mkdtemp(prefix="recbole-ext-serve-")
        os.environ[COUNTS] = folder  # which the workers inherit
        try:
            _Watch(serving, kept).run()
        finally:
            del os.environ[COUNTS]
            shutil.rmtree(folder, ignore_errors=True)


@dataclass
class _Worker:
    """swap: number of the last swap that it was asked for; 0: of the model that it starts with."""

    process: BaseProcess
    pipe: Connection
    swap: int
    ready: bool = False


class _Watch:
    """Starts workers, hands them swaps, ends them."""

    def __init__(self, serving: Serving, kept: socket.socket):
        self.kept = kept
        self.link = serving.folder
        port = kept.getsockname()[1]
        # a worker that starts later serves what the others do, whatever the link says by then
        self.serving = replace(serving, port=port, folder=serving.folder.resolve())
        self.workers: list[_Worker] = []
        self.announced = False
        self.stop = 0
        self.hangups = 0
        self.asked = 0  # swaps so far
        self.accepted = 0  # the last of them that a worker has done
        self.said: dict[int, bool] = {}  # what was said of each: all workers say the same, as a rule
        self.restart = 0.0  # not before this time
        self.quick = 0  # ends in a row of workers that did not come up

    def run(self) -> None:
        """Until SIGTERM or SIGINT; KeyboardInterrupt after SIGINT."""
        bell, rung = socket.socketpair()
        bell.setblocking(False)
        rung.setblocking(False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, self._signal) for number in numbers}
        bell_before = signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
        try:
            while not self.stop:
                if self.hangups:
                    self.hangups = 0
                    self._swap()
                self._start_missing()
                pipes = {worker.pipe: worker for worker in self.workers}
                for ready in wait([rung, *pipes], timeout=PAUSE):
                    if ready is rung:
                        rung.recv(4096)
                    else:
                        self._hear(pipes[ready])  # type: ignore[index]
        finally:
            self._end()
            signal.set_wakeup_fd(bell_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            bell.close()
            rung.close()
        say("stopped")
        if self.stop == signal.SIGINT:
            raise KeyboardInterrupt

    def _signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.hangups += 1
        else:
            self.stop = number

    def _start_missing(self) -> None:
        if time.monotonic() < self.restart:
            return
        context = multiprocessing.get_context("spawn")
        while len(self.workers) < self.serving.workers:
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(self.serving, there), name="worker")
            with kept_from_children():
                process.start()
            there.close()
            self.workers.append(_Worker(process, here, self.accepted))

    def _hear(self, worker: _Worker) -> None:
        """What a worker says; nothing more: it has ended."""
        try:
            kind, what = worker.pipe.recv()
        except (EOFError, OSError):
            self._lost(worker)
            return
        if kind == "failed":
            if not self.announced:
                raise UsageError(what)
            say(f"a worker cannot start: {what}")
        elif kind == "ready":
            worker.ready = True
            self.quick = 0
            if not self.announced and all(one.ready for one in self.workers):
                self.announced = True
                announce(self.serving, f"{what}, by {self.serving.workers} workers", url(self.kept))
        else:
            self._swapped(*what)

    def _lost(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        _forget(worker.process)
        code = worker.process.exitcode
        self.quick += not worker.ready
        if self.quick >= QUICK and not any(one.ready for one in self.workers):
            raise UsageError(
                f"{QUICK} workers in a row ended as they started (exit code {code}): see what they wrote above"
            )
        say(f"a worker ended (exit code {code}): another one starts")
        self.restart = time.monotonic() + (0.0 if worker.ready else PAUSE)

    def _swap(self) -> None:
        self.asked += 1
        folder = self.link.resolve()  # once: all get the same one
        for worker in self.workers:
            self._ask(worker, self.asked, folder)

    def _ask(self, worker: _Worker, number: int, folder: Path) -> None:
        worker.swap = number
        with suppress(OSError):  # it has ended, which is heard next
            worker.pipe.send((number, folder))

    def _swapped(self, number: int, folder: Path, swap: Swap) -> None:
        """A worker's answer to a swap, which may come after the next one was asked for."""
        if swap.done and number > self.accepted:
            self.accepted = number
            self.serving = replace(self.serving, folder=folder)
            for worker in self.workers:
                if worker.swap < number:  # it was started since then
                    self._ask(worker, number, folder)
        if self.said.get(number) is not swap.done:
            self.said[number] = swap.done
            tell_swap(swap)

    def _end(self) -> None:
        for worker in self.workers:
            worker.process.terminate()
        until = time.monotonic() + self.serving.limits.grace + 5
        for worker in self.workers:
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()


def _forget(process: BaseProcess) -> None:
    """Take the gauges of a process that has ended out of the counts."""
    from prometheus_client.multiprocess import mark_process_dead

    if process.pid is not None:
        mark_process_dead(process.pid)


# --- in a worker ------------------------------------------------------------------------------------------


def _work(serving: Serving, pipe: Any) -> None:
    """Serve, and heed the watcher: a number and a folder swap the model, the pipe's end ends the process."""
    for number in (
        signal.SIGINT,
        signal.SIGHUP,
    ):  # which reach all of a terminal's processes; the watcher says when
        signal.signal(number, signal.SIG_IGN)
    from recbole_ext.recommend.serve.process import Process, opened

    def tell(kind: str, what: Any) -> None:
        with suppress(OSError):  # nobody is there any more, which `heed` finds too
            pipe.send((kind, what))

    def heed(process: Process) -> None:
        while True:
            try:
                number, folder = pipe.recv()
            except (EOFError, OSError):
                break
            tell("swapped", (number, folder, process.swap(folder)))
        os.kill(os.getpid(), signal.SIGTERM)

    def listens(process: Process) -> None:
        tell("ready", process.service.served.now.said())
        threading.Thread(target=heed, args=(process,), daemon=True).start()

    try:
        process = opened(serving)
        if _watched():
            process.run(bind(serving.host, serving.port, shared=True), listens)
    except UsageError as error:
        tell("failed", str(error))
    if not _watched():
        shutil.rmtree(os.environ[COUNTS], ignore_errors=True)


def _watched() -> bool:
    """Whether the process that started this one lives."""
    parent = multiprocessing.parent_process()
    return parent is not None and parent.is_alive()
