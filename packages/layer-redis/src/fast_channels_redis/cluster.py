"""Topics and queues on a Redis Cluster.

A topic is a shard channel (SSUBSCRIBE, SPUBLISH): it lives on the node that has its slot, so that
nodes share the load, and moves with the slot. Order holds for each topic, not across nodes.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Final

import hiredis

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Backend, Inbox, Publication, reconnect_delays
from fast_channels_redis.backend import HostQueues, failure, together
from fast_channels_redis.connection import ConnectionLost, Reply
from fast_channels_redis.hosts import Cluster
from fast_channels_redis.link import PATIENCE, Fixed
from fast_channels_redis.publisher import Publisher
from fast_channels_redis.queues import RedisQueues
from fast_channels_redis.recovery import SILENT, Notices, Recovery
from fast_channels_redis.server import Server
from fast_channels_redis.slots import Address, Slots
from fast_channels_redis.subscriber import Listening, Refused, Subscriber

logger = logging.getLogger("fast_channels.redis")

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


class _Node:
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


class _Attempts:
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

    def passing(self, name: str, text: str) -> BackendUnavailable | None:
        """Return the error for a refusal that another attempt cannot help; otherwise note it."""
        error = BackendUnavailable(f"{name} refused the command: {text}")
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


class ClusterBackend(Backend):
    """A backend over one Cluster of Redis 7 or newer, or Valkey."""

    def __init__(
        self,
        spec: Cluster,
        capacity_of: Callable[[str], int] = lambda _: 100,
        notices: Notices = SILENT,
    ) -> None:
        self.queues = HostQueues(self._open_queues, lambda: [self._open_queues("")])
        self._capacity_of = capacity_of
        self._notices = notices
        self._slots = Slots(spec)
        self._nodes: dict[Address, _Node] = {}
        self._placed: dict[str, _Node] = {}
        """The subscribed topics, and where they are."""
        self._lost: set[str] = set()
        """Those of them that no node is known to deliver now."""
        self._placing: asyncio.Task[None] | None = None
        self._inbox: Inbox | None = None
        self._recovery: Recovery | None = None
        self._queues: RedisQueues | None = None
        self._closing = asyncio.Lock()

    async def open(self, inbox: Inbox, /) -> None:
        """A node has told which node has which slot."""
        loop = asyncio.get_running_loop()
        await self._slots.refresh()
        self._inbox = inbox
        self._recovery = Recovery(
            loop, inbox, self._any_down, lambda: len(self._placed), self._notices
        )
        self._queues = RedisQueues(loop, self, self._locate, self._capacity_of)

    async def close(self) -> None:
        """Every connection is gone; jobs that were on their way here are back."""
        async with self._closing:  # who closes at the same time waits, too
            if self._queues is not None:
                await self._queues.close()
            self._inbox = self._queues = None
            if self._recovery is not None:
                self._recovery.close()
            if self._placing is not None:
                self._placing.cancel()
                await asyncio.wait([self._placing])
            await self._slots.close()
            await together(node.close() for node in self._nodes.values())
            self._nodes.clear()
            self._placed.clear()

    # --- topics -------------------------------------------------------------------------------

    async def subscribe(self, topics: Collection[str], /) -> None:
        """The nodes deliver the topics."""
        fresh = [topic for topic in topics if topic not in self._placed]
        missing = fresh
        if not fresh:
            await together(self._placed[topic].subscriber.subscribe([topic]) for topic in topics)
            return
        attempts = _Attempts(self._slots)

        async def ask(node: _Node, some: list[str]) -> list[str]:
            node.subscriber.link.start()
            try:
                await node.subscriber.subscribe(some)
            except BackendUnavailable as error:
                attempts.note(error)
                return some
            self._placed.update(dict.fromkeys(some, node))
            return []

        try:
            while missing:
                groups, missing = self._by_node(missing)
                for failed in await together(ask(node, some) for node, some in groups.items()):
                    missing += failed
                if missing:
                    await attempts.next()
        except BaseException:
            for topic in fresh:
                if (node := self._placed.pop(topic, None)) is not None:
                    node.subscriber.abandon([topic])
            raise

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        """The topics are not delivered any more."""
        groups: dict[_Node, list[str]] = {}
        for topic in topics:
            self._lost.discard(topic)
            if (node := self._placed.pop(topic, None)) is not None:
                groups.setdefault(node, []).append(topic)
        await together(node.subscriber.unsubscribe(some) for node, some in groups.items())

    async def publish(self, publications: Sequence[Publication], /) -> None:
        """The nodes have the publications."""
        errors: dict[int, Exception] = {}
        attempts = _Attempts(self._slots)

        async def send(node: _Node, mine: list[int]) -> list[int]:
            node.publisher.link.start()
            try:
                replies = await node.publisher.send([publications[index] for index in mine])
            except ConnectionLost as error:
                errors.update(dict.fromkeys(mine, error))
                return []
            except BackendUnavailable as error:
                attempts.note(error)
                return mine
            again: list[int] = []
            for index, reply in zip(mine, replies, strict=True):
                if type(reply) is not int:
                    if (final := attempts.passing("redis", str(reply))) is not None:
                        errors[index] = final
                    else:
                        again.append(index)
            return again

        left = list(range(len(publications)))
        while left:
            groups: dict[_Node, list[int]] = {}
            missing: list[int] = []
            for index in left:
                node = self._node_of(publications[index].topic.encode())
                (groups.setdefault(node, []) if node is not None else missing).append(index)
            for again in await together(send(node, mine) for node, mine in groups.items()):
                missing += again
            left = sorted(missing)
            if left:
                try:
                    await attempts.next()
                except BackendUnavailable as error:
                    errors.update(dict.fromkeys(left, error))
                    break
        if errors:
            raise failure(errors, len(publications))

    # --- commands of the queues ---------------------------------------------------------------

    async def call(self, key: bytes, *args: bytes | str | int) -> Reply:
        """Return the reply of the node that has the key."""
        attempts = _Attempts(self._slots)
        while True:
            node = self._node_of(key)
            if node is not None:
                node.publisher.link.start()
                try:
                    return await node.publisher.call(key, *args)
                except hiredis.ReplyError as error:
                    if attempts.passing("redis", str(error)) is not None:
                        raise
                except ConnectionLost:
                    raise
                except BackendUnavailable as error:
                    attempts.note(error)
            await attempts.next()

    def everywhere(self) -> Iterable[Callable[..., Awaitable[Reply]]]:
        """Return what sends a command to each of the masters."""
        nodes = [self._node(address) for address in self._slots.masters()]
        for node in nodes:
            node.publisher.link.start()
        return [partial(node.publisher.call, b"") for node in nodes]

    def _locate(self, key: bytes) -> Callable[[], Awaitable[Server]]:
        async def find() -> Server:
            await self._slots.refresh()
            owner = self._slots.owner(key)
            if owner is None:
                raise BackendUnavailable("no node of the Cluster has the slot of the queues")
            return self._slots.server(owner)

        return find

    def _open_queues(self, _: str) -> RedisQueues:
        if self._queues is None:
            raise BackendUnavailable("the redis backend is not open")
        return self._queues

    # --- nodes --------------------------------------------------------------------------------

    def _node(self, address: Address) -> _Node:
        node = self._nodes.get(address)
        if node is None:
            if self._inbox is None or self._recovery is None:
                raise BackendUnavailable("the redis backend is not open")
            node = self._nodes[address] = _Node(
                self._slots.server(address),
                self._inbox,
                self._recovery,
                self._misplaced,
                self._look_again,
            )
        return node

    def _node_of(self, name: bytes) -> _Node | None:
        owner = self._slots.owner(name)
        return self._node(owner) if owner is not None else None

    def _by_node(self, topics: Iterable[str]) -> tuple[dict[_Node, list[str]], list[str]]:
        """Return the topics by the node that has each, and those that no node has."""
        groups: dict[_Node, list[str]] = {}
        nowhere: list[str] = []
        for topic in topics:
            node = self._node_of(topic.encode())
            (groups.setdefault(node, []) if node is not None else nowhere).append(topic)
        return groups, nowhere

    @property
    def deaf(self) -> Exception | None:
        """That a node of the Cluster delivers nothing now."""
        down = self._any_down()
        return BackendUnavailable("a node of the Cluster delivers nothing now") if down else None

    def _any_down(self) -> bool:
        return any(node.subscriber.down for node in self._nodes.values())

    # --- moves --------------------------------------------------------------------------------

    def _misplaced(self, topics: list[str]) -> None:
        """A node has said that these are another's."""
        self._lost.update(topic for topic in topics if topic in self._placed)
        self._look_again()

    def _look_again(self) -> None:
        """Slots may be elsewhere than they were."""
        if self._placing is None and self._inbox is not None:
            loop = asyncio.get_running_loop()
            self._placing = loop.create_task(self._place(), name="fast-channels-redis-place")
            self._placing.add_done_callback(self._placed_all)

    def _placed_all(self, task: "asyncio.Task[None]") -> None:
        self._placing = None
        if not task.cancelled():
            task.result()
            if self._lost:
                self._look_again()

    async def _place(self) -> None:
        """Every topic is delivered by the node that has its slot."""
        delays = reconnect_delays(PAUSE, 10 * PAUSE)
        while True:
            try:
                await self._slots.refresh()
            except BackendUnavailable as error:
                logger.debug("looking for slots: %s", error)
            moves: dict[_Node, list[str]] = {}
            for topic, node in self._placed.items():
                owner = self._slots.owner(topic.encode())
                if owner is not None and (owner != node.address or topic in self._lost):
                    moves.setdefault(self._node(owner), []).append(topic)
            await together(self._move(node, topics) for node, topics in moves.items())
            self._lost &= self._placed.keys()
            if not self._lost:
                await self._let_go()
                return
            await asyncio.sleep(next(delays))

    async def _let_go(self) -> None:
        """Nodes that have no slot any more are not connected to for ever."""
        wanted = self._slots.masters() | {node.address for node in self._placed.values()}
        gone = [self._nodes.pop(address) for address in self._nodes.keys() - wanted]
        await together(node.close() for node in gone)

    async def _move(self, node: _Node, topics: list[str]) -> None:
        for topic in topics:
            self._placed[topic].subscriber.abandon([topic])
            self._placed[topic] = node
        self._lost.update(topics)
        node.subscriber.link.start()
        try:
            release = await node.subscriber.adopt(topics)
        except BackendUnavailable as error:
            if isinstance(error, Refused):
                for text in error.errors.values():
                    self._slots.moved(text)
            logger.debug("moving %d topics: %s", len(topics), error)
            return
        self._lost.difference_update(topics)
        logger.warning("%d topics are on %s:%d now", len(topics), *node.address)
        if self._recovery is not None:
            cause = BackendUnavailable("their slots were moved to another node")
            self._recovery.back(cause, topics, release)
