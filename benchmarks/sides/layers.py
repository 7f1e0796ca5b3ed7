"""Channel layers: ours (see ours.py), those of Django Channels' world, and fast-channels 1.1."""

import asyncio
import importlib
from typing import Any
from urllib.parse import urlsplit

from benchmarks.sides.side import Hit, Side

ROOM = 100_000
"""Messages that a channel may hold where a scenario asks for room."""


class Layer(Side):
    """Anything that has the channel layers' methods; a member is a channel of its own."""

    layer: Any

    def use(self, layer: Any) -> None:
        """Measure this layer, with no call in between."""
        self.layer = layer
        self.send = layer.group_send  # type: ignore[method-assign]

    async def join(self, group: str) -> Any:
        channel = await self.layer.new_channel()
        await self.layer.group_add(group, channel)
        return channel

    def read(self, member: Any, hit: Hit) -> None:
        receive = self.layer.receive
        self.loop(lambda: receive(member), hit)


class FastChannelsMemory(Layer):
    """fast-channels 1.1's in-memory layer."""

    async def open(self) -> None:
        layers = importlib.import_module("fast_channels.layers")
        self.use(layers.InMemoryChannelLayer(**({"capacity": ROOM} if self.roomy else {})))


class ChannelsMemory(Layer):
    """Django Channels' in-memory layer."""

    async def open(self) -> None:
        layers = importlib.import_module("channels.layers")
        self.use(layers.InMemoryChannelLayer(**({"capacity": ROOM} if self.roomy else {})))


class ChannelsRedisPubSub(Layer):
    """channels_redis' pub/sub layer, whose channels hold everything."""

    async def open(self) -> None:
        layers = importlib.import_module("channels_redis.pubsub")
        self.use(layers.RedisPubSubChannelLayer(hosts=[self.url]))

    async def close(self) -> None:
        await super().close()
        await self.layer.flush()


class ChannelsRedisCore(Layer):
    """channels_redis' layer over sorted sets; its capacity is one process', not one channel's."""

    async def open(self) -> None:
        layers = importlib.import_module("channels_redis.core")
        more = {"capacity": ROOM} if self.roomy else {}
        self.use(layers.RedisChannelLayer(hosts=[self.url], **more))

    async def close(self) -> None:
        await super().close()
        await self.layer.close_pools()


class FastChannelsRedisPubSub(ChannelsRedisPubSub):
    """fast-channels 1.1's pub/sub layer."""

    async def open(self) -> None:
        layers = importlib.import_module("fast_channels.layers.redis")
        self.use(layers.RedisPubSubChannelLayer(hosts=[self.url]))


class ChannelsPostgres(Layer):
    """channels_postgres, by its own pool of at most 4 connections and a table with a trigger."""

    async def open(self) -> None:
        await asyncio.to_thread(self.migrate)
        core = importlib.import_module("channels_postgres.core")
        own = {"TIME_ZONE": None, "CONN_HEALTH_CHECKS": False, "CONN_MAX_AGE": 0}
        pool = {"min_size": 2, "max_size": 4}
        self.use(core.PostgresChannelLayer(**self.database(), **own, PSYCOPG_OPTIONS=pool))
        # Readers that begin together would each make a listener, and get every message as often.
        first = await self.layer.new_channel()
        self.loop(lambda: self.layer.receive(first), lambda _: None)
        while not (listening := self.layer.listener_task_is_running):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await listening.wait()

    def database(self) -> dict[str, Any]:
        """Return Django's description of the database."""
        place = urlsplit(self.url)
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": place.path.strip("/"),
            "USER": place.username,
            "PASSWORD": place.password,
            "HOST": place.hostname,
            "PORT": str(place.port),
        }

    def migrate(self) -> None:
        """Its tables are there."""
        django: Any = importlib.import_module("django")
        settings = importlib.import_module("django.conf").settings
        databases = {name: self.database() for name in ("default", "channels_postgres")}
        apps = ["channels", "channels_postgres"]
        settings.configure(INSTALLED_APPS=apps, USE_TZ=True, DATABASES=databases)
        django.setup()
        importlib.import_module("django.core.management").call_command("migrate", verbosity=0)

    async def close(self) -> None:
        await super().close()
        await importlib.import_module("channels_postgres.db").connection_pool.close()


class ChannelsRabbitMQ(Layer):
    """channels_rabbitmq."""

    async def open(self) -> None:
        core: Any = importlib.import_module("channels_rabbitmq.core")
        room = {"local_capacity": 60_000, "remote_capacity": 1_000_000} if self.roomy else {}
        self.use(core.RabbitmqChannelLayer(host=self.url, **room))
        await self.layer.carehare_connection

    async def close(self) -> None:
        await super().close()
        await asyncio.wait_for(self.layer.close(), 5)


class ChannelsNats(Layer):
    """channels_nats; its sends end in a buffer of the process."""

    async def open(self) -> None:
        layers: Any = importlib.import_module("channels_nats")
        self.use(layers.NatsChannelLayer(self.url, **({"capacity": ROOM} if self.roomy else {})))

    async def settled(self) -> None:
        await (await self.layer._client()).flush(60)

    async def close(self) -> None:
        await super().close()
        await self.layer.close()
