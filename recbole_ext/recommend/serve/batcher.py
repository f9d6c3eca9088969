"""Questions that come at the same time are answered together.

One thread asks the model. While it does, questions wait in a queue; when it is free it takes all that wait, up to a
number of sessions. An idle server answers at once. A busy one waits a moment before its next call, until as many have
come as were there during the last one: clients that ask again as soon as they have their answer would else come in two
halves, each answered while the other waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

PATIENCE, LONGEST = 0.2, 0.005  # share of the last call's time, and seconds, that a busy server waits at most

Q = TypeVar("Q")
A = TypeVar("A")


class Full(Exception):
    """As many questions wait as may."""


class Watch(Protocol):
    """What is told of every call of the model."""

    def asked(self, questions: int, sessions: int, seconds: float, waiting: int) -> None:
        """A call of so many questions and sessions was answered; so many questions wait for the next one."""


@dataclass
class _Waiting(Generic[Q, A]):
    question: Q
    sessions: int
    answer: asyncio.Future[A]


class Batcher(Generic[Q, A]):
    """Gathers questions for `answer`, which gives an answer or an error for each, in one thread of its own.

    queue: questions that may wait. batch: sessions of a call; a question with more is asked alone. An `answer` that
    raises is called again for each question alone, so that only the one that it cannot do with fails.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Sequence[A | Exception]],
        queue: int,
        batch: int,
        watch: Watch | None = None,
    ):
        self._answer, self._queue, self._batch, self._watch = answer, queue, batch, watch
        self._waiting: deque[_Waiting[Q, A]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._sessions = 0  # of those that wait
        self._came = asyncio.Event()
        self._working: asyncio.Task[None] | None = None
        self._began: float | None = None

    @property
    def waiting(self) -> int:
        """Questions that wait for the model."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether no more may wait."""
        return len(self._waiting) >= self._queue

    @property
    def busy(self) -> float:
        """Seconds since the call of the model that runs now began; 0 where none runs."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    async def ask(self, question: Q, sessions: int) -> A:
        """The answer to a question of so many sessions. Raises Full, and the error that `answer` gave for it.

        A caller that is cancelled leaves the queue.
        """
        if self.full:
            raise Full
        one: _Waiting[Q, A] = _Waiting(question, sessions, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._sessions += sessions
        self._came.set()
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await one.answer

    async def close(self) -> None:
        """Answer all that wait, then end the thread."""
        while self._working is not None:
            await asyncio.wait([self._working])
        self._thread.shutdown()

    async def _work(self) -> None:
        """Answer until nobody waits."""
        loop = asyncio.get_running_loop()
        there, patience = 0, 0.0  # clients of the last call
        try:
            while True:
                if there > 1:
                    await self._gather(there, patience)
                group = self._taken()
                if not group:
                    return
                self._began = time.monotonic()
                answers = await loop.run_in_executor(
                    self._thread, self._answers, [one.question for one in group]
                )
                seconds = self.busy
                there, patience = len(group) + len(self._waiting), min(PATIENCE * seconds, LONGEST)
                self._began = None
                if self._watch is not None:
                    sessions = sum(one.sessions for one in group)
                    self._watch.asked(len(group), sessions, seconds, len(self._waiting))
                for one, answer in zip(group, answers, strict=True):
                    if one.answer.done():
                        continue  # whoever asked is gone
                    if isinstance(answer, Exception):
                        one.answer.set_exception(answer)
                    else:
                        one.answer.set_result(answer)
        finally:
            self._working = self._began = None

    async def _gather(self, questions: int, seconds: float) -> None:
        """Wait until so many questions wait, or a whole call's sessions, at most some seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self._waiting) < questions and self._sessions < self._batch:
                    self._came.clear()
                    await self._came.wait()

    def _taken(self) -> list[_Waiting[Q, A]]:
        """The questions of the next call, first come first."""
        found: list[_Waiting[Q, A]] = []
        room = self._batch
        while self._waiting:
            one = self._waiting[0]
            gone = one.answer.done()
            if found and not gone and one.sessions > room:
                break
            self._waiting.popleft()
            self._sessions -= one.sessions
            if not gone:
                room -= one.sessions
                found.append(one)
        return found

    def _answers(self, group: Sequence[Q]) -> Sequence[A | Exception]:
        try:
            return self._answer(group)
        except Exception as error:
            if len(group) == 1:
                return [error]
        return [answer for question in group for answer in self._answers([question])]
