"""A server's parts without a server, and what asks them."""

import asyncio
import json
from dataclasses import dataclass

import pytest

pytest.importorskip("starlette", reason="no starlette: pip install 'recbole-ext[serve]'")


@dataclass
class Reply:
    """What came back. headers: by lower-case name."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The sentence of a refusal."""
        found = self.json
        assert found.keys() == {"error"}, found
        return found["error"]


async def asked(app, method, path, parts=(b"",), headers=None, pause=0.0):
    """One request to an ASGI application; parts: of the body, with a pause after each."""
    path, _, query = path.partition("?")
    sent = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": sent,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    waiting = list(parts)
    came = []

    async def receive():
        if not waiting:
            await asyncio.Event().wait()  # a client that waits for its answer
        part = waiting.pop(0)
        if part is None:
            return {"type": "http.disconnect"}
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": part, "more_body": bool(waiting)}

    async def send(message):
        came.append(message)

    await app(scope, receive, send)
    start = came[0]
    return Reply(
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        b"".join(one.get("body", b"") for one in came[1:]),
    )


async def recommended(app, question, **more):
    """A question's reply."""
    body = question if isinstance(question, bytes) else json.dumps(question).encode()
    return await asked(app, "POST", "/recommend", [body], **more)


@pytest.fixture(scope="session")
def served(hrnn):
    from recbole_ext.recommend.serve.served import Served

    return Served(hrnn.folder)


@pytest.fixture
def service(served):
    """A service over the small shop's model, whose limits are small."""
    from recbole_ext.recommend.serve.app import Service
    from recbole_ext.settings.limits import Limits

    return Service(served, Limits(sessions=4, events=50, k=40, body=5000, where=60, queue=3, timeout=20))
