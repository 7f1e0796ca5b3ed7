"""The channel layer that applications construct, or register by name or URL."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from fast_channels.layers import Backend, BaseChannelLayer
from fast_channels_redis.backend import HostQueues, RedisBackend
from fast_channels_redis.cluster import ClusterBackend
from fast_channels_redis.hosts import Cluster, Sentinels, Single, Spec, parse_hosts
from fast_channels_redis.recovery import SILENT, Notices

PREFIX: Final = "asgi"
"""What channels_redis takes where no prefix is named."""


class RedisChannelLayer(BaseChannelLayer):
    """A layer over Redis or Valkey: one server, several, Sentinels, or a Cluster.

    Takes what channels_redis' layers take. ``random_prefix_length`` and ``serializer_format`` have
    no effect: messages travel in Fast Channels' own frames. ``on_disconnect`` and ``on_reconnect``
    are types of messages that every member of a group gets when its messages stop and when they
    come again.
    """

    def __init__(
        self,
        hosts: Any = None,
        prefix: str = PREFIX,
        expiry: float = 60,
        group_expiry: float = 86_400,
        capacity: int = 100,
        channel_capacity: Any = None,
        symmetric_encryption_keys: Any = None,
        random_prefix_length: int = 12,
        serializer_format: str = "msgpack",
        *,
        on_disconnect: str | None = None,
        on_reconnect: str | None = None,
        **options: Any,
    ) -> None:
        if symmetric_encryption_keys:
            options["symmetric_encryption_keys"] = symmetric_encryption_keys
        if serializer_format not in ("json", "msgpack"):
            raise ValueError(
                f"serializer_format must be 'msgpack' or 'json', got {serializer_format!r}; "
                "messages travel in Fast Channels' own frames, whatever it says"
            )
        super().__init__(
            expiry, capacity, channel_capacity, group_expiry=group_expiry, prefix=prefix, **options
        )
        if self.options.encryption_keys and (on_disconnect or on_reconnect):
            raise ValueError(
                "on_disconnect and on_reconnect are not sealed, and a layer with keys takes "
                "nothing else; handle channels.gap instead"
            )
        self._hosts = parse_hosts(hosts)
        self._notices = Notices(on_disconnect, on_reconnect)

    def create_backend(self) -> Backend:
        """Return a backend with connections of its own."""
        return redis_backend(self._hosts, self.options.queue_capacity_of, self._notices)

    def stats(self) -> dict[str, int]:
        """Counters since the layer was made, and what it holds now.

        ``expired`` has the jobs, too, that this process found expired in its queues.
        """
        stats = super().stats()
        for backend in self.open_backends:
            queues = backend.queues
            if isinstance(queues, HostQueues):
                stats["expired"] += queues.expired
        return stats


class RedisPubSubChannelLayer(RedisChannelLayer):
    """The same layer, by the name and with the order of arguments of another one."""

    def __init__(
        self,
        hosts: Any = None,
        prefix: str = PREFIX,
        on_disconnect: str | None = None,
        on_reconnect: str | None = None,
        symmetric_encryption_keys: Any = None,
        serializer_format: str = "msgpack",
        **options: Any,
    ) -> None:
        super().__init__(
            hosts,
            prefix,
            on_disconnect=on_disconnect,
            on_reconnect=on_reconnect,
            symmetric_encryption_keys=symmetric_encryption_keys,
            serializer_format=serializer_format,
            **options,
        )


def redis_backend(
    hosts: Sequence[Spec],
    capacity_of: Callable[[str], int] = lambda _: 100,
    notices: Notices = SILENT,
) -> RedisBackend | ClusterBackend:
    """Return the backend for ``hosts``, as ``parse_hosts`` understood them."""
    singles: list[Single | Sentinels] = []
    for spec in hosts:
        if isinstance(spec, Cluster):
            return ClusterBackend(spec, capacity_of, notices)
        singles.append(spec)
    return RedisBackend(singles, capacity_of, notices)


def redis_layer(
    url: str | None = None, *, hosts: Any = None, prefix: str = "fc", **options: Any
) -> RedisChannelLayer:
    """Return the layer for ``url`` (or ``hosts``): the entry point ``redis`` and its like.

    Its ``prefix`` is that of every layer made by name, not that of channels_redis.
    """
    if url is not None and hosts is not None:
        raise TypeError("url and hosts were both given; name the servers in one of them")
    return RedisChannelLayer([url] if url is not None else hosts, prefix, **options)
