"""Functions that applications built on Channels import."""

import asyncio
from typing import Any

import pytest

from fast_channels.utils import await_many_dispatch, is_same_domain


@pytest.mark.parametrize(
    ("host", "pattern", "same"),
    [
        ("example.com", "example.com", True),
        ("example.com", "EXAMPLE.com", True),
        ("Example.com", "example.com", True),
        ("a.example.com", "example.com", False),
        ("example.com", ".example.com", True),
        ("a.b.example.com", ".example.com", True),
        ("badexample.com", ".example.com", False),
        ("example.com", "", False),
        ("", "", False),
    ],
)
def test_a_domain_matches_itself_and_with_a_dot_all_below_it(host: str, pattern: str, same: bool):
    assert is_same_domain(host, pattern) is same


class Stop(Exception):
    """Ends a dispatch loop."""


async def test_results_of_every_callable_are_dispatched_until_dispatch_raises():
    before = asyncio.all_tasks()
    left, right = asyncio.Queue[str](), asyncio.Queue[str]()
    for each in ("a", "b", "stop"):
        left.put_nowait(each)
    right.put_nowait("c")
    seen: list[str] = []

    async def dispatch(message: str) -> None:
        if message == "stop":
            raise Stop
        seen.append(message)

    with pytest.raises(Stop):
        await await_many_dispatch([left.get, right.get], dispatch)
    assert seen == ["a", "c", "b"]
    assert asyncio.all_tasks() == before


async def test_an_exception_of_one_callable_ends_it_and_leaves_no_task():
    before = asyncio.all_tasks()
    ended: list[str] = []

    async def waits() -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("waits")

    async def fails() -> Any:
        await asyncio.sleep(0)
        raise Stop

    async def dispatch(message: Any) -> None:
        raise AssertionError(message)

    with pytest.raises(Stop):
        await await_many_dispatch([waits, fails, waits], dispatch)
    assert ended == ["waits", "waits"]
    assert asyncio.all_tasks() == before


async def test_a_callable_that_raises_before_it_returns_an_awaitable_leaves_no_task():
    before = asyncio.all_tasks()

    def broken() -> Any:
        raise Stop

    async def dispatch(message: Any) -> None: ...

    with pytest.raises(Stop):
        await await_many_dispatch([asyncio.Event().wait, broken], dispatch)
    assert asyncio.all_tasks() == before


async def test_cancelling_it_cancels_and_awaits_every_call():
    before = asyncio.all_tasks()
    queue = asyncio.Queue[str]()
    reached = asyncio.Event()

    async def dispatch(message: Any) -> None:
        reached.set()

    queue.put_nowait("x")
    running = asyncio.create_task(await_many_dispatch([queue.get, asyncio.Event().wait], dispatch))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.all_tasks() == before
