"""Calls that are cancelled at every point where they wait."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final

from fast_channels.testing.conformance.process import soon

# A call inside the process ends in a few turns of the loop, one to a broker in a few hundred.
_EACH_UNTIL: Final = 12
_LAST: Final = 3_000
_GROWTH: Final = 1.3


def _steps() -> Iterator[int]:
    turns = 0
    while turns < _LAST:
        yield turns
        turns = turns + 1 if turns < _EACH_UNTIL else int(turns * _GROWTH)


async def cancelled_everywhere(
    call: Callable[[], Coroutine[Any, Any, object]],
    check: Callable[[bool], Awaitable[object]],
    within: float,
) -> None:
    """Cancel the call after 0, 1, 2, ... turns of the loop, until it ends before it is cancelled.

    ``check`` runs after each; its argument tells whether the call was over before. A cancelled
    call ends within ``within`` seconds, by ``CancelledError`` or with its result.
    """
    for turns in _steps():
        task = asyncio.create_task(call())
        for _ in range(turns):
            await asyncio.sleep(0)
        over = task.done()
        task.cancel()
        await soon(asyncio.wait([task]), "a cancelled call", within)
        if not task.cancelled():
            task.result()
        await check(over)
        if over:
            return
