"""Keeps foreign web pages from opening sockets with a visitor's cookies.

Browsers apply no same-origin rule to WebSockets; they only tell, in ``Origin``, which page asks.
"""

import logging
from collections.abc import Iterable
from typing import Any, TypeAlias
from urllib.parse import ParseResult, urlparse

from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.type_defs import (
    ASGIReceiveCallable,
    ASGISendCallable,
    ChannelApplication,
    ChannelScope,
)
from fast_channels.utils import is_same_domain, require_application

logger = logging.getLogger("fast_channels.middleware")

Origin: TypeAlias = str
"""``scheme://host[:port]``, or a pattern for such."""

AllowedOrigins: TypeAlias = Iterable[Origin]
"""The patterns of which a connection's origin must match one."""

DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class OriginValidator:
    """Lets through the WebSocket connections whose ``Origin`` matches one of ``allowed_origins``.

    A pattern is a host (``example.com``: any scheme, any port), a host with a port, or an origin
    (``https://example.com``: that scheme, and its default port unless one is given). A host that
    begins with a dot stands for the domain and all below it. ``*`` matches every origin, and also
    a connection without one. A header that cannot be read, or a second one, is always denied.

    The patterns are read once, at construction: ``TypeError`` for a ``str`` in place of a list,
    ``ValueError`` for one that cannot be read. One that can never match is logged as a warning.
    """

    def __init__(self, application: ChannelApplication, allowed_origins: AllowedOrigins) -> None:
        require_application(application)
        if isinstance(allowed_origins, str | bytes):
            raise TypeError(
                f"allowed_origins must be a list: pass [{allowed_origins!r}], "
                f"not {allowed_origins!r}"
            )
        self.application = application
        self.allowed_origins = list(allowed_origins)
        for pattern in self.allowed_origins:
            _check_pattern(pattern)

    async def __call__(
        self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> Any:
        """Serve the connection, or deny it; ``ValueError`` if it is no WebSocket."""
        if scope["type"] != "websocket":
            raise ValueError(
                f"OriginValidator serves only scopes of type 'websocket', not {scope['type']!r}"
            )
        admitted = self._admits(scope)
        application = self.application if admitted else WebsocketDenier.as_asgi()
        return await application(scope, receive, send)

    def _admits(self, scope: ChannelScope) -> bool:
        origins = [value for name, value in scope.get("headers", ()) if name.lower() == b"origin"]
        try:
            origin = _checked(origins[0].decode("ascii")) if origins else None
        except ValueError:
            return False
        return len(origins) < 2 and self.valid_origin(origin)

    def valid_origin(self, parsed_origin: ParseResult | None) -> bool:
        """Whether a connection with this origin (None: it sent none) may pass."""
        if parsed_origin is None and "*" not in self.allowed_origins:
            return False
        return self.validate_origin(parsed_origin)

    def validate_origin(self, parsed_origin: ParseResult | None) -> bool:
        """Whether any of the allowed origins matches this one."""
        return any(
            pattern == "*" or self.match_allowed_origin(parsed_origin, pattern)
            for pattern in self.allowed_origins
        )

    def match_allowed_origin(self, parsed_origin: ParseResult | None, pattern: str) -> bool:
        """Whether this one pattern, other than ``*``, matches; never for an origin without host."""
        if parsed_origin is None or parsed_origin.hostname is None:
            return False
        allowed = _parse_pattern(pattern)
        if not is_same_domain(parsed_origin.hostname, allowed.hostname or ""):
            return False
        port = self.get_origin_port(parsed_origin)
        if allowed.scheme:
            return (allowed.scheme, self.get_origin_port(allowed)) == (parsed_origin.scheme, port)
        return allowed.port in (None, port)

    def get_origin_port(self, origin: ParseResult) -> int | None:
        """The origin's port, or its scheme's default; None for a scheme that has no default."""
        return DEFAULT_PORTS.get(origin.scheme) if origin.port is None else origin.port


class WebsocketDenier(AsyncWebsocketConsumer):
    """Refuses every connection; servers answer the client with 403."""

    channel_layer_alias = None

    async def connect(self) -> None:
        await self.close()


def _checked(url: str) -> ParseResult:
    """Split a URL; ``ValueError`` if its host or port is malformed."""
    parsed = urlparse(url)
    _ = parsed.port  # read for its error alone: urlparse accepts any port
    return parsed


def _parse_pattern(pattern: str) -> ParseResult:
    return _checked(pattern.lower() if "://" in pattern else f"//{pattern.lower()}")


def _check_pattern(pattern: object) -> None:
    if not isinstance(pattern, str):
        raise TypeError(f"allowed origin {pattern!r} must be a str")
    try:
        hostname = _parse_pattern(pattern).hostname
    except ValueError as error:
        raise ValueError(f"allowed origin {pattern!r} cannot be read: {error}") from error
    if not hostname or ("*" in pattern and pattern != "*"):
        logger.warning(
            "allowed origin %r matches nothing; for a domain and all below it, begin the host with "
            "a dot, as in '.example.com'",
            pattern,
        )
