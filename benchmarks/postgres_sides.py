"""What is compared over PostgreSQL, each behind the same few methods.

It runs in every environment, so it imports a library only where its side is measured.
"""

import asyncio
import importlib
import json
from collections import defaultdict
from typing import Any

from benchmarks.redis_sides import Hit, Litestar, Side


def url_of(port: int) -> str:
    """Return the URL of the benchmark's database."""
    return f"postgresql://kit:kit-secret@127.0.0.1:{port}/postgres"


class Ours(Side):
    """fast-channels-postgres."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.url = url_of(port)

    async def open(self) -> None:
        from fast_channels_postgres import PostgresChannelLayer

        self.layer: Any = PostgresChannelLayer(self.url, capacity=100_000)
        await self.layer.open()
        self.send = self.layer.group_send  # type: ignore[method-assign]  # no call in between

    async def member(self, group: str, hit: Hit) -> None:
        channel = await self.layer.new_channel()
        await self.layer.group_add(group, channel)
        self.read(lambda: self.layer.receive(channel), hit)

    async def close(self) -> None:
        await super().close()
        await self.layer.close()


class Durable(Ours):
    """fast-channels-postgres, every group with a history; ``layer`` reads it."""

    async def open(self) -> None:
        from fast_channels.layers import HistoryPolicy
        from fast_channels_postgres import PostgresChannelLayer

        history = {"*": HistoryPolicy(keep=100_000, ttl=3_600.0)}
        self.layer = PostgresChannelLayer(self.url, capacity=100_000, history=history)
        await self.layer.open()
        self.send = self.layer.group_send  # type: ignore[method-assign]  # no call in between


class ChannelsPostgres(Side):
    """channels_postgres, by its own pool of at most 4 connections and a table with a trigger."""

    async def open(self) -> None:
        port = self.url.rpartition(":")[2]
        await asyncio.to_thread(self.migrate, port)
        core = importlib.import_module("channels_postgres.core")
        own = {"TIME_ZONE": None, "CONN_HEALTH_CHECKS": False, "CONN_MAX_AGE": 0}
        pool = {"min_size": 2, "max_size": 4}
        self.layer = core.PostgresChannelLayer(**database(port), **own, PSYCOPG_OPTIONS=pool)
        self.send = self.layer.group_send  # type: ignore[method-assign]  # no call in between

    def migrate(self, port: str) -> None:
        """Its tables are there."""
        django: Any = importlib.import_module("django")
        settings = importlib.import_module("django.conf").settings
        databases = {name: database(port) for name in ("default", "channels_postgres")}
        apps = ["channels", "channels_postgres"]
        settings.configure(INSTALLED_APPS=apps, USE_TZ=True, DATABASES=databases)
        django.setup()
        importlib.import_module("django.core.management").call_command("migrate", verbosity=0)

    async def member(self, group: str, hit: Hit) -> None:
        channel = await self.layer.new_channel()
        await self.layer.group_add(group, channel)
        self.read(lambda: self.layer.receive(channel), hit)
        while not (listening := self.layer.listener_task_is_running):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # its reader makes it
        await listening.wait()

    async def close(self) -> None:
        await super().close()
        pool = importlib.import_module("channels_postgres.db").connection_pool
        await pool.close()


def database(port: str) -> dict[str, Any]:
    """Return Django's description of the benchmark's database."""
    where = {"NAME": "postgres", "USER": "kit", "PASSWORD": "", "HOST": "127.0.0.1", "PORT": port}
    return {"ENGINE": "django.db.backends.postgresql", **where}


class LitestarPostgres(Litestar):
    """Litestar's channels over its asyncpg backend; a message is a dict to its reader."""

    async def open(self) -> None:
        channels = importlib.import_module("litestar.channels")
        backends = importlib.import_module("litestar.channels.backends.asyncpg")
        backend = backends.AsyncPgChannelsBackend(url_of(int(self.url.rpartition(":")[2])))
        self.plugin = channels.ChannelsPlugin(backend, arbitrary_channels_allowed=True)
        await self.plugin.__aenter__()


class Plain(Side):
    """asyncpg's own pg_notify and listener; JSON, a name for each group."""

    async def open(self) -> None:
        asyncpg: Any = importlib.import_module("asyncpg")
        url = url_of(int(self.url.rpartition(":")[2]))
        self.sending = await asyncpg.connect(url)
        self.listening = await asyncpg.connect(url)
        self.hits: defaultdict[str, list[Hit]] = defaultdict(list)

    async def member(self, group: str, hit: Hit) -> None:
        if not self.hits[group]:
            await self.listening.add_listener(group, self.came)
        self.hits[group].append(hit)

    def came(self, _connection: Any, _pid: int, channel: str, payload: str) -> None:
        """Hand out what came."""
        message = json.loads(payload)
        for hit in self.hits[channel]:
            hit(message)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self.sending.execute("SELECT pg_notify($1, $2)", group, json.dumps(message))

    async def close(self) -> None:
        await super().close()
        await self.sending.close()
        await self.listening.close()


class Floor(Plain):
    """A bare loop of one statement for each batch: what a send waits for is the batch's end.

    With 64 senders a batch holds 64 messages.
    """

    async def open(self) -> None:
        await super().open()
        self.waiting: list[tuple[str, str]] = []
        self.batch: asyncio.Future[None] | None = None
        sql = "SELECT count(pg_notify(c, p)) FROM unnest($1::text[], $2::text[]) AS t (c, p)"
        self.statement = await self.sending.prepare(sql)
        self.number = 0

    async def flush(self, done: "asyncio.Future[None]") -> None:
        """Send all that gathered."""
        await asyncio.sleep(0)
        waiting, self.waiting, self.batch = self.waiting, [], None
        await self.statement.fetchval([c for c, _ in waiting], [p for _, p in waiting])
        done.set_result(None)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        self.number += 1  # equal notifications of one transaction would be one
        self.waiting.append((group, json.dumps({**message, "n": self.number})))
        if self.batch is None:
            loop = asyncio.get_running_loop()
            self.batch = loop.create_future()
            self.flushing = loop.create_task(self.flush(self.batch))
        await self.batch


class DurableFloor(Floor):
    """As ``Floor``, but each batch is inserted and notified by one statement; nothing is trimmed,
    and nothing sees to the order of several processes."""

    async def open(self) -> None:
        await super().open()
        await self.sending.execute(
            "CREATE TABLE IF NOT EXISTS log (id bigserial PRIMARY KEY, topic text, payload text)"
        )
        self.statement = await self.sending.prepare(
            "WITH new AS (INSERT INTO log (topic, payload) "
            "SELECT * FROM unnest($1::text[], $2::text[]) RETURNING *) "
            "SELECT count(pg_notify(topic, payload)) FROM new"
        )


SIDES: dict[str, type[Side]] = {
    "ours": Ours,
    "durable": Durable,
    "floor": Floor,
    "durable_floor": DurableFloor,
    "plain": Plain,
    "channels": ChannelsPostgres,
    "litestar": LitestarPostgres,
}
