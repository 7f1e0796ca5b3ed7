"""Sending inside a transaction of the application: with its commit, and never without."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from tests.waiting import soon

from fast_channels.exceptions import MessageTooLarge
from fast_channels.layers import HistoryPolicy
from fast_channels_postgres import PostgresChannelLayer

from .conftest import Make
from .servers import Server

Ended = Callable[[bool], Awaitable[None]]
"""Ends the transaction: commits it, or rolls it back."""


async def in_thread(call: Callable[[], object]) -> None:
    """Await a call of synchronous code."""
    await asyncio.to_thread(call)


@asynccontextmanager
async def of_asyncpg(url: str) -> AsyncGenerator[tuple[Any, Ended]]:
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()

    async def end(commit: bool) -> None:
        await (transaction.commit() if commit else transaction.rollback())

    yield connection, end
    await connection.close()


@asynccontextmanager
async def of_an_asyncpg_pool(url: str) -> AsyncGenerator[tuple[Any, Ended]]:
    pool = await asyncpg.create_pool(url, min_size=1, max_size=1)
    connection = await pool.acquire()
    transaction = connection.transaction()
    await transaction.start()

    async def end(commit: bool) -> None:
        await (transaction.commit() if commit else transaction.rollback())

    yield connection, end
    await pool.release(connection)
    await pool.close()


@asynccontextmanager
async def of_psycopg(url: str) -> AsyncGenerator[tuple[Any, Ended]]:
    connection = psycopg.connect(url)
    yield connection, lambda commit: in_thread(connection.commit if commit else connection.rollback)
    connection.close()


@asynccontextmanager
async def of_psycopg_async(url: str) -> AsyncGenerator[tuple[Any, Ended]]:
    connection = await psycopg.AsyncConnection.connect(url)
    yield connection, lambda commit: connection.commit() if commit else connection.rollback()
    await connection.close()


@asynccontextmanager
async def of_sqlalchemy(url: str) -> AsyncGenerator[tuple[Any, Ended]]:
    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        yield (
            connection,
            lambda commit: in_thread(connection.commit if commit else connection.rollback),
        )
    engine.dispose()


@asynccontextmanager
async def of_a_sqlalchemy_session(url: str) -> AsyncGenerator[tuple[Any, Ended]]:
    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with Session(engine) as session:
        yield session, lambda commit: in_thread(session.commit if commit else session.rollback)
    engine.dispose()


@asynccontextmanager
async def of_a_scoped_session(url: str) -> AsyncGenerator[tuple[Any, Ended]]:
    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    session = scoped_session(sessionmaker(engine))

    async def end(commit: bool) -> None:
        session.commit() if commit else session.rollback()

    yield session, end
    session.remove()
    engine.dispose()


@asynccontextmanager
async def of_sqlalchemy_async(url: str) -> AsyncGenerator[tuple[Any, Ended]]:
    for driver in ("asyncpg",):
        engine = create_async_engine(url.replace("postgresql:", f"postgresql+{driver}:"))
        async with engine.connect() as connection:
            yield (
                connection,
                lambda commit: connection.commit() if commit else connection.rollback(),
            )
        await engine.dispose()


@asynccontextmanager
async def of_an_async_session(url: str) -> AsyncGenerator[tuple[Any, Ended]]:
    engine = create_async_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    async with AsyncSession(engine) as session:
        yield session, lambda commit: session.commit() if commit else session.rollback()
    await engine.dispose()


WAYS = [
    of_asyncpg,
    of_an_asyncpg_pool,
    of_psycopg,
    of_psycopg_async,
    of_sqlalchemy,
    of_a_sqlalchemy_session,
    of_a_scoped_session,
    of_sqlalchemy_async,
    of_an_async_session,
]


async def member(layer: PostgresChannelLayer) -> str:
    """Return a channel of the layer that is in the group."""
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    return channel


@pytest.mark.parametrize("way", WAYS)
async def test_a_commit_sends_and_a_rollback_does_not(
    server: Server, make: Make, way: Callable[[str], Any]
) -> None:
    layer = make(server.url)
    channel = await member(layer)
    async with way(server.url) as (connection, end):
        await layer.group_send_in(connection, "room", {"type": "never"})
        await end(False)
    async with way(server.url) as (connection, end):
        for n in range(3):  # equal ones, too
            await layer.group_send_in(connection, "room", {"type": "hello", "data": b"\x00\xff"})
            await layer.group_send_in(connection, "room", {"type": "hello", "n": n})
        await layer.group_send_in(connection, "room", {"type": "large", "text": "ä" * 100_000})
        await layer.group_send("room", {"type": "first"})
        assert await soon(layer.receive(channel)) == {"type": "first"}
        await end(True)
    for n in range(3):
        assert await soon(layer.receive(channel)) == {"type": "hello", "data": b"\x00\xff"}
        assert await soon(layer.receive(channel)) == {"type": "hello", "n": n}
    assert await soon(layer.receive(channel)) == {"type": "large", "text": "ä" * 100_000}
    assert layer.stats()["gaps"] == layer.stats()["malformed"] == layer.stats()["repeated"] == 0


@pytest.mark.parametrize("way", WAYS)
async def test_a_commit_appends_to_a_durable_group_and_a_rollback_does_not(
    server: Server, make: Make, way: Callable[[str], Any]
) -> None:
    layer = make(server.url, history={"kept": HistoryPolicy(keep=100, ttl=60)})
    await layer.migrate()
    message = {"type": "hello", "data": bytes(range(256)) * 100}
    for commit in (False, True):
        async with way(server.url) as (connection, end):
            await layer.group_send_in(connection, "kept", {**message, "commit": commit})
            await end(commit)
    assert await layer.group_history("kept") == [{**message, "commit": True}]


async def test_django_sends_when_its_transaction_commits(server: Server, prefix: str) -> None:
    program = """
