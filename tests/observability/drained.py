"""An application that drains, on the broker at ``BROKER_URL``; its journal is its output."""

import asyncio
import os
from functools import partial

from fastapi import FastAPI, Response
from tests.tcp_broker import TCPLayer

from fast_channels import (
    AsyncEventSourceConsumer,
    AsyncHttpConsumer,
    AsyncJsonWebsocketConsumer,
    Drain,
    lifespan,
    register_channel_layer,
)

layer = register_channel_layer("default", TCPLayer(os.environ["BROKER_URL"]))
drain = Drain(spread=float(os.environ["SPREAD"]), grace=float(os.environ["GRACE"]))


def journal(*entry):
    print(*entry, flush=True)  # noqa: T201


class Chat(AsyncJsonWebsocketConsumer):
    groups = ["room"]  # noqa: RUF012  # as applications write it

    async def receive_json(self, content, **kwargs):
        await self.send_json("begun")
        try:
            await asyncio.sleep(content["work"])
        except asyncio.CancelledError:
            journal("cancelled", content["name"])
            raise
        await self.channel_layer.group_send("done", {"type": "done", "name": content["name"]})
        await self.send_json("finished")

    async def disconnect(self, code):
        journal("disconnect", code)


class Stream(AsyncEventSourceConsumer):
    async def connect(self, last_event_id):
        await self.send_event("hello")

    async def disconnect(self):
        journal("stream over")


class Poll(AsyncHttpConsumer):
    groups = ["room"]  # noqa: RUF012

    async def handle(self, body):
        journal("polled")

    async def note(self, message):
        await self.send_response(200, b"a note")


application = FastAPI(lifespan=partial(lifespan, drain=drain))
application.mount("/ws", Chat.as_asgi())
application.mount("/stream", Stream.as_asgi())
application.mount("/poll", Poll.as_asgi())


@application.get("/ready")
async def ready(response: Response):
    healthy = not drain.draining and bool(await layer.health())
    response.status_code = 200 if healthy else 503


@application.post("/drain")
async def begin():
    drain.begin()
