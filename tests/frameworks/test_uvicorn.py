"""Consumers under uvicorn, with real clients: large frames, and handlers that outlast them."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import asyncio
import statistics

import pytest
import websockets

from fast_channels import AsyncWebsocketConsumer, InMemoryChannelLayer
from fast_channels.layers.registry import channel_layers

pytestmark = pytest.mark.timeout(30)


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data, bytes_data)


@pytest.mark.parametrize("frame", ["x" * 10_000_000, bytes(10_000_000)], ids=["text", "bytes"])
async def test_a_frame_of_ten_megabytes_goes_there_and_back(serve, frame):
    address = await serve(Echo.as_asgi(max_frame_size=None))
    async with websockets.connect(f"ws://{address}/", max_size=None, compression=None) as socket:
        await socket.send(frame)
        assert await socket.recv() == frame


async def test_a_frame_above_max_frame_size_closes_with_1009_and_no_other_socket(serve):
    address = await serve(Echo.as_asgi(max_frame_size=1_000_000))
    async with (
        websockets.connect(f"ws://{address}/", compression=None) as large,
        websockets.connect(f"ws://{address}/") as other,
    ):
        await large.send(bytes(10_000_000))
        with pytest.raises(websockets.ConnectionClosed):
            await large.recv()
        assert large.close_code == 1009
        await other.send("still here")
        assert await other.recv() == "still here"


@pytest.mark.parametrize("cancels", [True, False])
async def test_memberships_end_within_100_ms_though_a_handler_works_on(serve, layer, cancels):
    """The median of five, for a machine that is busy with other things."""
    loop = asyncio.get_running_loop()

    class Consumer(AsyncWebsocketConsumer):
        groups = ["all"]
        cancel_on_disconnect = cancels

        async def receive(self, text_data=None, bytes_data=None):
            await self.send("working")
            await free.wait()

        def client_left(self):
            super().client_left()
            noticed.set_result((loop.time(), dict(layer.groups)))

        async def disconnect(self, code):
            ended.set_result(loop.time())

    address = await serve(Consumer.as_asgi())
    delays = []
    for _ in range(5):
        free, noticed, ended = asyncio.Event(), loop.create_future(), loop.create_future()
        async with websockets.connect(f"ws://{address}/") as socket:
            await socket.send("work")
            await socket.recv()
            left = loop.time()
        async with asyncio.timeout(5):
            when, groups = await noticed
            assert groups == {}
            if cancels:
                when = await ended
            else:
                assert not ended.done()
                free.set()
                await ended
        delays.append(when - left)
    assert statistics.median(delays) < 0.1


@pytest.mark.asyncio(loop_factories=["uvloop"])  # takes the 2 s for which a close may be held up
async def test_a_slow_client_is_closed_with_1013_and_the_others_hear_everything(serve):
    layer = InMemoryChannelLayer(overflow="disconnect", capacity=5)
    channel_layers.register("default", layer)
    codes = asyncio.Queue()

    class Consumer(AsyncWebsocketConsumer):
        groups = ["all"]

        async def connect(self):
            await self.accept()
            await self.send("ready")

        async def note(self, message):
            await self.send("x" * 500_000)

        async def disconnect(self, code):
            codes.put_nowait(code)

    address = await serve(Consumer.as_asgi())
    async with asyncio.timeout(20):
        async with (
            websockets.connect(f"ws://{address}/", compression=None) as fast,
            websockets.connect(
                f"ws://{address}/", compression=None, max_queue=1, ping_interval=None
            ) as slow,
        ):
            await fast.recv()
            await slow.recv()
            # What the sockets and their buffers take, and then five more.
            for _ in range(200):
                await layer.group_send("all", {"type": "note"})
                assert len(await fast.recv()) == 500_000
                if layer.stats()["overflowed"]:
                    break
            assert layer.stats()["overflowed"] == 1
            assert layer.stats()["channels"] == 1
            await layer.group_send("all", {"type": "note"})
            assert len(await fast.recv()) == 500_000
            assert await codes.get() == 1013
            assert codes.empty()
            slow.transport.abort()
    await layer.close()
    channel_layers.clear()
