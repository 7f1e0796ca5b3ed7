"""Accepting, refusing, sending and closing: what the server gets for each call."""

import asyncio

import pytest

from fast_channels import AsyncWebsocketConsumer
from fast_channels.exceptions import AcceptConnection, DenyConnection
from fast_channels.testing import WebsocketCommunicator

pytestmark = pytest.mark.timeout(20)

DENIAL = {"websocket.http.response": {}}


def connecting(step):
    """A consumer whose ``connect`` is this function."""
    return type("Consumer", (AsyncWebsocketConsumer,), {"connect": step})


async def test_a_consumer_accepts_by_default(connect):
    client = await connect(AsyncWebsocketConsumer)
    assert client.sent == [{"type": "websocket.accept", "subprotocol": None, "headers": []}]


async def test_accept_takes_a_subprotocol_and_headers(connect):
    async def step(self):
        assert self.scope["subprotocols"] == ["v1", "v2"]
        await self.accept("v2", [(b"x-room", b"lobby")])

    client = await connect(connecting(step), subprotocols=["v1", "v2"])
    assert client.sent == [
        {"type": "websocket.accept", "subprotocol": "v2", "headers": [(b"x-room", b"lobby")]}
    ]


async def test_accept_takes_its_arguments_by_upstreams_names():
    async def step(self):
        await self.accept(subprotocol="v1", headers=[(b"a", b"b")])

    communicator = WebsocketCommunicator(connecting(step).as_asgi(), "/", subprotocols=["v1"])
    async with communicator as client:
        assert await client.connect() == (True, "v1")
        assert client.response_headers == [(b"a", b"b")]


async def test_accept_connection_raised_in_connect_accepts(connect):
    async def step(self):
        raise AcceptConnection

    client = await connect(connecting(step))
    assert [sent["type"] for sent in client.sent] == ["websocket.accept"]


async def test_close_in_connect_refuses(connect):
    async def step(self):
        await self.close(4003)

    client = await connect(connecting(step))
    assert client.sent == [{"type": "websocket.close", "code": 4003, "reason": ""}]
    assert await client.ended() is None


@pytest.mark.parametrize("extensions", [None, {}, {"other": {}}])
async def test_deny_is_a_close_where_the_server_knows_no_denial(connect, extensions):
    async def step(self):
        await self.deny(401, "who are you?")

    scope = {} if extensions is None else {"extensions": extensions}
    client = await connect(connecting(step), **scope)
    assert client.sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]


@pytest.mark.parametrize("body", ["who are you?", b"who are you?"])
async def test_deny_is_an_http_response_where_the_server_can(body):
    async def step(self):
        await self.deny(401, body, [(b"www-authenticate", b"Bearer")])

    application = connecting(step).as_asgi()
    async with WebsocketCommunicator(application, "/", extensions=DENIAL) as client:
        assert await client.connect() == (False, 401)
        assert client.denial == {
            "status": 401,
            "headers": [(b"www-authenticate", b"Bearer")],
            "body": b"who are you?",
        }


async def test_a_denied_socket_is_over_though_the_server_says_no_more(connect, journal):
    class Consumer(AsyncWebsocketConsumer):
        async def connect(self):
            await self.deny(401)

        async def disconnect(self, code):
            journal.append(("disconnect", code))

    client = await connect(Consumer, extensions=DENIAL)
    assert await client.ended() is None
    assert list(journal) == [("disconnect", 1006)]


async def test_deny_connection_carries_status_body_and_headers():
    async def step(self):
        raise DenyConnection("bad token", status=401, body="who?", headers=[(b"a", b"b")])

    application = connecting(step).as_asgi()
    async with WebsocketCommunicator(application, "/", extensions=DENIAL) as client:
        assert await client.connect() == (False, 401)
        assert client.denial == {"status": 401, "headers": [(b"a", b"b")], "body": b"who?"}


async def test_a_bare_deny_connection_is_a_403():
    async def step(self):
        raise DenyConnection

    application = connecting(step).as_asgi()
    async with WebsocketCommunicator(application, "/", extensions=DENIAL) as client:
        assert await client.connect() == (False, 403)
    async with WebsocketCommunicator(application, "/") as client:
        assert await client.connect() == (False, 1000)


async def test_deny_after_accept_is_an_error(connect):
    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.deny()

    client = await connect(Consumer, extensions=DENIAL)
    client.says("x")
    error = await client.ended()
    assert type(error) is RuntimeError
    assert "deny() answers the handshake" in str(error)


async def test_a_text_frame_and_a_binary_frame_reach_receive_by_name(connect, journal):
    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            journal((text_data, bytes_data))

    client = await connect(Consumer)
    client.says("text")
    client.says(b"bytes")
    client.says("")
    client.says(b"")
    # Some servers put both keys into the event.
    client.happens("websocket.receive", text="both", bytes=None)
    client.happens("websocket.receive", text=None, bytes=b"both")
    await journal.until(lambda: len(journal) == 6)
    assert journal == [
        ("text", None),
        (None, b"bytes"),
        ("", None),
        (None, b""),
        ("both", None),
        (None, b"both"),
    ]


