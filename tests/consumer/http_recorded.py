"""HTTP consumers that write down what happens, in a journal given by ``as_asgi``."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import json

from fast_channels import AsyncHttpConsumer


class Recorded(AsyncHttpConsumer):
    """``journal`` is given by ``as_asgi``."""

    journal = None

    async def handle(self, body):
        self.journal(body)
        await self.send_response(200, b"got " + body, headers={"Content-Type": "text/plain"})

    async def disconnect(self):
        self.journal("disconnect")


class LongPoll(Recorded):
    """The answer is the next message of the group."""

    groups = ["news"]

    async def handle(self, body):
        self.journal("waits")

    async def news_item(self, message):
        text = json.dumps(message["item"]).encode()
        await self.send_response(200, text, headers={b"content-type": b"application/json"})
