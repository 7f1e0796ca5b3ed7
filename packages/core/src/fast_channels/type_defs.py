"""The shapes of ASGI connections, events and channel messages, for annotations.

Nothing here exists at run time but names. Where ASGI servers, frameworks and type stubs disagree
(``dict``, ``MutableMapping``, ``TypedDict``), the alias is wide enough to accept them all.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from re import Pattern
from typing import Any, Literal, NotRequired, Protocol, TypeAlias, TypedDict

ChannelScope: TypeAlias = MutableMapping[str, Any]
"""What is known about one connection: its type, path, headers, and what middleware added."""

ChannelMessage: TypeAlias = Mapping[str, Any]
"""One event or channel-layer message; its ``"type"`` names the handler."""

ChannelHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]
"""Header names (in lower case) and values, in order; a name may occur more than once."""

ChannelCapacityPattern: TypeAlias = str | Pattern[str]
"""Which channels a capacity is for: a glob, or a compiled regular expression."""

ChannelCapacityDict: TypeAlias = dict[ChannelCapacityPattern, int]
"""Capacities in messages; the first pattern that matches a channel's name decides."""

CompiledChannelCapacity: TypeAlias = tuple[Pattern[str], int]
"""One entry of a ``ChannelCapacityDict``, its glob turned into a regular expression."""

CompiledChannelCapacities: TypeAlias = list[CompiledChannelCapacity]
"""A whole ``ChannelCapacityDict``, compiled, in its own order."""

ASGIReceiveCallable: TypeAlias = Callable[[], Awaitable[ChannelMessage]]
"""Waits for the connection's next event."""

ASGISendCallable: TypeAlias = Callable[[Any], Awaitable[None]]
"""Sends one event to the connection.

Its argument is ``Any``: a function that demanded ``ChannelMessage`` would refuse the ``send`` of
Starlette (``MutableMapping``) and of asgiref (a ``TypedDict``), and so a consumer could not be
mounted in a type-checked application.
"""

ASGI3Application: TypeAlias = Callable[
    [Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[Any]
]
"""``application(scope, receive, send)``, of this package or of any framework."""

ASGIApplication: TypeAlias = ASGI3Application
"""The same as ``ASGI3Application``."""


class WebSocketConnectEvent(TypedDict):
    """A client asks to open a socket."""

    type: Literal["websocket.connect"]


class WebSocketAcceptEvent(TypedDict):
    """The application opens the socket."""

    type: Literal["websocket.accept"]
    subprotocol: NotRequired[str | None]
    headers: NotRequired[ChannelHeaders]


class WebSocketReceiveEvent(TypedDict):
    """A frame from the client; exactly one of ``text`` and ``bytes`` is there and not None."""

    type: Literal["websocket.receive"]
    bytes: NotRequired[bytes | None]
    text: NotRequired[str | None]


class WebSocketCloseEvent(TypedDict):
    """The application closes the socket, or refuses it when it was not yet accepted."""

    type: Literal["websocket.close"]
    code: NotRequired[int]
    reason: NotRequired[str | None]


class WebSocketDisconnectEvent(TypedDict):
    """The socket is closed, whoever closed it."""

    type: Literal["websocket.disconnect"]
    code: int
    reason: NotRequired[str | None]


class HttpRequestEvent(TypedDict):
    """A part of the request's body."""

    type: Literal["http.request"]
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


class HttpResponseStartEvent(TypedDict):
    """The status line and the headers of the response."""

    type: Literal["http.response.start"]
    status: int
    headers: NotRequired[ChannelHeaders]


class HttpResponseBodyEvent(TypedDict):
    """A part of the response's body."""

    type: Literal["http.response.body"]
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


class HttpDisconnectEvent(TypedDict):
    """The client went away, or the response was sent in full."""

    type: Literal["http.disconnect"]


class ASGIApplicationProtocol(Protocol):
    """What ``Consumer.as_asgi()`` returns: an application that knows its consumer."""

    @property
    def consumer_class(self) -> type[Any] | None:
        """The class of which each connection gets an instance."""
        ...

    @property
    def consumer_initkwargs(self) -> Mapping[str, Any]:
        """The keyword arguments that each instance is made with."""
        ...

    def __call__(
        self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> Awaitable[None]:
        """Serve one connection to its end."""
        ...


class MiddlewareProtocol(Protocol):
    """An instance of a middleware class: an application around another one."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        """Serve one connection, as a rule by passing it on."""
        ...


ChannelApplication: TypeAlias = MiddlewareProtocol | ASGIApplication
"""Anything that can be wrapped, routed to or tested."""
