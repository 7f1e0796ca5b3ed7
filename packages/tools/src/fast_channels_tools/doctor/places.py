"""Whether anybody listens where the URL points: before a broker's own words come into it."""

import asyncio
import socket
from typing import Final, NamedTuple

from fast_channels_tools.connecting import Place

PORTS: Final = {
    "redis": 6379,
    "rediss": 6379,
    "valkey": 6379,
    "redis+sentinel": 26379,
    "rediss+sentinel": 26379,
    "redis+cluster": 6379,
    "rediss+cluster": 6379,
    "postgres": 5432,
    "postgresql": 5432,
    "rabbitmq": 5672,
    "amqp": 5672,
    "amqps": 5671,
    "nats": 4222,
    "tls": 4222,
}
"""Where brokers listen if a URL does not say."""


class Address(NamedTuple):
    """Where a server of the URL is."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def addresses_of(place: Place) -> list[Address]:
    """Return the servers that the URL names; none where that cannot be told."""
    found: list[Address] = []
    rest = place.url.partition("://")[2].rpartition("@")[2]
    for text in rest.partition("?")[0].partition("/")[0].split(","):
        host, port = _split(text)
        number = int(port) if port.isascii() and port.isdigit() else PORTS.get(place.name)
        if host and number is not None:
            found.append(Address(host, number))
    return found


async def problem_of(address: Address, seconds: float) -> str:
    """Return why nobody there takes a connection, with what to do; empty: somebody does."""
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(*address)
    except socket.gaierror:
        return (
            f"the name {address.host!r} has no address; correct the host in the URL, or let this "
            "machine's DNS or /etc/hosts know it"
        )
    except ConnectionRefusedError:
        return (
            f"nothing listens on port {address.port} of {address.host!r}; start the broker there, "
            "or correct host and port in the URL"
        )
    except TimeoutError:
        return (
            f"{address} did not take a connection within {seconds:g} s; look for a firewall "
            f"between this machine and port {address.port} of {address.host!r}"
        )
    except OSError as error:
        return (
            f"{address} cannot be reached: {error}; look whether host {address.host!r} is up, and "
            "whether this machine has a route to it"
        )
    writer.transport.abort()  # a broker takes no offence, and some wait for a goodbye
    return ""


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = text.partition(":")
    return host, port
