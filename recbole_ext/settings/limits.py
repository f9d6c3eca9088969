"""What a server takes of one request, and how long it works on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """sessions: of a request. events: of all its sessions and their visitors' pasts. k: items of a list. body: bytes of
    a request. where: characters of a condition.

    queue: requests that wait for the model; more are sent away. batch: sessions that the model is asked at once.
    timeout: seconds for a request, from its first byte of the body to its answer. grace: seconds in which a server
    that was told to stop finishes what it has. keep_alive: seconds that an idle connection stays open.
    """

    sessions: int = 256
    events: int = 20_000
    k: int = 1000
    body: int = 1_000_000
    where: int = 1000
    queue: int = 512
    batch: int = 256
    timeout: float = 10.0
    grace: float = 30.0
    keep_alive: float = 75.0
