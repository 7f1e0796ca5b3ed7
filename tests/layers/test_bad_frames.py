"""What is no frame is counted and skipped: the reader never fails, and what follows arrives."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_channels.layers.codec import FRAGMENT, Entry, encode_entries, encode_frame
from fast_channels.layers.messages import encode_message

from .backends import Layer, Make, frame, layers, node_of
from .clock import virtual_time
from .waiting import message, numbers, read_to_fence, receive

GOOD = frame({"type": "test.message", "n": 1})
TEN_MB = 10_485_760


def body(*payloads: bytes) -> bytes:
    return encode_entries([Entry(payload) for payload in payloads])


def nested(head: bytes, *items: Any) -> bytes:
    """Return a msgpack array that has, after the items, one that nobody reads and that is deep."""
    encoded = b"".join(map(msgspec.msgpack.encode, items))
    return head + bytes([0x91 + len(items)]) + encoded + b"\x91" * 100_000 + b"\xc0"


DEEP_BYE = b"\x82\xa4type\xacpresence.bye\xa1x" + b"\x91" * 100_000 + b"\xc0"


async def member(layer: Layer) -> str:
    """Return a channel that is in the group."""
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    return channel


BAD = {
    "empty": b"",
    "one byte": b"\x01",
    "wrong version": b"\x02" + GOOD[1:],
    "unknown flags": b"\x01\x40" + GOOD[2:],
    "truncated": GOOD[:-3],
    "no msgpack": b"\x01\x00\xc1\xc1\xc1",
    "another structure": b"\x01\x00" + msgspec.msgpack.encode({"node": 1}),
    "random 10 MB": b"\x07" * TEN_MB,
    "10 MB of zeros in a frame": encode_frame("node", 0, 0, bytes(TEN_MB)),
    "10 MB of nesting in a frame": encode_frame("node", 0, 0, b"\x91" * TEN_MB),
    "body is no list": encode_frame("node", 0, 0, msgspec.msgpack.encode({"a": 1})),
    "body is empty": encode_frame("node", 0, 0, b""),
    "message is no map": encode_frame("node", 0, 0, body(b"\x01")),
    "message is broken": encode_frame("node", 0, 0, body(b"\x81\xa4type")),
    "message has no type": encode_frame("node", 0, 0, body(msgspec.msgpack.encode({"n": 1}))),
    "message has a list as a key": encode_frame("node", 0, 0, body(b"\x82\xa4type\xa1x\x80\x01")),
    "message is nested deep": encode_frame(
        "node", 0, 0, body(b"\x82\xa4type\xa1x\xa1a" + b"\x91" * 99_999)
    ),
    "fragment is broken": encode_frame("node", 0, 0, b"\x93\x00\x01\x00", FRAGMENT),
    "message for a channel on a group's topic": frame(message(1), "specific.node!1"),
    "control message on a group's topic": frame({"type": "add"}, "!"),
    "nesting after a frame": nested(b"\x01\x00", "node", 0, 0, 0.0, b""),
    "nesting after a message": encode_frame("node", 0, 0, nested(b"\x91", b"", None, None, None)),
    "nesting after a fragment": encode_frame("node", 0, 0, nested(b"", 0, 2, b""), FRAGMENT),
    "JSON that is cut": b'{"type": "x"',
    "JSON with no type": b'{"n": 1}',
    "JSON with a type that is no str": b'{"type": [1]}',
    "JSON with a number that is too large": b'{"type": "x", "n": 123456789012345678901234567890}',
    "JSON of 10 MB": b'{"type": "x", "data": "' + b"x" * TEN_MB + b'"}',
    "JSON nested deep": b'{"type": "x", "a": ' + b"[" * 99_999,
    "JSON with bad UTF-8": b'{"type": "\xff"}',
    "braces": b"{" * 1_000,
}


@pytest.mark.parametrize("payload", BAD.values(), ids=BAD.keys())
async def test_a_bad_payload_is_counted_and_what_follows_arrives(
    make: Make, payload: bytes
) -> None:
    layer = make(capacity_bytes=2 * TEN_MB)
    channel = await member(layer)
    layer.backend.inbox.deliver("fc:g.group", payload)
    assert layer.stats()["malformed"] == 1
    layer.backend.inbox.deliver("fc:g.group", GOOD)
    assert await read_to_fence(layer, channel) == [message(1)]


@pytest.mark.parametrize("payload", BAD.values(), ids=BAD.keys())
async def test_a_bad_payload_for_the_node_is_counted_and_what_follows_arrives(
    make: Make, payload: bytes
) -> None:
    layer = make(capacity_bytes=2 * TEN_MB)
    channel = await layer.new_channel()
    layer.backend.inbox.deliver(node_of(channel), payload)
    assert layer.stats()["malformed"] + layer.stats()["undeliverable"] == 1
    assert await read_to_fence(layer, channel) == []


async def test_presence_that_is_nested_deep_is_counted(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.group_add("group", channel, presence={})
    entry = Entry(DEEP_BYE, "!p")
    payload = encode_frame("0123456789abcdef", 0, 0, encode_entries([entry]))
    layer.backend.inbox.deliver(node_of(channel), payload)
    assert layer.stats()["malformed"] == 1


async def test_a_message_for_nobody_on_a_nodes_topic_is_counted(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    layer.backend.inbox.deliver(node_of(channel), frame(message(1)))
    assert await read_to_fence(layer, channel) == []
    assert layer.stats()["malformed"] == 1


@pytest.mark.parametrize("node", ["", "two words", "caf\xe9", "x" * 200, "\r\nPUB x 1"])
async def test_a_question_that_cannot_be_answered_changes_nothing(make: Make, node: str) -> None:
    """The answer's topic is made of the sender's name, and no broker may be given such a topic."""
    layer = make()
    channel = await layer.new_channel()
    question = {"type": "add", "group": "group", "channel": channel, "number": 1}
    layer.backend.inbox.deliver(node_of(channel), frame(question, "!", node=node))
    await read_to_fence(layer, channel)
    assert layer.stats()["malformed"] == 1
    assert layer.stats()["groups"] == 0
    assert {each.topic for each in layer.backend.publications} == {node_of(channel)}


async def test_one_bad_message_in_a_frame_costs_the_others_nothing(make: Make) -> None:
    layer = make()
    channel = await member(layer)
    good = [encode_message(message(n), 1_000) for n in range(3)]
    for bad in (b"\x01", b"\x82\xa4type\xa1x\x80\x01"):
        payload = encode_frame("node", 0, 0, body(good[0], bad, good[1], good[2]))
        layer.backend.inbox.deliver("fc:g.group", payload)
    assert numbers(await read_to_fence(layer, channel)) == [0, 1, 2, 0, 1, 2]
    assert layer.stats()["malformed"] == 2


async def test_a_payload_for_a_topic_that_nobody_is_in_is_ignored(make: Make) -> None:
    layer = make()
    await layer.open()
    layer.backend.inbox.deliver("fc:g.nobody", b"garbage")
    layer.backend.inbox.deliver("no topic of ours", GOOD)
    assert layer.stats()["malformed"] == 0


async def test_a_payload_that_comes_after_close_is_ignored(make: Make) -> None:
    layer = make()
    await member(layer)
    await layer.close()
    layer.backend.inbox.deliver("fc:g.group", GOOD)
    layer.backend.inbox.gap(OSError("late"))


@virtual_time
async def test_bad_payloads_are_reported_at_most_once_a_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with layers() as make:
        layer = make()
        await member(layer)
        for _ in range(1_000):
            layer.backend.inbox.deliver("fc:g.group", b"\x02\x00garbage")
        await asyncio.sleep(1.5)
        assert [record.getMessage() for record in caplog.records] == [
            f"{layer} lost messages: 1000 malformed (on fc:g.group: frame has version 2, this side "
            "reads version 1)"
        ]


@given(st.data())
@virtual_time
async def test_a_frame_with_any_bytes_changed_never_stops_the_reader(data: st.DataObject) -> None:
    async with layers() as make:
        layer = make(gaps=True)
        channel = await member(layer)
        start = encode_frame("node", 5, 4, body(encode_message(message(0), 1_000)))
        payload = bytearray(data.draw(st.sampled_from([start, GOOD, b'{"type": "x"}'])))
        for _ in range(data.draw(st.integers(1, 4))):
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
        for topic in ("fc:g.group", node_of(channel)):
            layer.backend.inbox.deliver(topic, bytes(payload))
        layer.backend.inbox.deliver("fc:g.group", frame(message(9), node="another"))
        assert message(9) in await read_to_fence(layer, channel)


# --- plain JSON -------------------------------------------------------------------------------


async def test_anybody_may_send_plain_json_to_a_group(make: Make) -> None:
    layer = make(gaps=True)
    channels = [await member(layer) for _ in range(2)]
    sent = {"type": "news.item", "title": "\u00fcber", "tags": ["a", {"b": None}], "n": 1.5}
    for _ in range(2):  # it has no number, so it may come twice
        layer.backend.inbox.deliver("fc:g.group", json.dumps(sent).encode())
    for channel in channels:
        assert await receive(layer, channel, 2) == [sent, sent]
    assert layer.stats()["gaps"] == layer.stats()["repeated"] == 0


async def test_plain_json_is_refused_on_the_topic_of_a_node(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    layer = make()
    channel = await layer.new_channel()
    layer.backend.inbox.deliver(node_of(channel), b'{"type": "x"}')
    assert await read_to_fence(layer, channel) == []
    assert layer.stats()["malformed"] == 1
    await layer.close()
    assert "plain JSON is taken for groups only" in caplog.text


async def test_plain_json_is_bounded_like_any_message(make: Make) -> None:
    layer = make(max_message_size=100)
    channel = await member(layer)
    layer.backend.inbox.deliver("fc:g.group", b'{"type": "x", "data": "' + b"x" * 200 + b'"}')
    assert await read_to_fence(layer, channel) == []
    assert layer.stats()["malformed"] == 1
