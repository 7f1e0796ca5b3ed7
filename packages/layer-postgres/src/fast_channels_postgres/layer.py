"""The channel layer that applications construct, or register by name or URL."""

import math
from collections.abc import Awaitable, Mapping
from typing import Any

from fast_channels.layers import BaseChannelLayer
from fast_channels.type_defs import ChannelMessage
from fast_channels_postgres.backend import JOB_LEASE, PostgresBackend
from fast_channels_postgres.driver import Pool
from fast_channels_postgres.history import Row
from fast_channels_postgres.hosts import Connects, PoolSource, Source
from fast_channels_postgres.names import MAX_PAYLOAD, shard_name, text
from fast_channels_postgres.schema import migrate
from fast_channels_postgres.transactions import NOTIFY, PENDING, execute_in


class PostgresChannelLayer(BaseChannelLayer):
    """A layer over one PostgreSQL database.

    Connects to the first host of ``url`` that takes writes, or takes connections of ``pool``, an
    asyncpg pool of the event loop in which the layer is used. With a pooler such as PgBouncer
    behind ``url``, ``listen_url`` names the server itself. ``connect_options`` are passed to
    ``asyncpg.connect`` (``ssl``, ``server_settings``, ...). The job of a worker that died comes
    again after ``job_lease`` seconds.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        pool: Pool | None = None,
        listen_url: str | None = None,
        connect_options: Mapping[str, Any] | None = None,
        job_lease: float = JOB_LEASE,
        **options: Any,
    ) -> None:
        if (url is None) == (pool is None):
            raise TypeError("a postgres layer takes a url or a pool, and not both")
        if pool is not None and connect_options:
            raise TypeError("connect_options are for a url; a pool has options of its own")
        if not 1 <= job_lease < math.inf:
            raise ValueError(f"job_lease must be at least 1 second, got {job_lease!r}")
        super().__init__(**options)
        self._job_lease = job_lease
        self._source: Connects
        if url is not None:
            self._source = Source(url, connect_options, pooler=listen_url is not None)
        elif pool is not None:
            self._source = PoolSource(pool)
        self._direct = Source(listen_url, connect_options) if listen_url is not None else None

    def create_backend(self) -> PostgresBackend:
        """Return a backend with connections of its own."""
        capacity_of = self.options.queue_capacity_of
        return PostgresBackend(self._source, self._direct, capacity_of, self._job_lease)

    async def migrate(self) -> None:
        """What worker channels, durable groups and SQL senders need is in the database, in the
        schema ``fast_channels``, and what an older version made is brought up to date; where it is
        already, nothing changes.

        Raises ``BackendUnavailable``, and ``InvalidChannelLayerError`` where the role may not.
        """
        connection = await (self._direct or self._source).connect(self.options.send_timeout)
        try:
            await migrate(connection)
        finally:
            await connection.close()

    def group_send_in(
        self, connection: object, group: str, message: ChannelMessage
    ) -> Awaitable[None]:
        """The message is sent when, and only when, the connection's transaction commits; at once
        where there is none.

        ``connection`` is one of asyncpg, psycopg, SQLAlchemy (a session of its, too) or Django, to
        the database of this layer. A synchronous one has done its part when this returns, for an
        asynchronous one await what is returned. Messages of one transaction arrive in their order;
        those to durable groups in that of each group, where they are appended by the commit.

        Raises as ``group_send``, and ``TypeError`` for other objects and ``ValueError`` for a
        closed connection, before any I/O; errors of the statement come as the driver raises them.
        """
        if self.options.durable and self.options.history_of(group) is not None:
            row = Row.of(self.append_for(group, message))
            values = (row.topic, row.channel, row.most, row.lifetime, row.payloads[0])
            return execute_in(connection, PENDING, values)
        topic, payloads = self.frames_for(group, message, MAX_PAYLOAD)
        texts = [text(topic, each) for each in payloads]
        return execute_in(connection, NOTIFY, (shard_name(topic), texts))

    def stats(self) -> dict[str, int]:
        """Counters since the layer was made, and what it holds now.

        ``expired`` has the jobs, too, that this process found expired in its queues;
        ``notification_queue_percent`` is how full the server's queue was when last seen, rounded
        up.
        """
        stats = super().stats()
        usage = 0.0
        for backend in self.open_backends:
            if isinstance(backend, PostgresBackend):
                stats["expired"] += backend.jobs.expired
                usage = max(usage, backend.queue_usage)
        stats["notification_queue_percent"] = math.ceil(usage * 100)
        return stats


def postgres_layer(url: str | None = None, **options: Any) -> PostgresChannelLayer:
    """Return the layer for ``url``: the entry points ``postgres`` and ``postgresql``."""
    return PostgresChannelLayer(url, **options)
