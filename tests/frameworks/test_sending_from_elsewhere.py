"""A task, an HTTP endpoint and a thread each reach a group, and one channel by its name."""

import asyncio
import threading
from contextlib import asynccontextmanager

import httpx
import pytest
import websockets
from asgiref.sync import async_to_sync
from fastapi import FastAPI
from starlette.routing import WebSocketRoute

from fast_channels import (
    AsyncWebsocketConsumer,
    get_channel_layer,
    lifespan,
    register_channel_layer,
)
from fast_channels.layers.registry import channel_layers

pytestmark = pytest.mark.timeout(30)


class Room(AsyncWebsocketConsumer):
    async def connect(self):
        room = self.scope["path_params"]["room"]
        await self.channel_layer.group_add(f"room.{room}", self.channel_name)
        await self.accept()
        await self.send(self.channel_name)

    async def room_message(self, message):
        await self.send(text_data=message["text"])


def application(orders):
    """A FastAPI application; a task that lives as long as it sends what is put into ``orders``."""

    @asynccontextmanager
    async def life(app):
        async with lifespan():
            announcer = asyncio.create_task(announce())
            yield
            announcer.cancel()
            await asyncio.wait([announcer])

    async def announce():
        layer = get_channel_layer()
        while True:
            method, target, text = await orders.get()
            await getattr(layer, method)(target, {"type": "room.message", "text": text})

    app = FastAPI(lifespan=life, routes=[WebSocketRoute("/ws/{room}", Room.as_asgi())])

    @app.post("/rooms/{room}")
    async def tell_room(room: str, text: str):
        message = {"type": "room.message", "text": text}
        await get_channel_layer().group_send(f"room.{room}", message)

    @app.post("/channels/{name}")
    async def tell_channel(name: str, text: str):
        await get_channel_layer().send(name, {"type": "room.message", "text": text})

    @app.post("/sync/rooms/{room}")
    def tell_room_from_a_worker_thread(room: str, text: str):
        message = {"type": "room.message", "text": text}
        async_to_sync(get_channel_layer().group_send)(f"room.{room}", message)

    return app


@pytest.fixture
def orders():
    register_channel_layer("default", "memory://")
    yield asyncio.Queue()
    channel_layers.clear()


@pytest.fixture
async def address(serve, orders):
    return await serve(application(orders))


@pytest.fixture
async def sockets(address):
    """Two sockets in the lobby and one in the attic, and their channels' names."""
    async with (
        websockets.connect(f"ws://{address}/ws/lobby") as first,
        websockets.connect(f"ws://{address}/ws/lobby") as second,
        websockets.connect(f"ws://{address}/ws/attic") as other,
    ):
        yield [(socket, await socket.recv()) for socket in (first, second, other)]


async def check(sockets, to_group, to_channel):
    """What goes to the lobby reaches two, what goes to one channel reaches one."""
    (first, _), (second, name), (other, _) = sockets
    await to_group("lobby", "for the lobby")
    await to_channel(name, "for one")
    await to_group("lobby", "for the lobby again")
    await to_group("attic", "for the attic")
    assert [await first.recv() for _ in range(2)] == ["for the lobby", "for the lobby again"]
    heard = [await second.recv() for _ in range(3)]
    assert heard == ["for the lobby", "for one", "for the lobby again"]
    assert await other.recv() == "for the attic"


async def test_from_a_task_of_the_process(sockets, orders):
    async def to_group(room, text):
        orders.put_nowait(("group_send", f"room.{room}", text))

    async def to_channel(name, text):
        orders.put_nowait(("send", name, text))

    await check(sockets, to_group, to_channel)


async def test_from_an_http_endpoint(sockets, address):
    async with httpx.AsyncClient(base_url=f"http://{address}") as http:

        async def to_group(room, text):
            (await http.post(f"/rooms/{room}", params={"text": text})).raise_for_status()

        async def to_channel(name, text):
            (await http.post(f"/channels/{name}", params={"text": text})).raise_for_status()

        await check(sockets, to_group, to_channel)


async def test_from_an_endpoint_that_is_a_plain_def(sockets, address):
    async with httpx.AsyncClient(base_url=f"http://{address}") as http:

        async def to_group(room, text):
            (await http.post(f"/sync/rooms/{room}", params={"text": text})).raise_for_status()

        async def to_channel(name, text):
            (await http.post(f"/channels/{name}", params={"text": text})).raise_for_status()

        await check(sockets, to_group, to_channel)


async def test_from_a_background_thread(sockets):
    layer = get_channel_layer()

    async def in_a_thread(method, target, text):
        def run():
            method(target, {"type": "room.message", "text": text})

        thread = threading.Thread(target=run)
        thread.start()
        await asyncio.to_thread(thread.join)

    async def to_group(room, text):
        await in_a_thread(async_to_sync(layer.group_send), f"room.{room}", text)

    async def to_channel(name, text):
        await in_a_thread(async_to_sync(layer.send), name, text)

    await check(sockets, to_group, to_channel)
    assert layer.stats()["sessions"] == 1  # the threads' sessions have ended with their loops


async def test_from_another_event_loop_of_the_process(sockets):
    layer = get_channel_layer()

    async def to_group(room, text):
        message = {"type": "room.message", "text": text}
        await asyncio.to_thread(asyncio.run, layer.group_send(f"room.{room}", message))

    async def to_channel(name, text):
        message = {"type": "room.message", "text": text}
        await asyncio.to_thread(asyncio.run, layer.send(name, message))

    await check(sockets, to_group, to_channel)