import asyncio, sys
from django.conf import settings
url, prefix, port = sys.argv[1:]
settings.configure(DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": port,
    "NAME": "postgres", "USER": "kit", "PASSWORD": "kit-secret"}})
import django; django.setup()
from django.db.backends.postgresql.features import DatabaseFeatures
DatabaseFeatures.minimum_database_version = (13,)  # for the suite on 13; Django asks for 14
from django.db import connection, connections, transaction
from fast_channels_postgres import PostgresChannelLayer
from fast_channels.layers import HistoryPolicy
layer = PostgresChannelLayer(url, prefix=prefix, history={"kept": HistoryPolicy(keep=9, ttl=60)})
def views():
    for given in (connection, connections["default"]):
        try:
            with transaction.atomic():
                layer.group_send_in(given, "room", {"type": "never"})
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        with transaction.atomic():
            layer.group_send_in(given, "room", {"type": "row", "text": "100 %s"})
            layer.group_send_in(given, "kept", {"type": "row", "text": "100 %s"})
    connection.close()
async def main():
    await layer.migrate()
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await asyncio.to_thread(views)
    print(len(await layer.group_history("kept")))
    async with asyncio.timeout(10):
        for _ in range(2):
            print(await layer.receive(channel))
    await layer.close()
asyncio.run(main())
"""
    arguments = (server.url, prefix, str(server.port))
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "2\n" + "{'type': 'row', 'text': '100 %s'}\n" * 2, done.stderr


async def test_sealed_messages_are_sealed_in_a_transaction_too(
    server: Server, make: Make, prefix: str
) -> None:
    layer = make(server.url, encryption_keys=[os.urandom(32)])
    channel = await member(layer)
    async with of_asyncpg(server.url) as (connection, end):
        for text in ("small", "x" * 20_000):
            await layer.group_send_in(connection, "room", {"type": "hello", "text": text})
        await end(True)
    for text in ("small", "x" * 20_000):
        assert await soon(layer.receive(channel)) == {"type": "hello", "text": text}
    assert layer.stats()["refused"] == 0


async def test_what_cannot_send_in_a_transaction_is_told_before_anything_is_done(
    server: Server, make: Make
) -> None:
    layer = make(server.url)
    for other in (None, server.url, layer, object()):
        with pytest.raises(TypeError, match="a connection of asyncpg, psycopg, SQLAlchemy or Dj"):
            layer.group_send_in(other, "room", {"type": "hello"})
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as lite, pytest.raises(ValueError, match="to sqlite, not to Postgre"):
        layer.group_send_in(lite, "room", {"type": "hello"})
    engine.dispose()
    with psycopg.connect(server.url) as connection:
        with pytest.raises(MessageTooLarge):
            layer.group_send_in(connection, "room", {"type": "x", "data": b"x" * 1_100_000})
        with pytest.raises(TypeError, match="a room"):
            layer.group_send_in(connection, "a room", {"type": "x"})
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/0")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):  # the driver's own
            layer.group_send_in(connection, "room", {"type": "x"})


@pytest.mark.parametrize("way", [of_asyncpg, of_psycopg, of_psycopg_async, of_sqlalchemy])
async def test_a_closed_connection_is_told(
    server: Server, make: Make, way: Callable[[str], Any]
) -> None:
    async with way(server.url) as (connection, end):
        await end(False)
    with pytest.raises(ValueError, match="is closed; the message was not sent"):
        make(server.url).group_send_in(connection, "room", {"type": "hello"})


def test_no_driver_is_imported_but_asyncpg() -> None:
    program = (
        "import sys, fast_channels_postgres\n"
        "assert not {'psycopg', 'sqlalchemy', 'django'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
