"""Our layers under Django Channels' consumers, and our consumers inside Django."""


# ruff: noqa: RUF012  consumers are written here as applications write them

import asyncio
import contextlib
import os
import subprocess
import sys
from http.cookies import SimpleCookie
from pathlib import Path

import django
import pytest
from django.conf import settings

from .apps import django_settings

if not settings.configured:
    settings.configure(
        **{name: value for name, value in vars(django_settings).items() if name.isupper()}
    )
    django.setup()

import channels.layers
from asgiref.sync import async_to_sync
from channels.auth import AuthMiddlewareStack
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.db import database_sync_to_async
from channels.exceptions import ChannelFull, MessageTooLarge
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
)
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.testing import HttpCommunicator, WebsocketCommunicator
from channels.worker import Worker
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.db import connections
from django.test import AsyncClient
from django.urls import path
from tests.redis.servers import running

import fast_channels
from fast_channels import InMemoryChannelLayer, register_channel_layer
from fast_channels import routing as our_routing
from fast_channels.layers.registry import channel_layers
from fast_channels_redis import RedisChannelLayer

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_factories=["asyncio"])]

PATIENCE = 10.0


@pytest.fixture
def backends():
    """Channels' registry of layers; forgets them at the end."""
    yield channels.layers.channel_layers
    channels.layers.channel_layers.backends.clear()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A Redis server of our own."""
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
async def layer(request, backends):
    """The default layer of Channels, which is ours."""
    if request.param == "redis":
        url = request.getfixturevalue("server").url
        options = {"prefix": f"t{os.urandom(6).hex()}", "capacity": 7}
        backends.set("default", RedisChannelLayer([url], **options))
    layer = channels.layers.get_channel_layer()
    yield layer
    await layer.close()


@pytest.fixture(autouse=True)
def in_place():
    """As it is by default; tests/consumer/ tries both ways."""


@pytest.fixture
async def database():
    """An empty database with Django's tables."""

    def make():
        call_command("migrate", verbosity=0)

    def drop():
        call_command("flush", verbosity=0, interactive=False)
        connections.close_all()

    await database_sync_to_async(make)()
    yield
    await database_sync_to_async(drop)()


# Our layers under their consumers.


async def test_a_dotted_path_makes_our_layer_with_its_config_or_its_test_config(backends):
    layer = channels.layers.get_channel_layer()
    assert type(layer) is InMemoryChannelLayer
    assert layer.capacity == 7
    assert layer.extensions == ["groups", "flush"]
    assert backends.make_test_backend("default").capacity == 3
    assert type(backends["by-module"]) is InMemoryChannelLayer
    assert backends["by-module"].capacity == 100
    assert not layer.options.gaps  # Channels' consumers end on a type that they do not know


async def test_an_option_that_there_is_not_is_an_error_that_lists_those_there_are(backends):
    backends.configs["default"]["CONFIG"]["capasity"] = 5
    try:
        with pytest.raises(TypeError, match=r"capasity.*capacity"):
            channels.layers.get_channel_layer()
    finally:
        del backends.configs["default"]["CONFIG"]["capasity"]


@pytest.mark.parametrize("base", [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer])
async def test_their_consumers_talk_to_each_other_on_our_layer(layer, base):
    if base is JsonWebsocketConsumer:

        class Chat(JsonWebsocketConsumer):
            groups = ["lobby"]

            def receive_json(self, content):
                message = {"type": "chat.message", "text": content["text"]}
                async_to_sync(self.channel_layer.group_send)("lobby", message)

            def chat_message(self, event):
                self.send_json({"text": event["text"]})
    else:

        class Chat(AsyncJsonWebsocketConsumer):
            groups = ["lobby"]

            async def receive_json(self, content):
                message = {"type": "chat.message", "text": content["text"]}
                await self.channel_layer.group_send("lobby", message)

            async def chat_message(self, event):
                await self.send_json({"text": event["text"]})

    application = Chat.as_asgi()
    one = WebsocketCommunicator(application, "/ws/")
    two = WebsocketCommunicator(application, "/ws/")
    for client in (one, two):
        assert await client.connect(PATIENCE) == (True, None)
    await one.send_json_to({"text": "hello"})
    for client in (one, two):
        assert await client.receive_json_from(PATIENCE) == {"text": "hello"}
    await two.disconnect(timeout=PATIENCE)
    await layer.group_send("lobby", {"type": "chat.message", "text": "from outside"})
    assert await one.receive_json_from(PATIENCE) == {"text": "from outside"}
    await one.disconnect(timeout=PATIENCE)
    assert layer.stats()["groups"] == 0


