"""Runs a coroutine's steps in another task's name, and hands it over where it suspends.

Most handlers end without suspending. Waking a consumer's task for each of them costs more than the
handler; so the first step runs at once, wherever the message arrived, as if the consumer's task ran
it: ``asyncio.current_task()`` is that task (``asyncio._enter_task`` and ``_leave_task``, which the
documentation of asyncio names for those who extend it), and the context is the consumer's.
``FAST_CHANNELS_IN_PLACE=0`` turns this off.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from functools import cache
from types import coroutine
from typing import Any, Final

enter_task: Final[Any] = getattr(asyncio, "_enter_task", None)
leave_task: Final[Any] = getattr(asyncio, "_leave_task", None)

Handler = Coroutine[Any, Any, Any]

ENDED: Final = object()
"""What a runner yields when the handler that it was given has ended."""

Run = Callable[[Any], Any]
"""``send`` of a runner: takes a handler, and returns what that waits for, or ``ENDED``."""


@coroutine
def in_place_runner() -> Generator[Any, Any, None]:
    """Run one handler after the other: a coroutine's own end would cost its caller an exception."""
    while True:
        yield from (yield ENDED)


def new_runner() -> Run:
    """Return a runner that waits for its first handler."""
    runner: Any = in_place_runner()
    next(runner)
    run: Run = runner.send
    return run


MOST_IDLE: Final = 100
"""Runners that are kept although as many handlers do not start at once: a thread needs one."""

_idle: Final[list[Run]] = []
take_runner: Final = _idle.pop
"""Return a runner that waits for a handler; ``IndexError`` where a new one is needed."""
put_back: Final = _idle.append
"""Make a runner, whose handler has ended without raising, ready for the next one."""


class Suspended:
    """A handler that has begun and waits for ``waits_for``; awaiting it runs the rest.

    ``waits_for`` is what it yielded: a Future, or None for a bare turn of the loop.
    """

    __slots__ = ("_context", "_interrupt", "_runner", "_waits_for")

    def __init__(self, run: Run, context: Context, waits_for: Any) -> None:
        self._runner = run
        self._context = context
        self._waits_for = waits_for
        self._interrupt: BaseException | None = None

    def cancel(self, error: asyncio.CancelledError) -> None:
        """What it waits for is cancelled, or the rest begins with ``error``: as a task does it."""
        if self._waits_for is None or not self._waits_for.cancel(*error.args):
            self._interrupt = error

    def __await__(self) -> Generator[Any, Any, None]:
        run: Any = self._context.run
        runner: Any = self._runner.__self__  # type: ignore[attr-defined]  # a builtin method
        # None is yielded on, too, although a turn has passed: in this one its task waits for
        # nothing, and only then can anyio cancel it.
        waits_for = self._waits_for
        if self._interrupt is not None:
            waits_for = run(runner.throw, self._interrupt)
        yield from _rest(run, runner, waits_for)
        if len(_idle) < MOST_IDLE:
            put_back(self._runner)


class Parking(asyncio.Future[None]):
    """What a consumer's task waits for; ``cancelled`` is called at once when that is cancelled."""

    __slots__ = ("_cancelled",)

    def __init__(self, loop: asyncio.AbstractEventLoop, cancelled: Callable[[], object]) -> None:
        super().__init__(loop=loop)
        self._cancelled = cancelled

    def cancel(self, msg: Any = None) -> bool:
        """Wake the task with a ``CancelledError``."""
        self._cancelled()
        return super().cancel(msg)


class InContext:
    """A coroutine whose every step runs in ``context``, whoever awaits it."""

    __slots__ = ("_context", "_coroutine")

    def __init__(self, coroutine: Handler, context: Context) -> None:
        self._coroutine = coroutine
        self._context = context

    def __await__(self) -> Generator[Any, Any, None]:
        run = self._context.run
        try:
            yield from _rest(run, self._coroutine, run(self._coroutine.send, None))
        except StopIteration:
            return


def _rest(run: Any, coroutine: Handler, waits_for: Any) -> Generator[Any, Any, None]:
    """Yield what the coroutine waits for, until it ends or is a runner whose handler does."""
    try:
        while waits_for is not ENDED:
            try:
                value = yield waits_for
            except GeneratorExit:
                run(coroutine.close)
                raise
            except BaseException as error:
                waits_for = run(coroutine.throw, error)
            else:
                waits_for = run(coroutine.send, value)
    except StopIteration:
        return


def serving_task() -> "asyncio.Task[Any]":
    """Return the running task, which is a consumer's; ``RuntimeError`` if there is none."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a consumer must be served by an asyncio task")
    return task


def start(
    coroutine: Handler,
    context: Context,
    task: "asyncio.Task[Any]",
    current: "asyncio.Task[Any] | None",
    loop: asyncio.AbstractEventLoop,
) -> Suspended | None:
    """Run the coroutine's first step in the task's name; None if it ended with it.

    The task must be suspended; ``current`` is the one that runs now, if any does. What the
    coroutine raises is raised here.
    """
    try:
        run = take_runner()
    except IndexError:
        run = new_runner()
    if current is not None:
        leave_task(loop, current)
    enter_task(loop, task)
    try:
        waits_for = context.run(run, coroutine)
    finally:
        leave_task(loop, task)
        if current is not None:
            enter_task(loop, current)
    if waits_for is not ENDED:
        return Suspended(run, context, waits_for)
    put_back(run)
    return None


def enabled() -> bool:
    """True when handlers are started in place."""
    return os.environ.get("FAST_CHANNELS_IN_PLACE", "1") != "0" and _works()


@cache
def _works() -> bool:
    """Try, inside a running task, that a task can be left and entered."""
    task = asyncio.current_task()
    if enter_task is None or task is None:
        return False
    loop = task.get_loop()
    leave_task(loop, task)
    try:
        left = asyncio.current_task(loop) is None
    finally:
        enter_task(loop, task)
    return left and asyncio.current_task(loop) is task
