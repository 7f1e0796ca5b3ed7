"""HTTP, event-stream and sync consumers under uvicorn, with real clients."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import asyncio
import logging
import threading

import httpx
import pytest
import websockets
from asgiref.sync import async_to_sync
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount, Route
from tests.waiting import until

from fast_channels import (
    AsyncEventSourceConsumer,
    AsyncHttpConsumer,
    InMemoryChannelLayer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
    register_channel_layer,
)
from fast_channels.layers.registry import channel_layers

pytestmark = [pytest.mark.timeout(30), pytest.mark.asyncio(loop_factories=["uvloop"])]

PATIENCE = 10.0
LOGGED = {"lifespan": "off", "log_config": None}
"""uvicorn's own configuration would keep its log from caplog."""


class Poll(AsyncHttpConsumer):
    groups = ["all"]

    async def handle(self, body):
        match self.scope["path"]:
            case "/echo":
                await self.send_response(200, body)
            case "/broken":
                raise RuntimeError("marker-before")
            case "/halfway":
                await self.send_headers()
                await self.send_body(b"begun", more_body=True)
                raise RuntimeError("marker-within")

    async def item(self, message):
        await self.send_response(200, message["text"].encode())


class Stream(AsyncEventSourceConsumer):
    groups = ["all"]

    async def item(self, message):
        await self.send_event(message["text"])


class Chat(WebsocketConsumer):
    groups = ["all"]

    def item(self, message):
        self.send(message["text"])


async def applications(scope, receive, send):
    """By path, as a framework would."""
    kind = {"/chat": Chat, "/stream": Stream}.get(scope["path"], Poll)
    await kind.as_asgi()(scope, receive, send)


async def members(layer, count):
    """Wait until so many consumers are in the group, and no others are left."""
    await until(lambda: len(layer.groups.get("all", ())) == layer.stats()["channels"] == count)


def tracebacks(caplog):
    return [record for record in caplog.records if record.exc_info]


async def test_one_group_message_reaches_a_socket_a_poll_and_a_stream(serve, layer):
    address = await serve(applications, **LOGGED)
    async with (
        httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE) as client,
        websockets.connect(f"ws://{address}/chat") as socket,
        client.stream("GET", "/stream") as stream,
    ):
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = stream.aiter_lines()
        assert await anext(lines) == ":"
        poll = asyncio.create_task(client.get("/poll"))
        await members(layer, 3)
        await layer.group_send("all", {"type": "item", "text": "hello"})
        assert await socket.recv() == "hello"
        assert (await poll).text == "hello"
        assert [await anext(lines), await anext(lines)] == ["", "data: hello"]
        await members(layer, 2)
        await stream.aclose()
        await members(layer, 1)
    await members(layer, 0)


class Marked(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-marked"] = "yes"
        return response


async def test_starlettes_routes_mounts_and_middleware_take_http_consumers(serve, layer):
    app = Starlette(
        routes=[Route("/stream/{room}", Stream.as_asgi()), Mount("/in", Poll.as_asgi())],
        middleware=[Middleware(Marked)],
    )
    address = await serve(app, **LOGGED)
    async with (
        httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE) as client,
        client.stream("GET", "/stream/tea") as stream,
    ):
        assert stream.headers["x-marked"] == "yes"
        lines = stream.aiter_lines()
        assert await anext(lines) == ":"
        poll = asyncio.create_task(client.post("/in/poll", content=b"x"))
        await members(layer, 2)
        await layer.group_send("all", {"type": "item", "text": "hello"})
        assert ((await poll).text, (await poll).headers["x-marked"]) == ("hello", "yes")
        assert [await anext(lines), await anext(lines)] == ["", "data: hello"]
        await members(layer, 1)
    await members(layer, 0)


async def test_wrong_methods_and_protocols_are_refused_and_leave_no_traceback(serve, layer, caplog):
    address = await serve(applications, **LOGGED)
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE) as client:
        refused = await client.post("/stream", content=b"x" * 100_000)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
        head = await client.head("/stream")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith("text/event-stream")
        assert (await client.get("/chat")).status_code == 426
    for path in ("/stream", "/echo"):
        with pytest.raises(websockets.InvalidStatus) as error:
            await websockets.connect(f"ws://{address}{path}")
        assert error.value.response.status_code == 403
    await members(layer, 0)
    assert tracebacks(caplog) == []


async def test_a_body_above_the_limit_is_answered_before_it_has_come(serve, layer, caplog):
    address = await serve(Poll.as_asgi(max_body_size=100_000), **LOGGED)
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000\r\n\r\n")
    writer.write(bytes(100_001))  # no more: what a server has not read resets the connection
    async with asyncio.timeout(PATIENCE):
        response = await reader.read()  # to the end: the server closes
    assert response.startswith(b"HTTP/1.1 413 ")
    assert b"larger than 100000 bytes" in response
    writer.close()
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE) as client:
        assert (await client.post("/echo", content=bytes(100_000))).content == bytes(100_000)
    await members(layer, 0)
    assert tracebacks(caplog) == []