async def test_their_consumer_gets_what_is_sent_to_its_channel(layer):
    class Named(AsyncWebsocketConsumer):
        async def connect(self):
            await self.accept()
            await self.send(text_data=self.channel_name)

        async def note(self, event):
            await self.send(bytes_data=event["data"])

    client = WebsocketCommunicator(Named.as_asgi(), "/ws/")
    await client.connect(PATIENCE)
    name = await client.receive_from(PATIENCE)
    await layer.send(name, {"type": "note", "data": b"\x00\xff"})
    assert await client.receive_from(PATIENCE) == b"\x00\xff"
    await client.disconnect(timeout=PATIENCE)


@pytest.mark.filterwarnings("ignore:async_to_sync was passed a non-async-marked callable")
async def test_their_worker_takes_from_our_queues(layer):
    worked = asyncio.Queue()
    loop = asyncio.get_running_loop()

    class Thumbnails(SyncConsumer):
        def make(self, message):
            loop.call_soon_threadsafe(worked.put_nowait, ("thumbnails", message["id"]))

    class Letters(AsyncConsumer):
        async def write(self, message):
            worked.put_nowait(("letters", message["id"]))

    routes = {"thumbnails": Thumbnails.as_asgi(), "letters": Letters.as_asgi()}
    application = ProtocolTypeRouter({"channel": ChannelNameRouter(routes)})
    worker = Worker(application, list(routes), layer)
    await layer.send("thumbnails", {"type": "make", "id": 1})  # before there is a worker
    started = asyncio.all_tasks()
    running = asyncio.create_task(worker.arun())
    for number in (2, 3):
        await layer.send("thumbnails", {"type": "make", "id": number})
    await layer.send("letters", {"type": "write", "id": 4})
    async with asyncio.timeout(PATIENCE):
        work = [await worked.get() for _ in range(4)]
    assert [each for each in work if each[0] == "thumbnails"] == [
        ("thumbnails", number) for number in (1, 2, 3)
    ]
    assert ("letters", 4) in work
    # Channels' worker cancels nothing of what it has started; that is left to asyncio.run().
    assert not running.done()
    before = {asyncio.current_task(), *started}
    while left := asyncio.all_tasks() - before:
        for task in left:
            task.cancel()
        await asyncio.wait(left)


