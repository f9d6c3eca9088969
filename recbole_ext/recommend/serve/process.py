"""One process that serves: its socket, its signals, its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from recbole_ext.errors import UsageError
from recbole_ext.interrupts import AGAIN
from recbole_ext.recommend.serve.app import Service
from recbole_ext.recommend.serve.door import Serving, Swap, announce, bind, say, tell_swap, url
from recbole_ext.recommend.serve.served import Served

HANGUP: int | None = getattr(signal, "SIGHUP", None)  # swaps the model; Windows has no such signal


class _Server(uvicorn.Server):
    """uvicorn's, which says when it listens, and takes a second Ctrl-C right behind the first as the same one."""

    def __init__(self, config: uvicorn.Config, listens: Callable[[], None]):
        super().__init__(config)
        self._listens = listens
        self._interrupted = -AGAIN

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn's, which at a second interrupt drops what is under way."""
        if sig == signal.SIGINT:
            before, self._interrupted = self._interrupted, time.monotonic()
            if self._interrupted - before < AGAIN:
                return
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets)
        if self.started:
            self._listens()


@dataclass
class Process:
    """A process's service and its way to another model."""

    serving: Serving
    service: Service
    loop: asyncio.AbstractEventLoop | None = None

    def swap(self, folder: Path) -> Swap:
        """Exchange the model from a thread that is not the server's; waits until it is done or refused."""
        assert self.loop is not None, "swap comes after the start"
        take = self.service.swap(lambda: self.service.served.swap(folder))
        found: Swap = asyncio.run_coroutine_threadsafe(take, self.loop).result()
        return found

    def run(self, bound: socket.socket, listens: Callable[[Process], None]) -> None:
        """Serve until SIGTERM or SIGINT, finish what is under way, and return; KeyboardInterrupt after SIGINT.

        listens: called in the server's thread when it takes requests.
        """
        limits = self.serving.limits
        config = uvicorn.Config(
            self.service.app(),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(limits.keep_alive),
            timeout_graceful_shutdown=int(limits.grace),
        )

        def started() -> None:
            self.loop = asyncio.get_running_loop()
            listens(self)

        before = signal.signal(signal.SIGTERM, _nothing)  # uvicorn raises it again when all is done
        try:
            _Server(config, started).run(sockets=[bound])
        except OSError as error:
            raise UsageError(
                f"{url(bound)} cannot be listened at ({error.strerror}): name another --port"
            ) from error
        finally:
            signal.signal(signal.SIGTERM, before)
            bound.close()


def opened(serving: Serving) -> Process:
    """The model of the folder behind a service; UsageError as of `load`."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(serving.threads)
    else:  # who is imported from now on reads it: torch, and onnxruntime's sessions of an exported folder
        os.environ["OMP_NUM_THREADS"] = str(serving.threads)
    return Process(serving, Service(Served(serving.folder, serving.device), serving.limits, serving.token))


def serve_alone(serving: Serving) -> None:
    """Serve in this process until it is told to stop. SIGHUP reads the folder again, which may be a link moved on."""
    early: list[int] = []  # a SIGHUP before there is a server
    before = None if HANGUP is None else signal.signal(HANGUP, lambda number, frame: early.append(number))
    try:
        bound = bind(serving.host, serving.port)
        process = opened(serving)

        def listens(process: Process) -> None:
            loop = asyncio.get_running_loop()
            waiting: set[asyncio.Task[None]] = set()

            async def swap() -> None:
                take = lambda: process.service.served.swap(serving.folder)  # noqa: E731
                tell_swap(await process.service.swap(take))

            def again() -> None:
                task = loop.create_task(swap())
                waiting.add(task)
                task.add_done_callback(waiting.discard)

            if HANGUP is not None:
                loop.add_signal_handler(HANGUP, again)
            if early:
                again()
            announce(serving, process.service.served.now.said(), url(bound))

        process.run(bound, listens)
        say("stopped")
    finally:
        if HANGUP is not None:
            signal.signal(HANGUP, before)


def _nothing(number: int, frame: FrameType | None) -> None:
    """SIGTERM, which uvicorn has heeded."""
