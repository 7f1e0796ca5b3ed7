"""Consumers: ASGI applications with one method per kind of event."""

from fast_channels.consumer.base import AsyncConsumer
from fast_channels.consumer.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer

__all__ = ["AsyncConsumer", "AsyncJsonWebsocketConsumer", "AsyncWebsocketConsumer"]
