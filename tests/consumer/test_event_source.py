"""Server-Sent Events: their form, and the consumers that send them."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import asyncio
import re
from itertools import pairwise

import pytest

from fast_channels import AsyncEventSourceConsumer, InMemoryChannelLayer, register_channel_layer
from fast_channels.consumer.sse import COMMENT, encode_event
from fast_channels.exceptions import DenyConnection
from fast_channels.layers.registry import channel_layers

from .http_client import requesting

pytestmark = pytest.mark.timeout(20)
ask = pytest.fixture(requesting, name="ask")


def parse(stream):
    """What an ``EventSource`` makes of a stream: WHATWG HTML 9.2.6, step by step."""
    events, data, kind, last_id, retry = [], "", "", "", None
    for line in re.split("\r\n|\n|\r", stream.decode()):
        if not line:
            if data:
                events.append((kind or "message", data.removesuffix("\n"), last_id, retry))
            data, kind = "", ""
            continue
        field, colon, value = line.partition(":")
        if not field and colon:
            continue
        value = value.removeprefix(" ")
        match field:
            case "event":
                kind = value
            case "data":
                data += value + "\n"
            case "id" if "\0" not in value:
                last_id = value
            case "retry" if value.isascii() and value.isdigit():
                retry = int(value)
    return events


# --- the form -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        ("hello", "hello"),
        ("", ""),
        ("two\nlines", "two\nlines"),
        ("\n", "\n"),
        ("a\r\nb\rc\n\nd\n", "a\nb\nc\n\nd\n"),
        (" leading and: colon", " leading and: colon"),
        (": no comment", ": no comment"),
        ("data: nested\n\nevent: evil", "data: nested\n\nevent: evil"),
        ("\ufeffbom, \u2028, \x0b, \x85 and ü", "\ufeffbom, \u2028, \x0b, \x85 and ü"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (["x\ny"], '["x\\ny"]'),
        (7, "7"),
        (None, "null"),
    ],
)
def test_data_arrives_as_it_was_sent(data, seen):
    stream = COMMENT + encode_event(data, "kind", "id 7", 1500) + encode_event("fence")
    assert parse(stream) == [("kind", seen, "id 7", 1500), ("message", "fence", "id 7", 1500)]


def test_an_id_may_be_a_number_or_empty():
    assert parse(encode_event("x", id=7)) == [("message", "x", "7", None)]
    assert parse(encode_event("x", id=7) + encode_event("y", id="")) == [
        ("message", "x", "7", None),
        ("message", "y", "", None),
    ]


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b"])
@pytest.mark.parametrize("field", ["id", "event"])
def test_an_id_or_type_with_a_line_break_or_nul_is_refused(field, bad):
    with pytest.raises(ValueError, match=f"{field} of an event may have no line break"):
        encode_event("x", **{field: bad})


@pytest.mark.parametrize("retry", [-1, 1.5, "1000", True])
def test_a_retry_that_is_no_number_of_milliseconds_is_refused(retry):
    with pytest.raises(ValueError, match="whole number of milliseconds"):
        encode_event("x", retry=retry)


def test_data_that_has_no_form_is_refused():
    with pytest.raises(TypeError, match="text, or goes as JSON"):
        encode_event(b"bytes")
    with pytest.raises(TypeError):
        encode_event(object())
    with pytest.raises(TypeError, match="must be a str"):
        encode_event("x", event=7)


# --- the consumer ---------------------------------------------------------------------------------


class News(AsyncEventSourceConsumer):
    """``journal`` is given by ``as_asgi``."""

    groups = ["news"]
    journal = None

    async def connect(self, last_event_id):
        self.journal(last_event_id)

    async def news_item(self, message):
        await self.send_event(message["item"], id=message.get("id"))

    async def disconnect(self):
        self.journal("disconnect")


async def test_group_messages_become_events_until_the_client_leaves(ask, layer, journal):
    clients = [await ask(News.as_asgi(journal=journal)) for _ in range(3)]
    for client in clients:
        await client.has_body(b"^:\n\n")  # its headers are sent, and it is in the group
    for number in range(3):
        await layer.group_send("news", {"type": "news.item", "item": {"n": number}, "id": number})
    for client in clients:
        stream = await client.has_body(b'"n":2}\n\n')
        assert parse(stream) == [
            ("message", f'{{"n":{number}}}', str(number), None) for number in range(3)
        ]
        assert client.status == 200
        assert client.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
        assert client.headers[b"cache-control"] == b"no-store"
        assert client.headers[b"x-accel-buffering"] == b"no"
        client.leaves()
        assert await client.ended() is None
        assert not client.complete
    assert journal == [None] * 3 + ["disconnect"] * 3
    assert layer.groups == {}


@pytest.mark.parametrize(("header", "given"), [("42", "42"), ("", None), ("ü", "ü")])
async def test_connect_gets_the_last_event_id(ask, layer, journal, header, given):
    class Consumer(News):
        async def connect(self, last_event_id):
            journal(last_event_id)
            await self.send_event("what was missed", event="replay", id=43, retry=100)

    headers = [("accept", "text/event-stream"), ("last-event-id", "x")]
    client = await ask(Consumer.as_asgi(journal=journal), None, headers=headers)
    client.scope["headers"][1] = (b"last-event-id", header.encode())
    client.says("")
    stream = await client.has_body(b"missed\n\n")
    assert parse(stream) == [("replay", "what was missed", "43", 100)]
    assert journal == [given]


async def test_connect_may_accept_with_headers_of_its_own(ask, layer, journal):
    class Consumer(News):
        async def connect(self, last_event_id):
            await self.accept(headers={"Access-Control-Allow-Origin": "*"})

    client = await ask(Consumer.as_asgi(journal=journal))
    await client.has_body(b"^:\n\n$")
    assert client.headers[b"Access-Control-Allow-Origin"] == b"*"
    assert client.headers[b"content-type"].startswith(b"text/event-stream")


async def test_a_client_is_refused_by_deny_connection(ask, layer, journal):
    class Consumer(News):
        async def connect(self, last_event_id):
            raise DenyConnection(status=401, body="who are you?", headers=[(b"x-a", b"1")])

    client = await ask(Consumer.as_asgi(journal=journal))
    assert await client.answered() == b"who are you?"
    assert await client.ended() is None
    assert (client.status, client.headers) == (401, {b"x-a": b"1"})
    assert journal == ["disconnect"]
    assert layer.groups == {}


async def test_a_refusal_after_the_first_event_is_an_error(ask, layer, journal):
    class Consumer(News):
        async def connect(self, last_event_id):
            await self.send_event("x")
            raise DenyConnection

    client = await ask(Consumer.as_asgi(journal=journal))
    assert isinstance(await client.ended(), DenyConnection)
    assert not client.complete


async def test_close_in_connect_is_a_204_which_stops_the_browser(ask, layer, journal):
    class Consumer(News):
        async def connect(self, last_event_id):
            await self.close()

    client = await ask(Consumer.as_asgi(journal=journal))
    assert await client.answered() == b""
    assert await client.ended() is None
    assert client.status == 204
    assert journal == ["disconnect"]


async def test_close_completes_the_stream_once(ask, layer, journal):
    class Consumer(News):
        async def news_item(self, message):
            await self.send_event("last")
            await self.close()
            await self.close()
            journal("closed")

    client = await ask(Consumer.as_asgi(journal=journal))
    await client.has_body(b"^:\n\n")
    await layer.group_send("news", {"type": "news.item"})
    await client.answered()
    assert await client.ended() is None
    assert parse(client.body) == [("message", "last", "", None)]
    assert journal == [None, "closed", "disconnect"]


async def test_a_quiet_stream_is_kept_alive_by_comments(ask, layer, journal):
    client = await ask(News.as_asgi(journal=journal, keep_alive=0.01))
    await client.has_body(b"^(:\n\n){4}$")
    await layer.group_send("news", {"type": "news.item", "item": "x"})
    await client.has_body(b"data: x\n\n(:\n\n){2}$")
    client.leaves()
    assert await client.ended() is None
    assert journal == [None, "disconnect"]


async def test_a_stream_with_events_needs_no_comments_and_none_may_be_wanted(ask, layer, journal):
    busy = await ask(News.as_asgi(journal=journal, keep_alive=10.0))
    quiet = await ask(News.as_asgi(journal=journal, keep_alive=None))
    clock = await ask(News.as_asgi(journal=journal, keep_alive=0.01))
    await clock.has_body(b"^(:\n\n){4}$")
    for client in (busy, quiet):
        assert client.body == COMMENT


async def test_a_comment_comes_no_sooner_than_keep_alive_after_an_event(ask, layer, journal):
    now = asyncio.get_running_loop().time
    times = []

    async def timed(scope, receive, send):
        async def noted(message):
            times.append((now(), message.get("body")))
            await send(message)

        await News.as_asgi(journal=journal, keep_alive=0.05)(scope, receive, noted)

    client = await ask(timed)
    clock = await ask(News.as_asgi(journal=journal, keep_alive=0.03, groups=["clock"]))
    for count in range(2, 8):
        await clock.has_body(b"^(:\n\n){%d}" % count)
        await layer.group_send("news", {"type": "news.item", "item": "x"})
    await client.has_body(b"data: x\n\n(:\n\n){2}$")
    waits = [at - before for (before, _), (at, body) in pairwise(times[1:]) if body == COMMENT]
    assert len(waits) >= 2
    assert min(waits) >= 0.05


async def test_head_is_answered_with_the_headers_alone(ask, layer, journal):
    client = await ask(News.as_asgi(journal=journal), method="HEAD")
    await client.answered()
    assert await client.ended() is None
    assert client.status == 200
    assert client.headers[b"content-type"].startswith(b"text/event-stream")
    assert journal == ["disconnect"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_another_method_is_a_405_before_its_body_has_come(ask, layer, journal, method):
    client = await ask(News.as_asgi(journal=journal), None, method)
    client.says("a part", more=True)
    assert b"ask for events with GET" in await client.answered()
    client.says("and more", more=True)
    assert await client.ended() is None
    assert (client.status, client.headers[b"allow"]) == (405, b"GET, HEAD")
    assert journal == ["disconnect"]


async def test_an_event_for_a_client_that_has_left_ends_the_consumer_quietly(
    ask, layer, journal, caplog
):
    client = await ask(News.as_asgi(journal=journal))
    await client.has_body(b"^:\n\n")
    client.vanished = True  # what is sent meets an OSError
    await layer.group_send("news", {"type": "news.item", "item": "x"})
    assert await client.ended() is None
    assert journal == [None, "disconnect"]
    assert layer.groups == {}


# --- clients that do not read ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "kept"),
    [("drop_newest", [0, 1, 2, 3, 4, 5]), ("drop_oldest", [0, 15, 16, 17, 18, 19])],
)
async def test_a_slow_reader_gets_what_its_mailbox_kept(ask, journal, policy, kept):
    layer = register_channel_layer("default", InMemoryChannelLayer(capacity=5, overflow=policy))
    slow = await ask(News.as_asgi(journal=journal))
    await slow.has_body(b"^:\n\n")
    slow.writable.clear()
    for number in range(20):
        await layer.group_send("news", {"type": "news.item", "item": number})
    slow.writable.set()
    stream = await slow.has_body(b"data: %d\n\n" % kept[-1])
    assert [int(data) for _, data, _, _ in parse(stream)] == kept
    assert layer.stats()["overflowed"] == 20 - len(kept)
    await slow.end()
    await layer.close()
    channel_layers.clear()


async def test_overflow_disconnect_ends_the_stream_and_no_other(ask, journal):
    layer = register_channel_layer(
        "default", InMemoryChannelLayer(capacity=5, overflow="disconnect")
    )
    slow, other = [await ask(News.as_asgi(journal=journal)) for _ in range(2)]
    for client in (slow, other):
        await client.has_body(b"^:\n\n")
    slow.writable.clear()
    for number in range(10):
        await layer.group_send("news", {"type": "news.item", "item": number})
        await other.has_body(b"data: %d\n\n" % number)
    slow.writable.set()
    await slow.answered()
    assert await slow.ended() is None
    assert journal == [None, None, "disconnect"]
    assert layer.stats()["channels"] == 1
    await other.end()
    await layer.close()
    channel_layers.clear()
