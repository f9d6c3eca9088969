"""Our commands in processes that can be killed, forked from one that has imported everything.

So that a kill meets work and not an import, and a command starts in no time. `python forked.py` is that process: it
reads orders as lines of JSON and answers each with one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

WAIT = 300.0  # seconds after which a test gives up


class Command:
    """One command at work. code: its exit code, negative of a signal, or None before it has ended."""

    def __init__(self, forks: Forks, process: int, said: Path) -> None:
        self._forks, self._process, self._said = forks, process, said
        self.began = time.monotonic()
        self.code: int | None = None

    @property
    def said(self) -> str:
        """What it has printed, on both streams."""
        return self._said.read_text(encoding="utf-8", errors="replace") if self._said.exists() else ""

    def ended(self) -> bool:
        if self.code is None:
            self.code = self._forks.ask({"ended": self._process})
        return self.code is not None

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        while not self.ended():
            assert time.monotonic() - self.began < WAIT, self.said
            time.sleep(0.005)
        assert self.code is not None
        return self.code

    def kill_after(self, seconds: float) -> bool:
        """Kill it so long after its start; whether it was killed, as it may have ended."""
        while time.monotonic() - self.began < seconds and not self.ended():
            time.sleep(0.001)
        self.kill()
        return self.wait() == -signal.SIGKILL

    def kill_when(self, seen: Callable[[], bool], seconds: float) -> bool:
        """Kill it so long after something is to be seen for the first time; whether it was killed."""
        while not seen() and not self.ended():
            pass  # what follows takes milliseconds
        return self.kill_after(time.monotonic() - self.began + seconds)

    def kill(self) -> None:
        """Kill it and what it has started, which are a group of processes of their own."""
        if not self.ended():  # and so it is still a child, whose number is nobody else's
            os.kill(self._process, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):  # killed before it had a group
                os.killpg(self._process, signal.SIGKILL)


class Forks:
    """The process that commands are forked from. place: for what they print."""

    def __init__(self, place: Path) -> None:
        self._place, self._count = place, 0
        root = str(Path(__file__).resolve().parents[3])
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(place / "server").open("w"),
            text=True,
            env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
        )

    def ask(self, order: Any) -> Any:
        assert self._server.stdin and self._server.stdout
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def start(self, words: Sequence[str], folder: Path) -> Command:
        """`recbole-ext WORDS` in a folder."""
        self._count += 1
        said = self._place / f"said-{self._count}"
        process = self.ask({"words": list(words), "folder": str(folder), "said": str(said)})
        return Command(self, process, said)

    def run(self, words: Sequence[str], folder: Path) -> Command:
        """The same, ended."""
        command = self.start(words, folder)
        command.wait()
        return command

    def close(self) -> None:
        """End the process; commands of its that are at work are ended by their tests."""
        assert self._server.stdin
        self._server.stdin.close()
        self._server.wait(WAIT)


def _serve() -> None:
    """Take orders until there are no more."""
    import polars  # noqa: F401
    import torch

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from harness import toy
    from recbole_ext.cli import main
    from recbole_ext.convert import sources
    from recbole_ext.data import coded
    from recbole_ext.report import experiment_report
    from recbole_ext.run import checkpoints, record

    torch.set_num_threads(1)
    # what is drawn takes longer than all the rest
    record.plot_learning_curve = lambda *args: args[-1].touch()
    experiment_report.write_report = lambda folder, *args: [folder / "index.html"]
    checkpoints.SECONDS = 0.0  # as if each epoch took long, so that last.pth is written
    for source in sources.names():
        sources.load(source)
    # much is imported when it is first used; polars does nothing here, as its threads do not outlive a fork
    with (
        mock.patch.object(coded, "unfit", lambda *of: "the events are to be read by pandas"),
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(sys.stderr),
    ):
        toy.write_toy(Path(folder))
        main(["--experiment=" + toy.write_experiment(Path(folder), models=list(toy.SMALL))])
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(_ended(order["ended"]) if "ended" in order else _fork(order)), flush=True)


def _ended(process: int) -> int | None:
    """The exit code of a child, None while it is at work."""
    found, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _fork(order: dict[str, Any]) -> int:
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        os.setsid()
        os.chdir(order["folder"])
        said = os.open(order["said"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for stream, handle in ((0, nothing), (1, said), (2, said)):
            os.dup2(handle, stream)
        sys.argv = ["run.py", *order["words"]]
        from recbole_ext.cli import main

        code = main(order["words"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
