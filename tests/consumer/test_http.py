"""HTTP consumers: one response, at once or in parts, and what is wrong with a request."""

import pytest

from fast_channels import AsyncHttpConsumer
from fast_channels.exceptions import StopConsumer
from fast_channels.testing import HttpCommunicator

from .http_client import requesting
from .http_recorded import LongPoll, Recorded

pytestmark = pytest.mark.timeout(20)
ask = pytest.fixture(requesting, name="ask")


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
