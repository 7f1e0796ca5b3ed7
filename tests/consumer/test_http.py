"""HTTP consumers: one response, at once, in parts, or when a message of a layer comes."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import asyncio
import json
import logging

import pytest

from fast_channels import AsyncHttpConsumer, InMemoryChannelLayer, register_channel_layer
from fast_channels.consumer.headers import header_pairs
from fast_channels.exceptions import StopConsumer
from fast_channels.layers.registry import channel_layers
from fast_channels.testing import HttpCommunicator

from .http_client import requesting

pytestmark = pytest.mark.timeout(20)
request_ = pytest.fixture(requesting, name="ask")


class Recorded(AsyncHttpConsumer):
    """``journal`` is given by ``as_asgi``."""

    journal = None

    async def handle(self, body):
        self.journal(body)
        await self.send_response(200, b"got " + body, headers={"Content-Type": "text/plain"})

    async def disconnect(self):
        self.journal("disconnect")


# --- requests and responses -----------------------------------------------------------------------


async def test_the_whole_body_is_handled_and_disconnect_runs_once(ask, layer, journal):
    client = await ask(Recorded.as_asgi(journal=journal), None, "POST")
    client.says("hel", more=True)
    client.says("lo", more=True)
    client.says("")
    assert await client.answered() == b"got hello"
    assert await client.ended() is None
    assert client.status == 200
    assert client.sent[0]["headers"] == [(b"Content-Type", b"text/plain")]
    assert journal == [b"hello", "disconnect"]
    assert layer.stats()["channels"] == 0


async def test_without_a_layer_a_consumer_answers_too(ask, journal):
    client = await ask(Recorded.as_asgi(journal=journal), "x")
    assert await client.answered() == b"got x"
    assert await client.ended() is None


async def test_it_ends_although_the_server_does_not_tell_that_the_response_was_sent(journal):
    """As the communicator, or a middleware that has read the body itself."""
    consumer = Recorded.as_asgi(journal=journal)
    async with HttpCommunicator(consumer, "POST", "/x", b"hello") as communicator:
        response = await communicator.get_response()
        assert response["body"] == b"got hello"
        await communicator.wait()
    assert journal == [b"hello", "disconnect"]


async def test_a_response_is_sent_in_parts(ask, layer, journal):
    class Consumer(Recorded):
        async def handle(self, body):
            await self.send_headers(status=206, headers=[("x-a", "1"), (b"x-b", b"2")])
            for part in (b"one ", b"two ", b"three"):
                await self.send_body(part, more_body=part != b"three")
                journal(part)
            journal("after the response")

    client = await ask(Consumer.as_asgi(journal=journal))
    assert await client.answered() == b"one two three"
    assert await client.ended() is None
    assert client.status == 206
    assert client.headers == {b"x-a": b"1", b"x-b": b"2"}
    assert journal == [b"one ", b"two ", b"three", "after the response", "disconnect"]


# --- long polling ---------------------------------------------------------------------------------


class LongPoll(Recorded):
    """The answer is the next message of the group."""

    groups = ["news"]

    async def handle(self, body):
        self.journal("waits")

    async def news_item(self, message):
        text = json.dumps(message["item"]).encode()
        await self.send_response(200, text, headers={b"content-type": b"application/json"})


async def test_a_message_of_a_group_answers_a_request_that_waits(ask, layer, journal):
    clients = [await ask(LongPoll.as_asgi(journal=journal)) for _ in range(3)]
    await journal.until(lambda: journal == ["waits"] * 3)
    await layer.group_send("news", {"type": "news.item", "item": {"id": 1}})
    await layer.group_send("news", {"type": "news.item", "item": {"id": 2}})
    for client in clients:
        assert await client.answered() == b'{"id": 1}'
        assert await client.ended() is None
    assert journal == ["waits"] * 3 + ["disconnect"] * 3
    assert layer.groups == {}


async def test_headers_may_be_sent_before_the_message_comes(ask, layer, journal):
    class Consumer(LongPoll):
        async def handle(self, body):
            await self.send_headers(headers=[(b"content-type", b"application/json")])
            await self.send_body(b"", more_body=True)
            journal("waits")

        async def news_item(self, message):
            await self.send_body(b"item")

    client = await ask(Consumer.as_asgi(journal=journal))
    await journal.has("waits")
    await layer.group_send("news", {"type": "news.item"})
    assert await client.answered() == b"item"
    assert await client.ended() is None
    assert journal == ["waits", "disconnect"]


async def test_handle_may_wait_for_the_message_itself(ask, layer, journal):
    class Consumer(Recorded):
        async def handle(self, body):
            await self.channel_layer.group_add("news", self.channel_name)
            journal("waits")
            async with asyncio.timeout(5):
                message = await self.channel_receive()
            await self.send_response(200, message["item"].encode())

    client = await ask(Consumer.as_asgi(journal=journal))
    await journal.has("waits")
    await layer.group_send("news", {"type": "news.item", "item": "hot"})
    assert await client.answered() == b"hot"


async def test_a_client_that_leaves_while_it_waits_is_in_no_group(ask, layer, journal):
    client = await ask(LongPoll.as_asgi(journal=journal))
    await journal.has("waits")
    assert list(layer.groups) == ["news"]
    client.leaves()
    assert await client.ended() is None
    assert layer.groups == {}
    assert client.sent == []
    assert journal == ["waits", "disconnect"]


async def test_a_stream_ends_at_its_next_part_when_the_client_has_left(ask, layer, journal, caplog):
    class Consumer(Recorded):
        async def handle(self, body):
            await self.send_headers()
            while True:
                await self.send_body(b"tick", more_body=True)
                await asyncio.sleep(0)

    caplog.set_level(logging.DEBUG, "fast_channels.consumer")
    client = await ask(Consumer.as_asgi(journal=journal))
    await client.has_body(b"tick")
    client.leaves()
    assert await client.ended() is None  # a server raises if something is sent now
    assert journal == ["disconnect"]
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


async def test_a_response_for_a_client_that_has_left_is_no_error(ask, layer, journal, free):
    class Consumer(Recorded):
        async def handle(self, body):
            journal("works")
            await free.wait()
            await self.send_response(200, b"too late")
            journal("worked")

    client = await ask(Consumer.as_asgi(journal=journal))
    await journal.has("works")
    client.leaves()
    await client.read_to_the_end()
    free.set()
    assert await client.ended() is None
    assert client.sent == []
    assert journal == ["works", "worked", "disconnect"]


async def test_without_a_layer_no_response_is_an_error_unless_the_client_has_left(
    ask, journal, free
):
    class Consumer(Recorded):
        async def handle(self, body):
            journal("works")
            await free.wait()

    gone, waiting = [await ask(Consumer.as_asgi(journal=journal)) for _ in range(2)]
    await journal.until(lambda: journal == ["works"] * 2)
    gone.leaves()
    await gone.read_to_the_end()
    free.set()
    assert await gone.ended() is None
    assert "sent no response" in str(await waiting.ended())


@pytest.fixture
def free():
    return asyncio.Event()


async def test_cancel_on_disconnect_cancels_handle_but_not_what_follows_the_response(
    ask, layer, journal, free, turns
):
    class Consumer(Recorded):
        cancel_on_disconnect = True

        async def handle(self, body):
            if body == b"respond":
                await self.send_response(200, b"")
            journal("works")
            try:
                await free.wait()
            except asyncio.CancelledError:
                journal("cancelled")
                raise
            journal("worked")

    client = await ask(Consumer.as_asgi(journal=journal), "wait")
    await journal.has("works")
    client.leaves()
    assert await client.ended() is None
    assert journal == ["works", "cancelled", "disconnect"]

    journal.clear()
    client = await ask(Consumer.as_asgi(journal=journal), "respond")
    await journal.has("works")
    await client.read_to_the_end()
    free.set()
    assert await client.ended() is None
    assert journal == ["works", "worked", "disconnect"]


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.1", "2"])
async def test_a_body_above_the_limit_is_answered_with_413(ask, layer, journal, version):
    consumer = Recorded.as_asgi(journal=journal, max_body_size=10)
    client = await ask(consumer, None, "POST", http_version=version)
    client.says("12345", more=True)
    client.says("123456", more=True)
    assert b"larger than 10 bytes" in await client.answered()
    assert await client.ended() is None
    assert client.status == 413
    assert (client.headers.get(b"connection") == b"close") == (version == "1.1")
    assert journal == ["disconnect"]


async def test_a_body_of_exactly_the_limit_is_handled(ask, layer, journal):
    client = await ask(Recorded.as_asgi(journal=journal, max_body_size=10), "0123456789", "POST")
    assert await client.answered() == b"got 0123456789"


@pytest.mark.parametrize("part", [None, "a part"])
async def test_a_body_that_does_not_come_is_answered_with_408(ask, layer, journal, part):
    client = await ask(Recorded.as_asgi(journal=journal, body_timeout=0.02), None, "POST")
    if part is not None:
        client.says(part, more=True)
    assert b"did not come within 0.02 s" in await client.answered()
    assert await client.ended() is None
    assert client.status == 408
    assert journal == ["disconnect"]


async def test_the_time_for_the_body_is_not_the_time_for_the_answer(ask, layer, journal):
    client = await ask(LongPoll.as_asgi(journal=journal, body_timeout=0.02))
    late = await ask(LongPoll.as_asgi(journal=journal, body_timeout=0.04), None)
    assert b"0.04 s" in await late.answered()  # by now the other's time would be over
    await layer.group_send("news", {"type": "news.item", "item": 1})
    assert await client.answered() == b"1"


async def test_what_handle_raises_before_the_response_goes_to_the_server(ask, layer, journal):
    class Consumer(LongPoll):
        async def handle(self, body):
            raise ValueError("broken")

    client = await ask(Consumer.as_asgi(journal=journal))
    assert str(await client.ended()) == "broken"
    assert client.sent == []
    assert journal == ["disconnect"]
    assert layer.groups == {}


async def test_what_a_handler_raises_within_the_response_leaves_it_incomplete(ask, layer, journal):
    class Consumer(LongPoll):
        async def handle(self, body):
            await self.send_headers()
            await self.send_body(b"part", more_body=True)
            journal("waits")

        async def news_item(self, message):
            raise ValueError("broken")

    client = await ask(Consumer.as_asgi(journal=journal))
    await journal.has("waits")
    await layer.group_send("news", {"type": "news.item"})
    assert str(await client.ended()) == "broken"
    assert client.body == b"part"
    assert not client.complete
    assert journal == ["waits", "disconnect"]


async def test_on_error_may_answer(ask, layer, journal):
    class Consumer(Recorded):
        async def handle(self, body):
            raise ValueError("no such thing")

        async def on_error(self, exception, message):
            await self.send_response(404, str(exception).encode())

    client = await ask(Consumer.as_asgi(journal=journal))
    assert await client.answered() == b"no such thing"
    assert await client.ended() is None
    assert client.status == 404
    assert journal == ["disconnect"]


async def test_stop_consumer_completes_a_response_that_has_begun(ask, layer, journal):
    class Consumer(Recorded):
        async def handle(self, body):
            await self.send_headers()
            raise StopConsumer

    client = await ask(Consumer.as_asgi(journal=journal))
    assert await client.answered() == b""
    assert await client.ended() is None
    assert journal == ["disconnect"]


async def test_a_cancellation_completes_a_response_that_has_begun(ask, layer, journal):
    class Consumer(LongPoll):
        async def handle(self, body):
            await self.send_headers()
            journal("waits")

    client = await ask(Consumer.as_asgi(journal=journal))
    await journal.has("waits")
    client.task.cancel()
    await client.ended()
    assert client.task.cancelled()
    assert client.complete
    assert journal == ["waits", "disconnect"]


MISTAKES = {
    "no handle": (NotImplementedError, "has no handle"),
    "nothing sent": (RuntimeError, "sent no response"),
    "headers twice": (RuntimeError, "its headers were sent already"),
    "no headers": (RuntimeError, "send_headers() first"),
    "after the end": (RuntimeError, "the response is complete"),
    "text": (TypeError, "must be bytes, got str"),
}


@pytest.mark.parametrize("mistake", list(MISTAKES))
async def test_a_mistake_is_an_error_that_says_what_is_wrong(ask, mistake):
    class Consumer(AsyncHttpConsumer):
        async def handle(self, body):
            match mistake:
                case "no handle":
                    await super().handle(body)
                case "headers twice":
                    await self.send_headers()
                    await self.send_headers()
                case "no headers":
                    await self.send_body(b"")
                case "after the end":
                    self.scope["late"] = await self.send_response(200, b"")
                    self.scope["late"] = await self.send_body(b"")
                case "text":
                    await self.send_response(200, "text")

    client = await ask(Consumer)
    error = await client.ended()
    kind, text = MISTAKES[mistake]
    assert type(error) is kind
    assert text in str(error)


async def test_a_websocket_is_refused_and_no_traceback(connect, layer, journal):
    client = await connect(Recorded.as_asgi(journal=journal))
    assert await client.ended() is None
    assert [sent["type"] for sent in client.sent] == ["websocket.close"]
    assert journal == []
    with pytest.raises(ValueError, match="does not serve scopes of type 'lifespan'"):
        await Recorded()({"type": "lifespan"}, None, None)


async def test_a_layer_reaches_no_event_of_the_server(ask, layer, journal):
    class Consumer(LongPoll):
        async def on_error(self, exception, message):
            journal(message["type"])

    client = await ask(Consumer.as_asgi(journal=journal))
    await journal.has("waits")
    hidden = ["http.request", "http.disconnect", "http.late", "handle", "send.body", "disconnect"]
    for kind in hidden:
        await layer.group_send("news", {"type": kind, "body": b"evil"})
    await layer.group_send("news", {"type": "news.item", "item": 1})
    assert await client.answered() == b"1"
    assert await client.ended() is None
    assert journal == ["waits", *hidden, "disconnect"]


# --- clients that do not read ---------------------------------------------------------------------


async def test_overflow_disconnect_ends_the_response_of_a_client_that_does_not_read(ask, journal):
    class Consumer(LongPoll):
        async def handle(self, body):
            await self.send_headers()
            journal("waits")

        async def news_item(self, message):
            await self.send_body(b"item", more_body=True)

    layer = register_channel_layer(
        "default", InMemoryChannelLayer(capacity=5, overflow="disconnect")
    )
    slow, other = [await ask(Consumer.as_asgi(journal=journal)) for _ in range(2)]
    await journal.until(lambda: journal == ["waits"] * 2)
    slow.writable.clear()
    for number in range(1, 11):
        await layer.group_send("news", {"type": "news.item"})
        await other.has_body(b"^(item){%d}$" % number)
    slow.writable.set()
    assert await slow.answered() == b""
    assert await slow.ended() is None
    assert journal == ["waits", "waits", "disconnect"]
    assert not other.task.done()
    assert layer.stats()["channels"] == 1
    await other.end()
    await layer.close()
    channel_layers.clear()


# --- headers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"X-One": "1", "x-two": "zwei ü"},
        {b"X-One": b"1", b"x-two": "zwei ü".encode("latin-1")},
        [("X-One", "1"), ("x-two", "zwei ü")],
        [[b"X-One", b"1"], (b"x-two", "zwei ü".encode("latin-1"))],
        (["X-One", b"1"], (b"x-two", "zwei ü")),
    ],
    ids=["dict of text", "dict of bytes", "pairs of text", "pairs of bytes", "mixed"],
)
def test_headers_are_a_dict_or_pairs_of_text_or_bytes(headers):
    assert header_pairs(headers) == [(b"X-One", b"1"), (b"x-two", b"zwei \xfc")]


def test_no_headers_are_none_at_all():
    assert header_pairs(None) == header_pairs([]) == header_pairs({}) == []


@pytest.mark.parametrize(
    ("headers", "error", "text"),
    [
        ({"x": 1}, TypeError, "('x', 1)"),
        ({"x": None}, TypeError, "('x', None)"),
        ([("x",)], TypeError, "('x',)"),
        (["ab"], TypeError, "'ab'"),
        ([("x", "1", "2")], TypeError, "('x', '1', '2')"),
        ({"": "1"}, ValueError, "b''"),
        ({"a b": "1"}, ValueError, "b'a b'"),
        ({"a:": "1"}, ValueError, "b'a:'"),
        ({"a\r\nb": "1"}, ValueError, "b'a\\r\\nb'"),
        ({"set-cookie": "a\r\nx-evil: 1"}, ValueError, "b'set-cookie'"),
        ({"x": b"\0"}, ValueError, "b'x'"),
        ({"x": "€"}, ValueError, "('x', '€')"),
    ],
)
def test_a_header_that_is_none_is_named(headers, error, text):
    with pytest.raises(error) as refused:
        header_pairs(headers)
    assert text in str(refused.value)
