"""What happens in a layer's or a consumer's life, told to whoever listens.

This module knows nobody: ``fast_channels.layers`` connects it to the plugins. Events are rare
(opened, lost, failed), never one per message; a listener that raises harms nobody.
"""

import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("fast_channels")

Listener = Callable[..., None]
"""Called as ``listener(event_name, **facts)``."""

_listeners: list[Listener] = []


def connect(listener: Listener) -> None:
    """Every later event reaches ``listener``."""
    _listeners.append(listener)


def disconnect(listener: Listener) -> None:
    """No later event reaches ``listener``."""
    _listeners.remove(listener)


def emit(event: str, **facts: Any) -> None:
    """Tell every listener; one that raises is named in the log, and the others are still told."""
    for listener in tuple(_listeners):
        try:
            listener(event, **facts)
        except Exception:
            logger.exception("listener %r failed at event %r", listener, event)
