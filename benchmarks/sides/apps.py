"""The ASGI applications that uvicorn serves, by the side's name.

Every text frame ``{"text": ...}`` of a client goes to all clients, through the library's own means,
as its documentation shows; those that are called idle send nothing. ``BENCH_URL`` says where the
broker is.
"""

import importlib
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]

URL = os.environ.get("BENCH_URL", "")


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


def idle() -> Application:
    """Return what accepts and waits."""

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    return application


def consumer(base: Any) -> Application:
    """Return a consumer that broadcasts every frame through its group."""

    class Chat(base):  # type: ignore[misc]  # whichever is installed
        channel_layer_alias = "default"
        groups = ["room"]  # noqa: RUF012  # as users write it

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.channel_layer.group_send(
                "room", {"type": "chat.message", "text": content["text"]}
            )

        async def chat_message(self, event: Any) -> None:
            await self.send_json({"text": event["text"]})

    application: Application = Chat.as_asgi()
    return application


def _fast(*layer: Any) -> Application:
    layers = importlib.import_module("fast_channels.layers")
    layers.register_channel_layer("default", *layer)
    websocket = importlib.import_module("fast_channels.consumer.websocket")
    return consumer(websocket.AsyncJsonWebsocketConsumer)


def ours() -> Application:
    """Our consumer on the layer that the broker's URL names."""
    return _fast(URL)


ours_memory = ours_redis = ours_postgres = ours_rabbitmq = ours_nats = ours


def idle_shared() -> Application:
    """Our consumer in one group, the same for all connections."""
    from fast_channels import AsyncWebsocketConsumer, register_channel_layer

    register_channel_layer("default", URL)

    class Idle(AsyncWebsocketConsumer):
        groups = ["room"]  # noqa: RUF012  # as users write it

    return Idle.as_asgi()


def idle_own() -> Application:
    """Our consumer in one group, which nobody else is in."""
    from fast_channels import AsyncWebsocketConsumer, register_channel_layer

    register_channel_layer("default", URL)

    class Idle(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.channel_layer.group_add(f"user-{id(self)}", self.channel_name)
            await self.accept()

    return Idle.as_asgi()


def fast_channels_1_1_memory() -> Application:
    """fast-channels 1.1 in memory."""
    return _fast(importlib.import_module("fast_channels.layers").InMemoryChannelLayer())


def fast_channels_1_1_redis() -> Application:
    """fast-channels 1.1 and its Redis pub/sub layer."""
    layers = importlib.import_module("fast_channels.layers.redis")
    return _fast(layers.RedisPubSubChannelLayer(hosts=[URL]))


def _channels(backend: str, **config: Any) -> Application:
    conf = importlib.import_module("django.conf")
    conf.settings.configure(CHANNEL_LAYERS={"default": {"BACKEND": backend, "CONFIG": config}})
    importlib.import_module("django").setup()
    websocket = importlib.import_module("channels.generic.websocket")
    return consumer(websocket.AsyncJsonWebsocketConsumer)


def channels_memory() -> Application:
    """Django Channels in memory."""
    return _channels("channels.layers.InMemoryChannelLayer")


def channels_redis_pubsub() -> Application:
    """Django Channels and channels_redis' pub/sub layer."""
    return _channels("channels_redis.pubsub.RedisPubSubChannelLayer", hosts=[URL])


def channels_redis_core() -> Application:
    """Django Channels and channels_redis' core layer."""
    return _channels("channels_redis.core.RedisChannelLayer", hosts=[URL])


def _litestar(backend: Any) -> Application:
    framework = importlib.import_module("litestar")
    plugin = importlib.import_module("litestar.channels").ChannelsPlugin(backend, channels=["room"])

    async def room(socket: framework.WebSocket) -> None:  # type: ignore[name-defined]  # injected
        await socket.accept()
        async with (
            plugin.start_subscription("room") as subscriber,
            subscriber.run_in_background(socket.send_text),
        ):
            while True:
                content = json.loads(await socket.receive_text())
                plugin.publish({"text": content["text"]}, "room")

    handler = framework.websocket("/")(room)
    application: Application = framework.Litestar([handler], plugins=[plugin])
    return application


def litestar_memory() -> Application:
    """Litestar: a subscriber for each socket, which writes text as it came."""
    backends = importlib.import_module("litestar.channels.backends.memory")
    return _litestar(backends.MemoryChannelsBackend())


def litestar_redis() -> Application:
    """The same on its Redis pub/sub backend."""
    backends = importlib.import_module("litestar.channels.backends.redis")
    redis = importlib.import_module("redis.asyncio")
    return _litestar(backends.RedisChannelsPubSubBackend(redis=redis.Redis.from_url(URL)))


def broadcaster_redis() -> Application:
    """broadcaster: a task for each socket, which writes text as it came."""
    asyncio = importlib.import_module("asyncio")
    broadcast = importlib.import_module("broadcaster").Broadcast(URL)

    async def write(send: Send) -> None:
        async with broadcast.subscribe("room") as subscriber:
            async for event in subscriber:
                await send({"type": "websocket.send", "text": event.message})

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        event = await receive()
        if scope["type"] == "lifespan":
            await broadcast.connect()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            return
        await send({"type": "websocket.accept"})
        writer = asyncio.create_task(write(send))
        try:
            while (event := await receive())["type"] == "websocket.receive":
                text = json.dumps({"text": json.loads(event["text"])["text"]})
                await broadcast.publish("room", text)
        finally:
            writer.cancel()

    return application


def socketio_redis() -> Application:
    """python-socketio and its Redis manager, by its own protocol."""
    socketio = importlib.import_module("socketio")
    server = socketio.AsyncServer(client_manager=socketio.AsyncRedisManager(URL), async_mode="asgi")

    async def connect(sid: str, environ: Any) -> None:
        await server.enter_room(sid, "room")

    async def m(sid: str, data: Any) -> None:
        await server.emit("m", {"text": data["text"]}, room="room")

    server.on("connect", connect)
    server.on("m", m)
    application: Application = socketio.ASGIApp(server)
    return application
