"""Routers under a real server: alone, and mounted in Starlette."""

import logging

import httpx
import pytest
import websockets
from starlette.applications import Starlette

from fast_channels import AsyncWebsocketConsumer
from fast_channels.routing import ProtocolTypeRouter, URLRouter, not_found, path, re_path

pytestmark = [
    pytest.mark.timeout(30),
    pytest.mark.asyncio(loop_factories=["asyncio"]),  # nothing here depends on the loop
]


class Room(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send(repr(self.scope["path_params"]))


def rooms(*more):
    return URLRouter([path("rooms/", URLRouter([path("<int:room>/", Room.as_asgi())])), *more])


async def refused(address, where):
    with pytest.raises(websockets.InvalidStatus) as caught:
        await websockets.connect(f"ws://{address}{where}")
    return caught.value.response.status_code


async def test_an_application_without_a_framework_is_routed(serve, server_log):
    end = re_path("", not_found)
    address = await serve(
        ProtocolTypeRouter({"websocket": rooms(end), "http": not_found}), log_config=None
    )
    async with websockets.connect(f"ws://{address}/rooms/7/?x=1") as socket:
        assert await socket.recv() == "{'room': 7}"
    assert await refused(address, "/rooms/x/") == 404
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://{address}/rooms/7/")).status_code == 404
    assert [record for record in server_log.records if record.levelno >= logging.WARNING] == []


async def test_a_path_without_a_route_is_told_in_the_log_with_the_routes_tried(serve, server_log):
    address = await serve(rooms(), lifespan="off", log_config=None)
    assert await refused(address, "/rooms/x/") == 500
    [record] = [record for record in server_log.records if record.levelno >= logging.WARNING]
    assert str(record.exc_info[1]) == (
        "no route found for path '/rooms/x/'; routes tried: 'rooms/<int:room>/'"
    )
    async with websockets.connect(f"ws://{address}/rooms/7/") as socket:
        assert await socket.recv() == "{'room': 7}"


async def test_a_router_is_mounted_in_a_framework_below_its_path(serve):
    app = Starlette()
    app.mount("/{tenant}/live", rooms(re_path("", not_found)))
    address = await serve(app)
    async with websockets.connect(f"ws://{address}/acme/live/rooms/7/") as socket:
        assert await socket.recv() == "{'tenant': 'acme', 'room': 7}"
    assert await refused(address, "/acme/live/rooms/x/") == 404


async def test_the_server_s_root_path_is_no_part_of_the_routes(serve):
    address = await serve(rooms(), root_path="/app", lifespan="off")
    async with websockets.connect(f"ws://{address}/rooms/7/") as socket:
        assert await socket.recv() == "{'room': 7}"
