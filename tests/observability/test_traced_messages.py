"""Messages that carry the context of a trace are what they are without it."""

from typing import Any

from opentelemetry import baggage
from opentelemetry.context import attach, detach
from tests.waiting import soon

from fast_channels.layers import HistoryPolicy, InMemoryChannelLayer, tracing
from fast_channels.layers.codec import Entry, decode_entries, encode_entries
from fast_channels.layers.in_memory import MemoryBackend

from .spans import Spans, chat_on, parent, untraced


async def test_messages_are_what_they_are_without_traces(spans: Spans) -> None:
    layer = InMemoryChannelLayer(history={"kept": HistoryPolicy()})
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_add("kept", channel)
    message = {"type": "x", "list": [1, {"a": None}], "flat": b"\x00"}
    await layer.group_send("room", message)
    await layer.group_send("kept", message)
    await layer.send(channel, message)
    await layer.send("queue", message)
    got = [await soon(layer.receive(channel)) for _ in range(3)]
    got.append(await soon(layer.receive("queue")))
    assert got == [message] * 4
    assert all(list(each) == list(message) for each in got)
    for each in got[:3]:
        assert set(tracing.context_of(each) or ()) == {"traceparent"}
    await layer.send(channel, got[0])  # it may be sent on
    assert await soon(layer.receive(channel)) == message
    await layer.close()


async def test_every_receiver_may_change_its_message(spans: Spans) -> None:
    layer = InMemoryChannelLayer()
    for fields in ({"text": "flat"}, {"deep": {"list": []}}):
        channels = [await layer.new_channel() for _ in range(3)]
        for channel in channels:
            await layer.group_add("room", channel)
        message = {"type": "x", **fields}
        await layer.group_send("room", message)
        for channel in channels:
            got = await soon(layer.receive(channel))
            assert got == message
            got["new"] = 1
            if "deep" in got:
                got["deep"]["list"].append(1)
            await layer.group_discard("room", channel)
    await layer.close()


async def test_messages_of_durable_groups_live_and_replayed_belong_to_their_trace(
    spans: Spans,
) -> None:
    layer = InMemoryChannelLayer(history={"room": HistoryPolicy()})
    client = chat_on(layer, spans)
    await client.connect()
    await layer.group_send("room", {"type": "chat.message", "text": "live"})
    assert await client.receive_json_from() == "live"
    [handled] = await spans.ended("process chat.message", 1)
    [sent] = spans.named("group_send")
    assert parent(handled) == sent.context.span_id
    channel = await layer.new_channel()
    await layer.group_add("room", channel, since="last:1")
    replayed: Any = await soon(layer.receive(channel))
    assert (replayed["text"], replayed.group) == ("live", "room")
    assert replayed.position
    assert f"{sent.context.span_id:016x}" in (tracing.context_of(replayed) or {})["traceparent"]
    await client.disconnect()
    await layer.close()


async def test_a_large_message_that_travels_in_pieces_keeps_its_trace(spans: Spans) -> None:
    class Small(MemoryBackend):
        max_payload = 512

    class SmallLayer(InMemoryChannelLayer):
        def create_backend(self) -> MemoryBackend:
            return Small(self._broker)

    layer = SmallLayer()
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", {"type": "x", "data": bytes(5_000)})
    assert tracing.context_of(await soon(layer.receive(channel)))
    await layer.close()


async def test_sealed_messages_carry_their_context_inside_the_seal(spans: Spans) -> None:
    seen: list[bytes] = []

    class Watched(MemoryBackend):
        async def publish(self, publications: Any, /) -> None:
            seen.extend(payload for _, payload in publications)
            await super().publish(publications)

    class WatchedLayer(InMemoryChannelLayer):
        def create_backend(self) -> MemoryBackend:
            return Watched(self._broker)

    for keys in (None, ["a secret of at least 16 characters"]):
        layer = WatchedLayer(encryption_keys=keys)
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", {"type": "x"})
        assert tracing.context_of(await soon(layer.receive(channel)))
        await layer.close()
    assert [b"traceparent" in payload for payload in seen] == [True, False]


async def test_a_node_without_traces_reads_what_one_with_traces_sends(spans: Spans) -> None:
    entry = tracing.TracedEntry(b"payload", None, None, None, {"traceparent": "00-1-2-01"})
    body = encode_entries([entry, Entry(b"other")])
    traced = decode_entries(body)
    assert [each.payload for each in traced] == [b"payload", b"other"]
    with untraced():
        plain = decode_entries(body)
        assert plain == [Entry(b"payload"), Entry(b"other")]
        assert type(plain[0].payload) is bytes
        assert encode_entries([Entry(b"other")]) == b"\x91\x94\xc4\x05other\xc0\xc0\xc0"


async def test_baggage_travels_too(spans: Spans) -> None:
    layer = InMemoryChannelLayer()
    channel = await layer.new_channel()
    token = attach(baggage.set_baggage("tenant", "blue"))
    try:
        await layer.send(channel, {"type": "x"})
    finally:
        detach(token)
    context = tracing.context_of(await soon(layer.receive(channel)))
    assert (context or {})["baggage"] == "tenant=blue"
    await layer.close()
