"""One outage is one gap, on however many connections it was felt."""

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from fast_channels.layers import Inbox

TOGETHER_SECONDS: Final = 1.5
"""How long connections that are back wait for others that are not, to be told of together."""

Release = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Notices:
    """Types of messages that members of groups get, as channels_redis sends them."""

    lost: str | None = None
    """When their group's messages stop coming."""
    back: str | None = None
    """When they come again; besides the gap."""


SILENT: Final = Notices()


class Recovery:
    """Tells the inbox of losses, each once, when what was lost is restored."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        inbox: Inbox,
        others_down: Callable[[], bool],
        subscribed: Callable[[], int],
        notices: Notices = SILENT,
    ) -> None:
        self._loop = loop
        self._inbox = inbox
        self._others_down = others_down
        self._subscribed = subscribed
        """How many topics there are on all connections."""
        self._notices = notices
        self._cause: Exception | None = None
        self._topics: set[str] = set()
        self._releases: list[Release] = []
        self._timer: asyncio.TimerHandle | None = None

    def lost(self, topics: Iterable[str]) -> None:
        """The topics are not delivered, until ``back`` is called."""
        self._notify(self._notices.lost, topics)

    def back(self, cause: Exception, topics: Iterable[str], release: Release) -> None:
        """The topics are delivered again; ``release`` hands on what was held since."""
        self._cause = self._cause or cause
        self._topics.update(topics)
        self._releases.append(release)
        if not self._others_down():
            self._tell()
        elif self._timer is None:
            self._timer = self._loop.call_later(TOGETHER_SECONDS, self._tell)

    def close(self) -> None:
        """Nothing is told any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._releases.clear()

    def _tell(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        cause, topics, releases = self._cause, self._topics, self._releases
        self._cause, self._topics, self._releases = None, set(), []
        everything = len(topics) >= self._subscribed()
        if cause is not None and (topics or everything):
            self._inbox.gap(cause, None if everything else topics)
        self._notify(self._notices.back, topics)
        for release in releases:
            release()

    def _notify(self, kind: str | None, topics: Iterable[str]) -> None:
        if kind is not None:
            message = json.dumps({"type": kind}).encode()
            for topic in tuple(topics):
                if ":g." in topic:
                    self._inbox.deliver(topic, message)
