"""Which methods of a consumer answer to which message.

Law: a message from a layer reaches only methods that the application declared. Names that our own
base classes define (``send``, ``close``, ``disconnect``, ...) reach nothing, even overridden, and
of ``websocket.*`` and ``http.*`` only ``websocket.send`` and ``websocket.close``: other processes
must not be able to pretend that a client did something.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from fast_channels.consumer.kinds import check_kinds

T = TypeVar("T", bound=type)

GAP: Final = "channels.gap"
PASSED_ON: Final = frozenset({"websocket.send", "websocket.close"})
"""Types that go to the client as they are, unless the consumer declares a handler for them."""

_CLIENT_PREFIXES: Final = ("websocket_", "http_")
_framework: Final[list[type]] = [object]


def framework(cls: T) -> T:
    """Mark one of our own base classes: what it defines is out of a layer's reach."""
    _framework.append(cls)
    return cls


def check_methods(consumer: type) -> None:
    """Raise ``TypeError`` for a method that is ``async def`` and may not be."""
    check_kinds(consumer, _framework)


def get_handler_name(message: Mapping[str, Any]) -> str:
    """Return the name of the method for the message: its type with ``_`` for each dot.

    Raises ``ValueError`` for a message without a usable ``type``.
    """
    kind = message.get("type")
    if not isinstance(kind, str) or not kind:
        raise ValueError(f"message has no 'type' that is a str: {message!r:.100}")
    name = kind.replace(".", "_")
    if name.startswith("_"):
        raise ValueError(f"message type {kind!r} begins with an underscore or a dot")
    return name


class ClientHandlers(dict[str, str | None]):
    """Method names by type of the ASGI server's events; None where there is no method.

    Only what is found is kept, so hostile types cannot fill this.
    """

    def __init__(self, consumer: type) -> None:
        self._consumer = consumer

    def __missing__(self, kind: str) -> str | None:
        name = get_handler_name({"type": kind})
        if not self._reachable(kind, name):
            return None
        self[kind] = name
        return name

    def _reachable(self, kind: str, name: str) -> bool:
        if not any(name in vars(base) for base in self._consumer.__mro__):
            return False  # a metaclass's method, such as mro(), is none of the consumer's
        method: object = getattr(self._consumer, name)
        return callable(method) and not isinstance(method, type)


class LayerHandlers(ClientHandlers):
    """Method names by type of a channel layer's messages; None for what is out of reach."""

    def _reachable(self, kind: str, name: str) -> bool:
        ours = any(name in vars(base) for base in self._consumer.__mro__ if base in _framework)
        if ours and kind != GAP:
            return False
        if name.startswith(_CLIENT_PREFIXES) and kind not in PASSED_ON:
            return False
        return super()._reachable(kind, name)


class NoHandlers(dict[str, str | None]):
    """None for every type of message."""

    def __missing__(self, kind: str) -> None:
        return None


_client_handlers: dict[type, ClientHandlers] = {}
_layer_handlers: dict[type, LayerHandlers] = {}


def client_handlers(consumer: type) -> ClientHandlers:
    """Return the consumer class's methods for what the ASGI server sends."""
    if consumer not in _client_handlers:
        _client_handlers[consumer] = ClientHandlers(consumer)
    return _client_handlers[consumer]


def layer_handlers(consumer: type) -> LayerHandlers:
    """Return the consumer class's methods for what a channel layer sends."""
    if consumer not in _layer_handlers:
        _layer_handlers[consumer] = LayerHandlers(consumer)
    return _layer_handlers[consumer]
