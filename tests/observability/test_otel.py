"""OpenTelemetry: one trace from a request, through the broker, to every consumer; and metrics."""

import asyncio
from collections.abc import Generator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry import baggage, trace
from opentelemetry.context import attach, detach
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode
from tests.tcp_broker import TCPBroker, TCPLayer
from tests.waiting import soon, until

from fast_channels import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import (
    BaseChannelLayer,
    ChannelLayerRegistry,
    HistoryPolicy,
    InMemoryChannelLayer,
    tracing,
)
from fast_channels.layers.codec import Entry, decode_entries, encode_entries
from fast_channels.layers.counters import BOUNDS
from fast_channels.layers.in_memory import MemoryBackend
from fast_channels.testing import WebsocketCommunicator
from fast_channels_tools import otel


class Spans:
    """What the SDK exported."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(**options)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("tests")

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of that name, in the order in which they ended."""
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    async def ended(self, name: str, count: int) -> list[ReadableSpan]:
        """Wait for so many spans of that name."""
        await until(lambda: len(self.named(name)) >= count)
        assert len(self.named(name)) == count
        return self.named(name)


@pytest.fixture
def spans(layers: ChannelLayerRegistry) -> Generator[Spans]:
    """Spans of an instrumented process; layers that open now are traced."""
    made = Spans()
    instrumentation = otel.instrument(made.provider, MeterProvider(), ChannelLayerRegistry())
    yield made
    instrumentation.uninstrument()
    made.provider.shutdown()


@pytest.fixture
def broker() -> Generator[TCPBroker]:
    with TCPBroker() as made:
        yield made


def parent(span: ReadableSpan) -> int | None:
    """Return the id of the span's parent."""
    return span.parent.span_id if span.parent else None


def chat_on(
    layer: BaseChannelLayer, base: type[Any] = AsyncJsonWebsocketConsumer
) -> WebsocketCommunicator:
    """Return a client of a consumer whose group lives on that layer."""

    class Chat(base):  # type: ignore[misc]
        groups = ["room"]  # noqa: RUF012

        def _find_layer(self) -> Any:
            return layer

        async def chat_message(self, message: dict[str, Any]) -> None:
            await self.send_json(message["text"])

        async def chat_nested(self, message: dict[str, Any]) -> None:
            await asyncio.sleep(0)  # the rest of it runs in the consumer's own task
            with tracer().start_as_current_span("inside"):
                await self.send_json(sorted(message))

        async def chat_fails(self, message: dict[str, Any]) -> None:
            raise RuntimeError("boom")

    return WebsocketCommunicator(Chat.as_asgi(), "/")


_spans: list[Spans] = []


def tracer() -> trace.Tracer:
    return _spans[-1].tracer


@pytest.fixture(autouse=True)
def known(spans: Spans) -> Generator[None]:
    _spans.append(spans)
    yield
    _spans.pop()


async def test_one_trace_goes_from_a_request_through_the_broker_to_every_consumer(
    spans: Spans, broker: TCPBroker
) -> None:
    here, there = TCPLayer(broker.url), TCPLayer(broker.url)  # each plays a process
    app = FastAPI()

    @app.post("/say")
    async def say(text: str) -> None:
        await here.group_send("room", {"type": "chat.message", "text": text})

    FastAPIInstrumentor.instrument_app(app, tracer_provider=spans.provider)
    transport = httpx.ASGITransport(app)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(here.close)
        stack.push_async_callback(there.close)
        clients = [chat_on(there) for _ in range(3)]
        for client in clients:
            await client.connect()
        http = httpx.AsyncClient(transport=transport, base_url="http://x")
        await stack.enter_async_context(http)
        await http.post("/say", params={"text": "hello"})
        assert [await client.receive_json_from(10) for client in clients] == ["hello"] * 3
        handled = await spans.ended("process chat.message", 3)
        for client in clients:
            await client.disconnect()
    [request] = [s for s in spans.exporter.get_finished_spans() if s.kind is SpanKind.SERVER]
    [sent] = spans.named("group_send")
    assert sent.kind is SpanKind.PRODUCER
    assert parent(sent) == request.context.span_id
    assert {parent(span) for span in handled} == {sent.context.span_id}
    assert {span.kind for span in handled} == {SpanKind.CONSUMER}
    assert {span.context.trace_id for span in (sent, *handled)} == {request.context.trace_id}
    attributes = dict(sent.attributes or {})
    size = attributes.pop("messaging.message.body.size")
    assert isinstance(size, int)
    assert size > 10
    assert attributes == {
        "messaging.system": "fast_channels",
        "messaging.operation.name": "group_send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "room",
    }
    assert (handled[0].attributes or {})["messaging.operation.type"] == "process"
    assert (handled[0].attributes or {})["fast_channels.consumer"] == "Chat"


