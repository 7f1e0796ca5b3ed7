"""The server side of the chat: one consumer per browser tab, one group per room."""

import re
import time
from typing import Any

from fast_channels.consumer import Refused, ResumableWebsocketConsumer

ROOM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")


class ChatConsumer(ResumableWebsocketConsumer):
    """One person in one room. What the room says comes to the browser once, in order."""

    name = ""  # empty until the browser is in the room

    async def connect(self) -> None:
        self.room = self.scope["path_params"]["room"]
        await self.accept()  # even if only to refuse: browsers hide why a handshake failed
        if not ROOM.fullmatch(self.room):
            await self.close(4404, "use 1 to 80 of A-Z a-z 0-9 . _ - (a letter or digit first)")

    async def authorize_group(self, name: str) -> str | None:
        # "chat.*" is kept, so that nobody misses a message; who is typing is of no interest later.
        return {"room": f"chat.{self.room}", "typing": f"typing.{self.room}"}.get(name)

    async def presence_for(self, name: str, wanted: dict[str, Any] | None) -> dict[str, Any] | None:
        if name != "room":
            return None
        given = (wanted or {}).get("name")
        if not isinstance(given, str) or not 0 < len(given.strip()) <= 40:
            raise Refused("a name has 1 to 40 characters")
        self.name = given.strip()
        return {"name": self.name}

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case {"type": "message", "id": str(key), "text": str(text)} if self.name:
                await self._say(key, text.strip())
            case {"type": "typing"} if self.name:
                event = {"type": "chat.typing", "name": self.name}
                typing, me = f"typing.{self.room}", self.channel_name
                await self.channel_layer.group_send(typing, event, exclude=me)
            case _:
                await self.send_json({"type": "error", "detail": "join first; then talk"})

    async def _say(self, key: str, text: str) -> None:
        if len(key) <= 64 and 0 < len(text) <= 2_000:
            event = {"type": "chat.message", "id": key, "text": text, "name": self.name}
            await self.channel_layer.group_send(f"chat.{self.room}", {**event, "at": time.time()})
        else:
            await self.send_json({"type": "error", "id": key, "detail": "not 1 to 2000 characters"})
