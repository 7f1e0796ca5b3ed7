"""ProtocolTypeRouter and ChannelNameRouter, and the application that says "not found"."""

from typing import Any

import pytest

from fast_channels import AsyncConsumer
from fast_channels.exceptions import RouteNotFound
from fast_channels.routing import (
    ChannelNameRouter,
    ProtocolTypeRouter,
    URLRouter,
    not_found,
    path,
    re_path,
)
from fast_channels.testing import ApplicationCommunicator, HttpCommunicator, WebsocketCommunicator

from .apps import Answer

ROUTERS = [ProtocolTypeRouter, ChannelNameRouter]


async def test_the_type_of_a_scope_chooses_the_application() -> None:
    router = ProtocolTypeRouter({"http": Answer("web"), "websocket": Answer("socket")})
    for kind, name in (("http", "web"), ("websocket", "socket")):
        assert await router({"type": kind}, None, None) == name  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no route found for scope type 'lifespan'; routes tried"):
        await router({"type": "lifespan"}, None, None)  # type: ignore[arg-type]


async def test_the_name_of_a_channel_chooses_the_application() -> None:
    router = ChannelNameRouter({"mail": Answer("m"), "thumbnails": Answer("t")})
    for channel, name in (("mail", "m"), ("thumbnails", "t")):
        scope = {"type": "channel", "channel": channel}
        assert await router(scope, None, None) == name  # type: ignore[arg-type]
    with pytest.raises(RouteNotFound) as caught:
        await router({"type": "channel", "channel": "thumbnail"}, None, None)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "no route found for channel 'thumbnail'; routes tried: 'mail', 'thumbnails'; "
        "did you mean 'thumbnails'?"
    )
    with pytest.raises(ValueError, match="got a scope of type 'http' without 'channel'"):
        await router({"type": "http"}, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("router", ROUTERS)
def test_a_consumer_class_in_a_mapping_is_refused(router: Any) -> None:
    class Work(AsyncConsumer): ...

    with pytest.raises(TypeError, match=r"pass Work\.as_asgi\(\)"):
        router({"a": Work})
    for mapping in (None, [Answer()], Answer()):
        with pytest.raises(TypeError, match="expected a dict of applications, got"):
            router(mapping)


def test_an_illegal_channel_name_is_refused() -> None:
    with pytest.raises(TypeError, match="illegal character ' ' at position 4"):
        ChannelNameRouter({"send mail": Answer()})


# --- not_found --------------------------------------------------------------------------------

ROUTER = URLRouter([path("a/", Answer()), re_path("", not_found)])


async def test_a_request_for_an_unknown_path_is_answered_with_404() -> None:
    async with HttpCommunicator(ROUTER, "GET", "/b/") as client:
        response = await client.get_response()
    assert (response["status"], response["body"]) == (404, b"not found\n")


async def test_a_socket_for_an_unknown_path_is_refused() -> None:
    async with WebsocketCommunicator(ROUTER, "/b/") as socket:
        assert await socket.connect() == (False, 1000)
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    async with WebsocketCommunicator(ROUTER, "/b/", extensions=extensions) as socket:
        assert await socket.connect() == (False, 404)


async def test_any_other_scope_for_an_unknown_path_is_an_error() -> None:
    scope = {"type": "lifespan", "path": "/"}
    async with ApplicationCommunicator(ROUTER, scope) as client:
        with pytest.raises(ValueError, match="does not serve scopes of type 'lifespan'"):
            await client.wait()
