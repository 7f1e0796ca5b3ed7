"""Sending inside a transaction of the application, on a connection of its own.

No driver is imported for it: who passes a connection of one has imported it.
"""

import sys
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Final, NamedTuple


class Statement(NamedTuple):
    """SQL with a place ``{}`` for each value; the same text each time, for it may be prepared."""

    sql: str
    types: Sequence[str]


NOTIFY: Final = Statement(
    "SELECT count(pg_notify({}, p)) FROM unnest({}) AS t (p)", ("text", "text[]")
)
"""All pieces of a message, to one name."""

PENDING: Final = Statement(
    "INSERT INTO fast_channels.pending (topic, channel, most, lifetime, payload) "
    "VALUES ({}, {}, {}, {}, {})",
    ("text", "text", "int", "interval", "bytea"),
)
"""An entry, appended when the transaction commits."""

Execute = Callable[[Any, Statement, Sequence[Any]], Awaitable[None]]


class Done:
    """What a synchronous connection has done already."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


def execute_in(connection: object, statement: Statement, values: Sequence[Any]) -> Awaitable[None]:
    """Return what has run the statement, or does when awaited; raises ``TypeError`` and
    ``ValueError``."""
    for module, classes, execute in _KNOWN:
        known = sys.modules.get(module)
        kinds = tuple(vars(known)[each] for each in classes if known and each in vars(known))
        if isinstance(connection, kinds):
            if _is_closed(connection):
                raise ValueError(f"{connection!r:.200} is closed; the message was not sent")
            return execute(connection, statement, values)
    raise TypeError(
        "a connection of asyncpg, psycopg, SQLAlchemy or Django is needed to send inside its "
        f"transaction, not {type(connection).__module__}.{type(connection).__qualname__}"
    )


def _is_closed(connection: Any) -> bool:
    if hasattr(connection, "is_closed"):
        return bool(connection.is_closed())
    return getattr(connection, "closed", False) is True


async def _asyncpg(connection: Any, statement: Statement, values: Sequence[Any]) -> None:
    places = [f"${number}::{kind}" for number, kind in enumerate(statement.types, 1)]
    await connection.execute(statement.sql.format(*places), *values)


def _of_psycopg(statement: Statement) -> str:
    return statement.sql.format(*(f"%s::{kind}" for kind in statement.types))


async def _psycopg_async(connection: Any, statement: Statement, values: Sequence[Any]) -> None:
    await connection.execute(_of_psycopg(statement), values)


def _psycopg(connection: Any, statement: Statement, values: Sequence[Any]) -> Done:
    connection.execute(_of_psycopg(statement), values)
    return Done()


def _django(connection: Any, statement: Statement, values: Sequence[Any]) -> Done:
    _check_dialect(connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(_of_psycopg(statement), values)
    return Done()


def _sqlalchemy(connection: Any, statement: Statement, values: Sequence[Any]) -> Done:
    connection.execute(*_clause(connection, statement, values))
    return Done()


async def _sqlalchemy_async(connection: Any, statement: Statement, values: Sequence[Any]) -> None:
    await connection.execute(*_clause(connection, statement, values))


def _clause(
    connection: Any, statement: Statement, values: Sequence[Any]
) -> tuple[Any, dict[str, Any]]:
    bound = connection.get_bind() if hasattr(connection, "get_bind") else connection
    _check_dialect(bound.dialect.name)
    names = [f"p{number}" for number in range(len(values))]
    pairs = zip(names, statement.types, strict=True)
    sql = statement.sql.format(*(f"CAST(:{name} AS {kind})" for name, kind in pairs))
    return vars(sys.modules["sqlalchemy"])["text"](sql), dict(zip(names, values, strict=True))


def _check_dialect(name: str) -> None:
    if name != "postgresql":
        raise ValueError(
            f"the connection is to {name}, not to PostgreSQL; the message was not sent"
        )


_KNOWN: Final[Sequence[tuple[str, Sequence[str], Execute]]] = (
    # module, its classes, what runs a statement
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
