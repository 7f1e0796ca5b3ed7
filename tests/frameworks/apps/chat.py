"""What every application here is made of: one consumer, and what its HTTP routes answer.

A frame of text is a command, and what is no command goes back as it is; so does every frame of
bytes. The query says how the connection is to begin.
"""

# ruff: noqa: T201  what it prints is its journal

import asyncio
import json
from collections import Counter
from urllib.parse import parse_qs

from fast_channels import (
    AsyncEventSourceConsumer,
    AsyncWebsocketConsumer,
    get_channel_layer,
    lifespan,
    register_channel_layer,
)

# The smallest mailbox that the tests' bursts fit into; a client that does not read fills it soon.
register_channel_layer("default", "memory://", capacity=20, overflow="disconnect")

ended = Counter()
"""Calls of ``disconnect()``, by close code."""


class Chat(AsyncWebsocketConsumer):
    """Everything that a server and a framework have to carry."""

    greeting = "hello"
    max_frame_size = None  # what the server takes is tried

    async def connect(self):
        query = parse_qs(self.scope["query_string"].decode())
        match query.get("begin", ["accept"]):
            case ["close"]:
                await self.close()
                return
            case ["deny"]:
                await self.deny(401, "who are you?", [(b"x-reason", b"nobody")])
                return
            case ["fail"]:
                raise RuntimeError("marker-connect")
        self.room = self.scope["path"].rpartition("/")[2]
        await self.channel_layer.group_add(self.room, self.channel_name)
        offered = self.scope["subprotocols"]
        await self.accept("chat.v2" if "chat.v2" in offered else None, [(b"x-greeting", b"hello")])
        await self.send(json.dumps(self.seen()))

    def seen(self):
        """What the consumer knows of its connection."""
        route = self.scope.get("url_route", {}).get("kwargs") or self.scope.get("path_params") or {}
        return {
            "greeting": self.greeting,
            "path": self.scope["path"],
            "query": self.scope["query_string"].decode(),
            "room": route.get("room"),
            "token": dict(self.scope["headers"]).get(b"x-token", b"").decode(),
        }

    async def receive(self, text_data=None, bytes_data=None):
        command, _, rest = (text_data or "").partition(" ")
        if command == "say":
            message = {"type": "chat.message", "text": rest}
            await self.channel_layer.group_send(self.room, message)
        elif command == "close":
            code, _, reason = rest.partition(" ")
            await self.close(int(code), reason)
        elif command == "fail":
            raise RuntimeError(rest)
        else:
            await self.send(text_data, bytes_data)

    async def chat_message(self, event):
        await self.send(event["text"])

    async def disconnect(self, code):
        ended[code] += 1
        print(self.scope["path"], "disconnect", code, flush=True)


class Events(AsyncEventSourceConsumer):
    """What is said in a room, as a stream that a browser reads."""

    async def connect(self, last_event_id):
        room = self.scope["path"].rpartition("/")[2]
        await self.channel_layer.group_add(room, self.channel_name)
        await self.send_event("ready", id=7, event="begin")

    async def chat_message(self, event):
        await self.send_event(event["text"])


async def announce(room, text, times=1):
    """Tell everybody in the room, as an HTTP route does."""
    await get_channel_layer().group_send(room, {"type": "chat.message", "text": text * times})


def inside():
    """What the process holds now."""
    return {
        "tasks": len(asyncio.all_tasks()),
        "stats": get_channel_layer().stats(),
        "ended": ended,
    }


async def serve_lifespan(receive, send):
    """The lifespan of an application without a framework."""
    await receive()
    async with lifespan():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    print("lifespan over", flush=True)
    await send({"type": "lifespan.shutdown.complete"})
