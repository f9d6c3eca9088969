"""A server as it is started: swapped under load, refused a broken run, stopped with work under way, killed."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

import recbole_ext
from recbole_ext.cli import main
from recbole_ext.recommend.serve.door import Serving
from recbole_ext.run.model_place import MODEL
from recbole_ext.settings.limits import Limits

WAIT = 120  # seconds after which a test gives up


class Server:
    """`recbole-ext serve` in a process of its own; `said`: the lines of its stderr."""

    def __init__(self, *arguments, announced="serving "):
        root = str(Path(recbole_ext.__file__).parents[1])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "recbole_ext", "serve", *map(str, arguments)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        )
        self.said = []
        self.more = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()
        line = self.wait_for(announced)
        self.port = int(line.split("http://127.0.0.1:")[1].split()[0])

    def _listen(self):
        for line in self.process.stderr:
            with self.more:
                self.said.append(line.strip())
                self.more.notify_all()
        with self.more:
            self.said.append("(end)")
            self.more.notify_all()

    def wait_for(self, words, count=1):
        """The count-th line that holds the words."""

        def found():
            return [line for line in self.said if words in line]

        with self.more:
            self.more.wait_for(lambda: len(found()) >= count or "(end)" in self.said, WAIT)
        assert len(found()) >= count, self.said
        return found()[count - 1]

    def send(self, number):
        self.process.send_signal(number)

    def end(self, number=signal.SIGTERM):
        """Stop it; the exit code."""
        if self.process.poll() is None:
            self.send(number)
        return self.process.wait(WAIT)


class Client:
    """One keep-alive connection."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)

    def ask(self, session=("i1", "i2"), k=3):
        return self.post(json.dumps({"sessions": [session], "k": k}))

    def post(self, body):
        self.connection.request("POST", "/recommend", body)
        reply = self.connection.getresponse()
        return reply.status, json.loads(reply.read())

    def get(self, path):
        self.connection.request("GET", path)
        reply = self.connection.getresponse()
        return reply.status, reply.read().decode()


class Load:
    """Clients that ask until told to stop; `found`: (status, run) of every request, `lost`: the errors."""

    def __init__(self, port, clients=4):
        self.found, self.lost, self.stop = [], [], threading.Event()
        self.threads = [threading.Thread(target=self._ask, args=(port,)) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def _ask(self, port):
        client = Client(port)
        while not self.stop.is_set():
            try:
                status, answer = client.ask()
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(error)
                return
            self.found.append((status, answer.get("run"), tuple(answer.get("lists", [{}])[0]["items"])))

    def wait_for(self, run):
        """Until this run has answered."""
        for _ in range(WAIT * 100):
            if any(name == run for _, name, _ in self.found[-40:]) or self.lost:
                return
            threading.Event().wait(0.01)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(WAIT)


def link_to(link, folder):
    """Move a link to a folder in one step."""
    beside = link.with_name("beside")
    beside.symlink_to(folder)
    beside.replace(link)


@pytest.fixture(scope="module")
def broken(hrnn, tmp_path_factory):
    """A run whose weights were cut."""
    place = tmp_path_factory.mktemp("broken") / "run"
    shutil.copytree(hrnn.folder, place)
    weights = place / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    return place


def test_one_process_swaps_refuses_and_stops_with_work_under_way(hrnn, vstan, broken, tmp_path):
    expected = {
        run.folder.name: tuple(recbole_ext.load(run.folder).lists([["i1", "i2"]], 3).frame()["item"])
        for run in (hrnn, vstan)
    }
    link = tmp_path / "current"
    link.symlink_to(hrnn.folder)
    server = Server(link, "--port", 0)
    try:
        client, load = Client(server.port), Load(server.port)
        load.wait_for(hrnn.folder.name)
        for turn, run in enumerate((vstan, hrnn, vstan), 1):
            link_to(link, run.folder)
            server.send(signal.SIGHUP)
            server.wait_for("swapped: ", turn)
            load.wait_for(run.folder.name)
        link_to(link, broken)
        server.send(signal.SIGHUP)
        line = server.wait_for("swap refused, the old model stays")
        assert "weights.safetensors was cut or changed" in line
        link_to(link, tmp_path / "nowhere")
        server.send(signal.SIGHUP)
        assert "there is no folder" in server.wait_for("swap refused", 2)
        load.wait_for(vstan.folder.name)
        load.end()
        assert load.lost == [] and {status for status, _, _ in load.found} == {200}
        assert {(run, items) for _, run, items in load.found} == set(expected.items())

        _, about = client.get("/model")
        about = json.loads(about)
        assert about["run"] == vstan.folder.name and about["swaps"] == {"done": 3, "refused": 2}
        assert about["last_swap"]["done"] is False and "there is no folder" in about["last_swap"]["said"]
        metrics = client.get("/metrics")[1]
        assert 'swaps_total{result="done"} 3.0' in metrics and 'swaps_total{result="refused"} 2.0' in metrics
        assert client.get("/ready") == (200, "ok\n")

        # half a request is under way when it is told to stop
        with socket.create_connection(("127.0.0.1", server.port), WAIT) as late:
            body = b'{"sessions": [["i1", "i2"]], "k": 3}'
            late.sendall(
                b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:9]
            )
            while json.loads(client.get("/model")[1])["run"] != vstan.folder.name:
                pass
            server.send(signal.SIGTERM)
            until_closed = client.connection.sock.recv(1)  # an idle connection is closed at once
            assert until_closed == b""
            late.sendall(body[9:])
            answer = b""
            while part := late.recv(65536):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200") and b'"lists"' in answer
        assert server.process.wait(WAIT) == 0 and server.said[-2:] == ["stopped", "(end)"]
    finally:
        server.end(signal.SIGKILL)


