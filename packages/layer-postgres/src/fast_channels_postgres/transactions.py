"""Notifying inside a transaction of the application, on a connection of its own.

No driver is imported for it: who passes a connection of one has imported it.
"""

import sys
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Final

Send = Callable[[Any, str, Sequence[str]], Awaitable[None]]

_SENT: Final = "SELECT count(pg_notify({}, p)) FROM unnest({}) AS t (p)"
"""One statement for all pieces of a message: the same text each time, for it may be prepared."""


class Sent:
    """What a synchronous connection has done already."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


def notify_in(connection: object, name: str, texts: Sequence[str]) -> Awaitable[None]:
    """Return what has notified, or does when awaited; raises ``TypeError`` and ``ValueError``."""
    for module, classes, send in _KNOWN:
        known = sys.modules.get(module)
        kinds = tuple(vars(known)[each] for each in classes if known and each in vars(known))
        if isinstance(connection, kinds):
            if _is_closed(connection):
                raise ValueError(f"{connection!r:.200} is closed; the message was not sent")
            return send(connection, name, texts)
    raise TypeError(
        "a connection of asyncpg, psycopg, SQLAlchemy or Django is needed to send inside its "
        f"transaction, not {type(connection).__module__}.{type(connection).__qualname__}"
    )


def _is_closed(connection: Any) -> bool:
    if hasattr(connection, "is_closed"):
        return bool(connection.is_closed())
    return getattr(connection, "closed", False) is True


async def _asyncpg(connection: Any, name: str, texts: Sequence[str]) -> None:
    await connection.execute(_SENT.format("$1::text", "$2::text[]"), name, list(texts))


async def _psycopg_async(connection: Any, name: str, texts: Sequence[str]) -> None:
    await connection.execute(_SENT.format("%s::text", "%s::text[]"), (name, list(texts)))


def _psycopg(connection: Any, name: str, texts: Sequence[str]) -> Sent:
    connection.execute(_SENT.format("%s::text", "%s::text[]"), (name, list(texts)))
    return Sent()


def _django(connection: Any, name: str, texts: Sequence[str]) -> Sent:
    _check_dialect(connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(_SENT.format("%s::text", "%s::text[]"), (name, list(texts)))
    return Sent()


def _sqlalchemy(connection: Any, name: str, texts: Sequence[str]) -> Sent:
    connection.execute(_clause(connection), {"name": name, "texts": list(texts)})
    return Sent()


async def _sqlalchemy_async(connection: Any, name: str, texts: Sequence[str]) -> None:
    await connection.execute(_clause(connection), {"name": name, "texts": list(texts)})


def _clause(connection: Any) -> Any:
    bound = connection.get_bind() if hasattr(connection, "get_bind") else connection
    _check_dialect(bound.dialect.name)
    sql = _SENT.format("CAST(:name AS text)", "CAST(:texts AS text[])")
    return vars(sys.modules["sqlalchemy"])["text"](sql)


def _check_dialect(name: str) -> None:
    if name != "postgresql":
        raise ValueError(
            f"the connection is to {name}, not to PostgreSQL; the message was not sent"
        )


_KNOWN: Final[Sequence[tuple[str, Sequence[str], Send]]] = (
    # module, its classes, what sends
    ("asyncpg.connection", ("Connection",), _asyncpg),
    ("asyncpg.pool", ("PoolConnectionProxy",), _asyncpg),
    ("psycopg", ("AsyncConnection",), _psycopg_async),
    ("psycopg", ("Connection",), _psycopg),
    ("sqlalchemy", ("Connection",), _sqlalchemy),
    ("sqlalchemy.orm", ("Session", "scoped_session"), _sqlalchemy),
    ("sqlalchemy.ext.asyncio", ("AsyncConnection", "AsyncSession"), _sqlalchemy_async),
    ("django.db.backends.base.base", ("BaseDatabaseWrapper",), _django),
    ("django.utils.connection", ("ConnectionProxy",), _django),
)
