"""How to reach one NATS server, and the handshake with it.

No text made here holds a password, a token or a seed.
"""

import asyncio
import json
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, Final

from fast_channels.exceptions import BackendUnavailable
from fast_channels_nats.access import Access
from fast_channels_nats.connection import Connection

STEP_SECONDS: Final = 1.0
"""How long a server may be silent while a connection is made ready, before another is tried."""

OLDEST: Final = (2, 9)
"""The first server that knows all that worker queues need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server's address, and what it takes to be let in."""

    host: str = "localhost"
    port: int = 4222
    access: Access = field(default_factory=Access)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """None: encrypted only if the server insists, and then checked as the system says."""

    max_payload: int = 1_048_576
    connect_timeout: float = 1.5

    @property
    def name(self) -> str:
        """The server as errors and logs name it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"nats at {host}:{self.port}"

    def at(self, host: str, port: int) -> "Server":
        """Return the server of that address, with everything else the same."""
        return replace(self, host=host, port=port)


async def connect(server: Server, patience: float = STEP_SECONDS) -> Connection:
    """Return a connection that is let in; raises ``BackendUnavailable`` that says why not.

    ``patience`` is how many seconds the server may take to answer the handshake.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(server.connect_timeout):
            transport, connection = await loop.create_connection(
                lambda: Connection(loop, server.name), server.host, server.port
            )
    except TimeoutError:
        raise BackendUnavailable(
            f"{server.name} did not take a connection within {server.connect_timeout:g} s"
        ) from None
    except OSError as error:
        raise BackendUnavailable(f"{server.name} cannot be reached: {error}") from error
    try:
        _keep_alive(transport.get_extra_info("socket"))
        async with asyncio.timeout(patience):
            await _greet(connection, server)
    except TimeoutError:
        await connection.close()
        raise BackendUnavailable(f"{server.name} does not answer") from None
    except BaseException:
        await connection.close()
        raise
    return connection


async def _greet(connection: Connection, server: Server) -> None:
    try:
        await connection.greeted
        _check(connection.info, server)
        if server.tls is not None or connection.info.get("tls_required"):
            context = server.tls or ssl.create_default_context()
            try:
                await connection.encrypt(context, server.host)
            except (ssl.SSLError, OSError) as error:
                raise BackendUnavailable(
                    f"{server.name} and this process did not agree on TLS: {error}"
                ) from None
        hello = {
            "verbose": False,
            "pedantic": False,
            "lang": "python-fast-channels",
            "version": version("fast-channels-nats"),
            "name": "fast-channels",
            "protocol": 1,
            "echo": True,
            "headers": True,
            "no_responders": True,
            **server.access.fields(connection.info.get("nonce", "")),
        }
        refusals = await connection.flush(b"CONNECT " + json.dumps(hello).encode() + b"\r\n")
    except BackendUnavailable as error:
        if connection.complaint:
            raise BackendUnavailable(_refusal(connection, server)) from None
        if connection.lost is not None:
            raise BackendUnavailable(f"{connection.lost} during the handshake") from None
        raise error from None
    if refusals:
        raise BackendUnavailable(_refusal(connection, server))


def _refusal(connection: Connection, server: Server) -> str:
    text = connection.complaint
    if "authorization" in text.lower() or "authentication" in text.lower():
        if not server.access.given:
            return f"{server.name} asks who we are, and no user, token or key was given"
        return f"{server.name} refused our credentials: {server.access.hide(text)}"
    return f"{server.name} refused the handshake: {server.access.hide(text)}"


def _check(info: dict[str, Any], server: Server) -> None:
    told = str(info.get("version", "0"))
    number = tuple(int(part) for part in told.split("-")[0].split(".")[:2] if part.isdigit())
    if number < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise BackendUnavailable(f"{server.name} is nats-server {told}; {oldest} is the oldest")
    limit = info.get("max_payload", server.max_payload)
    if limit < server.max_payload:
        raise BackendUnavailable(
            f"{server.name} takes at most {limit} bytes in one message; "
            f"register the layer with max_payload={limit}"
        )
    if server.tls is not None and not (info.get("tls_required") or info.get("tls_available")):
        raise BackendUnavailable(f"{server.name} speaks no TLS; write nats:// if that is meant")


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
