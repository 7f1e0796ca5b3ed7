"""Topics, histories and queues on a Redis Cluster.

A topic is a shard channel (SSUBSCRIBE, SPUBLISH): it lives on the node that has its slot, so that
nodes share the load, and moves with the slot. Order holds for each topic, not across nodes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import hiredis

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Backend, Inbox, Publication, reconnect_delays
from fast_channels_redis.backend import HostQueues
from fast_channels_redis.connection import ConnectionLost, Reply
from fast_channels_redis.describing import described
from fast_channels_redis.history import RedisHistory
from fast_channels_redis.hosts import Cluster
from fast_channels_redis.nodes import PAUSE, Attempts, Node
from fast_channels_redis.queues import RedisQueues
from fast_channels_redis.recovery import SILENT, Notices, Recovery
from fast_channels_redis.routes import Place, Send, failure, together
from fast_channels_redis.server import Server
from fast_channels_redis.slots import Address, Slots
from fast_channels_redis.subscriber import Refused

logger = logging.getLogger("fast_channels.redis")

T = TypeVar("T")


class ClusterBackend(Backend):
    """A backend over one Cluster of Redis 7 or newer, or Valkey."""

    def __init__(
        self,
        spec: Cluster,
        capacity_of: Callable[[str], int] = lambda _: 100,
        notices: Notices = SILENT,
    ) -> None:
        self.history = RedisHistory(self)
        self.queues = HostQueues(self._open_queues, lambda: [self._open_queues("")])
        self._capacity_of = capacity_of
        self._notices = notices
        self._slots = Slots(spec)
        self._nodes: dict[Address, Node] = {}
        self._placed: dict[str, Node] = {}
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
        attempts = Attempts(self._slots)

        async def ask(node: Node, some: list[str]) -> list[str]:
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
        groups: dict[Node, list[str]] = {}
        for topic in topics:
            self._lost.discard(topic)
            if (node := self._placed.pop(topic, None)) is not None:
                groups.setdefault(node, []).append(topic)
        await together(node.subscriber.unsubscribe(some) for node, some in groups.items())

    async def publish(self, publications: Sequence[Publication], /) -> None:
        """The nodes have the publications."""
        errors = await self.spread(
            [publication.topic for publication in publications],
            lambda place, mine: place.publisher.send([publications[index] for index in mine]),
        )
        if errors:
            raise failure(errors, len(publications))

    # --- routes of the history and the queues -------------------------------------------------

    async def spread(self, topics: Sequence[str], send: Send) -> dict[int, Exception]:
        """Every topic's node has what belongs to it; return the errors, by index."""
        errors: dict[int, Exception] = {}
        attempts = Attempts(self._slots)

        async def one(node: Node, mine: list[int]) -> list[int]:
            node.publisher.link.start()
            try:
                replies = await send(node, mine)
            except ConnectionLost as error:
                errors.update(dict.fromkeys(mine, error))
                return []
            except BackendUnavailable as error:
                attempts.note(error)
                return mine
            again: list[int] = []
            for index, reply in zip(mine, replies, strict=True):
                if isinstance(reply, hiredis.ReplyError):
                    if (final := attempts.passing(reply)) is not None:
                        errors[index] = final
                    else:
                        again.append(index)
            return again

        left = list(range(len(topics)))
        while left:
            groups: dict[Node, list[int]] = {}
            missing: list[int] = []
            for index in left:
                node = self._node_of(topics[index].encode())
                (groups.setdefault(node, []) if node is not None else missing).append(index)
            for again in await together(one(node, mine) for node, mine in groups.items()):
                missing += again
            left = sorted(missing)
            if left:
                try:
                    await attempts.next()
                except BackendUnavailable as error:
                    errors.update(dict.fromkeys(left, error))
                    break
        return errors

    async def at(self, topic: str, ask: Callable[[Place], Awaitable[T]]) -> T:
        """Return the answer of the topic's node."""
        return await self._at(topic.encode(), ask)

    async def _at(self, key: bytes, ask: Callable[[Node], Awaitable[T]]) -> T:
        attempts = Attempts(self._slots)
        while True:
            node = self._node_of(key)
            if node is not None:
                node.publisher.link.start()
                try:
                    return await ask(node)
                except hiredis.ReplyError as error:
                    if attempts.passing(error) is not None:
                        raise
                except ConnectionLost:
                    raise
                except BackendUnavailable as error:
                    attempts.note(error)
            await attempts.next()

    async def call(self, key: bytes, *args: bytes | str | int) -> Reply:
        """Return the reply of the node that has the key."""
        return await self._at(key, lambda node: node.publisher.call(key, *args))

    def everywhere(self) -> Iterable[Callable[..., Awaitable[Reply]]]:
        """Return what sends a command to each of the masters."""
        nodes = [self._node(address) for address in self._slots.masters()]
        for node in nodes:
            node.publisher.link.start()
        return [partial(node.publisher.call, b"") for node in nodes]

    async def describe(self) -> Mapping[str, str | int | float]:
        """Return what a master tells of itself, and how many there are."""
        return await described(self.everywhere())

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

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            if self._inbox is None or self._recovery is None:
                raise BackendUnavailable("the redis backend is not open")
            node = self._nodes[address] = Node(
                self._slots.server(address),
                self._inbox,
                self._recovery,
                self._misplaced,
                self._look_again,
            )
        return node

    def _node_of(self, name: bytes) -> Node | None:
        owner = self._slots.owner(name)
        return self._node(owner) if owner is not None else None

    def _by_node(self, topics: Iterable[str]) -> tuple[dict[Node, list[str]], list[str]]:
        """Return the topics by the node that has each, and those that no node has."""
        groups: dict[Node, list[str]] = {}
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
            moves: dict[Node, list[str]] = {}
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

    async def _move(self, node: Node, topics: list[str]) -> None:
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
