"""Questions that come at the same time are answered together.

One thread asks the model. While it does, questions wait in a queue; when it is free it takes all that wait, up to a
number of sessions. Nobody waits for others to come: an idle server answers at once, and a busy one gathers by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class Full(Exception):
    """As many questions wait as may."""


class Watch(Protocol):
    """What is told of every call of the model."""

    def asked(self, questions: int, sessions: int, seconds: float) -> None:
        """A call was answered."""


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
        try:
            while group := self._taken():
                self._began = time.monotonic()
                answers = await loop.run_in_executor(
                    self._thread, self._answers, [one.question for one in group]
                )
                if self._watch is not None:
                    self._watch.asked(len(group), sum(one.sessions for one in group), self.busy)
                self._began = None
                for one, answer in zip(group, answers, strict=True):
                    if one.answer.done():
                        continue  # whoever asked is gone
                    if isinstance(answer, Exception):
                        one.answer.set_exception(answer)
                    else:
                        one.answer.set_result(answer)
        finally:
            self._working = self._began = None

    def _taken(self) -> list[_Waiting[Q, A]]:
        """The questions of the next call, first come first."""
        found: list[_Waiting[Q, A]] = []
        room = self._batch
        while self._waiting:
            one = self._waiting[0]
            if one.answer.done():
                self._waiting.popleft()
                continue
            if found and one.sessions > room:
                break
            room -= one.sessions
            found.append(self._waiting.popleft())
        return found

    def _answers(self, group: Sequence[Q]) -> Sequence[A | Exception]:
        try:
            return self._answer(group)
        except Exception as error:
            if len(group) == 1:
                return [error]
        return [answer for question in group for answer in self._answers([question])]
