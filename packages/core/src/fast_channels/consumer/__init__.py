"""Consumers: ASGI applications with one method per kind of event."""

from fast_channels.consumer.base import AsyncConsumer, SyncConsumer
from fast_channels.consumer.http import AsyncEventSourceConsumer, AsyncHttpConsumer
from fast_channels.consumer.resumable import Refused, ResumableWebsocketConsumer
from fast_channels.consumer.resumable_events import ResumableEventSourceConsumer
from fast_channels.consumer.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

__all__ = [
    "AsyncConsumer",
    "AsyncEventSourceConsumer",
    "AsyncHttpConsumer",
    "AsyncJsonWebsocketConsumer",
    "AsyncWebsocketConsumer",
    "JsonWebsocketConsumer",
    "Refused",
    "ResumableEventSourceConsumer",
    "ResumableWebsocketConsumer",
    "SyncConsumer",
    "WebsocketConsumer",
]
