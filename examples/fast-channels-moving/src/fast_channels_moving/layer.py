"""A channel layer over two others: it writes to both, and reads from one.

It is no ``BaseChannelLayer``, only the methods of ``ChannelLayer``. A channel of it is a channel of
the layer that is read, and has its name.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from fast_channels.layers import Channel, ChannelLayer, ChannelLayerRegistry


class MovingChannelLayer:
    """A layer for the time of a move from ``old`` to ``new`` (layers, names or URLs).

    ``read`` is ``"old"`` or ``"new"``. The options are those of both layers.
    """

    def __init__(self, *, old: Any, new: Any, read: str = "old", **options: Any) -> None:
        if read not in ("old", "new"):
            raise ValueError(f"read must be 'old' or 'new', got {read!r}")
        layers = ChannelLayerRegistry()
        layers.register("old", old, **options)
        layers.register("new", new, **options)
        self._read: ChannelLayer = layers[read]
        self._other: ChannelLayer = layers["new" if read == "old" else "old"]

    async def open(self) -> None:
        """Connected to both; raises ``BackendUnavailable`` when one of them cannot be reached."""
        await self._read.open()
        await self._other.open()

    async def close(self) -> None:
        """What was accepted is sent, and both are closed."""
        try:
            await self._read.close()
        finally:
            await self._other.close()

    def channel(self, prefix: str = "specific.") -> AbstractAsyncContextManager[Channel]:
        """A channel for the time of an ``async with``; leaving it ends its memberships."""
        return self._read.channel(prefix)

    async def new_channel(self, prefix: str = "specific.") -> str:
        """Return the name of a fresh channel of this process."""
        return await self._read.new_channel(prefix)

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the next message of the channel, or of the queue on the broker that is read."""
        return await self._read.receive(channel)

    async def send(self, channel: str, message: Mapping[str, Any]) -> None:
        """Both brokers have the message, and one knows the channel.

        A worker queue exists on each: its message goes to the broker that is read, for it is to be
        handled once.
        """
        await self._read.send(channel, message)
        if "!" in channel:
            await self._other.send(channel, message)

    async def group_add(self, group: str, channel: str) -> None:
        """The channel is a member; one of another process, if that reads the same broker."""
        await self._read.group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """The channel is no member any more."""
        await self._read.group_discard(group, channel)

    async def group_send(
        self, group: str, message: Mapping[str, Any], *, exclude: str | None = None
    ) -> None:
        """Both brokers have the message: each member gets it from the one that its process reads.

        When one cannot be reached, ``BackendUnavailable``: some members perhaps get it.
        """
        await self._read.group_send(group, message, exclude=exclude)
        await self._other.group_send(group, message, exclude=exclude)

    async def flush(self) -> None:
        """This process's messages and memberships are gone, and the queues of both brokers."""
        await self._read.flush()
        await self._other.flush()

    def stats(self) -> Mapping[str, int]:
        """The counters of the layer that is read; those of the other begin with ``other_``."""
        other = {f"other_{name}": count for name, count in self._other.stats().items()}
        return {**self._read.stats(), **other}
