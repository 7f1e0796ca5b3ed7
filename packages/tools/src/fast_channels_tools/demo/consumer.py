"""The server side of the chat: one consumer per browser tab, one group per room."""

import re
from typing import Any

from fast_channels.consumer import AsyncJsonWebsocketConsumer

ROOM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """One person in one room. What the browser and the room say arrives one at a time."""

    name = ""  # empty until the browser sends "join"

    async def connect(self) -> None:
        room = self.scope["path_params"]["room"]
        self.group = f"chat.{room}"
        await self.accept()  # before refusing: a browser is not told why a handshake failed
        if not ROOM.fullmatch(room):
            await self.close(4404, "use 1 to 80 of A-Z a-z 0-9 . _ - and begin with a letter or digit")

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case {"type": "join", "name": str(name)} if not self.name:
                if not 0 < len(name.strip()) <= 40:
                    return await self._refuse("a name has 1 to 40 characters")
                await self.channel_layer.group_add(self.group, self.channel_name)
                self.name = name.strip()
                await self._tell_room({"type": "join"}, exclude=self.channel_name)
                await self.send_json({"type": "welcome"})
            case {"type": "message", "id": str(key), "text": str(text)} if self.name:
                if len(key) > 64 or not 0 < len(text) <= 2_000:
                    return await self._refuse("a message has 1 to 2000 characters", id=key)
                await self._tell_room({"type": "message", "id": key, "text": text})
            case {"type": "typing"} if self.name:
                await self._tell_room({"type": "typing"}, exclude=self.channel_name)
            case _:
                await self._refuse('join first; then send a "message" or "typing"')

    async def chat_event(self, event: dict[str, Any]) -> None:
        """What anyone sent to the group arrives here, in every member of it."""
        await self.send_json(event["content"])

    async def disconnect(self, code: int) -> None:
        if self.name:  # this channel has left the group by itself; the others want to know
            await self._tell_room({"type": "leave"})

    async def _tell_room(self, content: dict[str, Any], exclude: str | None = None) -> None:
        event = {"type": "chat.event", "content": {**content, "name": self.name}}
        await self.channel_layer.group_send(self.group, event, exclude=exclude)

    async def _refuse(self, detail: str, **about: str) -> None:
        await self.send_json({"type": "error", "detail": detail, **about})