async def test_what_a_handler_does_is_inside_its_span_though_it_suspends_and_is_nested(
    spans: Spans,
) -> None:
    layer = InMemoryChannelLayer()
    client = chat_on(layer)
    await client.connect()
    await layer.group_send("room", {"type": "chat.nested", "deep": {"a": [1]}})
    assert await client.receive_json_from() == ["deep", "type"]
    [handled] = await spans.ended("process chat.nested", 1)
    [inside] = spans.named("inside")
    assert parent(inside) == handled.context.span_id
    # The next event of the client is no part of it.
    assert not trace.get_current_span().get_span_context().is_valid
    await client.disconnect()
    await layer.close()


async def test_a_handlers_span_is_linked_to_the_one_in_which_its_connection_is_served(
    spans: Spans,
) -> None:
    layer = InMemoryChannelLayer()
    chat = chat_on(layer).application

    async def instrumented(scope: Any, receive: Any, send: Any) -> None:
        with tracer().start_as_current_span("GET /ws"):
            await chat(scope, receive, send)

    client = WebsocketCommunicator(instrumented, "/")
    await client.connect()
    await layer.group_send("room", {"type": "chat.message", "text": "x"})
    assert await client.receive_json_from() == "x"
    [handled] = await spans.ended("process chat.message", 1)
    [sent] = spans.named("group_send")
    await client.disconnect()
    [served] = await spans.ended("GET /ws", 1)
    assert [link.context for link in handled.links] == [served.context]
    assert parent(handled) == sent.context.span_id
    assert handled.context.trace_id != served.context.trace_id
    await layer.close()


async def test_a_handler_that_fails_is_a_span_with_an_error_and_so_is_a_failed_send(
    spans: Spans,
) -> None:
    class Refusing(MemoryBackend):
        refuses = False

        async def publish(self, publications: Any, /) -> None:
            if self.refuses:
                raise BackendUnavailable("gone")
            await super().publish(publications)

    class RefusingLayer(InMemoryChannelLayer):
        def create_backend(self) -> MemoryBackend:
            return Refusing(self._broker)

    layer = RefusingLayer()
    client = chat_on(layer)
    await client.connect()
    await layer.group_send("room", {"type": "chat.fails"})
    with pytest.raises(RuntimeError, match="boom"):
        await soon(client.wait())
    [handled] = await spans.ended("process chat.fails", 1)
    assert handled.status.status_code is StatusCode.ERROR
    Refusing.refuses = True
    with pytest.raises(BackendUnavailable):
        await layer.send(await layer.new_channel(), {"type": "x"})
    [sent] = spans.named("send")
    assert sent.status.status_code is StatusCode.ERROR
    assert [event.name for event in sent.events] == ["exception"]
    await layer.close()


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
    client = chat_on(layer)
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


async def test_a_node_without_traces_reads_what_one_with_traces_sends(
    layer: BaseChannelLayer, spans: Spans
) -> None:
    # ``layer`` was opened before; its decoder is the one of now, so look at the bytes, too.
    entry = tracing.TracedEntry(b"payload", None, None, None, {"traceparent": "00-1-2-01"})
    body = encode_entries([entry, Entry(b"other")])
    traced = decode_entries(body)
    assert [each.payload for each in traced] == [b"payload", b"other"]
    spans_off = tracing.active()
    tracing.deactivate()
    try:
        plain = decode_entries(body)
        assert plain == [Entry(b"payload"), Entry(b"other")]
        assert type(plain[0].payload) is bytes
        assert encode_entries([Entry(b"other")]) == b"\x91\x94\xc4\x05other\xc0\xc0\xc0"
    finally:
        assert spans_off is not None
        tracing.activate(spans_off)


