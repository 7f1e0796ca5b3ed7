"""The power to keep messages: durable groups on streams.

A few streams have the topics of a prefix, each some of them. What one call appends to one stream is
one message of it, whatever the number of its topics.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final, TypeVar

from fast_channels.exceptions import BackendUnavailable, InvalidChannelLayerError, PublishFailed
from fast_channels.layers import Append, Inbox, Link, Page, Position
from fast_channels_rabbitmq.connection import Connection
from fast_channels_rabbitmq.history.making import Maker
from fast_channels_rabbitmq.history.marks import Gone
from fast_channels_rabbitmq.history.reading import Reader
from fast_channels_rabbitmq.history.records import CLEARED
from fast_channels_rabbitmq.history.sending import Sending
from fast_channels_rabbitmq.history.shard import Shard
from fast_channels_rabbitmq.history.streams import SHARDS, name_of, shard_of
from fast_channels_rabbitmq.publisher import Publisher

T = TypeVar("T")

CLEARS: Final = "cleared"
"""The stream that tells which topics were cleared, of those who share a stream with others."""

LOCK: Final = "making"
TRIES: Final = 3


class RabbitMQHistory:
    """The history of one process."""

    def __init__(
        self,
        link: Link[Connection],
        connect: Callable[[Connection], Awaitable[Connection]],
        publisher: Publisher,
        inbox: Inbox,
        exchange: str,
        seconds: float,
        max_payload: int,
    ) -> None:
        names = [name_of(exchange, each) for each in (*range(SHARDS), CLEARS)]
        maker = self._maker = Maker(
            link, connect, publisher, name_of(exchange, LOCK), names, seconds
        )

        def shard(name: object, begin: str = "last") -> Shard:
            return Shard(name_of(exchange, name), link, publisher, inbox, maker, begin)

        self._shards = [shard(number) for number in range(SHARDS)]
        self._clears = shard(CLEARS, "first")
        self._clears.on_cleared = self._was_cleared
        self._cleared: dict[tuple[str, str], dict[str, int]] = {}
        """By stream and epoch: up to which message the topics that begin so were cleared."""
        self._looked: dict[str, str] = {}
        """By stream: in which epoch it is known what was cleared before it was followed."""
        self._reader = Reader(link, self._cleared_to)
        self._sending = Sending(link, publisher, maker, max_payload)
        self._inbox = inbox
        for number, each in enumerate(self._shards):
            each.read_ids = self._reader.ids
            each.on_cleared = self._notes_of(number)

    @property
    def deaf(self) -> Exception | None:
        """Why nothing comes now on some topics."""
        problems = (shard.deaf for shard in self._shards)
        return next((problem for problem in problems if problem is not None), None)

    async def subscribe(self, topics: Collection[str]) -> None:
        """What is published to the topics comes."""
        by_shard: dict[Shard, list[str]] = {}
        for topic in topics:
            by_shard.setdefault(self._shard(topic), []).append(topic)
        fresh = [topic for topic in topics if topic not in self._shard(topic).live.topics]
        for shard, some in by_shard.items():
            shard.live.topics.update(dict.fromkeys(some))
        try:
            await asyncio.gather(*(shard.ready() for shard in by_shard))
        except BaseException:
            self.unsubscribe(fresh)
            raise

    def unsubscribe(self, topics: Iterable[str]) -> None:
        """Nothing of the topics is delivered any more."""
        for topic in topics:
            self._shard(topic).live.drop([topic])

    async def publish(self, appends: Sequence[Append]) -> None:
        """The entries are kept, and on their way to every subscriber."""
        by_shard: dict[Shard, list[int]] = {}
        for index, append in enumerate(appends):
            by_shard.setdefault(self._shard(append.topic), []).append(index)
        errors: dict[int, Exception] = {}
        await asyncio.gather(
            *(
                self._sending.send(shard, {index: appends[index] for index in indices}, errors)
                for shard, indices in by_shard.items()
            )
        )
        if len(errors) == len(appends):
            for error in errors.values():
                if isinstance(error, BackendUnavailable | InvalidChannelLayerError):
                    raise error
        if errors:
            raise PublishFailed(errors)

    async def read(self, topic: str, after: Position | None, limit: int) -> Page:
        """Return the entries after the position."""
        shard = self._shard(topic)
        return await self._reading(shard, lambda: self._reader.read(shard, topic, after, limit))

    async def last(self, topic: str, count: int) -> Page:
        """Return the newest entries."""
        shard = self._shard(topic)
        return await self._reading(shard, lambda: self._reader.last(shard, topic, count))

    async def clear(self, prefix: str) -> None:
        """Topics whose names begin so are empty, and no position of theirs is good."""
        if prefix.endswith(":h."):
            await self._maker.make_anew([shard.name for shard in self._shards])
            for shard in self._shards:
                shard.renew(Gone(f"stream {shard.name!r} was deleted"))
            return
        for shard in self._shards:
            told = {"prefix": prefix}
            offset = await shard.say(CLEARED, json.dumps(told).encode())
            told |= {"stream": shard.name, "epoch": shard.epoch, "offset": f"{offset}"}
            await self._clears.say(CLEARED, json.dumps(told).encode())

    async def close(self) -> None:
        """No task is left."""
        self._reader.close()
        await self._sending.close()
        for shard in (*self._shards, self._clears):
            await shard.close()

    async def _reading(self, shard: Shard, read: Callable[[], Awaitable[T]]) -> T:
        """Return what is read, when the stream stays the same meanwhile."""
        problem: Exception = BackendUnavailable(f"stream {shard.name!r} changes")
        for _ in range(TRIES):
            try:
                await shard.ready()
                if self._looked.get(shard.name) != shard.epoch:
                    epoch = shard.epoch
                    await self._clears.end()
                    self._looked[shard.name] = epoch
                return await read()
            except Gone as error:
                problem = error
        raise BackendUnavailable(f"{problem}")

    # --- what was cleared ---------------------------------------------------------------------

    def _notes_of(self, number: int) -> Callable[[bytes, int], None]:
        shard = self._shards[number]

        def cleared(text: bytes, offset: int) -> None:
            prefix = json.loads(text)["prefix"]
            self._note(shard.name, shard.epoch, prefix, offset)
            topics = [topic for topic in shard.live.topics if topic.startswith(prefix)]
            if topics:
                self._inbox.gap(Gone(f"the history of {prefix}* was cleared"), topics)

        return cleared

    def _was_cleared(self, text: bytes, _: int) -> None:
        told = json.loads(text)
        self._note(told["stream"], told["epoch"], told["prefix"], int(told["offset"]))

    def _note(self, stream: str, epoch: str, prefix: str, offset: int) -> None:
        known = self._cleared.setdefault((stream, epoch), {})
        known[prefix] = max(offset, known.get(prefix, -1))

    def _cleared_to(self, shard: Shard, topic: str) -> int:
        known = self._cleared.get((shard.name, shard.epoch), {})
        offsets = (offset for prefix, offset in known.items() if topic.startswith(prefix))
        return max(offsets, default=-1)

    def _shard(self, topic: str) -> Shard:
        return self._shards[shard_of(topic)]


class Kept:
    """The history of a backend, which it has before it is open."""

    exact = False

    def __init__(self, opened: Callable[[], RabbitMQHistory]) -> None:
        self._opened = opened

    async def publish(self, appends: Sequence[Append], /) -> None:
        """The entries are kept, and on their way to every subscriber."""
        if appends:
            await self._opened().publish(appends)

    async def read(self, topic: str, after: Position | None, limit: int, /) -> Page:
        """Return the entries after the position."""
        return await self._opened().read(topic, after, limit)

    async def last(self, topic: str, count: int, /) -> Page:
        """Return the newest entries."""
        return await self._opened().last(topic, count)

    async def clear(self, prefix: str, /) -> None:
        """Every topic whose name begins with ``prefix`` has no entries."""
        await self._opened().clear(prefix)
