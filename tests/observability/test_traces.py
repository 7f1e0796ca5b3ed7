"""OpenTelemetry: one trace from a request, through the broker, to every consumer."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode
from tests.tcp_broker import TCPBroker, TCPLayer
from tests.waiting import soon

from fast_channels import JsonWebsocketConsumer
from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import InMemoryChannelLayer, tracing
from fast_channels.layers.in_memory import MemoryBackend
from fast_channels.testing import WebsocketCommunicator
from fast_channels_tools import otel

from .spans import Spans, chat_on, parent, untraced


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
        clients = [chat_on(there, spans) for _ in range(3)]
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
    client = chat_on(layer, spans)
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
    chat = chat_on(layer, spans).application

    async def instrumented(scope: Any, receive: Any, send: Any) -> None:
        with spans.tracer.start_as_current_span("GET /ws"):
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
    client = chat_on(layer, spans)
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


async def test_without_a_trace_nothing_is_carried_and_no_handler_is_a_span(
    spans: Spans, broker: TCPBroker
) -> None:
    with untraced():
        plain = TCPLayer(broker.url)
        await plain.open()
    layer = TCPLayer(broker.url)
    client = chat_on(layer, spans)
    await client.connect()
    await plain.group_send("room", {"type": "chat.message", "text": "plain"})
    assert await client.receive_json_from(10) == "plain"
    await layer.group_send("room", {"type": "chat.message", "text": "traced"})
    assert await client.receive_json_from(10) == "traced"
    await spans.ended("process chat.message", 1)
    await client.disconnect()
    await plain.close()
    await layer.close()


async def test_a_trace_that_is_not_sampled_stays_unsampled_at_the_consumers() -> None:
    unsampled = Spans(sampler=ParentBased(ALWAYS_OFF))
    tracing.activate(otel.Traces(unsampled.provider))
    layer = InMemoryChannelLayer()
    client = chat_on(layer, unsampled)
    await client.connect()
    await layer.group_send("room", {"type": "chat.message", "text": "x"})
    assert await client.receive_json_from() == "x"
    assert unsampled.exporter.get_finished_spans() == ()
    await client.disconnect()
    await layer.close()
    tracing.deactivate()


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
        with spans.tracer.start_as_current_span("in a thread") as span:
            layer.sync.group_send("room", {"type": "chat.message", "text": "x"})
            return span.get_span_context().trace_id

    trace_id = await asyncio.to_thread(send)
    assert await client.receive_json_from(10) == "x"
    assert ids == [trace_id]
    await client.disconnect()
    await layer.close()
