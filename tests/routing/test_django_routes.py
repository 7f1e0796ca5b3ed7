"""URLRouter with the routes that Django's own functions make."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.urls import include, path, re_path

from fast_channels import AsyncWebsocketConsumer
from fast_channels import routing as ours
from fast_channels.exceptions import RouteNotFound
from fast_channels.middleware import BaseMiddleware
from fast_channels.routing import URLRouter

from .apps import Answer, get


class Chat(AsyncWebsocketConsumer): ...


async def test_a_path_of_django_s_leads_to_its_application() -> None:
    app = Answer("chat")
    router = URLRouter([path("chat/<int:room>/", app, {"kind": "open"}, name="chat")])
    assert await get(router, "/chat/7/") == "chat"
    assert app.scope["url_route"] == {"args": (), "kwargs": {"room": 7, "kind": "open"}}
    assert app.scope["path_params"] == {"room": 7, "kind": "open"}
    for unknown in ("/chat/x/", "/chat/7/more"):
        with pytest.raises(RouteNotFound, match="routes tried: 'chat/<int:room>/'"):
            await get(router, unknown)


async def test_a_regex_of_django_s_leads_to_its_application() -> None:
    app = Answer("chat")
    assert await get(URLRouter([re_path(r"^chat/(\d+)/$", app)]), "/chat/7/") == "chat"
    assert app.scope["url_route"] == {"args": ("7",), "kwargs": {}}
    assert await get(URLRouter([re_path(r"^chat/(?P<room>\d+)/$", app)]), "/chat/7/") == "chat"
    assert app.scope["path_params"] == {"room": "7"}


async def test_routers_nest_in_django_s_routes_and_those_stay_as_they_were() -> None:
    app = Answer("deep")
    inner = URLRouter([re_path(r"^(?P<seat>\d+)/$", app)])
    route = path("<str:house>/", BaseMiddleware(inner))
    router = URLRouter([route, re_path(r"^x/", URLRouter([ours.path("y/", Answer("y"))]))])
    assert await get(router, "/opera/7/") == "deep"
    assert app.scope["url_route"]["kwargs"] == {"house": "opera", "seat": "7"}
    assert await get(router, "/x/y/") == "y"
    assert route.pattern.match("opera/7/") is None  # it still is an endpoint


def test_include_is_refused() -> None:
    with pytest.raises(ValueError, match=r"include\(\) has no place in a URLRouter; nest a"):
        URLRouter([path("a/", include([path("b/", Answer())]))])


def test_a_consumer_class_is_refused() -> None:
    with pytest.raises(TypeError, match=r"pass Chat\.as_asgi\(\)"):
        URLRouter([path("chat/", Chat)])


def test_a_route_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="route 'a/' is there twice"):
        URLRouter([path("a/", Answer()), path("a/", Answer())])


PROJECT = """
import asyncio

import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

settings.configure(
    DEBUG=True, SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], DATABASES={}
)
urlpatterns = [path("hello/<str:name>/", lambda request, name: HttpResponse(f"hello {name}"))]

from django.core.asgi import get_asgi_application

from fast_channels import AsyncWebsocketConsumer
from fast_channels.routing import ProtocolTypeRouter, URLRouter
from fast_channels.testing import HttpCommunicator, WebsocketCommunicator


class Chat(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send(self.scope["url_route"]["kwargs"]["room"])


application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([path("chat/<str:room>/", Chat.as_asgi())]),
    }
)


async def main():
    async with HttpCommunicator(application, "GET", "/hello/ann/") as client:
        response = await client.get_response(timeout=10)
        print(response["status"], response["body"].decode())
    async with WebsocketCommunicator(application, "/chat/lobby/") as socket:
        print(await socket.connect(), await socket.receive_from())


asyncio.run(main())
"""


def test_a_django_project_routes_sockets_beside_its_views(tmp_path: Path) -> None:
    # In a process of its own: Django's settings are the process's.
    (tmp_path / "project.py").write_text(PROJECT)
    done = subprocess.run(
        [sys.executable, "project.py"], cwd=tmp_path, capture_output=True, text=True, timeout=25
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["200 hello ann", "(True, None) lobby"]