@pytest.mark.slow
def test_ctrl_c_twice_at_once_is_one(vstan):
    server = Server(vstan.folder, "--port", 0)
    try:
        server.send(signal.SIGINT)
        time.sleep(0.03)
        server.send(signal.SIGINT)
        server.wait_for("(end)")
        assert server.process.wait(WAIT) == 130
        assert not any("Traceback" in line or "Error" in line for line in server.said), server.said
    finally:
        server.process.kill()


def test_one_process_that_is_killed_under_load_gave_right_answers_and_leaves_the_port(vstan):
    expected = tuple(recbole_ext.load(vstan.folder).lists([["i1", "i2"]], 3).frame()["item"])
    server = Server(vstan.folder, "--port", 0)
    fresh = None
    try:
        load = Load(server.port)
        load.wait_for(vstan.folder.name)
        server.send(signal.SIGKILL)
        assert server.process.wait(WAIT) == -signal.SIGKILL
        load.end()
        assert len(load.lost) == 4  # each client saw it go
        assert set(load.found) == {(200, vstan.folder.name, expected)}
        fresh = Server(vstan.folder, "--port", server.port)
        status, answer = Client(fresh.port).ask()
        assert fresh.port == server.port and status == 200
        assert tuple(answer["lists"][0]["items"]) == expected
        assert fresh.end() == 0
    finally:
        for one in filter(None, (server, fresh)):
            one.end(signal.SIGKILL)


