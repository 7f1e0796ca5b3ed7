"""Real-time messaging for any ASGI application: consumers, channel layers, any broker.

from fast_channels import AsyncJsonWebsocketConsumer, lifespan, register_channel_layer
"""

from fast_channels.consumer import (
    AsyncConsumer,
    AsyncEventSourceConsumer,
    AsyncHttpConsumer,
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    ResumableEventSourceConsumer,
    ResumableWebsocketConsumer,
    SyncConsumer,
    WebsocketConsumer,
)
from fast_channels.consumer.drain import Drain
from fast_channels.layers import (
    BaseChannelLayer,
    ChannelLayer,
    InMemoryChannelLayer,
    get_channel_layer,
    register_channel_layer,
)
from fast_channels.lifespan import lifespan

__version__ = "0.1.0"

__all__ = [
    "AsyncConsumer",
    "AsyncEventSourceConsumer",
    "AsyncHttpConsumer",
    "AsyncJsonWebsocketConsumer",
    "AsyncWebsocketConsumer",
    "BaseChannelLayer",
    "ChannelLayer",
    "Drain",
    "InMemoryChannelLayer",
    "JsonWebsocketConsumer",
    "ResumableEventSourceConsumer",
    "ResumableWebsocketConsumer",
    "SyncConsumer",
    "WebsocketConsumer",
    "get_channel_layer",
    "lifespan",
    "register_channel_layer",
]
