"""Requests a second of a server, and whether one is lost while the model is swapped. Writes results/serve.md.

    python benchmarks/serve.py --run runs/diginetica-sessions/HRNNFeat-…
    python benchmarks/serve.py --run RUN --other OTHER_RUN --requests 100000 --swaps 20 --workers 2
    python benchmarks/serve.py --doors     # Starlette beside FastAPI (pip install fastapi), the model left out

Clients are of one process, each with a keep-alive connection; each asks again when it has its answer. A request is one
session of 1 to 8 items drawn at random, for 20 items. Server and clients share the cores, unless `--cores` names the
server's. Every answer is looked at: status 200, 20 items, a run that is served. What is none of this counts as lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import write_section
from side_by_side import ROOT, conditions, table

PACKAGES = ("torch", "numpy", "starlette", "uvicorn", "uvloop", "httptools")
K = 20
DRAWN = 2000  # different requests

DOORS = """
import sys
import uvicorn
from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json

class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sessions: list[list[str | int]]
    k: int = 20

class Ranked(BaseModel):
    session: int
    items: list[str]
    scores: list[float]

class Answered(BaseModel):
    run: str
    lists: list[Ranked]

def answer(asked):
    items, scores = [str(n) for n in range(asked.k)], [n + 0.5 for n in range(asked.k)]
    return {"run": "run", "lists": [{"session": 0, "items": items, "scores": scores}]}

def starlette():
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route
    async def recommend(request):
        return Response(to_json(answer(Asked.model_validate_json(await request.body()))), media_type="application/json")
    return Starlette(routes=[Route("/recommend", recommend, methods=["POST"])])

def fastapi():
    from fastapi import FastAPI
    app = FastAPI()
    @app.post("/recommend")
    async def recommend(asked: Asked) -> Answered:
        return answer(asked)
    return app

