"""The nodes of a Cluster, and what it takes to find the right one."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import hiredis

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Inbox
from fast_channels_redis.connection import Reply, explained
from fast_channels_redis.link import PATIENCE, Fixed
from fast_channels_redis.publisher import Publisher
from fast_channels_redis.recovery import Recovery
from fast_channels_redis.server import Server
from fast_channels_redis.slots import Address, Slots
from fast_channels_redis.streams import Streams
from fast_channels_redis.subscriber import Listening, Refused, Subscriber

PAUSE: Final = 0.05
"""Seconds between two attempts while a slot is on its way, or a node is chosen for it."""

PASSING: Final = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "READONLY", "MASTERDOWN")
"""Errors of a node that is, for now, not the one to ask."""


class ShardListening(Listening):
    """A connection that listens to shard channels."""

    message_kind = b"smessage"
    subscribe = b"SSUBSCRIBE"
    unsubscribe = b"SUNSUBSCRIBE"
    on_left: Callable[[bytes], None] | None = None

    def _take(self, reply: Reply) -> None:
        if reply.__class__ is list and reply[0] == b"sunsubscribe" and not self.awaits(reply[1]):
            if self.on_left is not None:  # the slot has moved; nobody asked for this
                self.on_left(reply[1])
        else:
            super()._take(reply)


class Node:
    """The connections to one node, made when they are first needed."""

    def __init__(
        self,
        server: Server,
        inbox: Inbox,
        recovery: Recovery,
        misplaced: Callable[[list[str]], None],
        look_again: Callable[[], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        locate = Fixed(server)
        self.address: Address = (server.host, server.port)
        self.publisher = Publisher(loop, locate, command=b"SPUBLISH")
        self.streams = Streams(self.publisher.link, command=b"SPUBLISH")
        self.subscriber = Subscriber(loop, locate, inbox, recovery, make=self._listening)
        self.subscriber.moved = misplaced
        self.publisher.link.failed = self.subscriber.link.failed = look_again

    def _listening(self, loop: asyncio.AbstractEventLoop, name: str) -> ShardListening:
        connection = ShardListening(loop, name)
        connection.on_left = lambda channel: self.subscriber.lose([channel])
        return connection

    async def close(self) -> None:
        await self.subscriber.link.close()
        await self.publisher.link.close()


class Attempts:
    """One call's attempts to find the right node, for as long as its caller has patience."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._until = time.monotonic() + PATIENCE
        self._problem: Exception = BackendUnavailable("no node of the Cluster has that slot")

    def note(self, error: BackendUnavailable) -> None:
        """This attempt failed; raises the error if another one cannot help."""
        self._problem = error
        for text in error.errors.values() if isinstance(error, Refused) else ():
            if not text.startswith(PASSING):
                raise error
            self._slots.moved(text)

    def passing(self, refusal: hiredis.ReplyError) -> BackendUnavailable | None:
        """Return the error for a refusal that another attempt cannot help; otherwise note it."""
        text, error = str(refusal), BackendUnavailable(explained(refusal))
        if not text.startswith(PASSING):
            return error
        self._problem = error
        self._slots.moved(text)
        return None

    async def next(self) -> None:
        """Another attempt may begin; raises the last problem when patience has ended."""
        if time.monotonic() > self._until:
            raise BackendUnavailable(str(self._problem)) from self._problem
        await asyncio.sleep(PAUSE)
        try:
            await self._slots.refresh()
        except BackendUnavailable as error:
            self._problem = error
