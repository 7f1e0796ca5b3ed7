"""The connection that carries commands: every publish, and what queues ask."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import hiredis

from fast_channels.exceptions import BackendUnavailable, PublishFailed
from fast_channels.layers import Publication
from fast_channels_redis.connection import Connection, Reply
from fast_channels_redis.link import Locate, link_to

MOST_HEADS: Final = 16_384
"""Topics whose command is kept half packed."""


class Publisher:
    """Sends what is published to one server."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        locate: Locate,
        space: bytes = b"",
        command: bytes = b"PUBLISH",
    ) -> None:
        self.link = link_to(loop, "publish", locate, Connection)
        self._space = space
        self._command = command
        self._heads: dict[str, bytes] = {}

    async def publish(self, publications: Sequence[Publication]) -> None:
        """The server has the publications; raises ``PublishFailed`` for those it refused."""
        if not publications:
            return
        connection = self.link.connection or await self.link.ready()
        replies = await connection.send(self.pack(publications), len(publications))
        for reply in replies:
            if type(reply) is not int:
                raise PublishFailed(refused(connection.name, replies))

    async def send(self, publications: Sequence[Publication]) -> list[Reply]:
        """Return the server's reply to each publication."""
        connection = self.link.connection or await self.link.ready()
        return await connection.send(self.pack(publications), len(publications))

    async def call(self, key: bytes, *args: bytes | str | int) -> Reply:
        """Return the reply to one command; the key is on this server, as every other is."""
        connection = self.link.connection or await self.link.ready()
        return await connection.call(*args)

    def everywhere(self) -> list[Callable[..., Awaitable[Reply]]]:
        """Return what sends a command to each server: this one."""
        return [partial(self.call, b"")]

    def pack(self, publications: Sequence[Publication]) -> bytes:
        """Return one command for each publication."""
        if len(publications) == 1:
            [(topic, payload)] = publications
            head = self._heads.get(topic) or self._head(topic)
            return b"%b%d\r\n%b\r\n" % (head, len(payload), payload)
        heads, make = self._heads, self._head
        return b"".join(
            [
                b"%b%d\r\n%b\r\n" % (heads.get(topic) or make(topic), len(payload), payload)
                for topic, payload in publications
            ]
        )

    def _head(self, topic: str) -> bytes:
        """Return the command up to the payload's length; kept, for topics come again and again."""
        if len(self._heads) >= MOST_HEADS:
            self._heads.clear()
        channel = self._space + topic.encode()
        head = b"*3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$" % (
            len(self._command),
            self._command,
            len(channel),
            channel,
        )
        self._heads[topic] = head
        return head


def refused(name: str, replies: Sequence[Reply]) -> dict[int, Exception]:
    """Return why, by index, for each reply that is an error."""
    return {
        index: BackendUnavailable(f"{name} refused the message: {reply}")
        for index, reply in enumerate(replies)
        if isinstance(reply, hiredis.ReplyError)
    }
