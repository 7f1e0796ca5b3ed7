"""``python traced.py <redis url> <members>``: so many consumers, and the spans of what they handle.

It says ``here`` when all are in the group, and a line of JSON with the spans when each has handled
one message.
"""

# ruff: noqa: T201  what it prints is for its test

import asyncio
import json
import sys

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fast_channels import AsyncJsonWebsocketConsumer, register_channel_layer
from fast_channels.testing import WebsocketCommunicator
from fast_channels_tools import otel

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
otel.instrument(provider, MeterProvider())
layer = register_channel_layer("default", sys.argv[1])


class Chat(AsyncJsonWebsocketConsumer):
    groups = ["room"]  # noqa: RUF012  # as applications write it

    async def chat_message(self, message):
        with provider.get_tracer("app").start_as_current_span("inside"):
            await self.send_json(message)


async def main() -> None:
    clients = [WebsocketCommunicator(Chat.as_asgi(), "/") for _ in range(int(sys.argv[2]))]
    for client in clients:
        await client.connect(20)
    print("here", flush=True)
    for client in clients:
        await client.receive_json_from(20)
    for client in clients:
        await client.disconnect()
    await layer.close()
    spans = [
        {
            "name": span.name,
            "trace": span.context.trace_id,
            "id": span.context.span_id,
            "parent": span.parent and span.parent.span_id,
        }
        for span in exporter.get_finished_spans()
    ]
    print(json.dumps(spans), flush=True)


asyncio.run(main())
