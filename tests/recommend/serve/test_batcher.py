"""Questions gathered for one call: who shares it, who is sent away, what an error harms."""

import asyncio
import threading

import pytest

from recbole_ext.recommend.serve import batcher as module
from recbole_ext.recommend.serve.batcher import Batcher, Full


class Model:
    """Doubles numbers; notes its calls. held: the first call waits until it is set."""

    def __init__(self, held=False):
        self.calls, self.may = [], threading.Event()
        self.began = threading.Event()
        if not held:
            self.may.set()

    def __call__(self, numbers):
        self.calls.append(list(numbers))
        self.began.set()
        assert self.may.wait(20)
        if any(number == 13 for number in numbers):
            raise RuntimeError("thirteen")
        return [ValueError("none below zero") if number < 0 else 2 * number for number in numbers]


async def queued(batcher, *numbers, sessions=1):
    """Tasks that ask, each of which waits by now."""
    tasks = [asyncio.create_task(batcher.ask(number, sessions)) for number in numbers]
    await asyncio.sleep(0)
    return tasks


def test_what_comes_during_a_call_shares_the_next_one():
    async def main():
        model = Model(held=True)
        batcher = Batcher(model, queue=10, batch=10)
        first = await queued(batcher, 1)
        await asyncio.to_thread(model.began.wait, 20)
        more = await queued(batcher, 2, 3, 4)
        assert batcher.waiting == 3 and batcher.busy > 0
        model.may.set()
        assert await asyncio.gather(*first, *more) == [2, 4, 6, 8]
        assert model.calls == [[1], [2, 3, 4]]
        await batcher.close()
        assert batcher.busy == 0 and batcher.waiting == 0

    asyncio.run(main())


def test_calls_hold_so_many_sessions_and_a_larger_question_is_alone():
    async def main():
        model = Model(held=True)
        batcher = Batcher(model, queue=10, batch=4)
        tasks = await queued(batcher, 0)
        await asyncio.to_thread(model.began.wait, 20)
        tasks += await queued(batcher, 1, 2, sessions=2)
        tasks += await queued(batcher, 3, sessions=9)
        tasks += await queued(batcher, 4, sessions=1)
        model.may.set()
        await asyncio.gather(*tasks)
        assert model.calls == [[0], [1, 2], [3], [4]]

    asyncio.run(main())


def test_the_queue_has_an_end_and_who_gives_up_leaves_it():
    async def main():
        model = Model(held=True)
        batcher = Batcher(model, queue=2, batch=10)
        first = await queued(batcher, 1)
        await asyncio.to_thread(model.began.wait, 20)
        gone, stays = await queued(batcher, 2, 3)
        assert batcher.full
        with pytest.raises(Full):
            await batcher.ask(4, 1)
        gone.cancel()
        model.may.set()
        assert await asyncio.gather(*first, stays) == [2, 6]
        assert model.calls == [[1], [3]]

    asyncio.run(main())


def test_an_error_is_its_questions_own():
    async def main():
        model = Model(held=True)
        batcher = Batcher(model, queue=10, batch=10)
        tasks = await queued(batcher, 1)
        await asyncio.to_thread(model.began.wait, 20)
        tasks += await queued(batcher, 13, -1, 5)
        model.may.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in found] == [int, RuntimeError, ValueError, int] and found[3] == 10
        assert await batcher.ask(7, 1) == 14  # and it goes on

    asyncio.run(main())


def test_closing_answers_what_waits():
    async def main():
        model = Model(held=True)
        batcher = Batcher(model, queue=10, batch=1)
        tasks = await queued(batcher, 1, 2, 3)
        closing = asyncio.create_task(batcher.close())
        await asyncio.to_thread(model.began.wait, 20)
        model.may.set()
        await closing
        assert [task.result() for task in tasks] == [2, 4, 6]

    asyncio.run(main())


def test_a_busy_one_waits_for_the_clients_of_its_last_call(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 1e6)
    monkeypatch.setattr(module, "LONGEST", 20.0)

    async def main():
        model = Model()
        batcher = Batcher(model, queue=10, batch=3)

        async def client(number):
            for turn in range(3):
                await batcher.ask(100 * turn + number, 1)
                for _ in range(number):  # they come back one after the other
                    await asyncio.sleep(0)

        await asyncio.gather(client(1), client(2), client(3))
        assert [sorted(call) for call in model.calls] == [[1, 2, 3], [101, 102, 103], [201, 202, 203]]

    asyncio.run(asyncio.wait_for(main(), 60))
