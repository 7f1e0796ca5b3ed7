"""The application that test_uvicorn_process.py serves, and talks to as a client.

Its consumers' lines go to standard output: ``<path> <what happened>``.
"""

# ruff: noqa: RUF012, T201  written as applications write it; what it prints is its journal

import asyncio

from fast_channels import AsyncJsonWebsocketConsumer, lifespan, register_channel_layer

register_channel_layer("default", "memory://")


class Consumer(AsyncJsonWebsocketConsumer):
    groups = ["all"]

    def journal(self, entry):
        print(self.scope["path"], entry, flush=True)

    async def connect(self):
        if self.scope["path"] == "/connect":
            raise RuntimeError("marker-connect")
        if self.scope["path"] == "/deny":
            await self.deny(401, "who are you?")
            return
        await self.accept()

    async def receive_json(self, content, **kwargs):
        match content:
            case {"fail": marker}:
                raise RuntimeError(marker)
            case {"tell": message}:
                await self.channel_layer.group_send("all", message)
            case {"work": True}:
                await self.send_json("working")
                left = self.left = asyncio.Event()
                await left.wait()
                # The client has left: nothing of this may end in the log.
                await self.send_json("too late")
                await self.close()
                self.journal("worked")
            case _:
                await self.send_json(content)

    def client_left(self):
        super().client_left()
        if hasattr(self, "left"):
            self.left.set()

    async def note(self, message):
        if self.scope["path"] == message.get("fails"):
            raise RuntimeError(message["marker"])
        await self.send_json("note")

    async def disconnect(self, code):
        self.journal(f"disconnect {code}")
        if self.scope["path"] == "/disconnect":
            raise RuntimeError("marker-disconnect")


consumer = Consumer.as_asgi(max_frame_size=1_000_000)


async def application(scope, receive, send):
    """Sockets reach the consumer; the lifespan opens and closes the layer."""
    if scope["type"] != "lifespan":
        await consumer(scope, receive, send)
        return
    await receive()
    async with lifespan():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
