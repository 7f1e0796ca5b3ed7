"""Consumers that speak JSON: what they read, what they write, and how they refuse the rest."""

import json
import logging
import math
from datetime import datetime

import pytest

from fast_channels import AsyncJsonWebsocketConsumer

pytestmark = pytest.mark.timeout(20)

VALUES = [
    {},
    [],
    None,
    True,
    0,
    -1.5,
    "",
    "text",
    "ünicode \u2028 \U0001f600",
    {"a": {"b": [1, 2.5, None, False, "x"]}},
    2**53 + 1,
    2**63,
    2**64,
    10**400,
    -(10**40),
    1e308,
    5e-324,
    '\x00\x1f"\\',
]


class Echo(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content, **kwargs):
        await self.send_json(content)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
async def test_json_arrives_as_it_was_sent(connect, journal, value):
    class Consumer(Echo):
        async def receive_json(self, content, **kwargs):
            journal((type(content), content))
            await self.send_json(content)

    client = await connect(Consumer)
    client.says(json.dumps(value))
    frame = await client.hears()
    assert journal == [(type(value), value)]
    assert isinstance(frame, str)
    assert json.loads(frame) == value


async def test_json_is_sent_compact_and_as_text(connect):
    client = await connect(Echo)
    client.says(' { "a" : [ 1 , 2 ] } ')
    assert await client.hears() == '{"a":[1,2]}'


async def test_what_is_no_number_is_read_as_python_reads_it(connect, journal):
    class Consumer(Echo):
        async def receive_json(self, content, **kwargs):
            journal(content)

    client = await connect(Consumer)
    client.says("[NaN, Infinity, -Infinity]")
    await journal.until(lambda: len(journal) == 1)
    [[nan, plus, minus]] = journal
    assert math.isnan(nan)
    assert (plus, minus) == (math.inf, -math.inf)


async def test_what_is_no_number_is_sent_as_null_which_every_client_can_read():
    assert await Echo.encode_json([math.nan, math.inf]) == "[null,null]"


async def test_a_lone_surrogate_is_passed_on(connect):
    client = await connect(Echo)
    client.says(r'"\ud800"')
    assert json.loads(await client.hears()) == "\ud800"


@pytest.mark.parametrize("content", [object(), {"a": {1, object()}}, [lambda: None]])
async def test_what_has_no_json_form_is_a_type_error(connect, content):
    with pytest.raises(TypeError):
        await Echo.encode_json(content)


async def test_what_has_no_json_form_fails_in_the_handler_that_sends_it(connect):
    class Consumer(Echo):
        async def receive_json(self, content, **kwargs):
            await self.send_json(object())

    client = await connect(Consumer)
    client.says("{}")
    assert isinstance(await client.ended(), TypeError)
    assert await client.hears_close() == 1011


async def test_dates_are_sent_in_iso_form():
    assert await Echo.encode_json({"at": datetime(2024, 1, 2, 3, 4, 5)}) == (
        '{"at":"2024-01-02T03:04:05"}'
    )


async def test_send_json_may_close(connect):
    class Consumer(Echo):
        async def receive_json(self, content, **kwargs):
            await self.send_json(content, close=4000)

    client = await connect(Consumer)
    client.says("1")
    assert await client.hears() == "1"
    assert await client.hears_close() == 4000


async def test_decode_and_encode_may_be_overridden_as_in_django_channels(connect):
    class Consumer(Echo):
        @classmethod
        async def decode_json(cls, text_data):
            return text_data.split(",")

        @classmethod
        async def encode_json(cls, content):
            return ";".join(content)

    client = await connect(Consumer)
    client.says("a,b")
    assert await client.hears() == "a;b"


NOT_JSON = [
    "",
    "hello",
    "{",
    "{'a': 1}",
    '{"a": 1} x',
    "[" * 100_000,
    '{"a":' * 100_000,
    "1" * 5_000,
    "\ud800",
    "nan",
]


@pytest.mark.parametrize("frame", NOT_JSON, ids=lambda frame: repr(frame)[:12])
async def test_a_frame_that_is_no_json_closes_with_1007_a_clear_reason_and_no_traceback(
    connect, journal, caplog, frame
):
    class Consumer(Echo):
        async def receive_json(self, content, **kwargs):
            journal("received")

        async def disconnect(self, code):
            journal(code)

    caplog.set_level(logging.INFO)
    client = await connect(Consumer)
    client.says(frame)
    assert await client.ended() is None
    assert client.close["code"] == 1007
    assert client.close["reason"].startswith("text frame is no JSON: ")
    assert journal == [1007]
    [record] = [record for record in caplog.records if record.name == "fast_channels.consumer"]
    assert record.levelno == logging.INFO
    assert record.exc_info is None
    assert record.getMessage().startswith("Consumer closes with 1007: text frame is no JSON: ")
    assert len(record.getMessage()) < 500


async def test_the_reason_says_where_the_text_stops_being_json(connect):
    client = await connect(Echo)
    client.says('{"a": tru}')
    assert await client.hears_close() == 1007
    assert client.close["reason"] == (
        "text frame is no JSON: Expecting value: line 1 column 7 (char 6)"
    )


async def test_a_reason_fits_into_a_closing_frame_whatever_the_error_says(connect):
    class Consumer(Echo):
        @classmethod
        async def decode_json(cls, text_data):
            raise ValueError("é" * 200)

    client = await connect(Consumer)
    client.says("x")
    assert await client.hears_close() == 1007
    assert len(client.close["reason"].encode()) <= 123


@pytest.mark.parametrize("frame", [b"", b'{"a": 1}'])
async def test_a_binary_frame_to_a_json_consumer_closes_with_1003(connect, caplog, frame):
    client = await connect(Echo)
    client.says(frame)
    assert await client.ended() is None
    assert client.close == {
        "type": "websocket.close",
        "code": 1003,
        "reason": "expected a text frame with JSON, got bytes",
    }
    assert [record for record in caplog.records if record.exc_info] == []


async def test_on_error_may_answer_a_bad_frame_and_keep_the_socket(connect):
    class Consumer(Echo):
        async def on_error(self, exception, message):
            await self.send_json({"error": str(exception)[:21]})

    client = await connect(Consumer)
    client.says("no json")
    assert json.loads(await client.hears()) == {"error": "text frame is no JSON"}
    client.says('"json"')
    assert await client.hears() == '"json"'


async def test_an_error_of_the_application_is_not_taken_for_a_bad_frame(connect):
    class Consumer(Echo):
        async def receive_json(self, content, **kwargs):
            int("the application's own ValueError")

    client = await connect(Consumer)
    client.says("{}")
    assert isinstance(await client.ended(), ValueError)
    assert await client.hears_close() == 1011


async def test_what_comes_after_a_bad_frame_is_not_received(connect, journal):
    class Consumer(Echo):
        async def receive_json(self, content, **kwargs):
            journal(content)

    client = await connect(Consumer)
    client.says("no json")
    client.says("1")
    assert await client.ended() is None
    assert await client.hears_close() == 1007
