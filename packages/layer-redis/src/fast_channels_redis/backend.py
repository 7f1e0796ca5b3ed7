"""Topics on one server, or sharded over several that know nothing of each other."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import hiredis

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Backend, Inbox, Publication
from fast_channels_redis.connection import Reply, explained
from fast_channels_redis.describing import described
from fast_channels_redis.history import RedisHistory
from fast_channels_redis.hosts import Sentinels, Single
from fast_channels_redis.link import Fixed
from fast_channels_redis.publisher import Publisher
from fast_channels_redis.queues import RedisJob, RedisQueues
from fast_channels_redis.recovery import SILENT, Notices, Recovery
from fast_channels_redis.routes import Place, Send, failure, together
from fast_channels_redis.sentinel import MasterFinder
from fast_channels_redis.sharding import shard_of
from fast_channels_redis.streams import Streams
from fast_channels_redis.subscriber import Subscriber

T = TypeVar("T")


class _Shard:
    """The connections to one host."""

    def __init__(
        self,
        spec: Single | Sentinels,
        inbox: Inbox,
        recovery: Recovery,
        capacity_of: Callable[[str], int],
    ) -> None:
        loop = asyncio.get_running_loop()
        locate = MasterFinder(spec) if isinstance(spec, Sentinels) else Fixed(spec.server)
        # Pub/sub itself knows no databases. No topic holds a "/", so no two of them share a name.
        space = b"%d/" % spec.server.db if spec.server.db else b""
        self.publisher = Publisher(loop, locate, space)
        self.streams = Streams(self.publisher.link, space)
        self.subscriber = Subscriber(loop, locate, inbox, recovery, space)
        self.queues = RedisQueues(loop, self.publisher, lambda _: locate, capacity_of)

    async def open(self) -> None:
        await self.publisher.link.open()
        await self.subscriber.open()

    async def close(self) -> None:
        await self.queues.close()
        await self.subscriber.link.close()
        await self.publisher.link.close()


class RedisBackend(Backend):
    """A backend over one or more hosts; a topic or queue lives on the host that its name hashes to.

    ``capacity_of`` tells how many jobs a queue holds.
    """

    def __init__(
        self,
        hosts: Sequence[Single | Sentinels],
        capacity_of: Callable[[str], int] = lambda _: 100,
        notices: Notices = SILENT,
    ) -> None:
        self.queues = HostQueues(
            lambda name: self._shard(name).queues,
            lambda: [shard.queues for shard in self._shards],
        )
        self.history = RedisHistory(self)
        self._hosts = list(hosts)
        self._capacity_of = capacity_of
        self._notices = notices
        self._shards: list[_Shard] = []
        self._only: Publisher | None = None
        self._recovery: Recovery | None = None
        self._closing = asyncio.Lock()

    async def open(self, inbox: Inbox, /) -> None:
        """Connected to every host."""
        recovery = Recovery(
            asyncio.get_running_loop(), inbox, self._any_down, self._subscribed, self._notices
        )
        shards = [_Shard(host, inbox, recovery, self._capacity_of) for host in self._hosts]
        self._shards, self._recovery = shards, recovery
        await together(shard.open() for shard in shards)
        self._only = shards[0].publisher if len(shards) == 1 else None

    async def close(self) -> None:
        """Every connection is gone; jobs that were on their way here are back."""
        async with self._closing:  # who closes at the same time waits, too
            self._only = None
            if self._recovery is not None:
                self._recovery.close()
            await together(shard.close() for shard in self._shards)
            self._shards = []

    async def subscribe(self, topics: Collection[str], /) -> None:
        """The hosts deliver the topics."""
        shards = self._by_shard(topics)
        await together(shard.subscriber.subscribe(some) for shard, some in shards)

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        """The topics are not delivered any more."""
        shards = self._by_shard(topics)
        await together(shard.subscriber.unsubscribe(some) for shard, some in shards)

    async def publish(self, publications: Sequence[Publication], /) -> None:
        """The hosts have the publications."""
        if self._only is not None:
            await self._only.publish(publications)
            return
        errors = await self.spread(
            [publication.topic for publication in publications],
            lambda place, mine: place.publisher.send([publications[index] for index in mine]),
        )
        if errors:
            raise failure(errors, len(publications))

    # --- routes of the history ----------------------------------------------------------------

    async def spread(self, topics: Sequence[str], send: Send) -> dict[int, Exception]:
        """Every topic's host has what belongs to it; return the errors, by index."""
        shards: dict[_Shard, list[int]] = {}
        for index, topic in enumerate(topics):
            shards.setdefault(self._shard(topic), []).append(index)
        errors: dict[int, Exception] = {}

        async def one(shard: _Shard, mine: list[int]) -> None:
            try:
                replies = await send(shard, mine)
            except BackendUnavailable as error:
                errors.update(dict.fromkeys(mine, error))
                return
            for index, reply in zip(mine, replies, strict=True):
                if isinstance(reply, hiredis.ReplyError):
                    errors[index] = BackendUnavailable(explained(reply))

        await together(one(shard, mine) for shard, mine in shards.items())
        return errors

    async def at(self, topic: str, ask: Callable[[Place], Awaitable[T]]) -> T:
        """Return the answer of the topic's host."""
        return await ask(self._shard(topic))

    def everywhere(self) -> Iterable[Callable[..., Awaitable[Reply]]]:
        """Return what sends a command to each host."""
        return [call for shard in self._shards for call in shard.publisher.everywhere()]

    async def describe(self) -> Mapping[str, str | int | float]:
        """Return what the first host tells of itself."""
        return await described(self.everywhere())

    @property
    def deaf(self) -> Exception | None:
        """Which host delivers nothing now."""
        for number, shard in enumerate(self._shards, 1):
            if shard.subscriber.down:
                where = f"redis host {number} of {len(self._shards)}"
                return BackendUnavailable(f"{where} delivers nothing now; connecting again")
        return None

    def _any_down(self) -> bool:
        return any(shard.subscriber.down for shard in self._shards)

    def _subscribed(self) -> int:
        return sum(shard.subscriber.subscribed for shard in self._shards)

    def _shard(self, name: str) -> _Shard:
        if not self._shards:
            raise BackendUnavailable("the redis backend is not open")
        return self._shards[shard_of(name, len(self._shards))]

    def _by_shard(self, topics: Iterable[str]) -> Iterable[tuple[_Shard, list[str]]]:
        shards: dict[_Shard, list[str]] = {}
        for topic in topics:
            shards.setdefault(self._shard(topic), []).append(topic)
        return shards.items()


class HostQueues:
    """The worker queues of a backend, each on its host."""

    def __init__(
        self, find: Callable[[str], RedisQueues], every: Callable[[], Sequence[RedisQueues]]
    ) -> None:
        self._find = find
        self._every = every

    @property
    def expired(self) -> int:
        """Jobs that nobody took in time, as far as this session noticed."""
        return sum(queues.expired for queues in self._every())

    async def put(self, queue: str, payload: bytes, expires_in: float, /) -> None:
        """The job is last in its queue."""
        await self._find(queue).put(queue, payload, expires_in)

    async def take(self, queue: str, /) -> RedisJob:
        """Wait for the first job of the queue."""
        return await self._find(queue).take(queue)

    async def clear(self, prefix: str, /) -> None:
        """Every job in every queue whose name begins with ``prefix`` is gone, on every host."""
        await together(queues.clear(prefix) for queues in self._every())
