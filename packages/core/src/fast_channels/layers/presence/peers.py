"""The other nodes that are alive, by their beats and this side's own clock.

A node judges others only while it hears itself: its own beats come back from the broker. So a
broker's outage, or a pause of this process, makes nobody leave.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from fast_channels.layers.loops import EARLY

DEPARTED_REMEMBERED: Final = 1_024
"""Nodes that said goodbye, of which something late may still come."""

LOOK_AGAIN: Final = 0.1
"""The part of a lease after which a node that hears nothing looks again."""


class Peers:
    """Calls ``gone`` with each node that did not beat for ``lease`` seconds."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, lease: float, gone: Callable[[str], None]
    ) -> None:
        self._loop = loop
        self._lease = lease
        self._gone = gone
        self._deadlines: OrderedDict[str, float] = OrderedDict()  # in the order they end in
        self._departed: OrderedDict[str, None] = OrderedDict()
        self._own = loop.time()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def live(self) -> set[str]:
        """The nodes that are alive."""
        return set(self._deadlines)

    def __contains__(self, node: str) -> bool:
        return node in self._deadlines

    def departed(self, node: str) -> bool:
        """True for a node that said goodbye."""
        return node in self._departed

    def heard(self, node: str) -> bool:
        """The node has given a sign of life; True if it was not known."""
        new = self._deadlines.pop(node, None) is None
        self._deadlines[node] = self._loop.time() + self._lease
        if self._timer is None:
            self._timer = self._loop.call_later(self._lease, self._look)
        return new

    def heard_self(self) -> None:
        """This node's own beat came back; after a silence everybody gets a whole lease."""
        now = self._loop.time()
        if now - self._own > self._lease / 2:
            for node in self._deadlines:
                self._deadlines[node] = now + self._lease
        self._own = now

    def leave(self, node: str) -> None:
        """The node said goodbye; what still comes of it means nothing."""
        self._deadlines.pop(node, None)
        self._departed[node] = None
        if len(self._departed) > DEPARTED_REMEMBERED:
            self._departed.popitem(last=False)

    def close(self) -> None:
        """No timer is left."""
        self._deadlines.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time() + EARLY
        gone: list[str] = []
        while self._deadlines:
            node, deadline = next(iter(self._deadlines.items()))
            # Within half a lease of its last beat there should have been another one. A node that
            # has not heard itself since cannot tell whether there was.
            deaf = self._own < deadline - self._lease / 2
            if deadline > now or deaf:
                again = now + LOOK_AGAIN * self._lease if deadline <= now else deadline
                self._timer = self._loop.call_at(again, self._look)
                break
            del self._deadlines[node]
            gone.append(node)
        for node in gone:
            self._gone(node)
