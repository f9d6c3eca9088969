"""The server's answers over HTTP, an ASGI application. Every refusal is JSON: {"error": one sentence}."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from recbole_ext.errors import UsageError
from recbole_ext.recommend import Question
from recbole_ext.recommend.serve import openapi, pages
from recbole_ext.recommend.serve.batcher import Batcher, Full
from recbole_ext.recommend.serve.metrics import Metrics
from recbole_ext.recommend.serve.question import question_of
from recbole_ext.recommend.serve.served import Served
from recbole_ext.settings.limits import Limits

STUCK = 60.0  # seconds of one call of the model after which the process counts as broken
RETRY_AFTER = 1  # seconds
ITEMS, WORDS = 1000, 100  # of one search: items named, characters
Endpoint = Callable[[Request], Awaitable[Response]]


class Refused(Exception):
    """A request that is answered by a status and a sentence."""

    def __init__(self, status: int, said: str, **headers: str):
        super().__init__(said)
        self.status, self.said = status, said
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def response(self) -> Response:
        """As HTTP."""
        return Response(
            to_json({"error": self.said}), self.status, self.headers, media_type="application/json"
        )


class Service:
    """What the routes call. token: what a request must carry; None: nothing."""

    def __init__(self, served: Served, limits: Limits, token: str | None = None):
        self.served, self.limits, self.token = served, limits, token
        self.metrics = Metrics()
        self.metrics.loaded.set(served.now.since)
        self.batcher: Batcher[Question, bytes] = Batcher(
            served.answer, limits.queue, limits.batch, self.metrics
        )
        self.swapping = asyncio.Lock()

    def app(self) -> Starlette:
        """The application; leaving its lifespan answers what waits."""

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            yield
            await self.batcher.close()

        demo, described = pages.demo(), pages.docs(self.limits, self.token is not None)
        document = to_json(openapi.document(self.limits, self.token is not None))
        plain: dict[str, Endpoint] = {
            "/": _always(demo.html, "text/html", demo.headers),
            "/docs": _always(described.html, "text/html", described.headers),
            "/openapi.json": _always(document, "application/json", {}),
            "/health": self.health,
            "/ready": self.ready,
            "/model": self.model,
            "/metrics": self.counts,
            "/items": self.items,
        }
        routes = [Route("/recommend", self._measured("/recommend", self.recommend), methods=["POST"])]
        routes += [Route(path, self._measured(path, end), methods=["GET"]) for path, end in plain.items()]
        return Starlette(
            routes=routes,
            lifespan=lifespan,
            exception_handlers={HTTPException: self._no_route, Exception: _broken},
        )

    # --- routes ----------------------------------------------------------------------------------------------

    async def recommend(self, request: Request) -> Response:
        """Lists."""
        until = asyncio.get_running_loop().time() + self.limits.timeout
        body = await self._body(request, until)
        try:
            question = question_of(body, self.limits)
            async with asyncio.timeout_at(until):
                answer = await self.batcher.ask(question, len(question.sessions))
        except UsageError as error:
            raise Refused(422, str(error)) from error
        except Full as error:
            raise Refused(
                503,
                f"{self.batcher.waiting:,} requests wait: ask again in {RETRY_AFTER} s, or start more workers",
                Retry_After=str(RETRY_AFTER),
            ) from error
        except TimeoutError as error:
            raise Refused(
                503,
                f"no answer within {self.limits.timeout:g} s: ask again, or for fewer sessions",
                Retry_After=str(RETRY_AFTER),
            ) from error
        return Response(answer, media_type="application/json")

    async def health(self, request: Request) -> Response:
        """Whether the process answers."""
        if self.batcher.busy > STUCK:
            raise Refused(503, f"a call of the model has lasted {self.batcher.busy:.0f} s: start me again")
        return PlainTextResponse("ok\n")

    async def ready(self, request: Request) -> Response:
        """Whether a question would be taken."""
        if self.batcher.full or self.batcher.busy > STUCK:
            raise Refused(
                503, f"{self.batcher.waiting:,} requests wait: ask later", Retry_After=str(RETRY_AFTER)
            )
        return PlainTextResponse("ok\n")

    async def model(self, request: Request) -> Response:
        """The run that answers."""
        return Response(to_json(self.served.about(), inf_nan_mode="null"), media_type="application/json")

    async def counts(self, request: Request) -> Response:
        """Metrics."""
        self.metrics.waiting.set(self.batcher.waiting)
        text, kind = self.metrics.text()
        return Response(text, headers={"Content-Type": kind})

    async def items(self, request: Request) -> Response:
        """Items by id or by words."""
        asked = request.query_params
        unknown = sorted(asked.keys() - {"q", "item", "limit"})
        if unknown:
            raise Refused(422, f"there is no parameter {unknown[0]:.40}: there are q, item, limit")
        words, named = asked.get("q", ""), asked.getlist("item")
        if len(words) > WORDS or len(named) > ITEMS:
            raise Refused(422, f"write at most {WORDS} characters of q and {ITEMS:,} times item")
        limit = asked.get("limit", "20")
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:4]) <= 100 and len(limit) < 4):
            raise Refused(422, f"limit is {limit:.20}: write a whole number from 1 to 100")
        loaded = self.served.now

        def search() -> list[dict[str, Any]]:
            shelf = loaded.shelf
            found = shelf.described(named) if named else shelf.found(words, int(limit))
            return [vars(one) for one in found]

        return Response(to_json({"items": await run_in_threadpool(search)}), media_type="application/json")

    # --- around them -----------------------------------------------------------------------------------------

    async def swap(self, take: Callable[[], Any]) -> Any:
        """Exchange the model by `take`, which calls `served.swap`, and count it."""
        async with self.swapping:
            swap = await asyncio.to_thread(take)
        self.metrics.swaps.labels("done" if swap.done else "refused").inc()
        self.metrics.loaded.set(self.served.now.since)
        return swap

    async def _body(self, request: Request, until: float) -> bytes:
        """The whole body; Refused where it is larger than may be, or does not come in time."""
        most = self.limits.body
        too_large = Refused(413, f"the body has more than {most:,} bytes: ask in several requests")
        said = request.headers.get("content-length", "0")
        if said.isdigit() and int(said) > most:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout_at(until):
                async for part in request.stream():
                    size += len(part)
                    if size > most:
                        raise too_large
                    parts.append(part)
        except TimeoutError as error:
            raise Refused(
                408, f"the body did not come within {self.limits.timeout:g} s: send it at once"
            ) from error
        return b"".join(parts)

    def _allowed(self, request: Request) -> bool:
        if self.token is None:
            return True
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        return (
            secrets.compare_digest(sent.strip().encode(), self.token.encode()) and scheme.lower() == "bearer"
        )

    def _measured(self, path: str, endpoint: Endpoint) -> Endpoint:
        """The endpoint behind the token, its refusals as JSON, counted."""

        async def answer(request: Request) -> Response:
            began = time.perf_counter()
            status = 500
            try:
                if path not in openapi.OPEN and not self._allowed(request):
                    raise Refused(
                        401,
                        "this server wants its token: send the header Authorization: Bearer TOKEN",
                        WWW_Authenticate="Bearer",
                    )
                response = await endpoint(request)
                status = response.status_code
                return response
            except Refused as error:
                status = error.status
                return error.response()
            except ClientDisconnect:
                status = 499  # nobody reads it
                return Response(status_code=400)
            finally:
                self.metrics.answered(path, status, time.perf_counter() - began)

        return answer

    async def _no_route(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        if status == 404:
            said = f"there is no {request.url.path:.60}: /docs says what there is"
        elif status == 405:
            said = f"{request.url.path:.60} does not take {request.method:.10}: /docs says what it takes"
        else:
            said = f"the request cannot be read: {getattr(error, 'detail', '')}"
        headers = getattr(error, "headers", None) or {}
        self.metrics.answered("other", status, 0.0)
        refused = Refused(status, said)
        refused.headers.update(headers)
        return refused.response()


async def _broken(request: Request, error: Exception) -> Response:
    """A fault of ours; uvicorn writes its trace to the log."""
    return Refused(500, "this request met a fault of the server: its log has the trace").response()


def _always(content: bytes | str, kind: str, headers: dict[str, str]) -> Endpoint:
    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind, headers=headers)

    return answer
