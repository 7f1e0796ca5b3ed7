"""An event loop that runs only as far as it is told, so that interleavings are chosen, not met.

It stops by itself when nothing is ready, and its clock stands still until it is moved.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Stopping(selectors.DefaultSelector):
    """Never waits: the loop is stopped when nothing is ready, or when its turns are over."""

    def __init__(self) -> None:
        super().__init__()
        self.stop: Callable[[], None]
        self.turns: int | None = None
        self.idle = True

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        self.idle = not ready and (timeout is None or timeout > 0)
        if self.turns is not None:
            self.turns -= 1
        if self.idle or self.turns == 0:
            self.stop()
        return ready


class SteppedLoop(asyncio.SelectorEventLoop):
    """Made for one example, which calls ``end`` when it is over."""

    def __init__(self) -> None:
        self._stopping_selector = _Stopping()
        self._now = 1_000.0
        self._unseen: list[dict[str, Any]] = []
        super().__init__(self._stopping_selector)
        self._stopping_selector.stop = self.stop
        self.set_exception_handler(lambda _, context: self._unseen.append(context))

    def time(self) -> float:
        return self._now

    @property
    def idle(self) -> bool:
        """Whether nothing was ready when the loop stopped last."""
        return self._stopping_selector.idle

    def run(self, turns: int | None = None) -> None:
        """Run what is ready, and what that makes ready; at most so many turns, if given."""
        if turns != 0:
            self._stopping_selector.turns = turns
            self.run_forever()

    def advance(self, seconds: float) -> None:
        """Let the time pass, timer by timer."""
        end = self._now + seconds
        self.run()
        while self._now < end:
            self._now = min(end, self._now + 0.25)
            self.run()

    def start(
        self, coroutine: Coroutine[Any, Any, T], turns: int | None = None
    ) -> "asyncio.Task[T]":
        """Return the task that runs the coroutine, after so many turns (None: until idle)."""
        task = self.create_task(coroutine)
        self.run(turns)
        return task

    def finish(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns; that it has to wait for something is a failure."""
        task = self.start(coroutine)
        assert task.done(), f"it waits for something that never comes: {task}"
        return task.result()

    def end(self) -> None:
        """The loop is closed; a task that is left, or a failure nobody was told of, is an error."""
        try:
            self.run()
            left = asyncio.all_tasks(self)
            for task in left:
                task.cancel()
            self.run()
            self.run_until_complete(self.shutdown_asyncgens())
        finally:
            self.close()
        assert not left, f"tasks are left: {left}"
        assert not self._unseen, f"failures that nobody was told of: {self._unseen}"
