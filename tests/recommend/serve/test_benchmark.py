"""benchmarks/serve.py counts as lost whatever is not a whole answer."""

import json
import socket
import threading
from collections import Counter
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import serve

    return serve


def reply(status="200 OK", items=20, run="a"):
    body = json.dumps({"run": run, "lists": [{"session": 0, "items": ["1"] * items}]}, separators=(",", ":"))
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.fixture
def answering():
    """A server that gives one reply after the other, b"" closes; its port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def play(replies):
        replies = list(replies)
        while replies:
            connection, _ = listening.accept()
            with connection:
                while replies and connection.recv(65536):
                    answer = replies.pop(0)
                    if not answer:
                        break
                    connection.sendall(answer)

    threads = []

    def start(replies):
        threads.append(threading.Thread(target=play, args=(replies,), daemon=True))
        threads[-1].start()
        return listening.getsockname()[1]

    yield start
    listening.close()
    for thread in threads:
        thread.join(30)


def test_what_counts_as_lost(serve, answering):
    replies = [reply(), reply("503 Service Unavailable"), b"", reply(items=19), reply(run="b"), reply()]
    load = serve.asked(answering(replies), serve.requests_of(["1", "2"]), 1, 6)
    assert load.runs == Counter(a=3, b=1) and len(load.taken) == 5
    assert load.lost == Counter({"503": 1, "IncompleteReadError": 1, "a short list": 1})
    assert load.rate > 0 and load.percentile(0.5) <= load.percentile(0.99)


def test_requests_are_whole(serve):
    for request in serve.requests_of(["i1", "i2"])[:50]:
        head, body = request.split(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        asked = json.loads(body)
        assert asked["k"] == 20 and 1 <= len(asked["sessions"][0]) <= 8
