"""A consumer that gets the same note from a layer and from its client."""

# ruff: noqa: RUF012  consumers are written here as applications write them

from fast_channels import AsyncWebsocketConsumer

NOTE = {"type": "note"}


class Noted(AsyncWebsocketConsumer):
    """In the group "all"; a message of the layer reaches ``note``, a frame ``receive``."""

    groups = ["all"]

    async def receive(self, text_data=None, bytes_data=None):
        await self.note(NOTE)

    async def note(self, message):
        raise NotImplementedError
