"""Calls that are cancelled at every point where they wait."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final, NamedTuple

from fast_channels.testing.conformance.process import soon

# A call inside the process ends in a few turns of the loop, one to a broker in a few hundred.
_EACH_UNTIL: Final = 16
_LAST: Final = 3_000
_GROWTH: Final = 1.3


def _steps() -> Iterator[int]:
    turns = 0
    while turns < _LAST:
        yield turns
        turns = turns + 1 if turns < _EACH_UNTIL else int(turns * _GROWTH)


class Attempt(NamedTuple):
    """One call that was cancelled."""

    number: int
    cancelled: bool
    """It ended by ``CancelledError``."""
    over: bool
    """It was over before it was cancelled."""


async def cancelled_calls(
    call: Callable[[int], Coroutine[Any, Any, object]], within: float
) -> AsyncGenerator[Attempt]:
    """Cancel the call after 0, 1, 2, ... turns of the loop, until it ends before it is cancelled.

    The call gets the number of the attempt. A cancelled call ends within ``within`` seconds, by
    ``CancelledError`` or with its result.
    """
    for number, turns in enumerate(_steps()):
        task = asyncio.create_task(call(number))
        for _ in range(turns):
            await asyncio.sleep(0)
        over = task.done()
        task.cancel()
        await soon(asyncio.wait([task]), "a cancelled call", within)
        if not task.cancelled():
            task.result()
        yield Attempt(number, task.cancelled(), over)
        if over:
            return


async def cancelled_everywhere(
    call: Callable[[], Coroutine[Any, Any, object]],
    check: Callable[[bool], Awaitable[object]],
    within: float,
) -> None:
    """As ``cancelled_calls``; ``check`` runs after each, and is told whether it was over before."""
    async for attempt in cancelled_calls(lambda _: call(), within):
        await check(attempt.over)
