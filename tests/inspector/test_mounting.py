"""The inspector below other applications: who mounts it says in different ways where it is."""

from collections.abc import Callable
from typing import Any

import pytest
from channels import routing as channels_routing
from django import urls
from fastapi import FastAPI
from hypercorn.middleware import DispatcherMiddleware
from litestar import Litestar, asgi
from litestar.types import Receive, Scope, Send
from quart import Quart
from starlette.applications import Starlette
from starlette.routing import Mount

from fast_channels.layers import ChannelLayerRegistry
from fast_channels.routing import ProtocolTypeRouter, URLRouter, path, re_path
from fast_channels.testing import HttpCommunicator, WebsocketCommunicator
from fast_channels_tools.inspector import inspector


async def other(scope: Any, receive: Any, send: Any) -> None:
    """Every other page of the application."""
    raise AssertionError(f"{scope['path']} is none of the inspector's")


def fastapi(app: Any) -> Any:
    main = FastAPI()
    main.mount("/channels", app)
    return main


def fastapi_deeper(app: Any) -> Any:
    inner = FastAPI()
    inner.mount("/channels", app)
    main = FastAPI()
    main.mount("/admin", inner)
    return main


def starlette(app: Any) -> Any:
    return Starlette(routes=[Mount("/channels", app)])


def django_like(app: Any) -> Any:
    """As a Django project does it: its own pages are an application beside this one."""
    pages = URLRouter([path("channels/", app), re_path(r"", other)])
    return ProtocolTypeRouter({"http": pages, "websocket": URLRouter([path("channels/", app)])})


def django_channels(app: Any) -> Any:
    """As ``django_like``, by the routers of Django Channels."""
    pages = channels_routing.URLRouter([urls.path("channels/", app), urls.re_path(r"", other)])
    sockets = channels_routing.URLRouter([urls.path("channels/", app)])
    return channels_routing.ProtocolTypeRouter({"http": pages, "websocket": sockets})


def litestar(app: Any) -> Any:
    """It cuts the path, and ends what is left of it by a slash."""

    @asgi("/channels", is_mount=True, copy_scope=False)
    async def channels(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return Litestar([channels])


def quart(app: Any) -> Any:
    """As Quart's documentation mounts ASGI applications: it cuts the path, and says nothing."""
    return DispatcherMiddleware({"/channels": app, "/": Quart(__name__)})


def by_hand(app: Any) -> Any:
    async def main(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "root_path": "/channels"}, receive, send)

    return main


def alone(app: Any) -> Any:
    return app


PLACES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "fastapi": (fastapi, "/channels/"),
    "fastapi in fastapi": (fastapi_deeper, "/admin/channels/"),
    "starlette": (starlette, "/channels/"),
    "django": (django_like, "/channels/"),
    "django channels": (django_channels, "/channels/"),
    "litestar": (litestar, "/channels/"),
    "quart": (quart, "/channels/"),
    "root_path": (by_hand, "/channels/"),
    "alone": (alone, "/"),
}


@pytest.fixture(params=PLACES)
def placed(request: pytest.FixtureRequest, layers: ChannelLayerRegistry) -> tuple[Any, str]:
    """An application, and where in it the inspector is."""
    place, at = PLACES[request.param]
    return place(inspector(authorize=lambda scope: True)), at


async def get(app: Any, where: str) -> dict[str, Any]:
    async with HttpCommunicator(app, "GET", where, headers=[(b"host", b"test")]) as client:
        return await client.get_response(5)


async def test_the_page_its_files_and_its_socket_are_below_its_place(
    placed: tuple[Any, str],
) -> None:
    app, at = placed
    assert b"<title>Channels inspector</title>" in (await get(app, at))["body"]
    assert (await get(app, f"{at}inspector.js"))["status"] == 200
    async with WebsocketCommunicator(app, f"{at}feed") as client:
        assert (await client.connect(5))[0]
        assert (await client.receive_json_from(5))["kind"] == "hello"


@pytest.mark.parametrize(
    "name", ["fastapi", "fastapi in fastapi", "starlette", "litestar", "quart", "root_path"]
)
async def test_an_address_without_the_slash_leads_to_the_one_with_it(
    name: str, layers: ChannelLayerRegistry
) -> None:
    place, at = PLACES[name]
    response = await get(place(inspector(authorize=lambda scope: True)), at.rstrip("/"))
    assert response["status"] == 307
    location = dict(response["headers"])[b"location"].decode()
    assert location in ("./channels/", f"http://test{at}")


@pytest.mark.parametrize(
    ("raw", "location"),
    [
        (b"//evil.example", b"./evil.example/"),
        (b"/javascript:alert(1)", b"./javascript:alert(1)/"),
        (b"/behind/a/proxy", b"./proxy/"),
    ],
)
async def test_the_redirect_never_leaves_the_host(
    raw: bytes, location: bytes, layers: ChannelLayerRegistry
) -> None:
    client = HttpCommunicator(inspector(authorize=lambda _: True), "GET", "/")
    client.scope["raw_path"] = raw
    async with client:
        assert dict((await client.get_response(5))["headers"])[b"location"] == location
