"""Routers for applications that have no framework; inside a framework its own routing is used.

The routes of a ``URLRouter`` are made by ``path`` and ``re_path``, ours or Django's.
"""

from fast_channels.routing.patterns import Converter, Route, path, re_path, register_converter
from fast_channels.routing.routers import (
    ChannelNameRouter,
    ProtocolTypeRouter,
    URLRouter,
    not_found,
)

__all__ = [
    "ChannelNameRouter",
    "Converter",
    "ProtocolTypeRouter",
    "Route",
    "URLRouter",
    "not_found",
    "path",
    "re_path",
    "register_converter",
]
