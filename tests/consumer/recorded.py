"""Consumers that write down what they get, for a journal given by ``as_asgi``."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import asyncio

from fast_channels import AsyncWebsocketConsumer


class Recorded(AsyncWebsocketConsumer):
    """In the group "all"; ``journal`` is given by ``as_asgi``."""

    groups = ["all"]
    journal = None

    async def receive(self, text_data=None, bytes_data=None):
        self.journal(text_data)

    async def note(self, message):
        self.journal("note")

    async def disconnect(self, code):
        self.journal(f"disconnect {code}")


class Working(Recorded):
    """Works at a frame until ``free`` is set."""

    free = None

    async def receive(self, text_data=None, bytes_data=None):
        self.journal(text_data)
        try:
            await self.free.wait()
        except asyncio.CancelledError:
            self.journal("cancelled")
            raise
        self.journal("worked")
