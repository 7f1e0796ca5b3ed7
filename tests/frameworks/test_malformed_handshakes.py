"""What is no proper handshake ends in a clean answer; the consumer and the log never hear of it."""

import asyncio
import logging

import pytest
import websockets

from fast_channels import AsyncWebsocketConsumer

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.asyncio(loop_factories=["asyncio"]),  # nothing here depends on the loop
]

GOOD = {
    "Host": "localhost",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def request(first="GET /ws HTTP/1.1", **headers):
    """The bytes of a handshake, with some headers changed (None: without it)."""
    changed = {**GOOD, **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"{name}: {value}" for name, value in changed.items() if value is not None]
    return "\r\n".join([first, *lines, "", ""]).encode()


# What the server makes of it: 101 where it is not strict, and then the consumer sees a good socket.
MALFORMED = {
    "no key": (request(Sec_WebSocket_Key=None), {400}),
    "a short key": (request(Sec_WebSocket_Key="YQ=="), {101, 400}),
    "a key that is no base64": (request(Sec_WebSocket_Key="?"), {101, 400}),
    "an old version": (request(Sec_WebSocket_Version="8"), {400, 426}),
    "no version": (request(Sec_WebSocket_Version=None), {400, 426}),
    "another method": (request("POST /ws HTTP/1.1"), {400, 405, 426}),
    "no upgrade": (request(Upgrade=None), {426}),
    "no connection": (request(Connection=None), {426}),
    "another upgrade": (request(Upgrade="h2c"), {426}),
    "an old HTTP": (request("GET /ws HTTP/1.0"), {101, 400, 426, 505}),
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}),
    "a subprotocol that is no token": (request(Sec_WebSocket_Protocol="a b,,(c)"), {101, 400}),
    "half a request": (request()[:60], None),
    "nothing": (b"", None),
}


@pytest.fixture(params=["websockets-sansio", "wsproto"])
def protocol(request):
    return request.param


async def answer(address, data, whole):
    """The status of the answer, or None when the connection ends without one."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    if not whole:
        writer.write_eof()
    async with asyncio.timeout(10):
        line = await reader.readline()
    writer.close()
    return int(line.split()[1]) if line else None


async def test_a_malformed_handshake_is_answered_and_starts_no_consumer(
    serve, protocol, server_log
):
    connected = []

    class Echo(AsyncWebsocketConsumer):
        async def connect(self):
            connected.append(self.scope["subprotocols"])
            await super().connect()

        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data)

    address = await serve(Echo.as_asgi(), ws=protocol, log_config=None)
    wrong = {}
    for name, (data, statuses) in MALFORMED.items():
        before = len(connected)
        status = await answer(address, data, statuses is not None)
        if statuses is not None and status not in statuses:
            wrong[name] = status
        if len(connected) > before and status != 101:
            wrong[name] = "a consumer was started"
    assert wrong == {}
    async with websockets.connect(f"ws://{address}/ws") as socket:
        await socket.send("still here")
        assert await socket.recv() == "still here"
    assert [record.exc_info for record in server_log.records if record.exc_info] == []
    assert [record for record in server_log.records if record.levelno >= logging.ERROR] == []
