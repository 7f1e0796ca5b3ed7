"""The channel layer that applications construct, or register by name or URL."""

from typing import Any

from fast_channels.layers import BaseChannelLayer
from fast_channels_nats.backend import NatsBackend, Queues
from fast_channels_nats.requests import ANSWER_SECONDS
from fast_channels_nats.urls import OPTIONS, parse_servers


class NatsChannelLayer(BaseChannelLayer):
    """A layer over one NATS server or a cluster: groups on core NATS, the rest on JetStream.

    ``servers`` is a URL or a list of them. ``replicas`` is on how many servers the stream of a
    queue, or of durable groups, lives; None: on three where the server is in a cluster, else on
    one. ``max_payload`` is that of the servers, ``inbox_prefix`` how the subjects begin to which
    JetStream answers. ``user``, ``password``, ``token``, ``nkey``, ``credentials`` (files),
    ``tls`` (a context), ``tls_ca``, ``tls_cert`` and ``tls_key`` (files) are what it takes to be
    let in.
    """

    def __init__(
        self,
        servers: Any = None,
        *,
        replicas: int | None = None,
        max_payload: int = 1_048_576,
        inbox_prefix: str = "_INBOX",
        **options: Any,
    ) -> None:
        access = {name: options.pop(name) for name in OPTIONS if name in options}
        super().__init__(**options)
        if replicas is not None and replicas not in range(1, 6):
            raise ValueError(f"replicas must be 1 to 5, got {replicas!r}")
        if type(max_payload) is not int or max_payload < 4_096:
            raise ValueError(f"max_payload must be an int of at least 4096, got {max_payload!r}")
        if not all(inbox_prefix.split(".")) or set(inbox_prefix) & set(" \t\r\n*>"):
            raise ValueError(f"inbox_prefix must be a subject, got {inbox_prefix!r}")
        self._servers = parse_servers(servers, max_payload=max_payload, **access)
        self._replicas = replicas
        self._inbox_prefix = inbox_prefix

    def create_backend(self) -> NatsBackend:
        """Return a backend with a connection of its own."""
        return NatsBackend(
            self._servers,
            self.options.queue_capacity_of,
            replicas=self._replicas,
            inbox_prefix=self._inbox_prefix,
            patience=max(ANSWER_SECONDS, 0.8 * self.options.send_timeout),
        )

    def stats(self) -> dict[str, int]:
        """Counters since the layer was made, and what it holds now.

        ``expired`` has the jobs, too, that this process found expired in its queues.
        """
        stats = super().stats()
        for backend in self.open_backends:
            queues = backend.queues
            if isinstance(queues, Queues):
                stats["expired"] += queues.expired
        return stats


def nats_layer(url: Any = None, *, servers: Any = None, **options: Any) -> NatsChannelLayer:
    """Return the layer for ``url`` (or ``servers``): the entry points ``nats`` and ``tls``."""
    if url is not None and servers is not None:
        raise TypeError("url and servers were both given; name the servers in one of them")
    return NatsChannelLayer(servers if url is None else url, **options)
