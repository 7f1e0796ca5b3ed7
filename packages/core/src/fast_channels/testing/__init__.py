"""Clients for tests, which talk to an ASGI application in the same event loop, without a server."""

from fast_channels.testing.application import ApplicationCommunicator
from fast_channels.testing.http import HttpCommunicator
from fast_channels.testing.websocket import WebsocketCommunicator

__all__ = ["ApplicationCommunicator", "HttpCommunicator", "WebsocketCommunicator"]
