"""The connection that listens, and what it knows of topics."""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial
from typing import Any, Final

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Inbox, Link, is_history_topic
from fast_channels_postgres.connection import Connection, logger
from fast_channels_postgres.driver import READ_ONLY, Heard, PostgresError, Raw, sqlstate
from fast_channels_postgres.hosts import Connects
from fast_channels_postgres.names import COMMON, decode, shard_name
from fast_channels_postgres.pieces import Pieces

ECHO_SECONDS: Final = 3.0
"""How long a notification to oneself may take before LISTEN is held to be without effect."""


class _Ears:
    """What one connection listens to."""

    def __init__(self, connection: Connection, take: Callable[[str], None]) -> None:
        self.connection = connection
        self.names: set[str] = set()
        self.held: list[str] | None = []
        """What came before the gap was told; None: it has been."""
        self.echo: asyncio.Future[None] | None = None
        self.token = ""
        self._take = take

    def heard(self, _connection: Any, _pid: int, _channel: str, text: str) -> None:
        """Take one notification."""
        self.connection.heard = True
        if self.held is None:
            if self.connection.lost is None:
                self._take(text)
        elif text.startswith(self.token) and self.echo is not None:
            if not self.echo.done():
                self.echo.set_result(None)
        else:
            self.held.append(text)

    async def add(self, wanted: Collection[str]) -> None:
        """It listens to these names, too."""
        for name in [name for name in wanted if name not in self.names]:
            await self.connection.run(partial(_add, name, self.heard))
            self.names.add(name)

    async def drop(self, wanted: Collection[str]) -> None:
        """It listens to no other names than these."""
        for name in [name for name in self.names if name not in wanted]:
            self.names.discard(name)
            await self.connection.run(partial(_remove, name, self.heard))


