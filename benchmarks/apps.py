"""The ASGI applications that ``uvicorn --factory benchmarks.apps:<name>`` serves.

``chat`` and the idle consumers run on whichever ``fast_channels`` is installed: ours, or 1.1.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]


def bare() -> Application:
    """Return what broadcasts every frame by calling each connection's ``send`` in a loop."""
    connections: dict[int, Send] = {}

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        connections[id(send)] = send
        try:
            while (event := await receive())["type"] == "websocket.receive":
                text = json.dumps({"text": json.loads(event["text"])["text"]})
                message = {"type": "websocket.send", "text": text}
                for each in list(connections.values()):
                    await each(message)
        finally:
            del connections[id(send)]

    return application


def chat() -> Application:
    """Return a consumer that broadcasts every frame through its group."""
    from fast_channels.consumer.websocket import AsyncJsonWebsocketConsumer
    from fast_channels.layers import InMemoryChannelLayer, register_channel_layer

    register_channel_layer("default", InMemoryChannelLayer())

    class Chat(AsyncJsonWebsocketConsumer):
        channel_layer_alias = "default"
        groups = ["room"]  # noqa: RUF012  # as users write it

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.channel_layer.group_send(
                "room", {"type": "chat.message", "text": content["text"]}
            )

        async def chat_message(self, event: Any) -> None:
            await self.send_json({"text": event["text"]})

    return Chat.as_asgi()


def idle() -> Application:
    """Return what accepts and waits."""

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    return application


def idle_shared() -> Application:
    """Return a consumer that is in one group, the same for all connections."""
    from fast_channels.consumer import AsyncWebsocketConsumer
    from fast_channels.layers import InMemoryChannelLayer, register_channel_layer

    register_channel_layer("default", InMemoryChannelLayer())

    class Idle(AsyncWebsocketConsumer):
        groups = ["room"]  # noqa: RUF012  # as users write it

    return Idle.as_asgi()


def idle_own() -> Application:
    """Return a consumer that is in one group, which nobody else is in."""
    from fast_channels.consumer import AsyncWebsocketConsumer
    from fast_channels.layers import InMemoryChannelLayer, register_channel_layer

    register_channel_layer("default", InMemoryChannelLayer())

    class Idle(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.channel_layer.group_add(f"user-{id(self)}", self.channel_name)
            await self.accept()

    return Idle.as_asgi()