@pytest.mark.slow
def test_several_workers_share_the_port_and_outlive_one_another(hrnn, vstan, tmp_path, monkeypatch, capsys):
    link = tmp_path / "current"
    link.symlink_to(hrnn.folder)
    server = Server(link, "--port", 0, "--workers", 2)
    try:
        client = Client(server.port)
        assert client.ask()[0] == 200
        monkeypatch.setattr("recbole_ext.recommend.serve.door.PATIENCE", 0.0)
        for more in ([], ["--workers", "2"]):  # nobody else gets on the port
            assert main(["serve", str(hrnn.folder), "--port", str(server.port), *more]) == 2
            assert f"127.0.0.1:{server.port} cannot be had" in capsys.readouterr().err

        link_to(link, vstan.folder)
        load = Load(server.port)
        server.send(signal.SIGHUP)
        server.wait_for("swapped: ")
        load.wait_for(vstan.folder.name)
        load.end()
        assert load.lost == [] and {status for status, _, _ in load.found} == {200}

        text = client.get("/metrics")[1]  # of both workers
        counted = float(text.split('requests_total{path="/recommend",status="200"} ')[1].split()[0])
        assert counted == len(load.found) + 1
        assert 'swaps_total{result="done"} ' in text

        children = psutil.Process(server.process.pid).children()
        workers = [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        server.wait_for("a worker ended (exit code -9): another one starts")
        again = Load(server.port, 1)
        again.wait_for(vstan.folder.name)

        server.send(signal.SIGKILL)  # under load, and the watcher alone
        server.process.wait(WAIT)
        again.end()
        fresh = Server(hrnn.folder, "--port", server.port)
        status, answer = Client(server.port).ask()
        assert status == 200 and answer["run"] == hrnn.folder.name
        assert fresh.end() == 0
    finally:
        server.end(signal.SIGKILL)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs/nowhere"], "there is no folder"),
        (["."], "holds no model"),
        (["BROKEN"], "weights.safetensors was cut or changed"),
        (["some", "--host", "no.such.host.invalid"], "no address of this machine"),
        ([".", "--token", "two words"], "the token is empty or not plain text"),
        ([".", "--token-file", "nothing"], "--token-file nothing cannot be read"),
        ([".", "--token-file", "empty"], "the token is empty"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_sentence(arguments, said, broken, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / MODEL).touch()
    given = [str(broken) if word == "BROKEN" else word for word in arguments]
    assert main(["serve", *given, *([] if "--port" in given else ["--port", "0"])]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert said in lines[-1] and lines[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "70000"], "argument --port"),
        (["--max-k", "many"], "argument --max-k"),
        (["--timeout", "0"], "argument --timeout"),
        (["--token", "a", "--token-file", "b"], "not allowed with argument"),
        (["--worker", "2"], "unknown option --worker: did you mean --workers?"),
    ],
)
def test_a_wrong_option_is_said(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["serve", "run", *words])
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_every_option_arrives(tmp_path, monkeypatch):
    got = []
    monkeypatch.setattr("recbole_ext.recommend.serve.workers.serve_together", got.append)
    (tmp_path / "token").write_text("secret\n")
    words = [
        "--host",
        "::1",
        "--port",
        "81",
        "--workers",
        "3",
        "--threads",
        "5",
        "--device",
        "meta",
        "--timeout",
        "1.5",
        "--grace",
        "7",
    ]
    for place, name in enumerate(("sessions", "events", "k", "queue", "batch"), 11):
        words += [f"--max-{name}", str(place)]
    words += ["--max-body", "2000", "--token-file", str(tmp_path / "token")]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "current").mkdir()
    (tmp_path / "current" / MODEL).touch()
    assert main(["serve", "current", *words]) == 0
    limits = Limits(sessions=11, events=12, k=13, queue=14, batch=15, body=2000, timeout=1.5, grace=7)
    assert got == [Serving(tmp_path / "current", "::1", 81, 3, 5, "meta", "secret", limits)]


def test_without_the_extra_it_says_what_to_install(hrnn, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", str(hrnn.folder)]) == 2
    assert capsys.readouterr().err == (
        "error: serve needs uvicorn, which is not installed: pip install 'recbole-ext[serve]'\n"
    )


def test_a_swap_answers_by_the_new_model_or_by_the_old_one(hrnn, vstan, broken, tmp_path):
    from recbole_ext.recommend import Question
    from recbole_ext.recommend.serve.served import Served

    served = Served(hrnn.folder)
    question = Question([["i1", "i2"]], k=3)
    assert not served.swap(broken).done and served.last_swap.said.startswith(str(broken.resolve()))
    assert json.loads(served.answer([question])[0])["run"] == hrnn.folder.name
    link = tmp_path / "current"
    link.symlink_to(vstan.folder / "model")
    assert served.swap(link).done
    answer = json.loads(served.answer([question])[0])
    expected = recbole_ext.load(vstan.folder).lists([["i1", "i2"]], 3)
    assert answer["run"] == vstan.folder.name
    assert answer["lists"][0]["items"] == expected.frame()["item"].tolist()
    assert served.swaps == {"done": 1, "refused": 1}
