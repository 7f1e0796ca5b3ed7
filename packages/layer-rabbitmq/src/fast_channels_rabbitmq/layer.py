"""The channel layer that applications construct, or register by name or URL."""

from typing import Any, Final

from fast_channels.layers import BaseChannelLayer, HistoryPolicy
from fast_channels_rabbitmq.backend import (
    HISTORY_SECONDS,
    MAX_PAYLOAD,
    PATIENCE,
    QUEUE_BYTES,
    QUEUE_LENGTH,
    Queues,
    RabbitMQBackend,
)
from fast_channels_rabbitmq.urls import OPTIONS, parse_servers

QUEUE_TYPES: Final = ("classic", "quorum")


class RabbitMQChannelLayer(BaseChannelLayer):
    """A layer over one RabbitMQ server or a cluster.

    ``hosts`` is a URL or a list of them. ``queue_type`` is that of worker queues that do not exist
    yet: ``"classic"`` or ``"quorum"``. ``queue_length`` and ``queue_bytes`` are how much waits at
    the server for a process that is slow before it drops the oldest, ``max_payload`` the largest
    message that it takes, in bytes. ``user``, ``password``, ``vhost``, ``auth``, ``heartbeat``
    (seconds), ``tls`` (a context), ``tls_ca``, ``tls_cert`` and ``tls_key`` (files) hold for hosts
    that do not say otherwise.
    """

    def __init__(
        self,
        hosts: Any = None,
        *,
        queue_type: str = "classic",
        queue_length: int = QUEUE_LENGTH,
        queue_bytes: int = QUEUE_BYTES,
        max_payload: int = MAX_PAYLOAD,
        **options: Any,
    ) -> None:
        access = {name: options.pop(name) for name in OPTIONS if name in options}
        super().__init__(**options)
        if queue_type not in QUEUE_TYPES:
            raise ValueError(f"queue_type must be 'classic' or 'quorum', got {queue_type!r}")
        for name, value, least in (
            ("queue_length", queue_length, 1),
            ("queue_bytes", queue_bytes, 1),
            ("max_payload", max_payload, 4_096),
        ):
            if type(value) is not int or value < least:
                raise ValueError(f"{name} must be an int of at least {least}, got {value!r}")
        self._servers = parse_servers(hosts, **access)
        self._queue_type = queue_type
        self._limits = {
            "queue_length": queue_length,
            "queue_bytes": queue_bytes,
            "max_payload": max_payload,
        }

    @property
    def _history_seconds(self) -> float:
        """For how long anything is kept."""
        policies: dict[Any, HistoryPolicy] = dict(self.options.history or {})
        return max([HISTORY_SECONDS, *(policy.ttl for policy in policies.values())])

    def create_backend(self) -> RabbitMQBackend:
        """Return a backend with connections of its own."""
        return RabbitMQBackend(
            self._servers,
            self.options.queue_capacity_of,
            exchange=self.options.prefix,
            queue_type=self._queue_type,
            patience=min(PATIENCE, self.options.send_timeout * 0.6),
            history_seconds=self._history_seconds,
            **self._limits,
        )

    def stats(self) -> dict[str, int]:
        """Counters since the layer was made, and what it holds now.

        ``expired`` has the jobs, too, of which the server told this process that they expired; of
        each it tells one of the processes that use worker queues.
        """
        stats = super().stats()
        for backend in self.open_backends:
            queues = backend.queues
            if isinstance(queues, Queues):
                stats["expired"] += queues.expired
        return stats


def rabbitmq_layer(url: Any = None, *, hosts: Any = None, **options: Any) -> RabbitMQChannelLayer:
    """Return the layer for ``url`` (or ``hosts``): the entry point ``rabbitmq`` and its like."""
    if url is not None and hosts is not None:
        raise TypeError("url and hosts were both given; name the servers in one of them")
    return RabbitMQChannelLayer(hosts if url is None else url, **options)
