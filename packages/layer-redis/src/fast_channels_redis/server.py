"""How to reach one Redis server, and the handshake with it.

No text made here holds a password: what a server answers to the handshake is not repeated where it
may echo what it was sent.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import hiredis

from fast_channels.exceptions import BackendUnavailable
from fast_channels_redis.connection import Connection, Reply, pack

CONNECT_SECONDS: Final = 1.5
"""How long a connection may take, TLS included, where ``socket_connect_timeout`` does not say."""

STEP_SECONDS: Final = 1.0
"""How long a server may be silent while a connection is made ready, before it is tried again."""

C = TypeVar("C", bound=Connection)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server's address, and what it takes to be let in."""

    host: str = "localhost"
    port: int = 6379
    path: str | None = None
    """A Unix socket, instead of host and port."""

    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    credentials: Any = field(default=None, repr=False)
    """A ``redis.CredentialProvider``, asked at every connect, instead of the two above."""

    tls: ssl.SSLContext | None = field(default=None, repr=False)
    client_name: str = "fast-channels"
    connect_timeout: float = CONNECT_SECONDS
    mode: str = "standalone"
    """What the server must be: ``standalone``, ``sentinel`` or ``cluster``."""
    role: str | None = "master"
    """What it must be among its like; None: anything will do."""

    @property
    def name(self) -> str:
        """The server as errors and logs name it."""
        if self.path is not None:
            return f"redis at {self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis at {host}:{self.port}"

    def at(self, host: str, port: int) -> "Server":
        """Return the server of that address, with everything else the same."""
        return replace(self, host=host, port=port, path=None)


async def connect(
    server: Server,
    make: Callable[[asyncio.AbstractEventLoop, str], C],
    patience: float = STEP_SECONDS,
) -> C:
    """Return a connection that is let in; raises ``BackendUnavailable`` that says why not.

    ``patience`` is how many seconds the server may take to answer the handshake.
    """
    loop = asyncio.get_running_loop()

    def protocol() -> C:
        return make(loop, server.name)

    try:
        async with asyncio.timeout(server.connect_timeout):
            if server.path is not None:
                transport, connection = await loop.create_unix_connection(protocol, server.path)
            else:
                transport, connection = await loop.create_connection(
                    protocol,
                    server.host,
                    server.port,
                    ssl=server.tls,
                    server_hostname=server.host if server.tls is not None else None,
                )
    except TimeoutError:
        hint = " (if it speaks no TLS, write redis://)" if server.tls else ""
        raise BackendUnavailable(
            f"{server.name} did not take a connection within {server.connect_timeout:g} s{hint}"
        ) from None
    except OSError as error:
        raise BackendUnavailable(f"{server.name} cannot be reached: {error}") from error
    try:
        if server.path is None:
            _keep_alive(transport.get_extra_info("socket"))
        await _greet(connection, server, patience)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _greet(connection: Connection, server: Server, patience: float) -> None:
    username, password = await _credentials(server)
    hello: list[str | int] = ["HELLO", 2]
    if password is not None:
        hello += ["AUTH", username or "default", password]
    hello += ["SETNAME", server.client_name]
    commands, count = pack(*hello), 1
    if server.db:
        commands, count = commands + pack("SELECT", server.db), 2
    try:
        async with asyncio.timeout(patience):
            replies = await connection.send(commands, count)
    except TimeoutError:
        raise BackendUnavailable(f"{server.name} does not answer") from None
    except BackendUnavailable as error:
        hint = "" if server.tls else " (if it speaks TLS, write rediss://)"
        cause = connection.lost or error
        raise BackendUnavailable(f"{cause} during the handshake{hint}") from None
    if isinstance(replies[0], hiredis.ReplyError):
        raise BackendUnavailable(_refusal(server, username, password, str(replies[0])))
    if type(replies[0]) is not list:
        raise BackendUnavailable(f"{server.name} does not speak Redis' protocol")
    connection.info = pairs(replies[0])
    _check(server, connection.info)
    if count == 2 and isinstance(replies[1], hiredis.ReplyError):
        raise BackendUnavailable(f"{server.name} has no database {server.db}: {replies[1]}")


def pairs(answer: Reply) -> dict[str, Any]:
    """Return the flat answer as names and values."""
    told = [item.decode() if isinstance(item, bytes) else item for item in answer]
    return dict(zip(told[::2], told[1::2], strict=False))


async def _credentials(server: Server) -> tuple[str | None, str | None]:
    if server.credentials is None:
        return server.username, server.password
    provider = server.credentials
    if hasattr(provider, "get_credentials_async"):
        given = await provider.get_credentials_async()
    else:
        given = provider.get_credentials()
    return (given[0], given[1]) if len(given) == 2 else (None, given[0])


def _refusal(server: Server, username: str | None, password: str | None, text: str) -> str:
    """Return what went wrong. Only the codes of known errors are looked at: the text of an unknown
    command's error repeats its arguments, the password among them."""
    code = text.partition(" ")[0]
    if code == "WRONGPASS":
        return f"{server.name} refused the password of user {username or 'default'!r}"
    if code == "NOAUTH":
        return f"{server.name} asks for a password, and none was given"
    if code == "ERR" and "unknown command" in text.lower():
        return f"{server.name} does not know HELLO: Redis 6 or newer, or Valkey, is needed"
    if password:
        text = text.replace(password, "***")
    return f"{server.name} refused the handshake: {text}"


def _check(server: Server, info: dict[str, Any]) -> None:
    mode, role = info.get("mode", "standalone"), info.get("role", "master")
    if mode == "sentinel" and server.mode != mode:
        raise BackendUnavailable(
            f"{server.name} is a Sentinel; write redis+sentinel://{server.host}:{server.port}/"
            "<name of the master>"
        )
    if mode == "cluster" and server.mode != mode:
        raise BackendUnavailable(
            f"{server.name} is a node of a Cluster; write redis+cluster:// in the URL"
        )
    if mode != server.mode:
        raise BackendUnavailable(
            f"{server.name} is no {server.mode} but {mode}; write redis:// in the URL"
        )
    if server.role is not None and role != server.role:
        raise BackendUnavailable(
            f"{server.name} is a read-only {role}; name its master, or the Sentinels that know it"
        )


def _keep_alive(sock: socket.socket | None) -> None:
    """Let the kernel notice, too, when the other side is gone."""
    if sock is None:
        return
    options = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 10_000}
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
