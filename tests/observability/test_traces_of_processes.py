"""A trace that begins in one process and ends in others, with Redis between them."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from tests.redis.servers import running
from tests.waiting import STARTING, soon

from fast_channels.layers import ChannelLayerRegistry
from fast_channels_tools import otel

pytestmark = pytest.mark.timeout(150)
HERE = Path(__file__).parent
MEMBERS = 2
"""Consumers in each of the processes that listen."""


@asynccontextmanager
async def listening(url: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Yield a process whose consumers are in the group; in the end it is none any more."""
    command = [sys.executable, str(HERE / "traced.py"), url, str(MEMBERS)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await soon(process.stdout.readline(), STARTING) == b"here\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def spans_of(process: asyncio.subprocess.Process) -> list[dict[str, Any]]:
    """Return the spans that the process has exported when it has ended."""
    out, _ = await soon(process.communicate())
    assert process.returncode == 0
    spans: list[dict[str, Any]] = json.loads(out)
    return spans


async def test_one_trace_goes_from_a_request_through_redis_to_the_consumers_of_other_processes(
    tmp_path: Path, layers: ChannelLayerRegistry
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentation = otel.instrument(provider, MeterProvider(), layers)
    app = FastAPI()
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)
    try:
        with running(tmp_path) as redis:
            layer = layers.register("redis", redis.url)

            @app.post("/say")
            async def say() -> None:
                await layer.group_send("room", {"type": "chat.message", "text": "hello"})

            transport = httpx.ASGITransport(app)
            async with (
                listening(redis.url) as one,
                listening(redis.url) as other,
                httpx.AsyncClient(transport=transport, base_url="http://x") as http,
            ):
                assert (await http.post("/say")).status_code == 200
                handled = await spans_of(one) + await spans_of(other)
            await layer.close()
    finally:
        instrumentation.uninstrument()
    ours = exporter.get_finished_spans()
    [request] = [span for span in ours if span.kind is SpanKind.SERVER]
    [sent] = [span for span in ours if span.name == "group_send"]
    assert sent.parent is not None
    assert sent.parent.span_id == request.context.span_id
    processed = [span for span in handled if span["name"] == "process chat.message"]
    inside = [span for span in handled if span["name"] == "inside"]
    assert len(processed) == len(inside) == 2 * MEMBERS
    assert {span["parent"] for span in processed} == {sent.context.span_id}
    assert {span["parent"] for span in inside} == {span["id"] for span in processed}
    assert {span["trace"] for span in handled} == {request.context.trace_id}
