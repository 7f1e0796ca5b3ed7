"""Litestar's channels plugin, on each of its backends; JSON is decoded by each reader."""

import importlib
import json
from typing import Any

from benchmarks.sides.side import Hit, Side


class Memory(Side):
    """Its backend in one process."""

    turn = True

    def backend(self) -> Any:
        """Return the backend that is measured."""
        return self.module("memory").MemoryChannelsBackend()

    def module(self, name: str) -> Any:
        """Return a module of its backends."""
        return importlib.import_module(f"litestar.channels.backends.{name}")

    async def open(self) -> None:
        channels = importlib.import_module("litestar.channels")
        self.plugin = channels.ChannelsPlugin(self.backend(), arbitrary_channels_allowed=True)
        await self.plugin.__aenter__()

    async def join(self, group: str) -> Any:
        return await self.plugin.subscribe(group)

    def read(self, member: Any, hit: Hit) -> None:
        events = member.iter_events()

        async def receive() -> dict[str, Any]:
            message: dict[str, Any] = json.loads(await anext(events))
            return message

        self.loop(receive, hit)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self.plugin.wait_published(message, group)

    async def close(self) -> None:
        await super().close()
        await self.plugin.__aexit__(None, None, None)


class Redis(Memory):
    """Its Redis pub/sub backend."""

    turn = False

    def client(self) -> Any:
        """Return a client of redis-py."""
        return importlib.import_module("redis.asyncio").Redis.from_url(self.url)

    def backend(self) -> Any:
        return self.module("redis").RedisChannelsPubSubBackend(redis=self.client())


class RedisStreams(Redis):
    """Its Redis streams backend, which keeps a history."""

    def backend(self) -> Any:
        return self.module("redis").RedisChannelsStreamBackend(history=10_000, redis=self.client())


class Asyncpg(Memory):
    """Its PostgreSQL backend over asyncpg, which connects for each message."""

    turn = False

    def backend(self) -> Any:
        return self.module("asyncpg").AsyncPgChannelsBackend(self.url)


class Psycopg(Memory):
    """Its PostgreSQL backend over psycopg, which connects for each message."""

    turn = False

    def backend(self) -> Any:
        return self.module("psycopg").PsycoPgChannelsBackend(self.url)
