"""Fast Channels' own layers, each by its package's class, as an application makes them."""

from typing import Any

from benchmarks.sides.layers import ROOM, Layer
from benchmarks.sides.side import Hit


class Ours(Layer):
    """One of our layers; as it comes, it tells members of a loss by ``channels.gap``."""

    history = False

    def __init__(self, url: str, roomy: bool) -> None:
        super().__init__(url, roomy)
        self.gaps = 0

    def options(self) -> dict[str, Any]:
        """Return the layer's options."""
        options: dict[str, Any] = {"gaps": True}
        if self.roomy:
            options |= {"capacity": ROOM, "capacity_bytes": 1 << 34, "send_timeout": 60.0}
        if self.history:
            from fast_channels.layers import HistoryPolicy

            options["history"] = {"*": HistoryPolicy(keep=10_000)}
        return options

    def make(self) -> Any:
        """Return the layer."""
        raise NotImplementedError

    async def open(self) -> None:
        self.use(self.make())
        await self.layer.open()

    def read(self, member: Any, hit: Hit) -> None:
        def take(message: dict[str, Any]) -> None:
            if message["type"] == "channels.gap":
                self.gaps += 1
            else:
                hit(message)

        super().read(member, hit if self.roomy else take)

    def told(self) -> list[str]:
        told = [f"{self.gaps} channels.gap"] if self.gaps else []
        counted = self.layer.stats()["overflowed"]
        return [*told, f"{counted:,} counted in stats()"] if counted else told

    async def close(self) -> None:
        await super().close()
        await self.layer.close()


class Memory(Ours):
    """The memory layer, which encodes as the others do."""

    def make(self) -> Any:
        from fast_channels.layers import InMemoryChannelLayer

        return InMemoryChannelLayer(**self.options())


class Redis(Ours):
    """fast-channels-redis."""

    def make(self) -> Any:
        from fast_channels_redis import RedisChannelLayer

        return RedisChannelLayer([self.url], **self.options())


class RedisHistory(Redis):
    """The same, where every group keeps its last 10,000 messages."""

    history = True


class Postgres(Ours):
    """fast-channels-postgres."""

    def make(self) -> Any:
        from fast_channels_postgres import PostgresChannelLayer

        return PostgresChannelLayer(self.url, **self.options())


class PostgresHistory(Postgres):
    """The same, where every group keeps its last 10,000 messages."""

    history = True


class RabbitMQ(Ours):
    """fast-channels-rabbitmq."""

    def make(self) -> Any:
        from fast_channels_rabbitmq import RabbitMQChannelLayer

        return RabbitMQChannelLayer(self.url, **self.options())


class RabbitMQHistory(RabbitMQ):
    """The same, where every group keeps its last 10,000 messages."""

    history = True


class Nats(Ours):
    """fast-channels-nats."""

    def make(self) -> Any:
        from fast_channels_nats import NatsChannelLayer

        return NatsChannelLayer(self.url, **self.options())


class NatsHistory(Nats):
    """The same, where every group keeps its last 10,000 messages."""

    history = True
