"""One timer for many operations: each is limited as ``asyncio.timeout`` would."""

import asyncio
import contextlib
from typing import Any

import pytest

from fast_channels.layers.time_limit import TimeLimit

from .clock import VirtualLoop, virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual_time
async def test_what_ends_in_time_passes() -> None:
    limit = TimeLimit(asyncio.get_running_loop())
    for _ in range(5):
        with limit(5.0):
            await asyncio.sleep(4.9)
    limit.close()


@virtual_time
async def test_what_takes_too_long_is_a_timeout_at_its_time() -> None:
    limit = TimeLimit(asyncio.get_running_loop())
    for seconds in (5.0, 1.0, 3.0):
        start = now()
        with pytest.raises(TimeoutError), limit(seconds):
            await asyncio.sleep(100)
        assert now() - start == pytest.approx(seconds, abs=0.01)
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]  # inside a task


@virtual_time
async def test_the_timer_of_one_operation_does_not_end_the_next() -> None:
    limit = TimeLimit(asyncio.get_running_loop())
    with limit(5.0):
        await asyncio.sleep(4.0)
    with limit(5.0):
        await asyncio.sleep(4.0)  # the first one's time is over here
    await asyncio.sleep(100)
    with limit(1.0):
        await asyncio.sleep(0.5)


@virtual_time
async def test_a_shorter_limit_after_a_longer_one_counts() -> None:
    limit = TimeLimit(asyncio.get_running_loop())
    with limit(100.0):
        await asyncio.sleep(1.0)
    start = now()
    with pytest.raises(TimeoutError), limit(2.0):
        await asyncio.sleep(50)
    assert now() - start == pytest.approx(2.0, abs=0.01)


@virtual_time
async def test_a_cancellation_from_outside_stays_one() -> None:
    limit = TimeLimit(asyncio.get_running_loop())

    async def work() -> None:
        with limit(5.0):
            await asyncio.sleep(100)

    for moment in (1.0, 5.0):
        working = asyncio.create_task(work())
        await asyncio.sleep(moment)
        working.cancel()
        await asyncio.wait([working])
        assert working.cancelled() or isinstance(working.exception(), TimeoutError)
        if moment == 1.0:
            assert working.cancelled()


@virtual_time
async def test_a_cancellation_in_the_same_turn_as_the_timeout_stays_one() -> None:
    limit = TimeLimit(asyncio.get_running_loop())
    loop = asyncio.get_running_loop()

    async def work() -> None:
        with limit(5.0):
            await asyncio.sleep(100)

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    loop.call_at(now() + 5.0, working.cancel)
    await asyncio.wait([working])
    assert working.cancelled()


@virtual_time
async def test_an_error_of_its_own_passes_even_when_the_time_is_over() -> None:
    limit = TimeLimit(asyncio.get_running_loop())
    with pytest.raises(KeyError), limit(1.0):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            raise KeyError from None
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]  # inside a task


@virtual_time
async def test_closing_leaves_what_is_under_way_its_limit_and_then_no_timer() -> None:
    loop = asyncio.get_running_loop()
    limit = TimeLimit(loop)
    start = now()
    with pytest.raises(TimeoutError), limit(5.0):
        limit.close()
        await asyncio.sleep(100)
    assert now() - start == pytest.approx(5.0, abs=0.01)
    with limit(50.0):
        await asyncio.sleep(1.0)
    assert pending_timers(loop) == []


@virtual_time
async def test_closing_while_nothing_is_under_way_leaves_no_timer() -> None:
    loop = asyncio.get_running_loop()
    limit = TimeLimit(loop)
    with limit(5.0):
        await asyncio.sleep(1.0)
    assert len(pending_timers(loop)) == 1
    limit.close()
    assert pending_timers(loop) == []


def test_outside_a_task_there_is_nothing_to_limit() -> None:
    with (
        contextlib.closing(VirtualLoop()) as loop,
        pytest.raises(RuntimeError, match="awaited by a task"),
    ):
        TimeLimit(loop)(5.0).__enter__()


def pending_timers(loop: asyncio.AbstractEventLoop) -> list[Any]:
    return [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
