"""For tests: clients of an ASGI application, and the conformance kit for backends and layers.

The clients talk to the application in the same event loop, without a server. The kit
(``BackendTests``, ``QueueTests``, ``HistoryTests``, ``LayerTests``, ``PresenceTests``) needs pytest
and is loaded when first asked for.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from fast_channels.testing.application import ApplicationCommunicator
from fast_channels.testing.http import HttpCommunicator
from fast_channels.testing.websocket import WebsocketCommunicator

if TYPE_CHECKING:
    from fast_channels.testing.conformance import (
        BackendTests,
        HistoryTests,
        LayerTests,
        PresenceTests,
        QueueTests,
    )

__all__ = [
    "ApplicationCommunicator",
    "BackendTests",
    "HistoryTests",
    "HttpCommunicator",
    "LayerTests",
    "PresenceTests",
    "QueueTests",
    "WebsocketCommunicator",
]

if (_pytest := sys.modules.get("pytest")) is not None:
    # A failing clause shows both sides of its comparison. Whatever of the kit is imported, this
    # package is imported before it, which is when pytest has to know.
    _pytest.register_assert_rewrite("fast_channels.testing.conformance")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        importlib.import_module("pytest")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name} needs pytest; run: pip install 'fast-channels[testing]'"
        ) from error
    return getattr(importlib.import_module("fast_channels.testing.conformance"), name)
