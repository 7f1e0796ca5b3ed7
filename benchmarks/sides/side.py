"""What a scenario does with a library: groups, members that read, and messages (dicts)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Hit = Callable[[dict[str, Any]], None]


class Side:
    """One library on one broker. Every reader gets a dict, whatever the library carries."""

    turn = False
    """True where ``send`` never suspends: scenarios then let readers run after each."""

    def __init__(self, url: str, roomy: bool) -> None:
        self.url = url
        self.roomy = roomy
        """With room for everything that a scenario sends; else as the library comes."""
        self.tasks: list[asyncio.Task[None]] = []
        self.gate: asyncio.Event | None = None
        """Set before ``read``: a reader that has read one message waits for it."""

    @property
    def port(self) -> int:
        """Where the broker listens."""
        return int(self.url.partition("@")[2].partition("/")[0].rpartition(":")[2] or 0)

    async def open(self) -> None:
        """Ready to send."""

    async def join(self, group: str) -> Any:
        """Return a new member of the group: what is sent from now on reaches it."""
        raise NotImplementedError

    def read(self, member: Any, hit: Hit) -> None:
        """Everything that the member has and gets is handed to ``hit``, in a task of its own."""
        raise NotImplementedError

    async def member(self, group: str, hit: Hit) -> None:
        """One reader more in the group."""
        self.read(await self.join(group), hit)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        """Send to everybody in the group; returns when the library says that it is sent."""
        raise NotImplementedError

    async def settled(self) -> None:
        """The broker has all that was sent, where a send does not wait for that."""

    async def close(self) -> None:
        """No task is left."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def loop(self, receive: Callable[[], Awaitable[dict[str, Any]]], hit: Hit) -> None:
        """Receive in a task of its own."""

        gate = self.gate

        async def forever() -> None:
            if gate is not None:
                hit(await receive())
                await gate.wait()
            while True:
                hit(await receive())

        self.tasks.append(asyncio.get_running_loop().create_task(forever()))

    def told(self) -> list[str]:
        """Return what the library said about losses, other than by its log."""
        return []
