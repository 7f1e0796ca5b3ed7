"""The power to keep messages: durable groups over JetStream."""

import asyncio
import itertools
from collections.abc import Callable, Collection, Sequence

from fast_channels.exceptions import BackendUnavailable, PublishFailed
from fast_channels.layers import Append, Page, Position, reconnect_delays
from fast_channels_nats.kept_publisher import KeptPublisher
from fast_channels_nats.kept_reader import KeptReader
from fast_channels_nats.kept_stream import KeptStream, prefix_of
from fast_channels_nats.link import logger
from fast_channels_nats.refusals import HISTORY, NO_STREAM, explained
from fast_channels_nats.requests import Refused, Requests
from fast_channels_nats.subjects import log_of, parts_of


class NatsHistory:
    """The history of one process; a stream for each prefix."""

    def __init__(self, requests: Requests, replicas: int | None, max_payload: int) -> None:
        self.reader = KeptReader(requests)
        self._publisher = KeptPublisher(requests, max_payload)
        self._requests = requests
        self._replicas = replicas
        self._streams: dict[str, KeptStream] = {}
        self._checking: asyncio.Task[None] | None = None

    def lost(self, cause: Exception) -> None:
        """What was asked for does not come any more, and a stream may be another one."""
        self.reader.lost(cause)
        self._publisher.lost(cause)
        for stream in self._streams.values():
            stream.doubt()

    async def publish(self, appends: Sequence[Append]) -> None:
        """The entries are kept, and on their way to every subscriber."""
        by_stream: dict[KeptStream, list[int]] = {}
        for index, append in enumerate(appends):
            by_stream.setdefault(self._at(append.topic), []).append(index)
        errors: dict[int, Exception] = {}
        for stream, indices in by_stream.items():
            try:
                await self._publisher.publish(stream, [appends[index] for index in indices])
            except PublishFailed as error:
                errors.update({indices[at]: cause for at, cause in error.errors.items()})
        if errors:
            raise PublishFailed(errors)

    async def read(self, topic: str, after: Position | None, limit: int) -> Page:
        """Return the entries after the position."""
        return await self.reader.read(self._at(topic), topic, after, limit)

    async def last(self, topic: str, count: int) -> Page:
        """Return the newest entries."""
        return await self.reader.last(self._at(topic), topic, count)

    def known(self, name: str) -> bool:
        """Whether that stream was there for longer than its first election takes."""
        return any(stream.settled(name) for stream in self._streams.values())

    def came_back(self, name: str, offset: int) -> None:
        """See whether the stream still has the entry that came last."""
        if self._checking is not None:
            self._checking.cancel()
        self._checking = asyncio.get_running_loop().create_task(self._check(name, offset))

    async def _check(self, name: str, offset: int) -> None:
        for delay in itertools.islice(reconnect_delays(), 20):
            try:
                for stream in self._streams.values():
                    if stream.is_at(name) and await stream.set_back(name, offset):
                        logger.error("%s has lost what it had stored, and was deleted", name)
                return
            except Refused as error:
                if error.code == NO_STREAM:
                    return
                await asyncio.sleep(delay)
            except BackendUnavailable:
                await asyncio.sleep(delay)

    async def close(self) -> None:
        """No task is left."""
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.wait([self._checking])

    async def fence(self, topics: Collection[str]) -> None:
        """The servers with the streams know of what was subscribed to before.

        What a process asks of a server comes there after what it has subscribed to.
        """
        for topic in {prefix_of(topic): topic for topic in topics}.values():
            await self._at(topic).end(topic)

    async def clear(self, prefix: str) -> None:
        """Topics whose names begin so are empty, and no position of theirs is good."""
        stream = self._at(prefix)
        try:
            name = await stream.find()
            if name is None:
                return
            if prefix.endswith(":h."):
                stream.doubt()
                await self._requests.call(f"STREAM.DELETE.{name}")
                return
            await self._purge(name, prefix)
        except Refused as error:
            if error.code != NO_STREAM:  # deleted meanwhile
                info = (await self._requests.link.ready()).info
                raise explained(error, info, HISTORY) from error

    async def _purge(self, name: str, prefix: str) -> None:
        start = log_of(prefix).decode()
        every = f"{log_of(prefix_of(prefix) + '.x').decode()[:-1]}*"
        info = await self._requests.call(f"STREAM.INFO.{name}", subjects_filter=every)
        for subject in info["state"].get("subjects") or ():
            if subject.startswith(start):
                topic = subject.removeprefix(every[:-1])
                parts = parts_of(f"{prefix_of(prefix)}.{topic}").decode()
                for each in (subject, f"{parts}.>"):
                    await self._requests.call(f"STREAM.PURGE.{name}", filter=each)

    def _at(self, topic: str) -> KeptStream:
        prefix = prefix_of(topic)
        stream = self._streams.get(prefix)
        if stream is None:
            stream = KeptStream(prefix, self._requests, self._replicas)
            self._streams[prefix] = stream
        return stream


class Kept:
    """The history of a backend, which it has before it is open."""

    exact = True

    def __init__(self, opened: Callable[[], NatsHistory]) -> None:
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
