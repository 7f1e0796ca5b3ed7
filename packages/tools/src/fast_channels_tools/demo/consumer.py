"""The server side of the chat: one consumer per browser tab, one group per room."""

import re
from typing import Any

from fast_channels.consumer import AsyncJsonWebsocketConsumer

ROOM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """One person in one room. What the browser and the room say comes one event at a time."""

    name = ""  # empty until the browser sends "join"

    async def connect(self) -> None:
        self.room = self.scope["path_params"]["room"]
        await self.accept()  # even if only to refuse: browsers hide why a handshake failed
        if not ROOM.fullmatch(self.room):
            await self.close(4404, "use 1 to 80 of A-Z a-z 0-9 . _ - (a letter or digit first)")

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case {"type": "join", "name": str(name)} if not self.name:
                await self._join(name.strip())
            case {"type": "message", "id": str(key), "text": str(text)} if self.name:
                await self._say(key, text.strip())
            case {"type": "typing"} if self.name:
                await self._tell_room({"type": "typing"}, exclude=self.channel_name)
            case _:
                await self.send_json({"type": "error", "detail": "join first, and once; then talk"})

    async def chat_event(self, event: dict[str, Any]) -> None:
        """The group's messages arrive here, in every consumer that is in the group."""
        await self.send_json(event["content"])

    async def presence_join(self, event: dict[str, Any]) -> None:
        await self.send_json(event)

    presence_leave = presence_join

    async def _join(self, name: str) -> None:
        if 0 < len(name) <= 40:
            group, me, self.name = f"chat.{self.room}", self.channel_name, name
            await self.channel_layer.group_add(group, me, presence={"name": name}, watch=True)
            there = await self.channel_layer.presence(group)
            await self.send_json({"type": "welcome", "me": me, "people": there})
        else:
            await self.send_json({"type": "error", "detail": "a name has 1 to 40 characters"})

    async def _say(self, key: str, text: str) -> None:
        if len(key) <= 64 and 0 < len(text) <= 2_000:
            await self._tell_room({"type": "message", "id": key, "text": text})
        else:
            await self.send_json({"type": "error", "id": key, "detail": "not 1 to 2000 characters"})

    async def _tell_room(self, content: dict[str, Any], exclude: str | None = None) -> None:
        event = {"type": "chat.event", "content": {**content, "name": self.name}}
        await self.channel_layer.group_send(f"chat.{self.room}", event, exclude=exclude)
