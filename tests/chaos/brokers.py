"""The brokers of the run: servers of our own that keep what they have when they are killed."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from tests.nats import servers as nats
from tests.postgres import servers as postgres
from tests.rabbitmq import servers as rabbitmq
from tests.redis import servers as redis

from fast_channels import register_channel_layer
from fast_channels.layers import BaseChannelLayer, unregister_channel_layer


class Broker(Protocol):
    """One server; both calls block."""

    @property
    def url(self) -> str:
        """Where it listens, before a restart and after."""
        ...

    def start(self) -> object:
        """It takes connections, and has what it had."""
        ...

    def kill(self) -> None:
        """It is gone, as with ``kill -9``."""
        ...


@contextmanager
def _postgres(_: Path) -> Generator[Broker]:
    with postgres.running(max_connections="100") as server:
        yield server


def _redis(folder: Path) -> AbstractContextManager[Broker]:
    return redis.running(folder, *redis.SAVING)


BROKERS: dict[str, Callable[[Path], AbstractContextManager[Broker]]] = {
    "redis": _redis,
    "postgres": _postgres,
    "nats": nats.running,
    "rabbitmq": rabbitmq.running,
}
"""By name: what runs one for the time of a ``with``, in a folder."""


def keeps(url: str) -> bool:
    """Return whether the broker's backend declares a history, without a connection."""
    layer = register_channel_layer("chaos", url)
    unregister_channel_layer("chaos")
    assert isinstance(layer, BaseChannelLayer)
    return layer.create_backend().history is not None
