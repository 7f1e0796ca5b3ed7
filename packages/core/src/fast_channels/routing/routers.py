"""ASGI applications that choose another one for each connection."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.exceptions import RouteNotFound
from fast_channels.layers.names import check_channel
from fast_channels.routing.patterns import Pattern, Route
from fast_channels.type_defs import (
    ASGIReceiveCallable,
    ASGISendCallable,
    ChannelApplication,
    ChannelScope,
)
from fast_channels.utils import require_application


class ProtocolTypeRouter:
    """Passes each connection to the application for its scope's type: ``http``, ``websocket``, ...

    ``RouteNotFound`` for another type; a server takes it for "no lifespan".
    """

    def __init__(self, application_mapping: Mapping[str, ChannelApplication]) -> None:
        _check_mapping(application_mapping)
        self.application_mapping = application_mapping

    async def __call__(
        self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> Any:
        """Serve one connection."""
        application = _choose(self.application_mapping, scope["type"], "scope type")
        return await application(scope, receive, send)


class ChannelNameRouter:
    """Passes the messages of a worker's channels to the application for the channel's name."""

    def __init__(self, application_mapping: Mapping[str, ChannelApplication]) -> None:
        _check_mapping(application_mapping)
        for name in application_mapping:
            check_channel(name)
        self.application_mapping = application_mapping

    async def __call__(
        self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> Any:
        """Serve one connection; ``ValueError`` if it is none of a worker's."""
        if "channel" not in scope:
            raise ValueError(
                f"ChannelNameRouter got a scope of type {scope.get('type')!r} without 'channel'; "
                "put it under 'channel' in a ProtocolTypeRouter"
            )
        application = _choose(self.application_mapping, scope["channel"], "channel")
        return await application(scope, receive, send)


class URLRouter:
    """Passes each connection to the application of the first route that its path matches.

    The application finds the path's values in ``scope["url_route"]`` (``args`` and ``kwargs``), the
    named ones also in ``scope["path_params"]``, where frameworks have them. A route may lead to
    another ``URLRouter``, inside middleware, too: it then matches the beginning of a path, and
    where the inner router knows no route for the rest, the routes after it are tried.

    Without a route it raises ``RouteNotFound``, a ``ValueError``, as in Django Channels; end the
    routes with ``re_path("", not_found)`` to answer the client instead.
    """

    _path_routing = True  # what Django Channels' URLRouter knows a router by

    def __init__(self, routes: Sequence[Any]) -> None:
        if not isinstance(cast("object", routes), list | tuple):
            raise TypeError(f"routes must be a list of path() and re_path(), got {routes!r}")
        self.routes = routes
        self._routes: list[Route] = []
        ends: set[tuple[object, ...]] = set()
        for each in routes:
            route = _route(each)
            if not _has_router(route.callback):
                pattern: Any = route.pattern
                end = pattern.__class__, str(pattern), getattr(pattern, "is_regex", None)
                if end in ends:
                    raise ValueError(
                        f"route {str(pattern)!r} is there twice; the second is never reached"
                    )
                ends.add(end)
            self._routes.append(route)

    async def __call__(
        self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> Any:
        """Serve one connection."""
        here = _path_of(scope)
        outer = scope.get("url_route", {})
        tried: list[str] = []
        for route in self._routes:
            match = route.pattern.match(here.lstrip("/"))
            if match is None:
                tried.append(str(route.pattern))
                continue
            rest, args, kwargs = match
            kwargs = {**kwargs, **route.default_args}
            inner = {
                **scope,
                "path_remaining": rest,
                "path_params": {**scope.get("path_params", {}), **kwargs},
                "url_route": {
                    "args": outer.get("args", ()) + args,
                    "kwargs": {**outer.get("kwargs", {}), **kwargs},
                },
            }
            try:
                return await route.callback(inner, receive, send)
            except RouteNotFound as missing:
                if (missing.kind, missing.name) != ("path", rest):
                    raise  # it is not from the router that this route leads to
                tried += [f"{route.pattern}{each}" for each in missing.routes]
        raise RouteNotFound("path", here, tried)


_TEXT: Final = [(b"content-type", b"text/plain")]


class _Refused(AsyncWebsocketConsumer):
    """A socket for which there is nothing."""

    channel_layer_alias = None

    async def connect(self) -> None:
        await self.deny(404, b"not found\n", _TEXT)


async def not_found(
    scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    """Answer with 404; where the server cannot refuse a socket with a response, with its 403."""
    if scope["type"] != "http":
        await _Refused()(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 404, "headers": _TEXT})
    await send({"type": "http.response.body", "body": b"not found\n", "more_body": False})


def served_channels(application: object) -> frozenset[str] | None:
    """Return the channels that the application's ``ChannelNameRouter`` has; None without one.

    Raises ``RouteNotFound`` for a ``ProtocolTypeRouter`` without ``"channel"``.
    """
    for each in _inside(application):
        if isinstance(each, ProtocolTypeRouter):
            return served_channels(_choose(each.application_mapping, "channel", "scope type"))
        if isinstance(each, ChannelNameRouter):
            return frozenset(each.application_mapping)
    return None


def _choose(mapping: Mapping[str, Any], key: str, kind: str) -> Any:
    if key not in mapping:
        raise RouteNotFound(kind, key, list(mapping))
    return mapping[key]


def _check_mapping(mapping: Mapping[str, ChannelApplication]) -> None:
    if not isinstance(cast("object", mapping), Mapping):
        raise TypeError(f"expected a dict of applications, got {mapping!r}")
    for application in mapping.values():
        require_application(application)


def _route(entry: Any) -> Route:
    """Return the entry, which may be Django's, as a route of ours."""
    if hasattr(entry.__class__, "url_patterns"):  # of the class: on the object it would import them
        raise ValueError(f"{entry!r}: include() has no place in a URLRouter; nest a URLRouter")
    pattern, application = getattr(entry, "pattern", None), getattr(entry, "callback", None)
    if pattern is None or application is None:
        raise TypeError(f"{entry!r} is no route; write path('chat/<str:room>/', application)")
    require_application(application)
    if _has_router(application):
        if isinstance(pattern, Pattern):
            pattern = pattern.prefix()
        else:  # Django's; a translated text stays lazy in these
            text = pattern._route if hasattr(pattern, "_route") else pattern._regex
            pattern = type(pattern)(text, pattern.name, is_endpoint=False)
    return Route(pattern, application, entry.default_args, entry.name)


def _inside(application: object) -> Iterator[object]:
    """Yield the application, and what its middleware is around."""
    seen: list[object] = []
    while application is not None and len(seen) < 32:
        seen.append(application)
        yield application
        names = ("inner", "application", "app")
        found = (getattr(application, name, None) for name in names)
        application = next((each for each in found if callable(each)), None)


def _has_router(application: object) -> bool:
    return any(getattr(each, "_path_routing", False) is True for each in _inside(application))


def _path_of(scope: ChannelScope) -> str:
    """Return the path that is still to be looked up."""
    if "path_remaining" in scope:
        return cast("str", scope["path_remaining"])
    if scope.get("path") is None:
        raise ValueError(f"a scope of type {scope.get('type')!r} has no 'path' to look up")
    whole: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and whole != root and not whole.startswith(f"{root}/"):
        raise RouteNotFound("path", whole, [f"{root}/..."])
    return whole[len(root) :]
