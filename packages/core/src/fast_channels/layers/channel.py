"""A channel with a life: it exists inside an ``async with`` and nowhere else."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fast_channels.layers.mailbox import Mailbox
from fast_channels.layers.session import MakeMailbox, Session


class LocalChannel:
    """What ``layer.channel()`` returns; leaving it ends its mailbox and every membership."""

    __slots__ = ("_enter", "_make", "_prefix", "mailbox", "session")

    def __init__(
        self, enter: Callable[[], Awaitable[Session]], prefix: str, make: MakeMailbox
    ) -> None:
        self._enter = enter
        self._prefix = prefix
        self._make = make
        self.session: Session
        self.mailbox: Mailbox

    @property
    def name(self) -> str:
        """What others send to."""
        return self.mailbox.name

    async def receive(self) -> dict[str, Any]:
        """Wait for the next message; cancelling loses nothing."""
        mailbox = self.mailbox
        while mailbox.queue:  # as get, without a coroutine more
            if (message := mailbox.take()) is not None:
                return message
        return await mailbox.get()

    async def join(self, group: str) -> None:
        """The channel is a member of the group; ``ChannelNotFound`` once it has ended."""
        if self.mailbox.closed is not None:
            raise self.mailbox.closed
        if not self.session.groups.joined(group, self.mailbox):
            await self.session.groups.join(group, self.mailbox)

    def leave(self, group: str) -> None:
        """The channel is no member of the group."""
        self.session.groups.leave(group, self.mailbox.name)

    def end(self) -> None:
        """The mailbox and every membership are gone."""
        self.session.discard(self.mailbox)

    async def __aenter__(self) -> "LocalChannel":
        self.session = await self._enter()
        self.mailbox = self.session.new_mailbox(self._prefix, self._make)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end()

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        mailbox = self.mailbox
        while True:
            if not mailbox.queue:
                yield await mailbox.get()
            elif (message := mailbox.take()) is not None:
                yield message
