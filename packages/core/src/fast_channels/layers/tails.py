"""Which topics have been quiet for a while since their last frame.

A lost frame shows when the next one comes. For the last one there is no next, so a topic that went
quiet gets one empty frame.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from fast_channels.layers.loops import EARLY
from fast_channels.layers.sequence import TOPICS_REMEMBERED

TAIL_SECONDS: Final = 5.0
AT_A_TURN: Final = 500
"""Topics at one turn of the loop, which has other work, too."""


class Tails:
    """Calls ``due`` with the topics whose last frame is ``seconds`` old, once for each."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        due: Callable[[list[str]], None],
        seconds: float = TAIL_SECONDS,
    ) -> None:
        self._loop = loop
        self._due = due
        self._seconds = seconds
        self._deadlines: OrderedDict[str, float] = OrderedDict()  # in the order they end in
        self._timer: asyncio.TimerHandle | None = None

    def touch(self, topic: str) -> None:
        """The topic just got a frame."""
        deadlines = self._deadlines
        deadlines.pop(topic, None)
        deadlines[topic] = self._loop.time() + self._seconds
        if len(deadlines) > TOPICS_REMEMBERED:
            deadlines.popitem(last=False)
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._tick)

    def close(self) -> None:
        """No timer is left."""
        self._deadlines.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time() + EARLY
        quiet: list[str] = []
        while self._deadlines:
            topic, deadline = next(iter(self._deadlines.items()))
            if deadline > now or len(quiet) == AT_A_TURN:
                self._timer = self._loop.call_at(deadline, self._tick)
                break
            del self._deadlines[topic]
            quiet.append(topic)
        if quiet:
            self._due(quiet)
