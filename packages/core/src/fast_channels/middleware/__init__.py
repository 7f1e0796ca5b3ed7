"""Applications around an application: a base class, and the check of a WebSocket's origin."""

from fast_channels.middleware.base import BaseMiddleware
from fast_channels.middleware.websocket import OriginValidator, WebsocketDenier

__all__ = ["BaseMiddleware", "OriginValidator", "WebsocketDenier"]
