"""Ends mailboxes that nobody reads any more, without ever scanning all of them.

A mailbox sits in one of a few buckets. When its bucket's turn comes, after ``group_expiry``, it is
moved to the newest bucket if somebody read it meanwhile, and discarded otherwise. So an unread one
lives for one to two times ``group_expiry``.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from fast_channels.layers.mailbox import Mailbox

BUCKETS: Final = 8


class Sweeper:
    """Watches the mailboxes that ``new_channel`` made."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        group_expiry: float,
        discard: Callable[[Mailbox], None],
    ) -> None:
        self._loop = loop
        self._interval = group_expiry / BUCKETS
        self._discard = discard
        self._buckets: deque[list[Mailbox]] = deque([[] for _ in range(BUCKETS)], BUCKETS)
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, mailbox: Mailbox) -> None:
        """The mailbox is discarded when nobody reads it."""
        self._buckets[-1].append(mailbox)
        if self._timer is None:
            self._timer = self._loop.call_later(self._interval, self._sweep)

    def close(self) -> None:
        """No timer is left, and nothing is watched."""
        if self._timer is not None:
            self._timer.cancel()
        for bucket in self._buckets:
            bucket.clear()

    def _sweep(self) -> None:
        self._timer = None
        oldest = self._buckets.popleft()
        newest: list[Mailbox] = []
        self._buckets.append(newest)
        for mailbox in oldest:
            if mailbox.used or mailbox.awaited:
                mailbox.used = False
                newest.append(mailbox)
            else:
                self._discard(mailbox)
        if any(self._buckets):
            self._timer = self._loop.call_later(self._interval, self._sweep)
