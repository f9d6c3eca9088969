"""What watches the workers, with workers that only talk: starts, ends, swaps, signals."""

import multiprocessing
import os
import signal
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from recbole_ext.errors import UsageError
from recbole_ext.recommend.serve import workers
from recbole_ext.recommend.serve.door import COUNTS, Serving, Swap

WAIT = 60


class Heard:
    """The lines that the watcher says."""

    def __init__(self):
        self.lines, self.more = [], threading.Condition()

    def __call__(self, line):
        with self.more:
            self.lines.append(line)
            self.more.notify_all()

    def wait_for(self, words):
        with self.more:
            assert self.more.wait_for(lambda: any(words in line for line in self.lines), WAIT), self.lines


@pytest.fixture
def heard(monkeypatch):
    found = Heard()
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(workers.multiprocessing, "get_context", lambda kind: fork)
    monkeypatch.setattr(workers, "say", found)
    monkeypatch.setattr(workers, "announce", lambda serving, model, address: found(f"serving {model}"))
    monkeypatch.setattr(workers, "tell_swap", lambda swap: found(f"swap {swap.done} {swap.said}"))
    return found


def talking(serving, pipe):
    """A worker that takes any folder but one called broken; it writes down what it starts with."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with (serving.folder.parent / "started").open("a") as log:
        log.write(f"{os.getpid()} {serving.folder.name} {os.path.isdir(os.environ[COUNTS])}\n")
    pipe.send(("ready", serving.folder.name))
    while True:
        try:
            number, folder = pipe.recv()
        except EOFError:
            return
        pipe.send(("swapped", (number, folder, Swap(folder.name != "broken", 0.0, folder.name))))


def test_a_swap_reaches_all_and_a_new_worker_serves_what_the_others_do(heard, monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "_work", talking)
    for name in ("first", "second", "broken"):
        (tmp_path / name).mkdir()
    link = tmp_path / "current"
    link.symlink_to("first")

    def started(count):
        until = time.monotonic() + WAIT
        while time.monotonic() < until:
            lines = (tmp_path / "started").read_text().splitlines()
            if len(lines) >= count:
                return [line.split() for line in lines]
            time.sleep(0.01)
        raise AssertionError("no worker started")

    def move(name):
        link.unlink()
        link.symlink_to(name)
        os.kill(os.getpid(), signal.SIGHUP)

    failed = []

    def play():
        try:
            heard.wait_for("serving first, by 2 workers")
            move("second")
            heard.wait_for("swap True second")
            move("broken")
            heard.wait_for("swap False broken")
            os.kill(int(started(2)[0][0]), signal.SIGKILL)
            heard.wait_for("a worker ended (exit code -9): another one starts")
            assert [line[1] for line in started(3)] == ["first", "first", "second"]
        except BaseException as error:
            failed.append(error)
        os.kill(os.getpid(), signal.SIGTERM)

    actor = threading.Thread(target=play)
    actor.start()
    workers.serve_together(Serving(link, port=0, workers=2))
    actor.join()
    assert failed == []
    assert heard.lines[-1] == "stopped"
    assert len([line for line in heard.lines if line.startswith("swap")]) == 2  # not one a worker
    assert all(line[2] == "True" for line in started(3)) and COUNTS not in os.environ
    for pid, *_ in started(3):
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_interrupted_it_ends_the_workers_and_says_so(heard, monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "_work", talking)
    (tmp_path / "run").mkdir()

    def play():
        heard.wait_for("serving run")
        os.kill(os.getpid(), signal.SIGINT)

    actor = threading.Thread(target=play)
    actor.start()
    with pytest.raises(KeyboardInterrupt):
        workers.serve_together(Serving(tmp_path / "run", port=0, workers=2))
    actor.join()


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda serving, pipe: pipe.send(("failed", "there is no folder x")), "there is no folder x"),
        (lambda serving, pipe: os._exit(3), "3 workers in a row ended as they started (exit code 3)"),
    ],
)
def test_workers_that_do_not_come_up_end_the_server(work, said, heard, monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "_work", work)
    with pytest.raises(UsageError, match=said.replace("(", r"\(").replace(")", r"\)")):
        workers.serve_together(Serving(tmp_path, port=0, workers=2))
    assert multiprocessing.active_children() == []


def waiting(serving, pipe):
    """A worker that takes its time, until there is a file `go`."""
    with (serving.folder / "started").open("a") as log:
        log.write(f"{os.getpid()}\n")
    while not (serving.folder / "go").exists():
        time.sleep(0.01)
    talking(serving, pipe)


@pytest.mark.parametrize("kills", [1, 2])
def test_a_worker_that_is_killed_before_it_answers_is_started_again(kills, heard, monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "_work", waiting)
    monkeypatch.setattr(workers, "PAUSE", 0.05)
    place = tmp_path / "run"
    place.mkdir()
    failed = []

    def started(count):
        until = time.monotonic() + WAIT
        while time.monotonic() < until:
            lines = (place / "started").read_text().splitlines() if (place / "started").exists() else []
            if len(lines) >= count:
                return [int(line) for line in lines]
            time.sleep(0.01)
        raise AssertionError("no worker started")

    def play():
        try:
            for number in range(kills):
                os.kill(started(2 + number)[-1], signal.SIGKILL)
            started(2 + kills)
            (place / "go").touch()
            heard.wait_for("serving run, by 2 workers")
        except BaseException as error:
            failed.append(error)
        os.kill(os.getpid(), signal.SIGTERM)

    actor = threading.Thread(target=play)
    actor.start()
    workers.serve_together(Serving(place, port=0, workers=2))
    actor.join()
    assert failed == []
    assert heard.lines == [
        *["a worker ended (exit code -9): another one starts"] * kills,
        "serving run, by 2 workers",
        "stopped",
    ]


def test_late_answers_change_nothing_back(heard, tmp_path):
    """Two swaps, the first one's answers mixed with the second's; a worker that started between them."""
    for name in ("first", "second", "third"):
        (tmp_path / name).mkdir()
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        watch = workers._Watch(Serving(tmp_path / "first", workers=3), kept)
        sent = [[], [], []]
        for place in range(2):
            watch.workers.append(
                workers._Worker(None, SimpleNamespace(send=sent[place].append), watch.accepted)
            )
        for name in ("second", "third"):
            watch.link = tmp_path / name
            watch._swap()
        watch.workers.append(workers._Worker(None, SimpleNamespace(send=sent[2].append), watch.accepted))
        second, third = ((number, tmp_path / name) for number, name in enumerate(("second", "third"), 1))

        def answer(number, folder):
            watch._swapped(number, folder, Swap(True, 0.0, folder.name))

        answer(*second)
        answer(*third)
        answer(*second)
        answer(*third)
    assert watch.serving.folder == tmp_path / "third"
    assert sent == [[second, third]] * 3
    assert heard.lines == ["swap True second", "swap True third"]