async def test_send_sends_text_or_bytes_even_empty_ones(connect):
    class Consumer(AsyncWebsocketConsumer):
        async def connect(self):
            await self.accept()
            await self.send("text")
            await self.send(text_data="named")
            await self.send(bytes_data=b"bytes")
            await self.send("")
            await self.send(bytes_data=b"")

    client = await connect(Consumer)
    assert client.sent[1:] == [
        {"type": "websocket.send", "text": "text"},
        {"type": "websocket.send", "text": "named"},
        {"type": "websocket.send", "bytes": b"bytes"},
        {"type": "websocket.send", "text": ""},
        {"type": "websocket.send", "bytes": b""},
    ]


async def test_send_of_nothing_is_an_error(connect):
    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send()

    client = await connect(Consumer)
    client.says("x")
    error = await client.ended()
    assert type(error) is ValueError
    assert "text_data and bytes_data" in str(error)


@pytest.mark.parametrize(("close", "code"), [(True, 1000), (4001, 4001)])
async def test_send_may_close_after_its_frame(connect, close, code):
    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send("bye", close=close)

    client = await connect(Consumer)
    client.says("x")
    assert await client.ended() is None
    assert client.sent[1:] == [
        {"type": "websocket.send", "text": "bye"},
        {"type": "websocket.close", "code": code, "reason": ""},
    ]


@pytest.mark.parametrize("close", [False, None])
async def test_send_does_not_close_where_it_is_not_told_to(connect, close):
    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data, close=close)

    client = await connect(Consumer)
    for text in ("first", "second"):
        client.says(text)
        assert await client.hears() == text


@pytest.mark.parametrize(
    ("arguments", "close"),
    [
        ({}, {"code": 1000, "reason": ""}),
        ({"code": None}, {"code": 1000, "reason": ""}),
        ({"code": True}, {"code": 1000, "reason": ""}),
        ({"code": 4001}, {"code": 4001, "reason": ""}),
        ({"code": 4001, "reason": "enough"}, {"code": 4001, "reason": "enough"}),
    ],
)
async def test_close_has_a_code_and_a_reason(connect, arguments, close):
    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.close(**arguments)

    client = await connect(Consumer)
    client.says("x")
    assert await client.ended() is None
    assert client.close == {"type": "websocket.close", **close}


# --- the size of frames ---------------------------------------------------------------------------


@pytest.mark.parametrize("frame", ["x" * 11, b"x" * 11, "é" * 11])
async def test_a_frame_above_max_frame_size_closes_with_1009_and_no_traceback(
    connect, journal, caplog, frame
):
    class Consumer(AsyncWebsocketConsumer):
        max_frame_size = 10

        async def receive(self, text_data=None, bytes_data=None):
            journal("received")

        async def disconnect(self, code):
            journal(code)

    client = await connect(Consumer)
    client.says(frame)
    assert await client.ended() is None
    assert client.close == {
        "type": "websocket.close",
        "code": 1009,
        "reason": "frame is larger than max_frame_size=10",
    }
    assert journal == [1009]
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_frame_of_max_frame_size_is_received(connect, journal):
    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            journal(len(text_data or bytes_data))

    client = await connect(Consumer.as_asgi(max_frame_size=10))
    client.says("x" * 10)
    client.says(b"x" * 10)
    await journal.until(lambda: journal == [10, 10])


@pytest.mark.parametrize("frame", ["x" * 1_048_577, bytes(1_048_577)], ids=["text", "bytes"])
async def test_a_frame_above_one_mebibyte_closes_where_nothing_says_otherwise(connect, frame):
    client = await connect(AsyncWebsocketConsumer)
    client.says(frame)
    assert await client.ended() is None
    assert client.close["code"] == 1009


@pytest.mark.parametrize(
    ("limit", "size"), [(AsyncWebsocketConsumer.max_frame_size, 1_048_576), (None, 10_000_000)]
)
async def test_a_frame_of_one_mebibyte_or_without_a_limit_of_any_size_is_received(
    connect, journal, limit, size
):
    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            journal(len(bytes_data))

    client = await connect(Consumer.as_asgi(max_frame_size=limit))
    client.says(bytes(size))
    await journal.has(size)


# --- the rate of frames ---------------------------------------------------------------------------


@pytest.fixture
def counting(journal):
    """A consumer that writes down the numbers that its client says."""

    class Counting(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            journal(int(text_data))

    return Counting


@pytest.mark.parametrize("rate", [AsyncWebsocketConsumer.max_frame_rate, 10])
async def test_frames_that_come_too_fast_wait_and_none_is_lost(connect, journal, counting, rate):
    client = await connect(counting.as_asgi(max_frame_rate=rate))
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(rate + 1):
        client.says(str(number))
    await journal.has(rate)
    assert loop.time() - began > 0.9  # the second began with the connection
    assert journal == list(range(rate + 1))


async def test_without_a_rate_nothing_waits(connect, journal, counting):
    client = await connect(counting.as_asgi(max_frame_rate=None))
    for number in range(20_000):
        client.says(str(number))
    await journal.has(19_999)


async def test_a_rate_below_one_is_refused(layer):
    communicator = WebsocketCommunicator(AsyncWebsocketConsumer.as_asgi(max_frame_rate=0), "/")
    with pytest.raises(ValueError, match="max_frame_rate must be at least 1"):
        await communicator.connect()