async def test_without_a_trace_nothing_is_carried_and_no_handler_is_a_span(
    spans: Spans, broker: TCPBroker
) -> None:
    active = tracing.active()
    tracing.deactivate()
    untraced = TCPLayer(broker.url)
    await untraced.open()
    assert active is not None
    tracing.activate(active)
    layer = TCPLayer(broker.url)
    client = chat_on(layer)
    await client.connect()
    await untraced.group_send("room", {"type": "chat.message", "text": "plain"})
    assert await client.receive_json_from(10) == "plain"
    await layer.group_send("room", {"type": "chat.message", "text": "traced"})
    assert await client.receive_json_from(10) == "traced"
    await spans.ended("process chat.message", 1)
    await client.disconnect()
    await untraced.close()
    await layer.close()


async def test_a_trace_that_is_not_sampled_stays_unsampled_at_the_consumers() -> None:
    otel_off = Spans(sampler=ParentBased(ALWAYS_OFF))
    active = tracing.active()
    tracing.deactivate()
    tracing.activate(otel.Traces(otel_off.provider))
    layer = InMemoryChannelLayer()
    client = chat_on(layer)
    await client.connect()
    await layer.group_send("room", {"type": "chat.message", "text": "x"})
    assert await client.receive_json_from() == "x"
    assert otel_off.exporter.get_finished_spans() == ()
    await client.disconnect()
    await layer.close()
    tracing.deactivate()
    assert active is not None
    tracing.activate(active)


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


async def test_a_sync_consumer_and_a_sync_sender_take_part(spans: Spans) -> None:
    layer = InMemoryChannelLayer()
    ids: list[int] = []

    class Chat(JsonWebsocketConsumer):
        groups = ["room"]  # noqa: RUF012

        def _find_layer(self) -> Any:
            return layer

        def chat_message(self, message: dict[str, Any]) -> None:
            ids.append(trace.get_current_span().get_span_context().trace_id)
            self.send_json(message["text"])

    client = WebsocketCommunicator(Chat.as_asgi(), "/")
    await client.connect()

    def send() -> int:
        with tracer().start_as_current_span("in a thread") as span:
            layer.sync.group_send("room", {"type": "chat.message", "text": "x"})
            return span.get_span_context().trace_id

    trace_id = await asyncio.to_thread(send)
    assert await client.receive_json_from(10) == "x"
    assert ids == [trace_id]
    await client.disconnect()
    await layer.close()


async def test_metrics_are_those_of_the_layers_and_consumers(
    layer: BaseChannelLayer, layers: ChannelLayerRegistry
) -> None:
    active = tracing.active()
    tracing.deactivate()
    reader = InMemoryMetricReader()
    instrumentation = otel.instrument(None, MeterProvider([reader]), layers)
    await layer.close()
    await layer.open()  # batches are timed in sessions that open from now on
    try:
        for expected in (3, 6):
            for number in range(3):
                await layer.group_send("room", {"type": "x", "n": number})
            data = reader.get_metrics_data()
            assert data is not None
            [metrics] = [
                scope.metrics
                for resource in data.resource_metrics
                for scope in resource.scope_metrics
                if scope.scope.name == "fast_channels"
            ]
            values = {
                metric.name: [
                    (dict(p.attributes or {}), getattr(p, "value", p))
                    for p in metric.data.data_points
                ]
                for metric in metrics
            }
            assert values["fast_channels.messages_sent"] == [({"layer": "default"}, expected)]
            assert values["fast_channels.sessions"] == [({"layer": "default"}, 1)]
            labels = {"layer": "default", "reason": "overflowed"}
            assert (labels, 0) in values["fast_channels.messages_dropped"]
            [(labels, took)] = values["fast_channels.publish_duration"]
            assert (labels, took.count) == ({"layer": "default"}, expected)
            assert took.explicit_bounds == BOUNDS
            assert 0 < took.sum < 60
    finally:
        instrumentation.uninstrument()
        assert active is not None
        tracing.activate(active)


async def test_instrumenting_twice_is_an_error(spans: Spans) -> None:
    with pytest.raises(RuntimeError, match="carry contexts already"):
        otel.instrument(spans.provider)
