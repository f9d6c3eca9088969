"""What a server is told, its address, and what it says; loads no torch, as what watches workers needs none."""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from recbole_ext.errors import UsageError
from recbole_ext.settings.limits import Limits

COUNTS = "PROMETHEUS_MULTIPROC_DIR"  # variable that names where all workers put their counts together
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


@dataclass(frozen=True)
class Swap:
    """An attempt to take another model. when: Unix time. said: the new model, or why the old one stays."""

    done: bool
    when: float
    said: str


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


def announce(serving: Serving, model: str, address: str) -> None:
    """Say what is served where."""
    say(f"serving {model}, at {address} (pid {os.getpid()})")
    if serving.host not in LOCAL and serving.token is None:
        say("note: whoever reaches this port may ask; --token-file names a file with a token to ask for")
