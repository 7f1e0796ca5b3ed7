"""The least that a process can do: mailboxes that are a deque and a Future, no bytes, no bounds."""

import asyncio
from collections import defaultdict, deque
from typing import Any

from benchmarks.sides.side import Hit, Side


class Box:
    """A mailbox with one reader."""

    __slots__ = ("queue", "waiter")

    def __init__(self) -> None:
        self.queue: deque[Any] = deque()
        self.waiter: asyncio.Future[None] | None = None

    def put(self, message: Any) -> None:
        """Take the message and wake the reader."""
        self.queue.append(message)
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            waiter.set_result(None)

    async def get(self) -> Any:
        """Wait for the next message."""
        while not self.queue:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        return self.queue.popleft()


class Bare(Side):
    """A dict of lists of boxes; every reader gets the same message."""

    turn = True

    async def open(self) -> None:
        self.boxes: defaultdict[str, list[Box]] = defaultdict(list)

    async def join(self, group: str) -> Box:
        box = Box()
        self.boxes[group].append(box)
        return box

    def read(self, member: Box, hit: Hit) -> None:
        self.loop(member.get, hit)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        for box in self.boxes[group]:
            box.put(message)
