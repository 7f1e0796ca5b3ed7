"""A coroutine that runs without a task goes through all that a task would."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from fast_channels_postgres.steps import Steps


async def ended(work: Coroutine[Any, Any, None]) -> BaseException | None:
    """Run the work to its end, and return what it raised."""
    loop = asyncio.get_running_loop()
    end: asyncio.Future[BaseException | None] = loop.create_future()
    Steps(loop, work, end.set_result).start()
    async with asyncio.timeout(5):
        return await end


async def test_work_begins_at_once_and_goes_on_when_what_it_waits_for_is_there() -> None:
    loop = asyncio.get_running_loop()
    gate, seen = loop.create_future(), []

    async def work() -> None:
        seen.append("begun")
        seen.append(await gate)
        await asyncio.sleep(0)
        seen.append("done")

    end = loop.create_future()
    Steps(loop, work(), end.set_result).start()
    assert seen == ["begun"]
    gate.set_result("gate")
    assert await end is None
    assert seen == ["begun", "gate", "done"]


async def test_work_sees_the_error_of_what_it_waits_for_and_its_own_is_told() -> None:
    failing = asyncio.get_running_loop().create_future()
    failing.set_exception(ZeroDivisionError())
    seen: list[str] = []

    async def work() -> None:
        try:
            await failing
        except ZeroDivisionError:
            seen.append("caught")
        raise KeyError("own")

    error = await ended(work())
    assert isinstance(error, KeyError)
    assert seen == ["caught"]


@pytest.mark.parametrize("error", [None, ValueError("at once")])
async def test_work_that_waits_for_nothing_has_ended_when_start_returns(
    error: Exception | None,
) -> None:
    async def work() -> None:
        if error is not None:
            raise error

    told: list[BaseException | None] = []
    Steps(asyncio.get_running_loop(), work(), told.append).start()
    assert told == [error]
