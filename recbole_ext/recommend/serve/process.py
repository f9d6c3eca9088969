"""One process that serves: its socket, its signals, its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch
import uvicorn

from recbole_ext.errors import UsageError
from recbole_ext.recommend.serve.app import Service
from recbole_ext.recommend.serve.served import Served, Swap
from recbole_ext.settings.limits import Limits

PATIENCE = 2.0  # seconds in which a server that was killed leaves its address
LOCAL = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Serving:
    """What a server is told. folder: a run's folder or a link to one, absolute. threads: of the model, a process.

    workers: processes that share the port. token: what a request must carry; None: nothing.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    threads: int = 1
    device: str = "cpu"
    token: str | None = field(default=None, repr=False)
    limits: Limits = field(default_factory=Limits)


def say(text: str) -> None:
    """A line to stderr, at once."""
    print(text, file=sys.stderr, flush=True)


def tell_swap(swap: Swap) -> None:
    """Say what became of a swap."""
    if swap.done:
        say(f"swapped: {swap.said}")
    else:
        say(f"swap refused, the old model stays: {swap.said}")


def url(bound: socket.socket) -> str:
    """Where a bound socket is asked."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def bind(host: str, port: int, shared: bool = False) -> socket.socket:
    """A socket bound to the address, which does not listen yet; shared: other sockets of this server may be so too.

    Waits a moment for a server that was killed to leave the address. Raises UsageError where it cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        raise UsageError(
            f"--host {host} is no address of this machine: write 127.0.0.1 or 0.0.0.0"
        ) from error
    until = time.monotonic() + PATIENCE
    while True:
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            bound.bind(address)
            return bound
        except OSError as error:
            bound.close()
            if time.monotonic() > until or isinstance(error, PermissionError):
                raise UsageError(
                    f"{host}:{port} cannot be had ({error.strerror}): name another --port, or stop what has it"
                ) from error
        time.sleep(0.1)


class _Server(uvicorn.Server):
    """uvicorn's, which says when it listens."""

    def __init__(self, config: uvicorn.Config, listens: Callable[[], None]):
        super().__init__(config)
        self._listens = listens

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
    torch.set_num_threads(serving.threads)
    return Process(serving, Service(Served(serving.folder, serving.device), serving.limits, serving.token))


def serve_alone(serving: Serving) -> None:
    """Serve in this process until it is told to stop. SIGHUP reads the folder again, which may be a link moved on."""
    early: list[int] = []  # a SIGHUP before there is a server
    before = signal.signal(signal.SIGHUP, lambda number, frame: early.append(number))
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

            loop.add_signal_handler(signal.SIGHUP, again)
            if early:
                again()
            announce(serving, process.service.served.now.said(), url(bound))

        process.run(bound, listens)
        say("stopped")
    finally:
        signal.signal(signal.SIGHUP, before)


def announce(serving: Serving, model: str, address: str) -> None:
    """Say what is served where."""
    say(f"serving {model}, at {address} (pid {os.getpid()})")
    if serving.host not in LOCAL and serving.token is None:
        say("note: whoever reaches this port may ask; --token-file names a file with a token to ask for")


def _nothing(number: int, frame: FrameType | None) -> None:
    """SIGTERM, which uvicorn has heeded."""
