"""Event loops: how exactly they keep time, and how one has something done by another."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

EARLY: Final = 0.001
"""Seconds by which a timer may fire before its time: loops round their clocks."""

LOOK_AGAIN: Final = 0.1
"""Seconds between two looks whether the other loop is still there to answer."""


async def run_elsewhere(
    loop: asyncio.AbstractEventLoop,
    begin: "Callable[[], asyncio.Future[None]]",
    seconds: float,
) -> None:
    """The other loop has done what ``begin`` begins there, or was closed, or did not in that time.

    What goes wrong with it is raised here, unless the other loop's end cancelled it.
    """
    ended: Future[None] = Future()
    begun: list[asyncio.Future[None]] = []  # a loop holds its tasks weakly

    def start() -> None:
        begun.append(begin())
        begun[0].add_done_callback(finish)

    def finish(done: "asyncio.Future[None]") -> None:
        error = None if done.cancelled() else done.exception()
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    try:
        # Not run_coroutine_threadsafe: a loop that ends first would leave a coroutine unawaited.
        loop.call_soon_threadsafe(start)
    except RuntimeError:
        return  # the loop is closed
    waiting = asyncio.wrap_future(ended)
    deadline = asyncio.get_running_loop().time() + seconds
    while not waiting.done() and not loop.is_closed():
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return
        await asyncio.wait([waiting], timeout=min(left, LOOK_AGAIN))
    if waiting.done():
        waiting.result()
