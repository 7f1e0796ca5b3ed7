"""Every exception that Fast Channels raises on purpose.

    Exception
    ├── FastChannelsError              base of all below that mean trouble
    │   ├── BackendUnavailable         the broker did not answer; a retry may help
    │   ├── PublishFailed              some publications of a batch were refused
    │   ├── ChannelFull                the receiver's mailbox or queue is full
    │   ├── ChannelNotFound            no such channel, or its process is gone
    │   ├── HistoryLost                what was asked of a group's history is gone
    │   ├── LayerClosed                the layer was closed by hand
    │   ├── MessageTooLarge            above max_message_size
    │   ├── TooManyGroups              the channel is in max_groups groups already
    │   ├── InvalidFrame               a client's frame is not what the consumer reads
    │   ├── RouteNotFound              no route for a path, a channel or a type of scope
    │   └── InvalidChannelLayerError   the layer is unknown, misspelt, broken or unfit
    │       └── LayerNotFound          no layer is registered or installed under that name
    ├── AcceptConnection               raised in connect(): accept the socket
    ├── DenyConnection                 raised in connect(): refuse the socket
    └── StopConsumer                   raised in a handler: end the consumer quietly

Programming mistakes (a wrong type, an illegal name) are plain ``TypeError`` and ``ValueError``.
Under Django Channels ``ChannelFull`` and ``MessageTooLarge`` are also those of its own that have
these names: see ``namesakes``.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from fast_channels.namesakes import Namesake


class FastChannelsError(Exception):
    """Base class of what goes wrong between a consumer, a layer and a broker."""


class BackendUnavailable(FastChannelsError):
    """The broker could not be reached, or did not answer in time.

    After a time-out the message was *perhaps* sent; the text says so.
    """


class PublishFailed(FastChannelsError):
    """Some publications of one ``Backend.publish`` call were refused, the others were accepted.

    ``errors`` maps the index of each refused publication to the reason.
    """

    def __init__(self, errors: Mapping[int, Exception]) -> None:
        self.errors = dict(errors)
        first = next(iter(self.errors.values()), None)
        super().__init__(f"{len(self.errors)} publications were refused; the first: {first!r}")


class ChannelFull(FastChannelsError, Namesake):
    """The channel or queue already holds as many unread messages as its capacity allows."""


class ChannelNotFound(FastChannelsError):
    """The channel does not exist any more: it was closed, or its process has ended."""


class HistoryLost(FastChannelsError):
    """The history does not reach back to that position, or is another one by now.

    Messages after it were dropped (``keep``, ``ttl``, ``flush``) or lost by the broker, so nobody
    can tell which were missed: re-synchronise, and go on without a position.
    """

    def __init__(self, *args: object, anew: str = "") -> None:
        super().__init__(*args)
        self.anew = anew
        """The epoch of the history that there is, if that began empty: so all that it has is new.
        Empty: it is the same one, or nobody can tell."""


class LayerClosed(FastChannelsError):
    """The layer was closed; ``await layer.open()`` makes it usable again."""


class MessageTooLarge(FastChannelsError, Namesake):
    """The encoded message is larger than the layer's ``max_message_size`` (bytes)."""


class TooManyGroups(FastChannelsError):
    """The channel is a member of as many groups as the layer's ``max_groups`` allows."""


class InvalidFrame(FastChannelsError, ValueError):
    """A client's frame cannot be read; ``code`` is the WebSocket close code that says so."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


class RouteNotFound(FastChannelsError, ValueError):
    """A router has no route for ``name``, a path, channel or scope type; it tried ``routes``."""

    def __init__(self, kind: str, name: str, routes: Sequence[str]) -> None:
        self.kind = kind
        self.name = name
        self.routes = list(routes)
        close = get_close_matches(name, self.routes, n=1)
        tried = ", ".join(map(repr, self.routes[:20])) or "none"
        more = f" and {len(self.routes) - 20} more" if len(self.routes) > 20 else ""
        super().__init__(
            f"no route found for {kind} {name!r:.200}; routes tried: {tried}{more}"
            + (f"; did you mean {close[0]!r}?" if close else "")
        )


class InvalidChannelLayerError(FastChannelsError, ValueError):
    """A channel layer is missing, misspelt, broken, or cannot do what was asked of it."""


class LayerNotFound(InvalidChannelLayerError, LookupError):
    """No channel layer is known under that name; the text lists the known ones."""


class AcceptConnection(Exception):
    """Raised in ``connect()`` to accept the socket at once."""


class DenyConnection(Exception):
    """Raised in ``connect()`` to refuse the socket.

    Where the server has the ASGI extension ``websocket.http.response``, the client sees ``status``,
    ``headers`` and ``body``; elsewhere a plain 403.
    """

    def __init__(
        self,
        reason: str = "",
        *,
        status: int = 403,
        body: bytes | str = b"",
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.body = body
        self.headers = list(headers)


class StopConsumer(Exception):
    """Raised in a handler to end the consumer without an error."""
