"""Who may look: the application says so, and whatever goes wrong there means no.

Law: nobody gets anything, not even a 404, without an ``authorize`` that returned ``True`` for this
very connection.
"""

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast
from urllib.parse import urlsplit

from fast_channels.type_defs import ChannelScope

logger = logging.getLogger("fast_channels.inspector")

Authorize: TypeAlias = Callable[[Any], bool | Awaitable[bool]]
"""Takes the ASGI scope of one request or WebSocket; returns whether its client may look."""

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def check_authorize(authorize: object) -> None:
    """Raise ``TypeError`` unless it can be asked."""
    if not callable(authorize):
        raise TypeError(
            f"inspector() needs authorize=, a callable that takes the ASGI scope and returns True "
            f"for those who may look, got {authorize!r}; nobody may by default"
        )


async def admits(authorize: Authorize, scope: ChannelScope) -> bool:
    """Return whether the client may look; an exception, or any other answer, is a no."""
    try:
        answer = authorize(scope)
        if inspect.isawaitable(answer):
            answer = await answer
    except Exception:
        logger.exception("authorize failed, so %s is refused", scope.get("path"))
        return False
    if not isinstance(cast("object", answer), bool):
        # A user object or a forgotten call would be true for everybody.
        logger.error("authorize returned %r, not True or False, so it is refused", answer)
        return False
    return answer


def same_origin(scope: ChannelScope) -> bool:
    """Return whether no other site's page asks for the WebSocket with its visitor's cookies.

    What is no browser sends no ``Origin``, and may come; ``authorize`` decides.
    """
    origins = _values(scope, b"origin")
    hosts = _values(scope, b"host")
    if not origins:
        return True
    if len(origins) > 1 or len(hosts) != 1:
        return False
    try:
        origin = urlsplit(origins[0])
    except ValueError:
        return False
    port = _DEFAULT_PORTS.get(origin.scheme)
    if port is None or not origin.netloc:
        return False
    return origin.netloc.removesuffix(port) == hosts[0].removesuffix(port)


def _values(scope: ChannelScope, wanted: bytes) -> list[str]:
    headers = scope.get("headers", ())
    return [value.decode("latin-1").lower() for name, value in headers if name.lower() == wanted]
