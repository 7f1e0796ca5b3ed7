"""Topics over LISTEN and NOTIFY: one connection that listens, and one that publishes."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Backend, Inbox, Publication
from fast_channels_postgres.connection import STATEMENT_SECONDS
from fast_channels_postgres.driver import PostgresError
from fast_channels_postgres.history import PostgresHistory
from fast_channels_postgres.hosts import Connects
from fast_channels_postgres.listener import Listener
from fast_channels_postgres.names import MAX_PAYLOAD
from fast_channels_postgres.publisher import Publisher
from fast_channels_postgres.queues import PostgresQueues
from fast_channels_postgres.tables import Tables

JOB_LEASE: Final = 30.0

DESCRIBE: Final = """
SELECT split_part(current_setting('server_version'), ' ', 1) AS version,
       current_database()::text AS database, current_user::text AS role,
       extract(epoch FROM clock_timestamp())::float8 AS time
"""


class PostgresBackend(Backend):
    """A backend over one database.

    ``direct`` makes connections to the server itself, where ``source`` has a pooler between.
    ``capacity_of`` tells how many jobs a queue holds. A job stays ``job_lease`` seconds with a
    taker that gives no sign of life.
    """

    max_payload = MAX_PAYLOAD

    def __init__(
        self,
        source: Connects,
        direct: Connects | None = None,
        capacity_of: Callable[[str], int] = lambda _: 100,
        job_lease: float = JOB_LEASE,
    ) -> None:
        self.queues = self.jobs = PostgresQueues(capacity_of, job_lease)
        self.history = self.kept = PostgresHistory()
        self._source = source
        self._direct = direct or source
        self._publisher: Publisher | None = None
        self._listener: Listener | None = None
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<PostgresBackend {self._source!r}>"

    @property
    def queue_usage(self) -> float:
        """How full the server's notification queue was when last seen: 0 to 1."""
        return self._listener.queue_usage if self._listener is not None else 0.0

    async def open(self, inbox: Inbox, /) -> None:
        """Connected, and a notification to itself has come back."""
        loop = asyncio.get_running_loop()
        publisher = self._publisher = Publisher(loop, self._source)
        listener = self._listener = Listener(loop, self._direct, inbox, publisher.echo)
        tables = Tables(loop, self._direct)
        self.jobs.open(loop, tables, listener)
        self.kept.open(tables)
        await publisher.link.open()
        await listener.open()

    async def close(self) -> None:
        """Every connection is gone; jobs that were not finished are free."""
        if self._publisher is None:
            return
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        assert self._listener is not None
        assert self._publisher is not None
        await self.kept.close()
        await self.jobs.close()
        await self._listener.close()
        await self._publisher.close()

    async def subscribe(self, topics: Collection[str], /) -> None:
        """The server delivers the topics."""
        await self._opened()[1].subscribe(topics)

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        """The topics are not delivered any more."""
        self._opened()[1].unsubscribe(topics)

    async def publish(self, publications: Sequence[Publication], /) -> None:
        """The server has the publications."""
        await self._opened()[0].publish(publications)

    async def describe(self) -> Mapping[str, str | int | float]:
        """Return what the server tells of itself, over a connection for this alone: who cancels a
        statement ends its connection."""
        self._opened()
        connection = await self._direct.connect(STATEMENT_SECONDS)
        try:
            [row] = await connection.run(lambda raw: raw.fetch(DESCRIBE))
        except PostgresError as error:
            raise BackendUnavailable(f"postgres refused to describe itself: {error}") from error
        finally:
            await connection.close()
        return {"server": "PostgreSQL", **dict(row)}

    def _opened(self) -> tuple[Publisher, Listener]:
        if self._publisher is None or self._listener is None:
            raise BackendUnavailable("the postgres backend is not open")
        return self._publisher, self._listener
