"""Reading the past of durable groups, as methods of a layer."""

from abc import abstractmethod
from collections.abc import Callable

from fast_channels.layers.backend import Append, Entry
from fast_channels.layers.codec import Entry as Packed
from fast_channels.layers.codec import Frames, encode_entries
from fast_channels.layers.history import Message, check_limit, decode_since, encode_position
from fast_channels.layers.history.replay import Replay
from fast_channels.layers.messages import encode_message
from fast_channels.layers.names import check_group, history_topic
from fast_channels.layers.options import LayerOptions
from fast_channels.type_defs import ChannelMessage


class KeptGroups:
    """What ``BaseChannelLayer`` tells of its durable groups."""

    options: LayerOptions
    _make_frames: Callable[[], Frames]
    _unnumbered: str

    @abstractmethod
    async def replay(self) -> Replay:
        """Return what reads history in the running loop; only where something is kept."""

    async def group_history(
        self, group: str, *, since: str | None = None, limit: int = 100
    ) -> list[Message]:
        """Return at most ``limit`` messages of a durable group, oldest first.

        They come after the position ``since``, or are the newest (``"last:20"``), or the oldest
        that are kept. Raises ``HistoryLost`` where something after ``since`` is gone, and
        ``ValueError`` for a group without history or no position of this group.
        """
        check_group(group)
        topic = self.kept_topic(group)
        where = None if since is None else decode_since(topic, since)
        check_limit(limit)
        return await (await self.replay()).messages(topic, group, where, limit)

    async def group_position(self, group: str) -> str:
        """Return the end of a durable group: what is sent from now on comes after it."""
        check_group(group)
        topic = self.kept_topic(group)
        return encode_position(topic, await (await self.replay()).end(topic))

    def append_for(self, group: str, message: ChannelMessage) -> Append:
        """Return what puts the message at the end of a durable group when somebody else publishes
        it, as ``History.publish`` does: late, or never, and nobody takes that for a loss.

        Raises as ``group_send``, and ``ValueError`` for a group without history, before any I/O.
        """
        check_group(group)
        topic, policy = self.kept_topic(group), self.options.history_of(group)
        assert policy is not None
        body = encode_entries([Packed(encode_message(message, self.options.max_message_size))])
        frame = self._make_frames().encode(topic, self._unnumbered, 0, 0, body)
        return Append(topic, [Entry(frame)], policy.keep, policy.ttl)

    def kept_topic(self, group: str) -> str:
        """Return the topic of the group's history; ``ValueError`` if it has none."""
        if self.options.history_of(group) is None:
            raise ValueError(
                f"group {group!r} has no history: no pattern of the layer's option history= "
                "matches it; give for example history={'chat.*': HistoryPolicy(keep=1000)}"
            )
        return history_topic(self.options.prefix, group)