uvicorn.run(globals()[sys.argv[1]](), port=int(sys.argv[2]), log_level="warning", access_log=False)
"""


@dataclass
class Load:
    """What the clients saw. taken: seconds of each answered request. lost: what went wrong, counted."""

    taken: list[float] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.taken) / self.seconds

    def percentile(self, share: float) -> float:
        """Milliseconds within which this share of the requests was answered."""
        ordered = sorted(self.taken)
        return 1e3 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def requests_of(items: Sequence[str]) -> list[bytes]:
    """Whole HTTP requests for lists of random sessions."""
    draw = random.Random(1)
    found = []
    for _ in range(DRAWN):
        body = json.dumps({"sessions": [draw.choices(items, k=draw.randint(1, 8))], "k": K}).encode()
        head = f"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        found.append(head.encode() + body)
    return found


async def _client(port: int, requests: list[bytes], left: list[int], load: Load) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while left[0] > 0:
        left[0] -= 1
        began = time.perf_counter()
        try:
            writer.write(requests[left[0] % DRAWN])
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r")[0])
            body = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            load.lost[type(error).__name__] += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        load.taken.append(time.perf_counter() - began)
        status = head[9:12].decode()
        if status != "200":
            load.lost[status] += 1
            continue
        run = body[8 : body.index(b'"', 8)].decode()  # {"run":"…
        load.runs[run] += 1
        start = body.index(b'"items":[') + 9
        if body.count(b",", start, body.index(b"]", start)) != K - 1:
            load.lost["a short list"] += 1
    writer.close()


def asked(port: int, requests: list[bytes], clients: int, count: int) -> Load:
    """`count` requests by so many clients."""
    load, left = Load(), [count]

    async def all_clients() -> None:
        await asyncio.gather(*(_client(port, requests, left, load) for _ in range(clients)))

    import uvloop

    began, cpu = time.perf_counter(), time.process_time()
    uvloop.run(all_clients())
    load.seconds, load.cpu = time.perf_counter() - began, time.process_time() - cpu
    return load


class Server:
    """`recbole_ext serve` in a process; leaving the block stops it."""

    def __init__(self, folder: Path, words: Sequence[str], cores: str | None):
        pinned = ["taskset", "-c", cores] if cores else []
        command = [*pinned, sys.executable, "-m", "recbole_ext", "serve", str(folder), "--port", "0", *words]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
        self.swaps: Counter[str] = Counter()
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("serving "):
                self.port = int(line.split("127.0.0.1:")[1].split()[0])
                break
        else:
            raise SystemExit("the server does not start")
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stderr or ():
            if line.startswith("swap"):
                self.swaps["done" if line.startswith("swapped") else "refused"] += 1

    @property
    def cpu(self) -> float:
        """Seconds of the cores that it has taken so far, all processes."""
        import psutil

        own = psutil.Process(self.process.pid)
        spent = [process.cpu_times() for process in (own, *own.children(recursive=True))]
        return sum(times.user + times.system for times in spent)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def measure(given: argparse.Namespace) -> str:
    """The section of the report."""
    runs = [given.run, given.other or given.run]
    names = json.loads((given.run / "model" / "items.json").read_text(encoding="utf-8"))
    field_ = json.loads((given.run / "model" / "model.json").read_text(encoding="utf-8"))["items"][
        "item_field"
    ]
    items = names[field_][1:]
    requests, rows = requests_of(items), []
    for workers in given.workers:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / "current"
            link.symlink_to(runs[0])
            words = ["--workers", str(workers), *(["--threads", str(given.threads)] if given.threads else [])]
            with Server(link, words, given.cores) as server:
                asked(server.port, requests, given.clients, 500)
                stop = threading.Event()
                mover = threading.Thread(target=_swap, args=(server, link, runs, given.swaps, stop))
                mover.start()
                before = server.cpu
                load = asked(server.port, requests, given.clients, given.requests)
                cpu = server.cpu - before
                done = server.swaps["done"]
                stop.set()
                mover.join()
                one = asked(server.port, requests, 1, 200)
            rows.append(
                (
                    str(workers),
                    f"{load.rate:,.0f}",
                    f"{load.percentile(0.5):.1f} ms",
                    f"{load.percentile(0.99):.1f} ms",
                    f"{len(load.taken):,}",
                    f"{done} of {given.swaps}",
                    str(sum(load.lost.values())) + (f" ({dict(load.lost)})" if load.lost else ""),
                    f"{one.percentile(0.5):.1f} / {one.percentile(0.99):.1f} ms",
                    f"{1e3 * cpu / len(load.taken):.2f} / {1e3 * load.cpu / len(load.taken):.2f} ms",
                )
            )
    head = (
        "workers",
        "requests/s",
        "p50",
        "p99",
        "requests",
        "swaps meanwhile",
        "lost",
        "one client, p50 / p99",
        "time of a core a request, server (swaps too) / clients",
    )
    said = conditions(given.threads or os.cpu_count() or 1, PACKAGES)
    return (
        f"{given.run.name}, {len(items):,} items, {given.clients} clients. {said}; load average "
        f"{os.getloadavg()[0]:.1f}.\n\n{table(head, rows)}"
    )


def _swap(server: Server, link: Path, runs: Sequence[Path], count: int, stop: threading.Event) -> None:
    """Move the link and say so, again and again: the next one when the last one is done."""
    for turn in range(count):
        beside = link.with_name("beside")
        beside.symlink_to(runs[(turn + 1) % 2])
        beside.replace(link)
        server.process.send_signal(signal.SIGHUP)
        while server.swaps.total() <= turn and not stop.is_set():
            time.sleep(0.01)
        if stop.is_set():
            return


def doors(given: argparse.Namespace) -> str:
    """Starlette and FastAPI with the same types and a fixed answer, in turn."""
    requests, found = requests_of([str(n) for n in range(40_000)]), {"starlette": [], "fastapi": []}
    for _ in range(3):
        for name, rates in found.items():
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            process = subprocess.Popen([sys.executable, "-c", DOORS, name, str(port)])
            try:
                for _ in range(200):
                    with socket.socket() as probe:
                        if probe.connect_ex(("127.0.0.1", port)) == 0:
                            break
                    time.sleep(0.1)
                asked(port, requests, given.clients, 500)
                rates.append(asked(port, requests, given.clients, given.requests).rate)
            finally:
                process.terminate()
                process.wait()
    rows = [(name, *(f"{rate:,.0f}" for rate in rates)) for name, rates in found.items()]
    said = conditions(1, ("starlette", "fastapi", "uvicorn", "pydantic"))
    text = table(("requests/s", "first", "second", "third"), rows)
    return f"{said}; load average {os.getloadavg()[0]:.1f}.\n\n{text}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, help="a run's folder")
    parser.add_argument("--other", type=Path, help="the run that takes turns with it (default: the same)")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--swaps", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--threads", type=int, help="of each worker's model (default: the server's own choice)"
    )
    parser.add_argument("--cores", help="cores of the server, as taskset takes them")
    parser.add_argument("--doors", action="store_true", help="Starlette beside FastAPI, no model")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "serve.md")
    given = parser.parse_args(arguments)
    if given.doors:
        text, title = doors(given), "Starlette or FastAPI"
    elif given.run is None:
        parser.error("--run names the run to serve")
    else:
        given.run, given.other = given.run.resolve(), given.other and given.other.resolve()
        text, title = measure(given), "Serve"
    print(text)
    write_section(given.out, title, text)


if __name__ == "__main__":
    main()
