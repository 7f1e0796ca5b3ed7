"""What the tests of traces share: the spans of a process, and a consumer that makes some."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.waiting import until

from fast_channels import AsyncJsonWebsocketConsumer
from fast_channels.layers import BaseChannelLayer, tracing
from fast_channels.testing import WebsocketCommunicator


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


def parent(span: ReadableSpan) -> int | None:
    """Return the id of the span's parent."""
    return span.parent.span_id if span.parent else None


@contextmanager
def untraced() -> Generator[None]:
    """Layers that open inside carry no contexts, though the process is instrumented."""
    carrier = tracing.active()
    assert carrier is not None
    tracing.deactivate()
    try:
        yield
    finally:
        tracing.activate(carrier)


def chat_on(layer: BaseChannelLayer, spans: Spans) -> WebsocketCommunicator:
    """Return a client of a consumer whose group lives on that layer."""

    class Chat(AsyncJsonWebsocketConsumer):
        groups = ["room"]  # noqa: RUF012

        def _find_layer(self) -> Any:
            return layer

        async def chat_message(self, message: dict[str, Any]) -> None:
            await self.send_json(message["text"])

        async def chat_nested(self, message: dict[str, Any]) -> None:
            await asyncio.sleep(0)  # the rest of it runs in the consumer's own task
            with spans.tracer.start_as_current_span("inside"):
                await self.send_json(sorted(message))

        async def chat_fails(self, message: dict[str, Any]) -> None:
            raise RuntimeError("boom")

    return WebsocketCommunicator(Chat.as_asgi(), "/")
