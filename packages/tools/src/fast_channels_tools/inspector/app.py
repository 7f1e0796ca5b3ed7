"""The inspector as an ASGI application, to be mounted anywhere below any other one."""

from collections.abc import Iterable
from typing import Any, Final

from fast_channels.middleware import OriginValidator
from fast_channels.type_defs import (
    ASGIReceiveCallable,
    ASGISendCallable,
    ChannelApplication,
    ChannelScope,
)

from .access import Authorize, admits, check_authorize, same_origin
from .feed import Feed, Tail
from .pages import FILES, Page, Refusal, Turn
from .redaction import Redact
from .watching import Watching

PAGE: Final = "index.html"


class Inspector:
    """An ASGI application: a page about the layers of this process; see ``inspector``."""

    _path_routing = True  # a URLRouter, ours or Django Channels', hands on all that is below

    def __init__(
        self,
        authorize: Authorize,
        redact: Redact | None,
        tail: bool,
        origins: Iterable[str] | None,
    ) -> None:
        check_authorize(authorize)
        self._authorize = authorize
        self._watching = Watching(redact, tail)
        self._feed: ChannelApplication = self._serve_socket
        if origins is not None:
            self._feed = OriginValidator(self._serve_socket, origins)
        self._own_origin = origins is None

    async def __call__(
        self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Serve one request or WebSocket; ``ValueError`` for other kinds of scopes."""
        if scope["type"] not in ("http", "websocket"):
            raise ValueError(f"the inspector does not serve scopes of type {scope['type']!r}")
        if not await admits(self._authorize, scope):
            await Refusal.as_asgi()(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._feed(scope, receive, send)
        else:
            await self._page(scope)(scope, receive, send)

    def _page(self, scope: ChannelScope) -> ChannelApplication:
        path, asked = path_below(scope), asked_for(scope)
        if path in ("", "/") and not asked.endswith(b"/"):
            return Turn.as_asgi(last=asked.rpartition(b"/")[2])
        name = path.removeprefix("/") or PAGE
        return Page.as_asgi(name=name if name in FILES else "")

    async def _serve_socket(
        self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if self._own_origin and not same_origin(scope):
            await Refusal.as_asgi()(scope, receive, send)
            return
        path = path_below(scope).removeprefix("/")
        application: ChannelApplication = Refusal.as_asgi()
        if path == "feed":
            application = Feed.as_asgi(watching=self._watching)
        elif path.startswith("tail/") and self._watching.may_tail(alias := path[5:]):
            application = Tail.as_asgi(watching=self._watching, channel_layer_alias=alias)
        await application(scope, receive, send)


def inspector(
    *,
    authorize: Authorize,
    redact: Redact | None = None,
    tail: bool = True,
    origins: Iterable[str] | None = None,
) -> Inspector:
    """Return an ASGI application with a page that shows what the layers of this process do.

    ``authorize(scope)``, async or not, decides on every request and WebSocket: ``True`` lets in,
    everything else and every exception is a 403. ``redact(group, message)`` returns what is shown
    of a message; ``tail=False`` shows none. ``origins``: pages that may ask for the WebSocket, as
    of ``OriginValidator``; by default those of the host that the browser asked.
    """
    return Inspector(authorize, redact, tail, origins)


def path_below(scope: ChannelScope) -> str:
    """Return the path below the place where the application is mounted.

    Whoever mounts it says so in one of three ways: our ``URLRouter`` in ``path_remaining``, who
    follows the ASGI specification in ``root_path``, and who cuts the path itself says nothing.
    """
    path: Any = scope.get("path_remaining", scope["path"])
    root: str = scope.get("root_path", "").rstrip("/")
    if "path_remaining" not in scope and root and f"{path}/".startswith(f"{root}/"):
        path = path[len(root) :]
    if path.endswith("/") and not asked_for(scope).endswith(b"/"):
        path = path[:-1]  # Litestar ends every path by a slash that nobody has asked for
    return str(path)


def asked_for(scope: ChannelScope) -> bytes:
    """Return the whole path as the client has asked for it."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.partition(b"?")[0]
