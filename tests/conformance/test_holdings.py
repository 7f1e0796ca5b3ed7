"""What counts as left behind: one task more, and not one that took the place of another."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from fast_channels.testing.conformance.holdings import Holdings


async def listen() -> None:
    await asyncio.Event().wait()


async def leak() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def running(*functions):
    tasks = [asyncio.create_task(function()) for function in functions]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_a_task_in_the_place_of_one_like_it_is_no_more() -> None:
    async with running(listen, listen):
        before = Holdings.now()
    async with running(listen, listen):
        assert before.more() is None


@pytest.mark.parametrize("left", [(leak,), (listen, listen), (listen, leak)])
async def test_a_task_that_was_not_there_is_more(left) -> None:
    async with running(listen):
        before = Holdings.now()
    async with running(*left):
        more = before.more()
    assert more is not None
    assert f"coro=<{left[-1].__name__}()" in more


async def test_a_task_beside_those_that_stay_is_more() -> None:
    async with running(listen):
        before = Holdings.now()
        async with running(listen):
            assert before.more() is not None
        assert before.more() is None
