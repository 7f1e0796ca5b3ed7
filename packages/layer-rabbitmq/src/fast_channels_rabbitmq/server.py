"""How to reach one RabbitMQ server, and the handshake with it. No text made here has a password."""

import asyncio
import random
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

from pamqp import commands
from pamqp.base import Frame
from pamqp.frame import marshal
from pamqp.header import ProtocolHeader

from fast_channels.exceptions import BackendUnavailable
from fast_channels_rabbitmq.channel import Refused
from fast_channels_rabbitmq.connection import LARGEST_FRAME, Connection

OLDEST: Final = (3, 10)
"""The first server whose quorum queues let messages expire; none older is tested."""

HEARTBEAT: Final = 20
"""Seconds between two signs of life, at most: after twice as many the server gives us up."""

SHARE: Final = 0.4
"""Seconds that one of several servers gets at least, before the next one is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server's address, and what it takes to be let in."""

    host: str = "localhost"
    port: int = 5672
    vhost: str = "/"
    user: str = "guest"
    password: str = field(default="guest", repr=False)
    external: bool = False
    """The certificate says who we are."""

    tls: ssl.SSLContext | None = field(default=None, repr=False)
    heartbeat: int = HEARTBEAT

    @property
    def name(self) -> str:
        """The server as errors and logs name it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        vhost = "" if self.vhost == "/" else f", vhost {self.vhost!r}"
        return f"rabbitmq at {host}:{self.port}{vhost}"


class Hosts:
    """Servers tried in turn, beginning anywhere, or all processes would sit on the first."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._circle = list(servers)
        random.shuffle(self._circle)

    async def connect(self, seconds: float) -> Connection:
        """Return a connection to the first one that lets us in within that time."""
        loop, problems = asyncio.get_running_loop(), list[BackendUnavailable]()
        until = loop.time() + seconds
        share = max(SHARE, seconds / len(self._circle))
        for _ in range(len(self._circle)):
            server = self._circle[0]
            self._circle.append(self._circle.pop(0))
            left = until - loop.time()
            if left <= 0:
                break
            try:
                return await connect(server, min(share, left))
            except BackendUnavailable as error:
                problems.append(error)
        if len(problems) == 1:
            raise problems[0]
        raise BackendUnavailable(f"no server could be used: {'; '.join(map(str, problems))}")


async def connect(server: Server, seconds: float) -> Connection:
    """Return a connection that is let in; raises ``BackendUnavailable`` that says why not."""
    loop = asyncio.get_running_loop()
    connection = Connection(loop, server.name)
    try:
        async with asyncio.timeout(seconds):
            await loop.create_connection(
                lambda: connection,
                server.host,
                server.port,
                ssl=server.tls,
                server_hostname=server.host if server.tls is not None else None,
            )
            connection.keep_alive()
            await _greet(connection, server)
    except TimeoutError:
        await connection.close()
        raise BackendUnavailable(f"{server.name} did not answer within {seconds:.2g} s") from None
    except ssl.SSLError as error:
        await connection.close()
        reason = f"{server.name} and this process did not agree on TLS: {error}"
        raise BackendUnavailable(reason) from None
    except OSError as error:
        await connection.close()
        raise BackendUnavailable(f"{server.name} cannot be reached: {error}") from error
    except BaseException:
        await connection.close()
        raise
    return connection


async def _greet(connection: Connection, server: Server) -> None:
    start = await _said(connection, ProtocolHeader().marshal(), commands.Connection.Start)
    info: dict[str, Any] = start.server_properties or {}
    connection.info = info
    if info.get("product") == "RabbitMQ":
        told = str(info.get("version", ""))
        connection.release = tuple(int(part) for part in told.split(".")[:2] if part.isdigit())
        if connection.release < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise BackendUnavailable(f"{server.name} is RabbitMQ {told}; {oldest} is the oldest")
    offered = str(start.mechanisms).split()
    mechanism = "EXTERNAL" if server.external else "PLAIN"
    if mechanism not in offered:
        raise BackendUnavailable(
            f"{server.name} offers the authentication {', '.join(offered)}, and not {mechanism}"
        )
    response = "" if server.external else f"\0{server.user}\0{server.password}"
    hello = commands.Connection.StartOk(_OURSELVES, mechanism, response, "en_US")
    tune = await _said(connection, marshal(hello, 0), commands.Connection.Tune)
    connection.frame_max = min(tune.frame_max or LARGEST_FRAME, LARGEST_FRAME)
    beat = min(server.heartbeat, tune.heartbeat or server.heartbeat)
    answer = commands.Connection.TuneOk(tune.channel_max or 0, connection.frame_max, beat)
    call = commands.Connection.Open(server.vhost)
    await _said(connection, marshal(answer, 0) + marshal(call, 0), commands.Connection.OpenOk)
    connection.beat(beat)


async def _said(connection: Connection, data: bytes, expected: type[Any]) -> Any:
    try:
        answer: Frame = await connection.say(data)
    except Refused:
        raise
    except BackendUnavailable as error:
        raise BackendUnavailable(f"{error} during the handshake") from None
    if not isinstance(answer, expected):
        raise BackendUnavailable(
            f"{connection.name} answered {type(answer).__name__} in the handshake, "
            f"not {expected.__name__}"
        )
    return answer


_OURSELVES: Final[dict[str, Any]] = {
    "product": "fast-channels-rabbitmq",
    "version": version("fast-channels-rabbitmq"),
    "platform": "Python",
    "capabilities": {
        "authentication_failure_close": True,
        "basic.nack": True,
        "connection.blocked": True,
        "consumer_cancel_notify": True,
        "publisher_confirms": True,
    },
}
