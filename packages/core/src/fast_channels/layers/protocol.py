"""The contract between applications and channel layers: what entry points deliver.

``BaseChannelLayer`` is the implementation that everything ships with. The first seven methods are
those of Django Channels; a layer that has only these works with consumers, too.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, runtime_checkable

from fast_channels.layers.history import Message
from fast_channels.type_defs import ChannelMessage


class Channel(Protocol):
    """A channel that lives inside ``async with layer.channel()``."""

    @property
    def name(self) -> str:
        """What others send to."""
        ...

    async def receive(self) -> dict[str, Any]:
        """Wait for the next message; cancelling loses nothing."""
        ...


@runtime_checkable
class ChannelLayer(Protocol):
    """Sends messages (dicts) to channels and groups, in this process or any other.

    Sends awaited one after another arrive at one receiver in that order; concurrent sends keep
    their order per group and per channel. Delivery is at most once.
    """

    async def send(self, channel: str, message: ChannelMessage) -> None:
        """The broker has the message for that channel.

        Raises ``ChannelFull``, ``MessageTooLarge``, ``BackendUnavailable``; ``TypeError`` and
        ``ValueError`` for a bad name or message, before any I/O.
        """
        ...

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the channel's next message; exactly one receiver gets each."""
        ...

    async def new_channel(self, prefix: str = "specific.") -> str:
        """Return the name of a fresh channel of this process."""
        ...

    async def group_add(self, group: str, channel: str) -> None:
        """The channel is a member: a ``group_send`` that starts from now on reaches it."""
        ...

    async def group_discard(self, group: str, channel: str) -> None:
        """The channel is no member any more; no error if it was none."""
        ...

    async def group_send(
        self, group: str, message: ChannelMessage, *, exclude: str | None = None
    ) -> None:
        """The broker has the message for all members, but for the channel ``exclude``."""
        ...

    async def flush(self) -> None:
        """All messages and memberships of this session are gone."""
        ...

    async def open(self) -> None:
        """Connected for the running event loop; raises ``BackendUnavailable`` if that fails."""
        ...

    async def close(self) -> None:
        """What was accepted is sent, every connection is let go of, later calls raise."""
        ...

    def channel(self, prefix: str = "specific.") -> AbstractAsyncContextManager[Channel]:
        """A channel for the time of an ``async with``; leaving it ends its memberships."""
        ...

    def stats(self) -> Mapping[str, int]:
        """Counters since the layer was made, and what it holds now."""
        ...


@runtime_checkable
class HistoryLayer(ChannelLayer, Protocol):
    """A layer some of whose groups are durable: what was sent to them is kept, and replayed."""

    async def group_add(self, group: str, channel: str, *, since: str | None = None) -> None:
        """The channel is a member: a ``group_send`` that starts from now on reaches it.

        ``since``: in a durable group, what came after that position, or the newest messages
        (``"last:20"``), comes first. Raises ``HistoryLost`` where that is gone.
        """
        ...

    async def group_send(
        self,
        group: str,
        message: ChannelMessage,
        *,
        exclude: str | None = None,
        id: str | None = None,
    ) -> None:
        """The broker has the message for all members, but for the channel ``exclude``.

        ``id``: in a durable group, a message of that id which is still kept is not sent again.
        """
        ...

    async def group_history(
        self, group: str, *, since: str | None = None, limit: int = 100
    ) -> list[Message]:
        """Return messages of a durable group, oldest first; raises ``HistoryLost``."""
        ...

    async def group_position(self, group: str) -> str:
        """Return the end of a durable group: what is sent from now on comes after it."""
        ...


@runtime_checkable
class PresenceLayer(ChannelLayer, Protocol):
    """A layer that knows who is present in a group."""

    async def group_add(
        self,
        group: str,
        channel: str,
        *,
        presence: Mapping[str, Any] | None = None,
        watch: bool = False,
    ) -> None:
        """The channel is a member: a ``group_send`` that starts from now on reaches it.

        With ``presence`` (a dict) it is present, which others see; ``watch``: it gets
        ``presence.join`` and ``presence.leave``.
        """
        ...

    async def presence(self, group: str) -> dict[str, dict[str, Any]]:
        """Return who is present in the group: the dicts given to ``group_add``, by channel."""
        ...

    async def group_channels(self, group: str) -> list[str]:
        """Return the channels that are present in the group at this moment."""
        ...

    async def group_count(self, group: str) -> int:
        """Return how many channels are present in the group at this moment."""
        ...
