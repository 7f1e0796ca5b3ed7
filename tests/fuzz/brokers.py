"""Targets: the addresses of brokers, as people write them, with a password in them."""

from collections.abc import Callable
from typing import Any

from fast_channels.layers import ChannelLayerRegistry
from fast_channels.layers.in_memory import memory_layer
from fast_channels_nats.urls import parse_servers as parse_nats
from fast_channels_postgres.hosts import parse_hosts as parse_postgres
from fast_channels_rabbitmq.urls import parse_servers as parse_rabbitmq
from fast_channels_redis.hosts import parse_hosts as parse_redis

from .choices import Choices

SECRET = "c0rrecthorse"

SCHEMES = (
    *("redis", "rediss", "redis+sentinel", "rediss+cluster", "unix", "valkey"),
    *("nats", "tls", "amqp", "amqps", "postgres", "postgresql", "memory", "http", ""),
)
PARSERS: tuple[Callable[[str], Any], ...] = (
    lambda url: parse_redis([url]),
    parse_nats,
    parse_rabbitmq,
    parse_postgres,
    memory_layer,
)
PLACES = (
    "{scheme}://app:{secret}@{text}",
    "{scheme}://:{secret}@{text}",
    "{scheme}://{secret}@{text}",
    "{scheme}://app:{secret}@localhost{text}",
    "{scheme}://app:{secret}@localhost:1/{text}",
    "{scheme}://app:{secret}@localhost?{text}",
    "{scheme}://app:{secret}@localhost,{text}",
    "{scheme}://app:{secret}{text}@localhost",
    "{scheme}://app:{text}{secret}@localhost",
    "{text}://app:{secret}@localhost",
    "{text}",
)
_TEXTS = (
    b":6379/0",
    b"x,",
    b"x?",
    b"x#",
    b"x/",
    b"h:1,h:2/main?ssl_cert_reqs=none",
    b"[::1]:99999",
    "\u2100".encode(),
)
URLS = tuple(
    bytes([place, scheme]) + _TEXTS[(place + number) % len(_TEXTS)]
    for place in range(len(PLACES))
    for number, scheme in enumerate((0, 2, 6, 8, 11))
)


def urls(data: bytes) -> None:
    """A URL is understood, or refused by ``ValueError`` or ``TypeError`` without its password."""
    choices = Choices(data[:2])
    place, scheme = choices.of(PLACES), choices.of(SCHEMES)
    text = data[2:].decode("utf-8", "surrogateescape")
    url = place.format(scheme=scheme, secret=SECRET, text=text)
    parsers = [*PARSERS]
    if len(text) % 8 == 0:  # not each time: it looks through all installed distributions
        parsers.append(lambda url: ChannelLayerRegistry().register("default", url))
    for parse in parsers:
        try:
            parse(url)
        except (ValueError, TypeError) as error:
            _tells_no_secret(error)


def _tells_no_secret(error: BaseException | None) -> None:
    """What a traceback would show of the error, and of what led to it, holds no password."""
    while error is not None:
        assert SECRET not in f"{error} {error!r}", f"{type(error).__name__} tells the password"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