class Listener:
    """Delivers the topics that are subscribed to, over one connection that comes back."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        source: Connects,
        inbox: Inbox,
        echo: Callable[[str], Awaitable[None]],
    ) -> None:
        self.link = Link(loop, source.connect, logger=logger, purpose="listen")
        self.link.prepare = self._prepare
        self.link.came_back = self._came_back
        self.queue_usage = 0.0
        """How full the server's notification queue was when last seen: 0 to 1."""
        self.on_back: Callable[[], None] | None = None
        """Told of each connection that replaces one."""
        self._loop = loop
        self._inbox = inbox
        self._echo = echo
        self._topics: dict[str, None] = {}
        self._pieces = Pieces()
        self._wakes: dict[str, Callable[[], None]] = {}
        self._uses: Counter[str] = Counter()
        """How many topics, and calls under way, need a name."""
        self._ears: _Ears | None = None
        self._fresh: _Ears | None = None
        self._settling: asyncio.Task[None] | None = None
        self._settled: set[asyncio.Future[None]] = set()
        self._closed = False

    async def open(self) -> None:
        """Connected, and a notification to itself has come back."""
        await self.link.open()
        self._use_fresh()

    async def subscribe(self, topics: Collection[str]) -> None:
        """The server delivers the topics."""
        names = Counter(map(shard_name, topics))
        self._uses.update(names)
        try:
            await self._listen(names)
            for topic in topics:
                if topic not in self._topics:
                    self._topics[topic] = None
                    self._uses[shard_name(topic)] += 1
        finally:
            self._let_go(names)

    def unsubscribe(self, topics: Iterable[str]) -> None:
        """The topics are not delivered any more."""
        left = {topic for topic in topics if topic in self._topics}
        for topic in left:
            del self._topics[topic]
        self._let_go(Counter(map(shard_name, left)))

    def attend(self, topics: Collection[str], wake: Callable[[], None]) -> None:
        """``wake`` is called for each notification of these topics, and of no others."""
        for topic in [topic for topic in topics if topic not in self._wakes]:
            self._wakes[topic] = wake
            self._uses[shard_name(topic)] += 1
        left = [topic for topic in self._wakes if topic not in topics]
        for topic in left:
            del self._wakes[topic]
        self._let_go(Counter(map(shard_name, left)))

    async def hears(self, topics: Iterable[str]) -> None:
        """The server delivers topics that are attended to."""
        await self._listen(map(shard_name, topics))

    async def close(self) -> None:
        """Nothing is delivered any more; the connection is gone."""
        self._closed = True
        self._ears = None
        await self.link.close()
        if self._settling is not None:
            await asyncio.wait([self._settling])

    # --- names --------------------------------------------------------------------------------

    async def _listen(self, names: Iterable[str]) -> None:
        wanted = set(names)
        while True:
            await self.link.ready()
            if self._ears is not None and wanted <= self._ears.names:
                return
            done = self._loop.create_future()
            self._settled.add(done)
            self._settle()
            try:
                await done
            finally:
                self._settled.discard(done)

    def _let_go(self, names: Counter[str]) -> None:
        self._uses.subtract(names)
        for name in names:
            if self._uses[name] <= 0:
                del self._uses[name]
        if self._ears is not None and not self._ears.names <= self._wanted():
            self._settle()

    def _wanted(self) -> set[str]:
        return {COMMON, *self._uses}

    def _settle(self) -> None:
        if self._settling is None and not self._closed:
            self._settling = self._loop.create_task(self._change(), name="fast-channels-postgres")
            self._settling.add_done_callback(self._changed)

    async def _change(self) -> None:
        ears = self._ears
        while ears is not None and ears is self._ears and ears.names != (wanted := self._wanted()):
            try:
                await ears.add(wanted)
                await ears.drop(self._wanted())
            except BackendUnavailable:
                return
            except PostgresError as error:
                ears.connection.abort(BackendUnavailable(refused(error)))
                return

    def _changed(self, settling: "asyncio.Task[None]") -> None:
        self._settling = None
        for done in self._settled:
            if not done.done():
                done.set_result(None)
        if not settling.cancelled():
            settling.result()

    # --- repair -------------------------------------------------------------------------------

    async def _prepare(self, connection: Connection) -> None:
        """The connection listens to every name of this moment, and hears."""
        connection.sign_of_life = self._look
        ears = self._fresh = _Ears(connection, self._take)
        try:
            while not (wanted := self._wanted()) <= ears.names:
                await ears.add(wanted)
        except PostgresError as error:
            raise BackendUnavailable(refused(error)) from None
        ears.token = f"echo.{os.urandom(8).hex()}"
        ears.echo = self._loop.create_future()
        await self._echo(ears.token)
        try:
            async with asyncio.timeout(ECHO_SECONDS):
                await ears.echo
        except TimeoutError:
            raise BackendUnavailable(
                f"LISTEN has no effect on {connection.name}: a notification to itself did not come "
                f"back within {ECHO_SECONDS:g} s; a pooler such as PgBouncer in transaction mode "
                "does that: name the server itself in listen_url"
            ) from None

    def _came_back(self, _: Connection, cause: Exception) -> None:
        self._inbox.gap(cause)
        if self.on_back is not None:
            self.on_back()
        self._use_fresh()

    def _use_fresh(self) -> None:
        ears, self._ears, self._fresh = self._fresh, self._fresh, None
        assert ears is not None
        self._pieces.clear()
        held, ears.held = ears.held or [], None
        for text in held:
            self._take(text)

    async def _look(self, raw: Raw) -> None:
        self.queue_usage = await raw.fetchval("SELECT pg_notification_queue_usage()")

    # --- what comes ---------------------------------------------------------------------------

    def _take(self, text: str) -> None:
        topic, _, body = text.partition(" ")
        if topic not in self._topics:
            topic, _, mark = topic.partition("#")
            if topic not in self._topics:
                if (wake := self._wakes.get(topic)) is not None:
                    wake()
                return
            if is_history_topic(topic):
                if (entry := self._pieces.add(topic, mark, body)) is not None:
                    self._inbox.deliver(topic, *entry)
                return
        self._inbox.deliver(topic, decode(body))


async def _add(name: str, heard: Heard, raw: Raw) -> None:
    await raw.add_listener(name, heard)


async def _remove(name: str, heard: Heard, raw: Raw) -> None:
    await raw.remove_listener(name, heard)


def refused(error: Exception) -> str:
    """Return why the server does not let this role listen."""
    if sqlstate(error) == READ_ONLY:
        return f"a read-only replica cannot LISTEN; name the primary ({error})"
    return f"postgres refused to LISTEN: {error}"