async def test_a_client_that_sends_no_body_is_answered_with_408(serve, layer, caplog):
    address = await serve(Poll.as_asgi(body_timeout=0.05), **LOGGED)
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        response = await reader.read()
    assert response.startswith(b"HTTP/1.1 408 ")
    writer.close()
    await members(layer, 0)
    assert tracebacks(caplog) == []


async def test_what_handle_raises_is_a_500_or_a_broken_response_and_one_traceback(
    serve, layer, caplog
):
    address = await serve(applications, **LOGGED)
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE) as client:
        assert (await client.get("/broken")).status_code == 500
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/halfway")
        assert (await client.post("/echo", content=b"fine")).content == b"fine"
    await members(layer, 0)
    failures = [str(record.exc_info[1]) for record in tracebacks(caplog)]
    assert failures == ["marker-before", "marker-within"]


async def test_a_stream_that_is_never_read_is_ended_and_the_others_go_on(serve, caplog):
    layer = InMemoryChannelLayer(capacity=10, overflow="disconnect")
    register_channel_layer("default", layer)
    address = await serve(applications, **LOGGED)
    _, writer = await asyncio.open_connection(*address.split(":"), limit=1)
    writer.write(b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n")
    text = "x" * 500_000  # some of these fill every buffer between the two
    async with (
        httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE) as client,
        client.stream("GET", "/stream") as stream,
    ):
        lines = stream.aiter_lines()
        await members(layer, 2)
        sent = 0
        while len(layer.groups["all"]) == 2:
            await layer.group_send("all", {"type": "item", "text": f"{sent} {text}"})
            sent += 1
            async for line in lines:
                if line.startswith("data: "):
                    break
            assert line == f"data: {sent - 1} {text}"
            assert sent < 200
        assert layer.stats()["overflowed"] == 1
    writer.transport.abort()
    await members(layer, 0)
    assert tracebacks(caplog) == []
    await layer.close()
    channel_layers.clear()


async def test_four_sockets_block_at_the_same_time_and_the_loop_serves_others(serve, layer):
    together = threading.Barrier(4, timeout=PATIENCE)

    class Blocking(JsonWebsocketConsumer):
        groups = ["all"]

        def receive_json(self, content, **kwargs):
            self.send_json("begun")
            together.wait()
            send = async_to_sync(self.channel_layer.group_send)
            send("all", {"type": "done", "by": content})

        def done(self, message):
            self.send_json(message["by"])

    address = await serve(Blocking.as_asgi(), **LOGGED)
    url = f"ws://{address}/"
    async with (
        websockets.connect(url) as a,
        websockets.connect(url) as b,
        websockets.connect(url) as c,
        websockets.connect(url) as d,
    ):
        for number, socket in enumerate((a, b, c)):
            await socket.send(str(number))
            assert await socket.recv() == '"begun"'
        await d.send("3")
        assert await d.recv() == '"begun"'
        for socket in (a, b, c, d):
            assert sorted([await socket.recv() for _ in range(4)]) == ["0", "1", "2", "3"]
    await members(layer, 0)


async def test_what_a_sync_handler_raises_is_one_traceback_and_a_1011(serve, layer, caplog):
    class Consumer(Chat):
        def receive(self, text_data=None, bytes_data=None):
            raise RuntimeError(text_data)

    address = await serve(Consumer.as_asgi(), **LOGGED)
    for marker in ("marker-1", "marker-2"):
        async with websockets.connect(f"ws://{address}/") as socket:
            await socket.send(marker)
            with pytest.raises(websockets.ConnectionClosedError):
                await socket.recv()
            assert socket.close_code == 1011
        await members(layer, 0)
        await until(lambda marker=marker: marker in caplog.text)
    failures = [str(record.exc_info[1]) for record in tracebacks(caplog)]
    assert failures == ["marker-1", "marker-2"]


async def test_a_sync_socket_that_is_never_read_is_cut_off_and_the_others_go_on(serve, caplog):
    layer = InMemoryChannelLayer(capacity=10, overflow="disconnect")
    register_channel_layer("default", layer)
    address = await serve(applications, **LOGGED)
    caplog.set_level(logging.WARNING)
    text = "x" * 500_000
    async with (
        websockets.connect(f"ws://{address}/chat", compression=None, max_queue=1) as slow,
        websockets.connect(f"ws://{address}/chat", compression=None) as other,
    ):
        await members(layer, 2)
        sent = 0
        while len(layer.groups["all"]) == 2:
            await layer.group_send("all", {"type": "item", "text": f"{sent} {text}"})
            assert await other.recv() == f"{sent} {text}"
            sent += 1
            assert sent < 200
        assert layer.stats()["overflowed"] == 1
        slow.transport.abort()
    await members(layer, 0)
    assert tracebacks(caplog) == []
    await layer.close()
    channel_layers.clear()
