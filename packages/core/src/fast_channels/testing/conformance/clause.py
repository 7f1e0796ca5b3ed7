"""One clause of the kit: a test that brings its own event loop.

A clause is a coroutine function to who writes it and a plain function to pytest, so it runs the
same under pytest-asyncio in either mode, under anyio, and under no plugin at all. Around every
clause the same is checked: it ends, no task is left, and nothing failed where nobody looked.
"""

import asyncio
import functools
import gc
from collections.abc import Callable, Coroutine, Generator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Final, TypeVar

import pytest

from fast_channels.testing.conformance.sealed import Sealed, sealed


class Suite(Sealed):
    """What every suite of the kit has: its patience, its loop, and what it must close."""

    patience: float = 5.0
    """Seconds that a clause waits for what has to come. A slow broker needs more."""

    quiet: float = 0.1
    """Seconds for which, besides a fence, nothing may come where nothing may."""

    limit: float = 25.0
    """Seconds after which a clause that has not ended has failed."""

    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    """Makes the event loop of a clause; None: asyncio's. ``staticmethod(uvloop.new_event_loop)``
    runs the suite on uvloop."""

    closing: AsyncExitStack
    """Closes what the running clause has opened."""


S = TypeVar("S", bound=Suite)
Test = Callable[[S], Coroutine[Any, Any, None]]


def clause_unless(
    missing: Callable[[Any], str | None],
) -> Callable[[Test[S]], Callable[[S], None]]:
    """Make a clause that is skipped where ``missing`` returns a reason, which the skip prints."""

    def decorate(test: Test[S]) -> Callable[[S], None]:
        @functools.wraps(test)
        def run(suite: S) -> None:
            __tracebackhide__ = True  # a failure shows the clause, not what runs it
            if reason := missing(suite):
                pytest.skip(reason)
            with _old_objects_aside(), asyncio.Runner(loop_factory=suite.loop_factory) as runner:
                runner.run(_watched(suite, test))

        del run.__wrapped__  # pytest plugins would see the coroutine function behind it
        return sealed(run)

    return decorate


def clause(test: Test[S]) -> Callable[[S], None]:
    """Return the pytest test that runs the coroutine function on an event loop of its own."""
    return clause_unless(_nothing)(test)


def _nothing(suite: Suite) -> None:
    """Nothing is missing."""


async def _watched(suite: S, test: Test[S]) -> None:
    unseen: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unseen.append(context))
    loop.slow_callback_duration = 10.0  # no verdict may depend on how busy the machine is
    before = asyncio.all_tasks()
    limit = asyncio.timeout(suite.limit)
    try:
        async with limit:
            async with AsyncExitStack() as suite.closing:
                await test(suite)
            for _ in range(_TURNS):  # what was cancelled may need a turn to end
                await asyncio.sleep(0)
    except TimeoutError:
        if not limit.expired():
            raise
        raise AssertionError(f"the clause did not end within {suite.limit:g} s") from None
    gc.collect()  # a task that died with an exception tells so only when it is collected
    left = asyncio.all_tasks() - before
    assert not left, f"tasks are left after everything was closed: {left}"
    assert not unseen, f"failures that nobody was told of: {unseen}"


@contextmanager
def _old_objects_aside() -> Generator[None]:
    """Collecting looks only at what is made inside; all else of a test run takes 50 ms a time."""
    if gc.get_freeze_count():
        yield  # somebody has frozen objects, and has them frozen still
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


_TURNS: Final = 5
