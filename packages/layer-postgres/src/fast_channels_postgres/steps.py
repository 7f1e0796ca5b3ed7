"""Running a coroutine without a task: what a lone send is made of starts at once.

A task would begin in the next turn of the loop, and take one more to tell its end. That is a tenth
of what a send takes.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Steps:
    """Runs ``work``, up to where it waits first in ``start``, and tells ``ended`` of its end.

    ``work`` has no task, so it must not ask for one, as ``asyncio.timeout`` does, and nobody can
    cancel it. ``ended`` is called with what it raised, also from inside ``start``.
    """

    __slots__ = ("_ended", "_loop", "_work")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, None],
        ended: Callable[[BaseException | None], None],
    ) -> None:
        self._loop = loop
        self._work = work
        self._ended = ended

    def start(self, _: object = None) -> None:
        """It goes on until it has to wait."""
        try:
            awaited = self._work.send(None)
        except StopIteration:
            self._ended(None)
        except BaseException as error:
            self._ended(error)
        else:
            if awaited is None:  # as asyncio.sleep(0) asks
                self._loop.call_soon(self.start)
            else:
                awaited._asyncio_future_blocking = False  # as a task takes it: it is awaited
                awaited.add_done_callback(self.start)
