"""Which methods of a consumer answer to which message.

Law: a message from a layer reaches only methods that the application declared. Names that our own
base classes define (``send``, ``close``, ``disconnect``, ...) reach nothing, even overridden, and
of ``websocket.*`` and ``http.*`` only ``websocket.send`` and ``websocket.close``: other processes
must not be able to pretend that a client did something.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

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


class Handlers:
    """The handlers of one consumer class, by message type; found once, then looked up."""

    def __init__(self, consumer: type) -> None:
        self._consumer = consumer
        # Only what is found is kept, so hostile types cannot fill these.
        self._client: dict[str, str] = {}
        self._layer: dict[str, str] = {}

    def for_client(self, message: Mapping[str, Any]) -> str | None:
        """Return the method's name for an event of the ASGI server, or None."""
        kind = message["type"]
        name = self._client.get(kind)
        if name is None:
            name = get_handler_name(message)
            if not callable(getattr(self._consumer, name, None)):
                return None
            self._client[kind] = name
        return name

    def for_layer(self, message: Mapping[str, Any]) -> str | None:
        """Return the method's name for a message of a channel layer, or None."""
        kind = message["type"]
        name = self._layer.get(kind)
        if name is None:
            name = get_handler_name(message)
            if not (self._declared(name) or kind == GAP):
                return None
            if name.startswith(_CLIENT_PREFIXES) and kind not in PASSED_ON:
                return None
            self._layer[kind] = name
        return name

    def _declared(self, name: str) -> bool:
        """True for a method that the application declares and our base classes do not define."""
        if any(name in vars(base) for base in _framework):
            return False
        return callable(getattr(self._consumer, name, None))


_tables: dict[type, Handlers] = {}


def handlers_of(consumer: type) -> Handlers:
    """Return the handlers of the consumer class."""
    table = _tables.get(consumer)
    if table is None:
        table = _tables[consumer] = Handlers(consumer)
    return table
