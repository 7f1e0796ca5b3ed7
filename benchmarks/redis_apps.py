"""The broadcast applications over Redis, ours and the peers', each in its own environment.

Every text frame ``{"text": ...}`` goes to all sockets through the library's Redis pub/sub layer;
each consumer writes its own frame. ``BENCH_REDIS_URL`` says where Redis is.
"""

import importlib
import json
import os
from typing import Any

from benchmarks.apps import Application
from benchmarks.sides.apps import consumer

URL = os.environ.get("BENCH_REDIS_URL", "")


def ours() -> Application:
    """Return the consumer of ``benchmarks.apps.chat`` on our Redis layer."""
    websocket = importlib.import_module("fast_channels.consumer.websocket")
    layers = importlib.import_module("fast_channels.layers")
    redis = importlib.import_module("fast_channels_redis")
    return chat(websocket.AsyncJsonWebsocketConsumer, layers, redis.RedisChannelLayer)


def fast_channels() -> Application:
    """Return the same consumer on fast-channels 1.1 and its Redis pub/sub layer."""
    websocket = importlib.import_module("fast_channels.consumer.websocket")
    layers = importlib.import_module("fast_channels.layers")
    redis = importlib.import_module("fast_channels.layers.redis")
    return chat(websocket.AsyncJsonWebsocketConsumer, layers, redis.RedisPubSubChannelLayer)


def chat(base: Any, layers: Any, layer: Any) -> Application:
    """Return a consumer that broadcasts every frame through its group."""
    layers.register_channel_layer("default", layer(hosts=[URL]))
    return consumer(base)


def django_channels() -> Application:
    """Return the same consumer on Django Channels and channels_redis' pub/sub layer."""
    conf = importlib.import_module("django.conf")
    backend = "channels_redis.pubsub.RedisPubSubChannelLayer"
    conf.settings.configure(
        CHANNEL_LAYERS={"default": {"BACKEND": backend, "CONFIG": {"hosts": [URL]}}}
    )
    importlib.import_module("django").setup()
    base: Any = importlib.import_module("channels.generic.websocket").AsyncJsonWebsocketConsumer
    return consumer(base)


def litestar() -> Application:
    """Return a Litestar application: a subscriber for each socket, which writes raw text."""
    framework = importlib.import_module("litestar")
    channels = importlib.import_module("litestar.channels")
    backends = importlib.import_module("litestar.channels.backends.redis")
    redis = importlib.import_module("redis.asyncio")
    backend = backends.RedisChannelsPubSubBackend(redis=redis.Redis.from_url(URL))
    plugin = channels.ChannelsPlugin(backend, channels=["room"])

    async def room(socket: framework.WebSocket) -> None:  # type: ignore[name-defined]  # injected by it
        await socket.accept()
        async with (
            plugin.start_subscription("room") as subscriber,
            subscriber.run_in_background(socket.send_text),
        ):
            while True:
                content = json.loads(await socket.receive_text())
                plugin.publish({"text": content["text"]}, "room")

    application: Application = framework.Litestar(
        [framework.websocket("/")(room)], plugins=[plugin]
    )
    return application
