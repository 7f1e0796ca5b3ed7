"""Applications around an application: a base class, the check of an origin, and a rate limit."""

from fast_channels.middleware.base import BaseMiddleware
from fast_channels.middleware.rate_limit import RateLimiter
from fast_channels.middleware.websocket import OriginValidator, WebsocketDenier

__all__ = ["BaseMiddleware", "OriginValidator", "RateLimiter", "WebsocketDenier"]