async def test_their_except_clauses_catch_what_our_layer_raises(layer):
    caught = []

    class Sender(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            try:
                while True:
                    await self.channel_layer.send("jobs", {"type": "job", "text": text_data})
            except (ChannelFull, MessageTooLarge) as error:
                caught.append(error)
                await self.send(text_data=type(error).__name__)

    client = WebsocketCommunicator(Sender.as_asgi(), "/ws/")
    await client.connect(PATIENCE)
    for text, name in (("x", "ChannelFull"), ("x" * 2_000_000, "MessageTooLarge")):
        await client.send_to(text_data=text)
        assert await client.receive_from(PATIENCE) == name
    await client.disconnect(timeout=PATIENCE)
    assert [type(error).__module__ for error in caught] == ["fast_channels.exceptions"] * 2


async def test_their_tests_may_flush_and_replace_our_layer(layer, backends):
    await layer.send("jobs", {"type": "job"})
    await layer.flush()
    await layer.send("jobs", {"type": "next"})
    assert await layer.receive("jobs") == {"type": "next"}
    replaced = InMemoryChannelLayer()
    assert backends.set("default", replaced) is layer
    assert channels.layers.get_channel_layer() is replaced


# Our consumers inside Django.


class Counted(fast_channels.AsyncJsonWebsocketConsumer):
    """Knows its user, reads the database, and keeps a count in the session."""

    async def connect(self):
        await self.accept()
        user, session = self.scope["user"], self.scope["session"]
        session["visits"] = session.get("visits", 0) + 1
        await database_sync_to_async(session.save)()
        users = await database_sync_to_async(get_user_model().objects.count)()
        await self.send_json({"user": str(user), "users": users, "visits": session["visits"]})


def routed(routing):
    """Our consumer behind their middleware, in the routers of either."""
    routes = routing.URLRouter([path("ws/<str:room>", Counted.as_asgi())])
    websocket = AllowedHostsOriginValidator(AuthMiddlewareStack(routes))
    return routing.ProtocolTypeRouter({"http": get_asgi_application(), "websocket": websocket})


class Theirs:
    """Channels' routers, as one module."""

    URLRouter = URLRouter
    ProtocolTypeRouter = ProtocolTypeRouter


@pytest.mark.parametrize("routing", [Theirs, our_routing], ids=["their routers", "our routers"])
async def test_our_consumer_has_the_user_the_session_and_the_database(database, routing):
    create = database_sync_to_async(get_user_model().objects.create_user)
    client = AsyncClient()
    await client.aforce_login(await create("ann", password="secret"))
    application = routed(routing)
    origin = (b"origin", b"http://127.0.0.1")
    cookie = SimpleCookie(client.cookies).output(header="", sep=";").strip().encode()
    for headers, user, visits in (
        ([origin, (b"cookie", cookie)], "ann", 1),
        ([origin, (b"cookie", cookie)], "ann", 2),
        ([origin], "AnonymousUser", 1),
    ):
        socket = WebsocketCommunicator(application, "/ws/lobby", headers)
        assert await socket.connect(PATIENCE) == (True, None)
        answer = await socket.receive_json_from(PATIENCE)
        assert answer == {"user": user, "users": 1, "visits": visits}
        await socket.disconnect(timeout=PATIENCE)
    elsewhere = [(b"origin", b"http://example.org")]
    socket = WebsocketCommunicator(application, "/ws/lobby", elsewhere)
    assert (await socket.connect(PATIENCE))[0] is False


async def test_their_consumers_and_ours_share_a_layer(layer):
    class Theirs(AsyncJsonWebsocketConsumer):
        groups = ["lobby"]

        async def chat_message(self, event):
            await self.send_json(event["text"])

    class Ours(fast_channels.AsyncJsonWebsocketConsumer):
        groups = ["lobby"]

        async def receive_json(self, content):
            message = {"type": "chat.message", "text": content}
            await self.channel_layer.group_send("lobby", message)

        async def chat_message(self, event):
            await self.send_json(event["text"])

    register_channel_layer("default", layer)
    try:
        clients = [WebsocketCommunicator(each.as_asgi(), "/ws/") for each in (Theirs, Ours)]
        for client in clients:
            await client.connect(PATIENCE)
        await clients[1].send_json_to("hello")
        for client in clients:
            assert await client.receive_json_from(PATIENCE) == "hello"
            await client.disconnect(timeout=PATIENCE)
    finally:
        channel_layers.clear()


async def test_their_communicator_asks_our_http_side():
    application = our_routing.ProtocolTypeRouter({"websocket": Counted.as_asgi()})
    request = HttpCommunicator(Counted.as_asgi(), "GET", "/ws/lobby")
    assert (await request.get_response(PATIENCE))["status"] == 426
    with pytest.raises(ValueError, match="http"):
        await application({"type": "http"}, None, None)


# Across processes.


@contextlib.contextmanager
def runworker(server, *channels):
    """Channels' command, in a process of its own, on the layer that settings call ``shared``."""
    command = [sys.executable, "-m", "django", "runworker", "--layer", "shared", *channels]
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "apps.django_settings",
        "DJANGO_TEST_REDIS_URL": server.url,
    }
    process = subprocess.Popen(command, cwd=Path(__file__).parent, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


async def test_their_runworker_takes_jobs_of_another_process_on_redis(server):
    layer = RedisChannelLayer([server.url])
    try:
        async with layer.channel() as reply:
            job = {"type": "double", "reply": reply.name}
            await layer.send("numbers", {**job, "number": 1})  # before there is a worker
            with runworker(server, "numbers"):
                async with asyncio.timeout(3 * PATIENCE):
                    assert await reply.receive() == {"type": "doubled", "number": 2}
                    await layer.send("numbers", {**job, "number": 2})
                    assert await reply.receive() == {"type": "doubled", "number": 4}
    finally:
        await layer.close()
