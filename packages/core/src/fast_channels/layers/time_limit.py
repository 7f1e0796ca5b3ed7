"""A time limit for one operation after the other, without a timer for each.

``asyncio.timeout`` makes and cancels a timer every time, which costs more than a whole send. Here
one timer stays armed and looks, when it fires, whether an operation has been under way for too
long.
"""

import asyncio
from types import TracebackType
from typing import Any

from fast_channels.layers.loops import EARLY


class TimeLimit:
    """Used as ``with limit(seconds):`` inside a task, by one task at a time.

    What takes longer is cancelled, and leaves the block as ``TimeoutError``.
    """

    __slots__ = (
        "_cancelling",
        "_closed",
        "_deadline",
        "_expired",
        "_fires_at",
        "_loop",
        "_task",
        "_timer",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._closed = False
        self._deadline = 0.0
        self._expired = False
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = 0.0

    def __call__(self, seconds: float) -> "TimeLimit":
        """Set how long the next operation may take."""
        self._deadline = self._loop.time() + seconds
        return self

    def close(self) -> None:
        """No timer is left, once what is under way has ended within its limit."""
        self._closed = True
        if self._task is None:
            self._disarm()

    def __enter__(self) -> None:
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a send must be awaited by a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._expired = False
        if self._timer is None or self._fires_at > self._deadline:
            self._arm()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._closed:
            self._disarm()
        if not self._expired or task is None:
            return
        # As asyncio.timeout: another's cancellation goes on being one.
        if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _arm(self) -> None:
        self._disarm()
        self._fires_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._look)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._task is None:
            return
        if self._loop.time() < self._deadline - EARLY:
            self._arm()
        else:
            self._expired = True
            self._task.cancel()
